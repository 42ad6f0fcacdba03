# SPDX-License-Identifier: GPL-2.0
"""Where an architecture passes values, and what its trampolines promise, as one frozen record.

It is written down from ABI documents and the kernel's headers, not read from the tree under test.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from farm.arch import Architecture
from suites.contract import ARGS_OFFSETS


@dataclass(frozen=True)
class Promise:
    """What holds for every call through one of the trampolines: the registers that it
    saves, the constants that it stores beside them, the arguments that it passes on, by
    register; and what may have changed when a call comes back."""

    saved: frozenset[str]
    constants: Mapping[str, int]
    handed: Mapping[str, str]
    lost: frozenset[str]
    lost_flags: int = 0


@dataclass(frozen=True)
class Convention:
    """The calling convention of an architecture, and the frame of its trampolines.

    Registers are named as in farm.arch and by the agent. Flags are masks of the
    flags register.
    """

    machine: Architecture

    # calls
    arguments: tuple[str, ...]  # the registers of integer arguments, in order
    stack_arguments: tuple[str, ...]  # in words, where the first arguments without a register are
    returned: tuple[str, str]  # the registers of a value of 128 bits, its low half first
    scratch: frozenset[str]  # what a C function may change, its return values among it
    arithmetic: int  # the flags that a call may lose; it must keep those that control the processor
    unowned: int  # flags that anybody may change and nothing depends on
    resume: int  # flags of no call, which a breakpoint sets

    # the frame: struct pt_regs, where the trampoline saves registers
    slots: Mapping[str, int]  # offset of each register in bytes
    size: int  # its size in bytes; frames for an unwinder follow it
    outside_frame: frozenset[str]  # what the slots say nothing about if a trampoline does not save all
    promises: Mapping[str, Promise]  # by the trampoline's symbol

    # the rest
    fp: str  # the frame pointer
    cycle_clock: str  # tracefs' trace_clock that counts the processor's cycles
    jump: str  # the slot by which a callback says where a trampoline goes on: to a direct call
    not_restored: frozenset[str]  # what a callback with all registers changes in vain

    @property
    def pc(self) -> str:
        return self.machine.registers.pc

    @property
    def sp(self) -> str:
        return self.machine.registers.sp

    @property
    def flags(self) -> str:
        """The name of the flags register."""
        return self.machine.registers.flags

    @property
    def call_size(self) -> int:
        """Bytes of the call that a traced function starts with."""
        return self.machine.call_site.size

    def place(self, number: int) -> str:
        """Where an argument is passed, counted from 0, for people."""
        return (*self.arguments, *self.stack_arguments)[number]

    def slot_of(self, number: int) -> int | None:
        """The offset of the slot that the filters read an argument from, counted from 0. None where
        struct bpf_ftrace_args has no member for it, though the trampoline may save its register."""
        return self.slots[self.arguments[number]] if number < len(ARGS_OFFSETS) else None

    def clobbered(self, trampoline: str) -> frozenset[str]:
        """The registers that a call through a trampoline may change."""
        promise = self.promises[trampoline]
        return promise.lost | ({self.flags} if promise.lost_flags else set())

    @property
    def lost_behind_return(self) -> frozenset[str]:
        """What a function may change for its caller beside its return values, and
        return_to_handler with it."""
        return (self.scratch - set(self.returned)) | {self.flags}
