# SPDX-License-Identifier: GPL-2.0
"""Traced calls seen from outside the kernel.

QEMU stops the guest at three places of one call: before the call site, where the
registers are as the caller left them; before the trampoline's own call, where the
saved registers are on the stack; and after the call site, where all registers must
be as before. QEMU reads them itself: no code of the guest takes part, so what is
tested cannot influence what is seen.

QEMU also changes values. It fills the stack that the trampoline must fill with
POISON first. Otherwise an unsaved value could be right by chance, left from the last
call. And when the callback returns, it overwrites all registers that a callback may
change. Otherwise an unrestored register could be right because this callback did not
use it.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from farm.artifact import locate
from farm.base.errors import KernelError
from farm.guest.agent import Agent
from farm.guest.gdb import Debugger
from farm.guest.symbols import symbols
from farm.guest.vm import REQUEST_SECONDS, Guest
from farm.kernel.builder import Built
from farm.worker.diagnosis import POISON
from suites import arch

#: The kernel's trampolines: for arguments, for all registers, and for static ftrace.
CALLER, REGS_CALLER, STATIC = "ftrace_caller", "ftrace_regs_caller", "__fentry__"

#: More instructions and more bytes of stack than a trampoline takes, and bytes of a function's start to be told.
MOST_STEPS, MOST_STACK, MOST_STARTING = 200, 512, 9


@cache
def _functions(module: Path) -> Mapping[str, tuple[str, int]]:
    """Section and offset of each function of a module."""
    with module.open("rb") as handle:
        elf = ELFFile(handle)
        table = elf.get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        return {
            symbol.name: (elf.get_section(symbol["st_shndx"]).name, symbol["st_value"])
            for symbol in table.iter_symbols()
            if symbol["st_info"]["type"] == "STT_FUNC"
        }


@dataclass(frozen=True)
class Traced:
    """One traced call, seen from outside.

    `trampoline` is the target of the call site, or the original of that target if
    it is `copied`. `entry`, `call` and `after` are the registers at the three places.
    The return address of the function is `parent` at the first place and `returns_to`
    at the last one. A lost call never gets there: then `after` and `returns_to` are None.
    `stack` starts at the trampoline's stack pointer and ends with `parent`. `op` is the
    ops that the kernel's own trampoline must pass on, its function_trace_op; it is None
    for a copy, which has its own.
    """

    convention: arch.Convention
    target: str
    trampoline: str
    copied: bool
    site: int
    parent: int
    entry: Mapping[str, int]
    call: Mapping[str, int]
    stack: bytes
    op: int | None
    after: Mapping[str, int] | None = None
    returns_to: int | None = None

    def word(self, offset: int) -> int:
        """What the stack has at an offset from the trampoline's stack pointer."""
        return int.from_bytes(self.stack[offset : offset + 8], self.convention.machine.registers.byteorder)


class OutsideObserver:
    """Watches calls of the target functions in one guest."""

    def __init__(self, guest: Guest, built: Built) -> None:
        self.seen: list[Traced] = []
        self._guest = guest
        self._known = arch.of(built.arch)
        self._symbols = symbols(locate(built.kernel))
        self._functions = _functions(locate(built.module) / "ftrace_target.ko")

    def watch(self, agent: Agent, targets: Iterable[str], op: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a request that calls the targets. The observed calls are in
        `seen`, in order.

        Raises AssertionError for a call that does not use a trampoline of ftrace or
        gets lost in there, and lets GuestCrashed and GuestHung through. `seen` then
        has the calls before that.
        """
        self.seen = []
        functions = {f"target_{target}": self._address(f"target_{target}") for target in targets}
        with self._guest.debugger() as debugger:
            sites = {self._site(debugger, address, function): function for function, address in functions.items()}
            agent.send(op, **arguments)
            astray = None
            try:
                while self._reach(debugger, agent, *sites):
                    self._follow(debugger, agent, sites)
            except AssertionError as error:
                astray = error
        if astray:
            with suppress(KernelError):  # the console shows where that led
                agent.receive()  # or it would be taken for the answer to the next request
            raise astray
        return agent.receive()

    def _address(self, function: str) -> int:
        """The address of a function of the module in this guest."""
        section, offset = self._functions[function]
        path = f"/sys/module/ftrace_target/sections/{section}"
        return int(self._guest.control.request("file_read", path=path)["data"], 16) + offset

    def _reach(self, debugger: Debugger, agent: Agent, *places: int) -> bool:
        """Run to the first of the places; False if the agent answers before."""
        for place in places:
            debugger.insert(place)
        debugger.go()
        if not debugger.wait(self._guest.deadline(REQUEST_SECONDS), agent):
            return False
        for place in places:
            debugger.remove(place)
        return True

    def _follow(self, debugger: Debugger, agent: Agent, sites: Mapping[int, str]) -> None:
        """Follow one call from its site, where the guest is stopped, until after it."""
        entry = debugger.registers()
        known = self._known
        site, sp = entry[known.pc], entry[known.sp]
        target = sites[site]
        trampoline, start = self._trampoline(debugger, site, target)
        copied = start != self._symbols[trampoline]
        parent = debugger.read_u64(sp)
        debugger.write(sp - MOST_STACK, POISON.to_bytes(8, "little") * (MOST_STACK // 8))
        call, back = self._call(debugger, agent, trampoline, start)
        if not 0 < sp - call[known.sp] < MOST_STACK:
            raise AssertionError(f"{trampoline} has its stack at {call[known.sp]:#x}, {target} was called at {sp:#x}")
        stack = debugger.read(call[known.sp], sp + 8 - call[known.sp])
        op = None if copied or trampoline == STATIC else debugger.read_u64(self._symbols["function_trace_op"])
        traced = Traced(known, target, trampoline, copied, site, parent, entry, call, stack, op)
        self.seen.append(traced)
        if not self._reach(debugger, agent, back):
            raise AssertionError(f"a call of {target} went to {trampoline}, whose call did not come back")
        for name in known.scratch:
            debugger.set_register(name, POISON)
        flags = debugger.registers()[known.flags]
        debugger.set_register(known.flags, flags & ~known.arithmetic | ~entry[known.flags] & known.arithmetic)
        if not self._reach(debugger, agent, site + known.call_size):
            raise AssertionError(f"a call of {target} went to {trampoline} and never came back to {target}")
        after = debugger.registers()
        self.seen[-1] = replace(traced, after=after, returns_to=debugger.read_u64(after[known.sp]))

    def _trampoline(self, debugger: Debugger, site: int, target: str) -> tuple[str, int]:
        """The trampoline that a call site goes to, and its start. A copy starts with the
        same bytes as its original."""
        start = self._called(debugger, site)
        assert start is not None, f"{target} was called at {site:#x}, where no call is any more"
        beginning = debugger.read(start, 8)
        for name in self._known.machine.trampolines:
            if name in self._symbols and debugger.read(self._symbols[name], 8) == beginning:
                return name, start
        raise AssertionError(f"{target} calls {start:#x}, which is neither a trampoline of ftrace's nor a copy of one")

    def _call(self, debugger: Debugger, agent: Agent, trampoline: str, start: int) -> tuple[Mapping[str, int], int]:
        """The registers at a trampoline's call, and the return address of that call."""
        label = self._known.machine.trampolines[trampoline]
        if label:
            place = start + self._symbols[label] - self._symbols[trampoline]
        else:
            place = debugger.read_u64(self._symbols["ftrace_trace_function"])
        if not _step_to(debugger, place) and not self._reach(debugger, agent, place):
            raise AssertionError(f"a call that went to {trampoline} never came to the call there")
        found = debugger.registers()
        if label:
            return found, place + self._known.call_size
        sp = self._known.sp
        return {**found, sp: found[sp] + 8}, debugger.read_u64(found[sp])

    def _called(self, debugger: Debugger, address: int) -> int | None:
        """The target of the call at an address; None if there is no call."""
        return self._known.machine.call_site.target(address, debugger.read(address, self._known.call_size))

    def _site(self, debugger: Debugger, address: int, function: str) -> int:
        """The call site of a traced function."""
        for offset in self._known.machine.call_site.offsets:
            if self._called(debugger, address + offset) is not None:
                return address + offset
        start = debugger.read(address, MOST_STARTING)
        raise AssertionError(f"{function} is not traced: it starts with {start.hex(' ')}, where no call is")


def _step_to(debugger: Debugger, place: int) -> bool:
    """Go step by step, so that no interrupt comes in between. An interrupt at the call
    site would leave all registers where ftrace_caller must save them: both frames are
    a struct pt_regs, and begin at the same place."""
    for _ in range(MOST_STEPS if debugger.can_step else 0):
        debugger.step()
        if debugger.pc() == place:
            return True
    return False
