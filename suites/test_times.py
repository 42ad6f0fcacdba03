# SPDX-License-Identifier: GPL-2.0
"""How long functions took, as the graph tracer and the profiler tell it: with the time
asleep and the time in others, or without."""

import re

import pytest

from farm.guest.agent import Agent
from farm.guest.vm import Guest
from suites import calls
from suites.calls import PATTERNS
from suites.tracefs import Tracing

pytestmark = pytest.mark.needs("dynamic_ftrace", "function_graph")

#: What a process that sleeps calls, one inside of the other.
OUTER, INNER = "hrtimer_nanosleep", "do_nanosleep"

#: For so long it sleeps; on a busy host a call that does not sleep takes less than half of it.
SLEEP_US = 400_000


def _sleep(guest: Guest) -> None:
    done = guest.connection.run(f"usleep {SLEEP_US}", guest.deadline(20))
    assert done.status == 0, done.stderr


def _slept(times: dict[str, float]) -> dict[str, bool]:
    """Of which functions the time has the sleep in it."""
    return {name: time > SLEEP_US / 2 for name, time in times.items()}


@pytest.mark.parametrize("counted", [True, False], ids=["with_sleep", "without_sleep"])
def test_time_asleep(guest: Guest, tracing: Tracing, counted: bool) -> None:
    """It is taken off every function that was left meanwhile, not the innermost alone."""
    tracing.switch("options/sleep-time", str(int(counted)), "1")
    tracing.start("function_graph", OUTER, INNER)
    _sleep(guest)
    text = tracing.read("trace")
    times = [float(time) for time in re.findall(r"(\d+\.\d+) us +\|", text)]
    assert len(times) == 2, f"the trace has {len(times)} times:\n{text}"
    slept = _slept(dict(zip((INNER, OUTER), times, strict=True)))
    assert slept == {INNER: counted, OUTER: counted}, f"sleep-time is {counted:d}, the times are {times} us"


@pytest.mark.needs("profiler")
@pytest.mark.parametrize("counted", [True, False], ids=["with_others", "without_others"])
def test_time_in_others(guest: Guest, tracing: Tracing, counted: bool) -> None:
    """The profiler takes the time of what a function calls off it, if it is told so; not its own."""
    tracing.switch("options/graph-time", str(int(counted)), "1")
    tracing.limit(OUTER, INNER)
    tracing.switch("function_profile_enabled")
    _sleep(guest)
    tracing.write("function_profile_enabled", "0")
    times = {OUTER: 0.0, INNER: 0.0}
    for name in tracing.list("trace_stat"):
        if re.fullmatch(r"function\d+", name):
            for function, time in re.findall(
                r"^\s+(\w+)\s+\d+\s+(\d+\.\d+) us", tracing.read(f"trace_stat/{name}"), re.M
            ):
                times[function] += float(time)
    assert _slept(times) == {INNER: True, OUTER: counted}, f"graph-time is {counted:d}, the times are {times} us"
    assert times[OUTER] > 0, f"{OUTER} calls {INNER} and does a little more, and took no time"


def test_threshold_behind_a_call_that_is_not_traced(agent: Agent, tracing: Tracing) -> None:
    """set_graph_notrace mutes what a function calls, and no call behind it, also where only those
    that take long are told."""
    tracing.switch("tracing_thresh", "200", "0")
    tracing.switch("set_graph_notrace", "target_args2", "\n")
    tracing.start("function_graph", "target_args2", "target_sleep2")
    values = PATTERNS["distinct"]
    calls.call(agent, ("args2", values), *[("sleep2", values)] * 8)
    traced = tracing.read("trace").count("target_sleep2")
    assert traced >= 4, f"8 calls that sleep for up to 4 ms, of which those over 0.2 ms are told: {traced} are"
