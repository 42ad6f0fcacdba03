# SPDX-License-Identifier: GPL-2.0
"""The durations of functions from the graph tracer, with or without time asleep."""

import re

import pytest

from farm.guest.agent import Agent
from farm.guest.vm import Guest
from farm.version import Version
from suites import calls, versions
from suites.calls import PATTERNS
from suites.tracefs import Tracing

pytestmark = pytest.mark.needs("dynamic_ftrace", "function_graph")

#: What a sleeping process calls, one inside the other.
OUTER, INNER = "hrtimer_nanosleep", "do_nanosleep"

#: How long it sleeps. On a busy host, a call that does not sleep takes less than half of it.
SLEEP_US = 400_000


@pytest.mark.parametrize("counted", [True, False], ids=["with_sleep", "without_sleep"])
def test_time_asleep(guest: Guest, tracing: Tracing, counted: bool) -> None:
    """Without sleep-time, the time asleep is subtracted from every function on the stack, not only the innermost."""
    tracing.switch("options/sleep-time", str(int(counted)), "1")
    tracing.start("function_graph", OUTER, INNER)
    done = guest.connection.run(f"usleep {SLEEP_US}", guest.deadline(20))
    assert done.status == 0, done.stderr
    text = tracing.read("trace")
    times = [float(time) for time in re.findall(r"(\d+\.\d+) us +\|", text)]
    assert len(times) == 2, f"the trace has {len(times)} times:\n{text}"
    slept = [time > SLEEP_US / 2 for time in times]
    assert slept == [counted, counted], f"sleep-time is {counted:d}, the times are {times} us"


@pytest.mark.needs("profiler")
@pytest.mark.parametrize("counted", [True, False], ids=["with_others", "without_others"])
def test_time_in_others(agent: Agent, tracing: Tracing, version: Version, counted: bool) -> None:
    """The profiler can subtract the time of the functions that a function calls, but not the function's own time."""
    outer, inner, times = "target_sleep2", "schedule_timeout_uninterruptible", 4
    shown = inner[:30]  # as far as the table has room
    agent.request("pin", cpu=0)  # of a call that returns on another processor it keeps no time
    tracing.switch("options/graph-time", str(int(counted)), "1")
    tracing.limit(outer, inner)
    tracing.switch("function_profile_enabled")
    calls.call(agent, *[("sleep2", PATTERNS["distinct"])] * times)
    tracing.write("function_profile_enabled", "0")
    table = tracing.read("trace_stat/function0")
    found = re.findall(r"^ +(\w+) +\d+ +(\d+\.\d+) us", table, re.M)
    took = {name: float(time) for name, time in found}
    assert took.keys() == {outer, shown}, f"{times} calls of {outer}, each with one of {inner}:\n{table}"
    assert took[outer] > 0, f"{outer} does a little more than to call {inner}, and took no time:\n{table}"
    longer = took[outer] > took[shown]
    if longer and not counted and versions.GRAPH_TIME_UNHEARD.hold(version):
        pytest.skip(f"the option graph-time does nothing in {version}: a bug of that kernel (suites/versions.py)")
    assert longer == counted, f"graph-time is {counted:d}, and the times are {took} us"


def test_threshold_behind_a_call_that_is_not_traced(agent: Agent, tracing: Tracing) -> None:
    """set_graph_notrace hides what a function calls, but no later call, also if only long calls are
    recorded."""
    tracing.switch("tracing_thresh", "200", "0")
    tracing.switch("set_graph_notrace", "target_args2", "\n")
    tracing.start("function_graph", "target_args2", "target_sleep2")
    values = PATTERNS["distinct"]
    calls.call(agent, ("args2", values), *[("sleep2", values)] * 8)
    traced = tracing.read("trace").count("target_sleep2")
    assert traced >= 4, f"8 calls that sleep for up to 4 ms, of which those over 0.2 ms are told: {traced} are"
