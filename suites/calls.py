# SPDX-License-Identifier: GPL-2.0
"""Calls of the target functions: what is passed, and what each witness says of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from farm.guest.agent import Agent
from farm.run.records import Slot
from farm.run.verdict import SlotsDiffer
from suites.contract import ARGS_OFFSETS, ARGUMENT_REGISTERS, SLOT_OFFSETS

MASK = (1 << 64) - 1

#: Six arguments each. A wrong register, a wrong width, a sign extended or a
#: half lost: each of them changes at least one of these.
PATTERNS: dict[str, tuple[int, ...]] = {
    "distinct": tuple(0x0123456789ABCDE0 ^ (0x1111111111111111 * n) for n in range(1, 7)),
    "zeros": (0,) * 6,
    "ones": (MASK,) * 6,
    "high bits": tuple((1 << 63) | (1 << (62 - n)) | n for n in range(1, 7)),
    "negative 32-bit": tuple((-n) & 0xFFFFFFFF for n in range(1, 7)),
}

FUNCTIONS = tuple(f"args{n}" for n in range(7))


@dataclass(frozen=True)
class Call:
    """One call: `received` is what the callee found in its parameters."""

    target: str
    passed: tuple[int, ...]
    received: tuple[int, ...]
    returned: int

    @property
    def parameters(self) -> int:
        return int(self.target.removeprefix("args"))

    @property
    def expected_return(self) -> int:
        """What the target makes of its arguments, see payload/include/ftrace_target.h."""
        value = self.parameters
        for argument in self.passed[: self.parameters]:
            value = (value * 31 + argument) & MASK
        return value


def call(agent: Agent, *calls: tuple[str, Sequence[int]]) -> list[Call]:
    """Call target functions, one after the other."""
    wanted = [{"target": target, "args": [hex(value) for value in values]} for target, values in calls]
    results = agent.request("call_many", calls=wanted)["results"]
    return [
        Call(target, tuple(values), tuple(int(v, 16) for v in result["received"]), int(result["returned"], 16))
        for (target, values), result in zip(calls, results, strict=True)
    ]


def check(what: str, done: Call, program: Sequence[int] | None = None) -> None:
    """Compare the witnesses of one call: what was passed, what the program saw
    (None: there was none), what the callee received and made of it.

    Raises SlotsDiffer, which names the slots.
    """
    slots = [
        Slot(
            name=f"arg{n + 1}",
            register=ARGUMENT_REGISTERS[n],
            offset=SLOT_OFFSETS[n],
            passed=done.passed[n],
            program=program[n] if program is not None and n < len(ARGS_OFFSETS) else None,
            callee=done.received[n],
        )
        for n in range(done.parameters)
    ]
    if any(slot.wrong for slot in slots):
        raise SlotsDiffer(what, slots)
    assert done.returned == done.expected_return, (
        f"{what}: target_{done.target} returned {done.returned:#x} and should have returned "
        f"{done.expected_return:#x}, though its arguments were right"
    )
