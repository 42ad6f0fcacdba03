# SPDX-License-Identifier: GPL-2.0
"""All registers around a call of target_registers, and how two states may differ."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from farm.guest.agent import Agent
from farm.matrix import Cell
from suites import arch


@dataclass(frozen=True)
class Registers:
    """One call of target_registers: all registers before it, at the start of the
    function, and after it. `entry` and `returns_to` are as in calls.Call."""

    convention: arch.Convention
    before: Mapping[str, int]
    callee: Mapping[str, int]
    after: Mapping[str, int]
    entry: int
    returns_to: int

    @property
    def entered(self) -> dict[str, int]:
        """What the function must find: the call has put a return address on the stack."""
        sp = self.convention.sp
        return {**self.before, sp: self.before[sp] - 8}

    @property
    def behind_call(self) -> int:
        """The address after the function's call for ftrace, which a trampoline saves as the program counter."""
        return self.entry + self.convention.call_size


def call(agent: Agent) -> Registers:
    answer = agent.request("call_registers")
    before, callee, after = (
        {name: int(value, 16) for name, value in answer[when].items()} for when in ("before", "callee", "after")
    )
    return Registers(
        arch.of(agent.arch), before, callee, after, int(answer["entry"], 16), int(answer["returns_to"], 16)
    )


def keeps_flags(cell: Cell) -> bool:
    """Whether a call keeps the arithmetic flags. With call depth tracking it does not:
    it goes through a thunk that counts."""
    return cell.machine is None or "retbleed=stuff" not in cell.machine.cmdline


def frame_pointers(cell: Cell) -> bool:
    """Whether the cell's kernel has frame pointers, so that this register is not free."""
    return any(fragment.stem == "unwinder-fp" for fragment in cell.fragments)


def differences(
    convention: arch.Convention,
    got: Mapping[str, int],
    expected: Mapping[str, int],
    clobbered: Collection[str] = (),
    flags: bool = True,
) -> list[str]:
    """In words, what is wrong with registers. The arithmetic flags may differ if the flags
    register is clobbered, or without `flags`; other flags never."""
    wrong = []
    for name, value in expected.items():
        differing = got[name] ^ value
        if name == convention.flags and (name in clobbered or not flags):
            differing &= ~convention.arithmetic
        elif name in clobbered:
            continue
        if differing:
            wrong.append(f"{name} is {got[name]:#x}, not {value:#x}")
    return wrong
