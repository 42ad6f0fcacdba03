# SPDX-License-Identifier: GPL-2.0
"""All registers around a call of target_registers, and what may differ between two looks."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from farm.guest.agent import Agent
from farm.matrix import Cell

#: What a trampoline may change. ftrace_regs_caller restores all but r11.
CLOBBERED = {"ftrace_caller": {"r10", "r11", "rflags"}, "ftrace_regs_caller": {"r11"}}

#: What a function may change for its caller, and return_to_handler with it.
SCRATCH = {"r8", "r9", "r10", "r11", "rcx", "rsi", "rdi", "rflags"}

#: The arithmetic flags, CF PF AF ZF SF OF, which a call is allowed to lose.
#: Those that control the processor (IF, DF, AC, …) never are.
ARITHMETIC = 0x8D5

#: ID, which anybody may change and nothing depends on, though it is none of these.
ID = 1 << 21

#: __KERNEL_CS and __KERNEL_DS of x86_64.
KERNEL_CS, KERNEL_DS = 0x10, 0x18

#: Of a call to __fentry__: behind it the function goes on.
CALL_SIZE = 5


@dataclass(frozen=True)
class Registers:
    """One call of target_registers: all registers before it, where the function
    begins, and behind it. `entry` and `returns_to` as in calls.Call."""

    before: Mapping[str, int]
    callee: Mapping[str, int]
    after: Mapping[str, int]
    entry: int
    returns_to: int

    @property
    def entered(self) -> dict[str, int]:
        """What the function must find: the call has put a return address on the stack."""
        return {**self.before, "rsp": self.before["rsp"] - 8}


def call(agent: Agent) -> Registers:
    answer = agent.request("call_registers")
    before, callee, after = (
        {name: int(value, 16) for name, value in answer[when].items()} for when in ("before", "callee", "after")
    )
    return Registers(before, callee, after, int(answer["entry"], 16), int(answer["returns_to"], 16))


def keeps_flags(cell: Cell) -> bool:
    """Whether a call leaves the arithmetic flags alone: with call depth tracking
    it goes by a thunk that counts."""
    return cell.machine is None or "retbleed=stuff" not in cell.machine.cmdline


def frame_pointers(cell: Cell) -> bool:
    """Whether the cell's kernel has frame pointers, and so rbp is not free."""
    return any(fragment.stem == "unwinder-fp" for fragment in cell.fragments)


def differences(
    got: Mapping[str, int], expected: Mapping[str, int], clobbered: Collection[str] = (), flags: bool = True
) -> list[str]:
    """What is wrong with registers, in words. The arithmetic flags may differ
    if rflags is among the clobbered or without `flags`, the others never."""
    wrong = []
    for name, value in expected.items():
        differing = got[name] ^ value
        if name == "rflags" and (name in clobbered or not flags):
            differing &= ~ARITHMETIC
        elif name in clobbered:
            continue
        if differing:
            wrong.append(f"{name} is {got[name]:#x}, not {value:#x}")
    return wrong
