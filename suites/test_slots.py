# SPDX-License-Identifier: GPL-2.0
"""The saved-register slots: the program sees what was passed, and so does the callee, under
each tracer and through each trampoline."""

import pytest

from farm.guest.agent import Agent
from suites import calls, filters
from suites.calls import FUNCTIONS, PATTERNS
from suites.filters import ARG_EQUALS, DROP_ALL, Rule
from suites.routes import attach
from suites.tracefs import FUNCTION_TRACERS, Tracing

tracers = pytest.mark.parametrize("tracer", FUNCTION_TRACERS)
routes = pytest.mark.parametrize("route", ["ftrace_caller", "ftrace_regs_caller"])


def _take(tracing: Tracing, route: str, *targets: str) -> None:
    """Send calls of the targets through one of the two trampolines."""
    if route == "ftrace_regs_caller":
        for target in targets:
            tracing.kprobe(f"target_{target}")


@pytest.mark.needs("bpf_ftrace", "with_regs")
@tracers
@routes
def test_arguments(agent: Agent, tracing: Tracing, tracer: str, route: str) -> None:
    """For every pattern of arguments and every function, the program sees and the callee receives what was passed."""
    names = [f"target_{target}" for target in FUNCTIONS]
    program = attach(agent, names, Rule())
    _take(tracing, route, *FUNCTIONS)
    tracing.start(tracer, *names)
    done = calls.call(agent, *((target, values) for target in FUNCTIONS for values in PATTERNS.values()))
    seen = program.seen()
    ran, made = len(seen), len(done)
    assert ran == made, f"{made} calls, and the program ran {ran} times"
    for name, one, slots in zip([*PATTERNS] * len(FUNCTIONS), done, seen, strict=True):
        calls.check(f"target_{one.target}, {name}, {tracer} by {route}", one, slots)
    traced = tracing.calls()
    expected = dict.fromkeys(names, len(PATTERNS))
    assert traced == expected, f"{len(PATTERNS)} calls of each passed the filter, the trace has {traced}"


@pytest.mark.needs("bpf_ftrace", "with_regs")
@tracers
@pytest.mark.parametrize("number", range(1, 6))
def test_value(agent: Agent, tracing: Tracing, tracer: str, number: int) -> None:
    """A filter on the value of one argument lets exactly the matching calls into the trace."""
    wanted = PATTERNS["distinct"]
    value = wanted[number - 1]
    program = filters.attach(agent, "target_args6", Rule(ARG_EQUALS, number, value))
    tracing.start(tracer, "target_args6")
    others = [tuple(v ^ (1 << bit) if n == number - 1 else v for n, v in enumerate(wanted)) for bit in (0, 31, 32, 63)]
    # the value in every place but the right one
    others.append(tuple(~v & calls.MASK if n == number - 1 else value for n, v in enumerate(wanted)))
    done = calls.call(agent, *(("args6", values) for values in [wanted, *others, wanted, *others, wanted]))
    seen = program.seen()
    ran, made = len(seen), len(done)
    assert ran == made, f"{made} calls, and the program ran {ran} times"
    for one, slots in zip(done, seen, strict=True):
        calls.check(f"target_args6, filtered on arg{number}, {tracer}", one, slots)
    traced = tracing.calls()
    assert traced == {"target_args6": 3}, (
        f"3 of {len(done)} calls have arg{number} == {value:#x}, the trace has {traced}"
    )


@tracers
def test_without_filter(agent: Agent, tracing: Tracing, tracer: str) -> None:
    """Without a filter the callees receive what was passed, in every kind of kernel."""
    tracing.start(tracer, *(f"target_{target}" for target in FUNCTIONS))
    done = calls.call(agent, *((target, values) for target in FUNCTIONS for values in PATTERNS.values()))
    for one in done:
        calls.check(f"target_{one.target}, {tracer} without a filter", one)
    expected = {f"target_{target}": len(PATTERNS) for target in FUNCTIONS}
    traced = tracing.calls()
    assert traced == expected, f"{len(PATTERNS)} calls of each function, the trace has {traced}"


@pytest.mark.needs("dynamic_ftrace", "with_regs")
@routes
def test_parent(agent: Agent, tracing: Tracing, route: str) -> None:
    """The tracer gets the right caller from the trampoline: the return address is where it looks."""
    _take(tracing, route, *FUNCTIONS)
    tracing.start("function", *(f"target_{target}" for target in FUNCTIONS))
    calls.call(agent, *((target, PATTERNS["distinct"]) for target in FUNCTIONS))
    parents = tracing.parents()
    expected = {"target_call_function": len(FUNCTIONS)}
    assert parents == expected, f"all were called by target_call_function, the trace says {parents}"


@pytest.mark.needs("dynamic_ftrace")
@tracers
@pytest.mark.parametrize(
    "filtered",
    ["unfiltered", *(pytest.param(how, marks=pytest.mark.needs("bpf_ftrace")) for how in ("passed", "refused"))],
)
def test_wide_return(agent: Agent, tracing: Tracing, tracer: str, filtered: str) -> None:
    """A return value of 128 bits comes back in rax and rdx, traced or not."""
    if filtered != "unfiltered":
        filters.attach(agent, "target_wide", Rule(DROP_ALL if filtered == "refused" else 0))
    tracing.start(tracer, "target_wide")
    for done in calls.call(agent, *(("wide", values) for values in PATTERNS.values())):
        calls.check(f"target_wide, {tracer}, {filtered}", done)
    traced = tracing.calls()
    expected = {} if filtered == "refused" else {"target_wide": len(PATTERNS)}
    assert traced == expected, f"{len(PATTERNS)} calls, {filtered}, the trace has {traced}"
