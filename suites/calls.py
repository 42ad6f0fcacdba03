# SPDX-License-Identifier: GPL-2.0
"""Calls of the target functions: what is passed, and what each witness saw."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from farm.guest.agent import Agent
from farm.record.records import Slot
from farm.worker.classify import SlotsDiffer
from suites import arch
from suites.contract import ARGS_OFFSETS

MASK = (1 << 64) - 1

#: Eight arguments each; the last two are on the stack. A wrong register, a wrong
#: width, an extended sign or a lost half changes at least one of them.
PATTERNS: dict[str, tuple[int, ...]] = {
    "distinct": tuple(0x0123456789ABCDE0 ^ (0x1111111111111111 * n) for n in range(1, 9)),
    "zeros": (0,) * 8,
    "ones": (MASK,) * 8,
    "high bits": tuple((1 << 63) | (1 << (62 - n)) | n for n in range(1, 9)),
    "negative 32-bit": tuple((-n) & 0xFFFFFFFF for n in range(1, 9)),
}

FUNCTIONS = tuple(f"args{n}" for n in range(9))


#: How many parameters each function has.
PARAMETERS = {f"args{n}": n for n in range(9)} | {"wide": 2, "sleep2": 2}


@dataclass(frozen=True)
class Call:
    """One call: `received` is what the callee found in its parameters, and `found`
    what it saw of its context. `returned` and `high` are the registers for return
    values. `entry` is its call site for ftrace, and `returns_to` the return address
    on its stack."""

    convention: arch.Convention
    target: str
    passed: tuple[int, ...]
    received: tuple[int, ...]
    returned: int
    high: int
    entry: int
    returns_to: int
    found: frozenset[str]

    @property
    def parameters(self) -> int:
        return PARAMETERS[self.target]

    @property
    def expected_return(self) -> int:
        """What the target computes from its arguments, see payload/include/ftrace_target.h."""
        value = self.parameters
        for argument in self.passed[: self.parameters]:
            value = (value * 31 + argument) & MASK
        return value


def call(agent: Agent, *calls: tuple[str, Sequence[int]], context: str = "task", hold_us: int = 0) -> list[Call]:
    """Call target functions, one after the other, all in one context (payload/agent/main.c)."""
    return call_in(agent, *((context, target, values) for target, values in calls), hold_us=hold_us)


def call_in(agent: Agent, *calls: tuple[str, str, Sequence[int]], hold_us: int = 0) -> list[Call]:
    """Call target functions, one after the other, each in a context of its own."""
    wanted = [
        {"target": target, "args": [hex(value) for value in values], "context": context, "hold_us": hold_us}
        for context, target, values in calls
    ]
    results = agent.request("call_many", calls=wanted)["results"]
    convention = arch.of(agent.arch)
    return [
        _call(convention, target, values, result) for (_, target, values), result in zip(calls, results, strict=True)
    ]


def _call(convention: arch.Convention, target: str, passed: Sequence[int], result: dict[str, Any]) -> Call:
    return Call(
        convention,
        target,
        tuple(passed),
        tuple(int(value, 16) for value in result["received"]),
        int(result["returned"], 16),
        int(result["returned_high"], 16),
        int(result["entry"], 16),
        int(result["returns_to"], 16),
        frozenset(result["found"]),
    )


def check(what: str, done: Call, program: Sequence[int] | None = None) -> None:
    """Compare the witnesses of one call: what was passed, what the program saw
    (None: there was none), what the callee received, and what it returned.

    Raises SlotsDiffer, which names the slots.
    """
    slots = [
        Slot(
            name=f"arg{n + 1}",
            register=done.convention.place(n),
            offset=done.convention.slot_of(n),
            passed=done.passed[n],
            program=program[n] if program is not None and n < len(ARGS_OFFSETS) else None,
            callee=done.received[n],
        )
        for n in range(done.parameters)
    ]
    if any(slot.wrong for slot in slots):
        raise SlotsDiffer(what, slots, call=(done.target, done.passed))
    low = done.expected_return
    first, second = done.convention.returned
    returned = {first: (done.returned, low)}
    if done.target == "wide":
        returned[second] = (done.high, ~low & MASK)
    wrong = [f"{name} came back as {got:#x}, not {value:#x}" for name, (got, value) in returned.items() if got != value]
    assert not wrong, f"{what}: from target_{done.target} {' and '.join(wrong)}, though its arguments were right"
