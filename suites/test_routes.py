# SPDX-License-Identifier: GPL-2.0
"""Each route that a call can take through the trampoline, with every reader of the slots:
all of them see what was passed."""

import errno
import os
import re
from dataclasses import replace

import pytest

from farm.guest.agent import Agent
from farm.guest.vm import Guest
from farm.matrix import Cell
from farm.version import Version
from suites import arch, calls, filters, routes, versions
from suites.calls import PATTERNS
from suites.observer import DIRECT, OPS, OPS_GUARDED, OPS_JUMP, OPS_REGS, REPLACE, ModuleObserver
from suites.routes import KPROBE, Route
from suites.tracefs import FUNCTION_TRACERS, Tracing

pytestmark = pytest.mark.needs("dynamic_ftrace")
needs_regs = pytest.mark.needs("with_regs")


def _check(agent: Agent, tracing: Tracing, cell: Cell, route: Route) -> None:
    taken = routes.take(agent, tracing, cell, route)
    routes.check_arguments(agent, taken)
    routes.check_registers(agent, taken, cell)


ALONE = {
    "ops": Route(before=(OPS,)),
    "ops_regs": Route(before=(OPS_REGS,)),
    "ops_jump": Route(before=(OPS_JUMP,)),
    "replace": Route(before=(REPLACE,)),
    "direct": Route(before=(DIRECT,)),
    "kprobe": Route(before=(KPROBE,)),
}
BARE = ("ops", "replace")


@pytest.mark.parametrize("who", [name if name in BARE else pytest.param(name, marks=needs_regs) for name in ALONE])
def test_alone(agent: Agent, tracing: Tracing, cell: Cell, who: str) -> None:
    """An ops or direct call that is alone: the ops has a trampoline of its own, the direct call needs none."""
    _check(agent, tracing, cell, ALONE[who])


#: Others that want what a tracer traces.
BESIDE = {
    "ops_before": Route(before=(OPS,)),
    "ops_regs_before": Route(before=(OPS_REGS,)),
    "ops_regs_after": Route(after=(OPS_REGS,)),
    "kprobe_before": Route(before=(KPROBE,)),
    "kprobe_after": Route(after=(KPROBE,)),
    "direct_before": Route(before=(DIRECT,)),
    "direct_after": Route(after=(DIRECT,)),
    "direct_and_kprobe": Route(before=(DIRECT,), after=(KPROBE,)),
    "replace": Route(before=(REPLACE, OPS)),
    "replace_regs": Route(before=(OPS_REGS,), after=(REPLACE,)),
}
#: The verdict of a filter changes nothing about these but who is called.
UNFILTERED = ["ops_before", *(pytest.param(name, marks=needs_regs) for name in ("ops_regs_before", "direct_before"))]


@pytest.mark.needs("bpf_ftrace", "with_regs")
@pytest.mark.parametrize("tracer", FUNCTION_TRACERS)
@pytest.mark.parametrize("other", BESIDE)
def test_filtered(agent: Agent, tracing: Tracing, cell: Cell, tracer: str, other: str) -> None:
    """Other observers see every call, and the tracer sees what the filter lets through."""
    _check(agent, tracing, cell, replace(BESIDE[other], tracers=(tracer,), filtered=True))


@pytest.mark.parametrize("tracer", FUNCTION_TRACERS)
@pytest.mark.parametrize("other", UNFILTERED)
def test_unfiltered(agent: Agent, tracing: Tracing, cell: Cell, tracer: str, other: str) -> None:
    """A tracer and another observer, without a filter: both see every call."""
    _check(agent, tracing, cell, replace(BESIDE[other], tracers=(tracer,)))


#: The tracers of the top and of an instance.
TWO = [
    "function+function",
    pytest.param("function_graph+function", marks=pytest.mark.needs("function_graph")),
    *(
        pytest.param(both, marks=pytest.mark.needs("function_graph", "graph_instances"))
        for both in ("function+function_graph", "function_graph+function_graph")
    ),
]


@pytest.mark.parametrize("both", TWO)
@pytest.mark.parametrize("filtered", ["unfiltered", pytest.param("filtered", marks=pytest.mark.needs("bpf_ftrace"))])
def test_two_tracers(agent: Agent, tracing: Tracing, cell: Cell, both: str, filtered: str) -> None:
    """With two tracers the program runs once for each call, and both obey it."""
    _check(agent, tracing, cell, Route(tuple(both.split("+")), filtered=filtered == "filtered"))


#: mmap(2) with six arguments that mean nothing: whatever the rest says, there
#: is no such file. Two bits must not be set: MAP_ANONYMOUS in the flags, and
#: none of the offset within its page.
CORE = "ksys_mmap_pgoff"
CORE_ARGUMENTS = (routes.WANTED, 0xFEDCBA9876543210, 0xA5A5A5A5A5A5A5A5, 0x5A5A5A5A5A5A5A5A, 0x7777777770707070)
CORE_OFFSET = 0x8123456789ABC000
CORE_ROUTES = {
    "alone": Route(before=(OPS,)),
    "ftrace_caller": Route(("function",), before=(OPS,), filtered=True),
    "ftrace_regs_caller": Route(("function",), before=(OPS_REGS,), filtered=True),
    "direct": Route(("function",), before=(DIRECT,), filtered=True),
    "graph": Route(("function_graph",), after=(OPS,), filtered=True),
}


@pytest.mark.needs("bpf_ftrace", "with_regs")
@pytest.mark.parametrize(
    "how",
    [pytest.param(how, marks=pytest.mark.needs("function_graph")) if how == "graph" else how for how in CORE_ROUTES],
)
def test_core_function(agent: Agent, tracing: Tracing, how: str) -> None:
    """A function of the kernel itself, which other tasks may call at any time."""
    route = CORE_ROUTES[how]
    program = routes.attach(agent, [CORE]) if route.filtered else None
    before = [ModuleObserver(agent, kind, [CORE]) for kind in route.before]
    for tracer in route.tracers:
        tracing.start(tracer, CORE)
    observers = before + [ModuleObserver(agent, kind, [CORE]) for kind in route.after]
    refused = (routes.WANTED ^ 1, *CORE_ARGUMENTS[1:])
    for arguments in (CORE_ARGUMENTS, refused):
        answer = agent.request("call_mmap", args=[hex(value) for value in (*arguments, CORE_OFFSET)])
        assert answer["result"] == errno.EBADF, (
            f"mmap(2) with no such file gave {os.strerror(answer['result'])}: {CORE} did not receive its arguments"
        )
    expected = [(*arguments, CORE_OFFSET >> 12) for arguments in (CORE_ARGUMENTS, refused)]
    witnesses = {watcher.kind: [tuple(one.args) for one in watcher.seen()] for watcher in observers}
    if program:
        witnesses["the program"] = program.seen()
    for who, seen in witnesses.items():
        # others' calls have none of these values, in whatever place
        mine = [one for one in seen if set(one) & set(CORE_ARGUMENTS)]
        assert len(mine) == 2, f"{CORE} by {route}: 2 calls, {who} saw {len(mine)}"
        wrong = [
            f"arg{n + 1} ({arch.of(agent.arch).arguments[n]}) was passed as {passed:#x}, {who} saw {got:#x}"
            for arguments, one in zip(expected, mine, strict=True)
            for n, (passed, got) in enumerate(zip(arguments, one, strict=False))
            if passed != got
        ]
        assert not wrong, f"{CORE} by {route}: {'; '.join(wrong)}"
    if program:
        traced = len(re.findall(rf"{CORE}(?: <-|\(\))", tracing.read("trace")))
        assert traced == 1, f"{CORE} by {route}: the filter lets one call through, the trace has {traced}"


def test_guarded_ops(agent: Agent) -> None:
    """An ops that forbids recursion and is alone on its functions: its trampoline calls the function
    that prevents recursion. One level is allowed, because an interrupt may look like recursion
    (TRACE_CTX_TRANSITION); the callback itself would go three levels deep."""
    inner = "target_inner"
    with_inner = ModuleObserver(agent, OPS_GUARDED, ["target_args6", inner])
    calls.call(agent, *(("args6", values) for values in PATTERNS.values()))
    made, seen = len(PATTERNS), len(with_inner.seen())
    assert made <= seen <= 2 * made, f"{made} calls, and within them the callback calls {inner}: it was told of {seen}"


def _trampolines(guest: Guest, version: Version) -> int:
    """How many have memory, or where that cannot be seen a symbol."""
    own = versions.TRAMPOLINE_ALLOCATIONS.hold(version)
    command = "_trampoline+ /proc/vmallocinfo" if own else r"' ftrace_trampoline\b' /proc/kallsyms"
    done = guest.connection.run(f"grep -c {command}", guest.deadline(10))
    assert done.status in (0, 1), done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("who", [OPS, pytest.param(OPS_REGS, marks=needs_regs)])
def test_trampoline_is_freed(agent: Agent, guest: Guest, version: Version, who: str) -> None:
    """When an ops is removed, its own trampoline is freed."""
    before = _trampolines(guest, version)
    for _ in range(3):
        ops = agent.request("observe", observer=who, functions=["target_args6"])["fd"]
        during = _trampolines(guest, version)
        assert during == before + 1, f"{who} is alone on its function, and there are {during - before} more trampolines"
        agent.request("close", fd=ops)
        after = _trampolines(guest, version)
        assert after == before, f"{who} is gone, and of trampolines there are {after - before} more than before"


@needs_regs
def test_ops_that_is_refused(agent: Agent, guest: Guest, version: Version) -> None:
    """If two ops redirect the same function, the second is refused. It leaves no trampoline, and no
    mark on another function of its own."""
    agent.request("observe", observer=REPLACE, functions=["target_args8"])
    before = _trampolines(guest, version)
    got = filters.refusal(agent, "observe", observer=REPLACE, functions=["target_args7", "target_args8"])
    assert got == "EBUSY", f"a second ops for target_args8 gave {got}"
    after = _trampolines(guest, version)
    assert after == before, f"an ops was refused, and of trampolines there are {after - before} more than before"
    got = filters.refusal(agent, "observe", observer=REPLACE, functions=["target_args7"])
    assert got == "success", f"an ops was refused for target_args8, and now one for target_args7 gave {got}"
