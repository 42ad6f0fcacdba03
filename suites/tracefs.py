# SPDX-License-Identifier: GPL-2.0
"""tracefs in the guest: tracers set up for the target functions, and their traces."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest

from farm.guest.vm import Guest

#: For tests that run under each tracer that the cell has.
FUNCTION_TRACERS = ["function", pytest.param("function_graph", marks=pytest.mark.needs("function_graph"))]

ROOT = "/sys/kernel/tracing"

#: The name in the list of functions for a call site whose function the linker dropped.
INVALID = "__ftrace_invalid_address__"

#: The kernel's switch for all of ftrace.
SWITCH = "/proc/sys/kernel/ftrace_enabled"

#: A call in the trace: before the arrow for `function` and the latency tracers, after
#: the bar for `function_graph`, with the module's name in between. The latency tracers of
#: kernels that can print arguments print their parentheses too.
_CALL = re.compile(r": (\w+)(?: \[\w+\])?(?:\(.*\))? <-")
_GRAPH_CALL = re.compile(r"\|\s+(\w+)(?: \[\w+\])?\(\)(?:;| \{)")

_PARENT = re.compile(r": (\w+)(?: \[\w+\])?(?:\(.*\))? <-(\S+)")

#: The functions of the module that are meant to be traced; it has others.
_TARGET = re.compile(r"target_(args\d|wide|sleep2|registers)")


class Tracing:
    """The guest's tracefs, or an instance in it. It starts in a known state, and `reset`
    undoes everything that a method sets up.

    `pauses` says whether the kernel can be told to leave its call sites alone. `crowd` is called
    when hundreds of functions are going to be traced.
    """

    def __init__(
        self,
        guest: Guest,
        dynamic: bool,
        root: str = ROOT,
        pauses: bool = True,
        crowd: Callable[[], None] = lambda: None,
    ) -> None:
        self.guest = guest
        self._dynamic, self._root = dynamic, root
        self.pauses, self._crowd = pauses, crowd
        self._call = _CALL
        self._limit: tuple[str, ...] | None = None
        self._kprobes = 0
        self._undo = ExitStack()

    def write(self, file: str, data: str, append: bool = False) -> None:
        """Write to a file of tracefs, or to an absolute path."""
        self.guest.control.request("file_write", path=self._path(file), data=data, append=append)

    def read(self, file: str) -> str:
        answer = self.guest.control.request("file_read", path=self._path(file))
        assert not answer["truncated"], f"{file} is longer than an answer can be"
        return str(answer["data"])

    def list(self, directory: str) -> Sequence[str]:
        """The names in a directory of tracefs."""
        entries: Sequence[str] = self.guest.control.request("file_list", path=self._path(directory))["entries"]
        return entries

    def _path(self, file: str) -> str:
        return file if file.startswith("/") else f"{self._root}/{file}"

    def later(self, action: Callable[..., object], *arguments: object) -> None:
        """Let `reset` do this, before all actions that were registered earlier."""
        self._undo.callback(action, *arguments)

    def enter(self, context: AbstractContextManager[None]) -> None:
        """Enter a context, and let `reset` leave it."""
        self._undo.enter_context(context)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Patch no call site meanwhile, if the kernel can be told so. If not, what begins with all
        functions takes seconds, and has traced them all."""
        if not self.pauses:
            self._crowd()
            yield
            return
        self.write(SWITCH, "0")
        try:
            yield
        finally:
            self.write(SWITCH, "1")

    def switch(self, file: str, on: str = "1", off: str = "0") -> None:
        """Write `on`, and let `reset` write `off`."""
        self.later(self.write, file, off)
        self.write(file, on)

    def limit(self, *functions: str) -> None:
        """Let the tracers that follow set_ftrace_filter see only these functions. With
        static ftrace they see all functions."""
        if not self._dynamic or functions == self._limit:
            return
        if self._limit is None:
            # once, so that it is undone last: without a limit, a tracer that is still on
            # would trace every function of the kernel, which takes seconds to set up
            self.later(self._unlimit)
        self._limit = functions
        self.write("set_ftrace_filter", "\n".join(functions))

    def _unlimit(self) -> None:
        self._limit = None
        self.write("set_ftrace_filter", "\n")

    def start(self, tracer: str, *functions: str, options: Sequence[str] = ()) -> None:
        """Trace calls of the functions."""
        self.limit(*functions)
        for option in options:
            self.switch(f"options/{option}")
        self.switch("current_tracer", tracer, "nop")
        self._call = _GRAPH_CALL if tracer == "function_graph" or "display-graph" in options else _CALL
        self.clear()

    def clear(self) -> None:
        self.write("trace", "\n")

    def calls(self) -> Counter[str]:
        """How often each target function is in the trace."""
        return self.count(self._trace())

    def count(self, trace: str) -> Counter[str]:
        """How often each target function is in a trace of the current tracer."""
        return targets(self._call.findall(trace))

    def names(self) -> Counter[str]:
        """How often each function is in the trace, including those that call the targets."""
        return Counter(self._call.findall(self.read("trace")))

    def _trace(self) -> str:
        if self._dynamic:
            return self.read("trace")
        # the trace has the whole kernel: stop it, and let the guest select the lines
        self.write("tracing_on", "0")
        done = self.guest.connection.run(f"grep target_ {self._root}/trace", self.guest.deadline(20))
        assert done.status in (0, 1), done.stderr
        self.write("tracing_on", "1")
        return done.stdout

    def parents(self) -> Counter[str]:
        """The callers of the target functions, according to the `function` tracer."""
        pairs = _PARENT.findall(self.read("trace"))
        return Counter(parent for name, parent in pairs if _TARGET.fullmatch(name))

    def kprobe(self, function: str) -> None:
        """A kprobe on the function's first instruction. It uses ftrace and wants all
        registers, so the call goes through ftrace_regs_caller."""
        self._kprobes += 1
        self.event(f"p:farm/probe{self._kprobes} {function}", "kprobe_events")

    def event(self, definition: str, file: str = "dynamic_events") -> None:
        """An event `KIND:farm/NAME …`, defined and enabled."""
        name = definition.split()[0].partition(":")[2]
        self.write(file, definition, append=True)
        self.later(self.write, file, f"-:{name}", True)
        self.switch(f"events/{name}/enable")

    def trigger(self, command: str) -> None:
        """A command of set_ftrace_filter: an action for calls of a function."""
        self.write("set_ftrace_filter", command, append=True)
        self.later(self.write, "set_ftrace_filter", f"!{command}", True)

    def instance(self, name: str) -> "Tracing":
        """An instance, with its own buffer, tracer and filters."""
        root = f"{self._root}/instances/{name}"
        self.guest.control.request("dir_make", path=root)
        self.later(lambda: self.guest.control.request("dir_remove", path=root))
        inner = Tracing(self.guest, self._dynamic, root, self.pauses, self._crowd)
        self.later(inner._undo.close)
        return inner

    def reset(self) -> None:
        """Switch off what was switched on. Anything still enabled after that is a leftover."""
        self._undo.close()


def targets(names: Sequence[str]) -> Counter[str]:
    """How often each target function is among the names."""
    return Counter(name for name in names if _TARGET.fullmatch(name))
