# SPDX-License-Identifier: GPL-2.0
"""tracefs in the guest: tracers set up for the target functions, and their traces."""

import re
from collections import Counter

import pytest

from farm.guest.vm import Guest

#: For tests that run under each tracer that the cell has.
TRACERS = ["function", pytest.param("function_graph", marks=pytest.mark.needs("function_graph"))]

ROOT = "/sys/kernel/tracing"

#: A call in the trace: of `function` before the arrow, of `function_graph`
#: behind the bar, with the module's name between name and parentheses.
_CALL = {
    "function": re.compile(r": (\w+)(?: \[\w+\])? <-"),
    "function_graph": re.compile(r"\|\s+(\w+)(?: \[\w+\])?\(\)(?:;| \{)"),
}


_PARENT = re.compile(r": (\w+)(?: \[\w+\])? <-(\S+)")

#: The functions of the module that are there to be traced; it has others.
_TARGET = re.compile(r"target_(args\d|wide|registers)")


class Tracing:
    """The guest's tracefs, brought to a known state and left in it."""

    def __init__(self, guest: Guest, dynamic: bool) -> None:
        self._guest, self._dynamic = guest, dynamic
        self._tracer = "nop"
        self._kprobes = 0

    def write(self, file: str, data: str, append: bool = False) -> None:
        self._guest.control.request("file_write", path=f"{ROOT}/{file}", data=data, append=append)

    def read(self, file: str) -> str:
        answer = self._guest.control.request("file_read", path=f"{ROOT}/{file}")
        assert not answer["truncated"], f"{file} is longer than an answer can be"
        return str(answer["data"])

    def start(self, tracer: str, *functions: str) -> None:
        """Trace calls of the functions; where ftrace is static, of all there are."""
        self.write("tracing_on", "0")
        if self._dynamic:
            self.write("set_ftrace_filter", "\n".join(functions))
        self.write("current_tracer", tracer)
        self._tracer = tracer
        self.clear()
        self.write("tracing_on", "1")

    def clear(self) -> None:
        self.write("trace", "\n")

    def calls(self) -> Counter[str]:
        """How often each target function is in the trace."""
        self.write("tracing_on", "0")
        if self._dynamic:
            text = self.read("trace")
        else:  # all of the kernel is in the trace: let the guest pick
            done = self._guest.connection.run(f"grep target_ {ROOT}/trace", self._guest.deadline(20))
            assert done.status in (0, 1), done.stderr
            text = done.stdout
        self.write("tracing_on", "1")
        found = _CALL[self._tracer].findall(text)
        return Counter(name for name in found if _TARGET.fullmatch(name))

    def parents(self) -> Counter[str]:
        """Who the `function` tracer says called the target functions."""
        pairs = _PARENT.findall(self.read("trace"))
        return Counter(parent for name, parent in pairs if _TARGET.fullmatch(name))

    def kprobe(self, function: str) -> None:
        """A kprobe on the function's first instruction. It sits on ftrace and
        wants full registers, so the call goes by ftrace_regs_caller."""
        self._kprobes += 1
        self.write("kprobe_events", f"p:farm/probe{self._kprobes} {function}", append=True)
        self.write(f"events/farm/probe{self._kprobes}/enable", "1")

    def reset(self) -> None:
        """Switch off what was switched on; fail if anything is still enabled then."""
        if self._tracer != "nop":
            self.write("current_tracer", "nop")
        if self._kprobes:
            self.write("events/farm/enable", "0")
            self.write("kprobe_events", "\n")
        if self._dynamic:
            self.write("set_ftrace_filter", "\n")
            left = self.read("enabled_functions")
            assert not left, f"functions are still enabled after the test:\n{left}"
