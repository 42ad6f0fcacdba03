# SPDX-License-Identifier: GPL-2.0
"""What the suites call left behind, left behind in a real guest: each of it is named."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from farm.guest import vm
from farm.kernel import builder
from farm.matrix import MATRIX, Cell, choose, load
from farm.worker.spec import guest_spec
from suites import calls, filters, leftovers
from suites.contract import FTRACE_TYPE
from suites.filters import HELPER, HELPER_FUNCTION, Program
from suites.tracefs import ROOT, Tracing


@dataclass(frozen=True)
class Bench:
    """A guest of the first cell, and what it said of itself when it was new."""

    guest: vm.Guest
    cell: Cell
    fresh: dict[str, object]

    def left(self) -> list[str]:
        return list(leftovers.left(leftovers.look(self.guest.control), self.fresh, self.cell))

    def write(self, file: str, text: str) -> None:
        path = file if file.startswith("/") else f"{ROOT}/{file}"
        self.guest.control.request("file_write", path=path, data=text)

    def run(self, command: str) -> None:
        done = self.guest.connection.run(command, self.guest.deadline(20))
        assert done.status == 0, done.stderr


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    (cell,) = choose(load(), ["x86_64-regs"])
    process = builder.start(builder.Order([cell.name], None, None, str(MATRIX)))
    built = [event.built for event in builder.events(process) if event.built]
    assert process.wait() == 0
    with vm.boot(guest_spec(cell, built[0], "tcg"), tmp_path_factory.mktemp("bench") / "console.log") as guest:
        yield Bench(guest, cell, leftovers.look(guest.control))


@contextmanager
def written(bench: Bench, file: str, text: str, back: str) -> Iterator[None]:
    bench.write(file, text)
    try:
        yield
    finally:
        bench.write(file, back)


@contextmanager
def tracing(bench: Bench) -> Iterator[None]:
    control = Tracing(bench.guest, True)
    control.start("function", "target_args2")
    try:
        yield
    finally:
        control.reset()


@contextmanager
def kprobe(bench: Bench) -> Iterator[None]:
    control = Tracing(bench.guest, True)
    control.kprobe("target_args2")
    try:
        yield
    finally:
        control.reset()


@contextmanager
def a_filter(bench: Bench) -> Iterator[None]:
    with bench.guest.agent() as agent:
        filters.attach(agent, "target_args2")
        yield


@contextmanager
def a_map(bench: Bench) -> Iterator[None]:
    """Held by its descriptor alone."""
    with bench.guest.agent() as agent:
        Program(agent)
        yield


@contextmanager
def an_instance(bench: Bench) -> Iterator[None]:
    bench.run(f"mkdir {ROOT}/instances/forgotten")
    try:
        yield
    finally:
        bench.run(f"rmdir {ROOT}/instances/forgotten")


@contextmanager
def a_user(bench: Bench) -> Iterator[None]:
    """Somebody has the target module's device open."""
    # opened before the shell goes on, not by its child at some time
    bench.run("exec 3< /dev/ftrace_target; sleep 1000 <&3 & echo $! > /tmp/user")
    try:
        yield
    finally:
        bench.run("kill $(cat /tmp/user)")


@contextmanager
def a_module(bench: Bench) -> Iterator[None]:
    bench.run("insmod /payload/ftrace_visitor.ko")
    try:
        yield
    finally:
        bench.run("rmmod ftrace_visitor")


CASES: dict[str, tuple[Callable[[Bench], object], tuple[str, ...]]] = {
    "tracer": (
        tracing,
        (
            "current_tracer says 'function', not 'nop'",
            "enabled_functions says 'target_args2 [ftrace_target] (1)",
            "touched_functions has a function that somebody holds: target_args2 [ftrace_target] (1)",
            "set_ftrace_filter says 'target_args2 [ftrace_target]', not '#### all functions enabled",
        ),
    ),
    "kprobe": (
        kprobe,
        (
            "kprobe_events says 'p:farm/probe1 target_args2'",
            "dynamic_events says 'p:farm/probe1 target_args2'",
            "enabled_functions says 'target_args2 [ftrace_target] (1) R",
        ),
    ),
    "filter": (
        a_filter,
        (
            "enabled_functions says 'target_args2 [ftrace_target] (1)",
            "BPF program ",
            "the module ftrace_target has 1 users, and had 0",
        ),
    ),
    "map": (a_map, (", seen, type 2", ", count, type 2", ", rule, type 2")),
    "instance": (an_instance, ("instances has forgotten",)),
    "user": (a_user, ("the module ftrace_target has 1 users, and had 0",)),
    "module": (a_module, ("the module ftrace_visitor is loaded",)),
    "tracing_off": (lambda bench: written(bench, "tracing_on", "0", "1"), ("tracing_on says '0', not '1'",)),
    "event": (lambda bench: written(bench, "set_event", "sched:sched_switch", "\n"), ("sched:sched_switch",)),
    "graph_function": (
        lambda bench: written(bench, "set_graph_function", "target_args2", "\n"),
        ("set_graph_function says 'target_args2 [ftrace_target]'",),
    ),
    "profiler": (
        lambda bench: written(bench, "function_profile_enabled", "1", "0"),
        ("function_profile_enabled says '1', not '0'",),
    ),
    "stack_tracer": (
        lambda bench: written(bench, "/proc/sys/kernel/stack_tracer_enabled", "1", "0"),
        ("stack_tracer_enabled says '1', not '0'", "enabled_functions says "),
    ),
    "option": (lambda bench: written(bench, "trace_options", "noirq-info", "irq-info"), ("trace_options said ",)),
    "processor": (
        lambda bench: written(bench, "/sys/devices/system/cpu/cpu1/online", "0", "1"),
        ("cpu/online said '0-1' and says '0'",),
    ),
}


@pytest.mark.parametrize("what", CASES)
def test_left_behind(bench: Bench, what: str) -> None:
    """Each thing is named while it is there, and nothing is once it is gone."""
    leave, words = CASES[what]
    leftovers.check(bench.guest, bench.cell, bench.fresh, "before")  # another test's maps may be on their way
    with leave(bench):  # type: ignore[attr-defined]
        said = bench.left()
        for part in words:
            assert any(part in line for line in said), f"{part!r} is not in {said}"
    leftovers.check(bench.guest, bench.cell, bench.fresh, "behind")


def test_check_waits_and_then_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "SECONDS", 0.1)
    with an_instance(bench), pytest.raises(AssertionError, match=r"left behind: .*instances has forgotten"):
        leftovers.check(bench.guest, bench.cell, bench.fresh, "left behind")


def test_functions_that_were_touched(bench: Bench) -> None:
    """They are counted when nobody traces them any more, and all of them are too many."""
    with tracing(bench):
        pass
    number = leftovers.touched(leftovers.look(bench.guest.control))
    assert number >= 1
    leftovers.check_touched(number, number + 20)
    with pytest.raises(AssertionError, match="at least 1300 functions were traced that never were before"):
        leftovers.check_touched(number, number + 1300)


def test_file_that_must_be_there(bench: Bench) -> None:
    """Its absence is not taken for quiet."""
    seen = leftovers.look(bench.guest.control)
    seen["files"][f"{ROOT}/enabled_functions"] = None
    (said,) = leftovers.left(seen, bench.fresh, bench.cell)
    assert said.endswith("enabled_functions is not there, though x86_64-regs declares dynamic_ftrace")
    assert not list(leftovers.left(seen, bench.fresh, replace(bench.cell, lenient=True)))
    seen["files"][f"{ROOT}/enabled_functions"], seen["files"][f"{ROOT}/tracing_on"] = "", None
    (said,) = leftovers.left(seen, bench.fresh, bench.cell)
    assert said.endswith("tracing_on is not there")


def test_misses(bench: Bench) -> None:
    """A filter's program calls a function that has the same program for a filter."""
    control = Tracing(bench.guest, True)
    functions = ("target_args8", HELPER_FUNCTION)
    with bench.guest.agent() as agent:
        (program,) = agent.request("object_load", path=HELPER, ftrace_type=FTRACE_TYPE)["programs"].values()
        for function in functions:
            filters.set_program(agent, filters.open_event(agent, function), program)
        leftovers.check_misses(agent)
        control.start("function", *functions)
        calls.call(agent, ("args8", (0,) * 8))
        with pytest.raises(AssertionError, match="could not be asked about a call: filter 1 times"):
            leftovers.check_misses(agent)
    control.reset()
