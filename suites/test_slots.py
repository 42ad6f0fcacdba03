# SPDX-License-Identifier: GPL-2.0
"""The saved-register slots: what the program saw is what was passed, and what
the callee received, under each tracer and through each trampoline."""

import pytest

from farm.guest.agent import Agent
from suites import calls, filters
from suites.calls import FUNCTIONS, PATTERNS
from suites.filters import ARG_EQUALS, DROP_ALL, Rule
from suites.tracefs import TRACERS, Tracing

tracers = pytest.mark.parametrize("tracer", TRACERS)
routes = pytest.mark.parametrize("route", ["ftrace_caller", "ftrace_regs_caller"])


def _take(tracing: Tracing, route: str, *targets: str) -> None:
    """Send calls of the targets through one of the two trampolines."""
    if route == "ftrace_regs_caller":
        for target in targets:
            tracing.kprobe(f"target_{target}")


@pytest.mark.needs("bpf_ftrace", "with_regs")
@tracers
@routes
@pytest.mark.parametrize("target", FUNCTIONS)
def test_arguments(agent: Agent, tracing: Tracing, tracer: str, route: str, target: str) -> None:
    """Every pattern of arguments, in one function: passed, seen, received, traced."""
    program = filters.attach(agent, f"target_{target}")
    _take(tracing, route, target)
    tracing.start(tracer, f"target_{target}")
    done = calls.call(agent, *((target, values) for values in PATTERNS.values()))
    seen = program.seen()
    assert len(seen) == len(done), f"{len(done)} calls, and the program ran {len(seen)} times"
    for name, one, slots in zip(PATTERNS, done, seen, strict=True):
        calls.check(f"target_{target}, {name}, {tracer} by {route}", one, slots)
    traced = tracing.calls()
    assert traced == {f"target_{target}": len(done)}, f"{len(done)} calls passed the filter, the trace has {traced}"


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
    for one, slots in zip(done, program.seen(), strict=True):
        calls.check(f"target_args6, filtered on arg{number}, {tracer}", one, slots)
    traced = tracing.calls()
    assert traced == {"target_args6": 3}, (
        f"3 of {len(done)} calls have arg{number} == {value:#x}, the trace has {traced}"
    )


@tracers
def test_without_filter(agent: Agent, tracing: Tracing, tracer: str) -> None:
    """The trampoline alone: what the callees receive, in every kind of kernel."""
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
    """The trampoline hands on who called: the return address lies where it looks."""
    _take(tracing, route, *FUNCTIONS)
    tracing.start("function", *(f"target_{target}" for target in FUNCTIONS))
    calls.call(agent, *((target, PATTERNS["distinct"]) for target in FUNCTIONS))
    parents = tracing.parents()
    # the second is the caller where the compiler has inlined the first
    expected = {"call_target": len(FUNCTIONS)}, {"target_ioctl": len(FUNCTIONS)}
    assert parents in expected, f"all were called by call_target, the trace says {parents}"


@pytest.mark.needs("dynamic_ftrace")
@tracers
@pytest.mark.parametrize("filtered", ["unfiltered", "passed", "refused"])
def test_wide_return(
    agent: Agent, tracing: Tracing, tracer: str, filtered: str, request: pytest.FixtureRequest
) -> None:
    """128 bits come back in rax and rdx, traced or not."""
    cell = request.getfixturevalue("cell")
    if filtered != "unfiltered":
        if "bpf_ftrace" not in cell.supports:
            pytest.skip(f"{cell.name} declares no bpf_ftrace")
        filters.attach(agent, "target_wide", Rule(DROP_ALL if filtered == "refused" else 0))
    tracing.start(tracer, "target_wide")
    arguments = PATTERNS["distinct"]
    answer = agent.request("call", target="wide", args=[hex(value) for value in arguments[:2]])
    low = ((2 * 31 + arguments[0]) * 31 + arguments[1]) & calls.MASK
    got = {"rax": int(answer["returned"], 16), "rdx": int(answer["returned_high"], 16)}
    expected = {"rax": low, "rdx": ~low & calls.MASK}
    wrong = [
        f"{name} came back as {got[name]:#x}, not {expected[name]:#x}" for name in got if got[name] != expected[name]
    ]
    assert not wrong, f"target_wide, {tracer}, {filtered}: {'; '.join(wrong)}"
    traced = tracing.calls()
    assert traced == ({} if filtered == "refused" else {"target_wide": 1}), f"the trace has {traced}"
