# SPDX-License-Identifier: GPL-2.0
"""Filters and processors: a filter is system-wide, but its event belongs to one processor."""

from collections.abc import Iterator

import pytest

from farm.guest.agent import Agent
from farm.guest.vm import Guest
from suites import calls, filters
from suites.calls import PATTERNS
from suites.filters import ARG_EQUALS, DROP_ALL, PASS_ALL, Program, Rule
from suites.tracefs import FUNCTION_TRACERS, Tracing

pytestmark = pytest.mark.needs("bpf_ftrace", "smp")

FUNCTION = "target_args2"
CALL = ("args2", PATTERNS["distinct"])
OTHER_CALL = ("args2", PATTERNS["zeros"])

ONLINE = "/sys/devices/system/cpu/cpu1/online"


@pytest.mark.parametrize("cpu", [0, 1])
def test_filter_is_system_wide(agent: Agent, tracing: Tracing, cpu: int) -> None:
    """Calls on every processor are filtered and counted, whichever processor the event names."""
    program = Program(agent, Rule(ARG_EQUALS, 1, CALL[1][0]))
    event = filters.open_event(agent, FUNCTION, cpu=cpu)
    filters.set_program(agent, event, program.fd)
    tracing.start("function", FUNCTION)
    for number, caller in enumerate((0, 1, 0), 1):
        agent.request("pin", cpu=caller)
        tracing.clear()
        calls.call(agent, CALL, OTHER_CALL, OTHER_CALL)
        traced = tracing.calls()[FUNCTION]
        assert traced == 1, f"1 of 3 calls on CPU {caller} passes a filter of CPU {cpu}, {traced} are in the trace"
        runs = int(agent.request("read_u64", fd=event)["value"], 16)
        assert runs == 3 * number, f"{3 * number} calls on CPUs 0 and 1, and an event of CPU {cpu} counts {runs} runs"


@pytest.fixture
def second_cpu(guest: Guest) -> Iterator[None]:
    """The test may switch CPU 1 off. It is switched on again after the test."""
    yield
    guest.control.request("file_write", path=ONLINE, data="1")


def test_offline_cpu(agent: Agent, tracing: Tracing, second_cpu: None) -> None:
    """When a processor goes offline, its events end for good, and it takes no new ones. Events of others stay."""
    agent.request("pin", cpu=0)
    ending, staying = Program(agent, Rule(DROP_ALL)), Program(agent, Rule(DROP_ALL))
    event = filters.open_event(agent, FUNCTION, cpu=1)
    filters.set_program(agent, event, ending.fd)
    filters.set_program(agent, filters.open_event(agent, "target_args3", cpu=0), staying.fd)
    tracing.start("function", FUNCTION, "target_args3")
    both = (CALL, ("args3", PATTERNS["distinct"]))

    def traced() -> dict[str, int]:
        tracing.clear()
        calls.call(agent, *both)
        return dict(tracing.calls())

    got = traced()
    assert got == {}, f"both filters drop every call, and the trace has {got}"
    agent.request("file_write", path=ONLINE, data="0")
    got = traced()
    assert got == {FUNCTION: 1}, (
        f"the filter on {FUNCTION} ended with its CPU, that on target_args3 stays; traced: {got}"
    )
    attr = {"type": filters.pmu_type(agent), "function": FUNCTION}
    refused = filters.refusal(agent, "perf_open", attr=attr, pid=-1, cpu=1)
    assert refused == "ENODEV", f"perf_event_open on a CPU that is offline gave {refused}, not ENODEV"
    runs = int(agent.request("read_u64", fd=event)["value"], 16)
    assert runs == ending.count() == 1, f"1 call was filtered, the event that ended counts {runs} runs"
    agent.request("file_write", path=ONLINE, data="1")
    got = traced()
    assert got == {FUNCTION: 1}, f"the CPU is back, its event is not; traced: {got}"
    agent.request("perf_ioctl", fd=event, request="ENABLE")
    got = traced()
    assert got == {FUNCTION: 1}, f"the CPU is back, its event was enabled and is at an end all the same; traced: {got}"
    again = Program(agent, Rule(DROP_ALL))
    filters.set_program(agent, filters.open_event(agent, FUNCTION, cpu=1), again.fd)
    got = traced()
    assert got == {}, f"a new event on the CPU that is back drops every call, and the trace has {got}"


#: Functions that a processor calls while it goes offline, when RCU no longer waits for it, and while
#: it comes online, when RCU does not wait for it yet.
GOING, COMING = "cpuhp_ap_report_dead", "cpuhp_ap_sync_alive"


def test_processor_that_goes_and_comes(agent: Agent, tracing: Tracing, second_cpu: None) -> None:
    """No filter runs on an offline processor, where it could be freed meanwhile: the call is not traced."""
    agent.request("pin", cpu=0)
    asked = {}
    for function in (GOING, COMING):
        program = Program(agent, Rule(PASS_ALL))
        event = filters.open_event(agent, function, cpu=0)
        filters.set_program(agent, event, program.fd)
        asked[function] = program
    tracing.start("function", GOING, COMING)
    for state in ("0", "1"):
        agent.request("file_write", path=ONLINE, data=state)
    runs = {function: program.count() for function, program in asked.items()}
    got = dict(tracing.names())
    assert runs == {GOING: 0, COMING: 0}, f"CPU 1 went and came, and asked the filters: {runs}"
    assert got == {}, f"nobody could be asked on CPU 1, and the trace has {got}"


#: Functions that it calls a little earlier and later, when it is online but takes no tasks.
STOPPING, STARTING = "workqueue_offline_cpu", "workqueue_online_cpu"


def test_processor_without_tasks(agent: Agent, tracing: Tracing, second_cpu: None) -> None:
    """Filters run on an online processor, even before and after the scheduler uses it, because RCU waits for it."""
    agent.request("pin", cpu=0)
    programs = {function: Program(agent, Rule(PASS_ALL)) for function in (STOPPING, STARTING)}
    for function, program in programs.items():
        filters.set_program(agent, filters.open_event(agent, function, cpu=0), program.fd)
    tracing.start("function", *programs)
    for state in ("0", "1"):
        agent.request("file_write", path=ONLINE, data=state)
    runs = {function: program.count() for function, program in programs.items()}
    got = dict(tracing.names())
    assert runs == got == {STOPPING: 1, STARTING: 1}, (
        f"CPU 1 went and came, the filters ran {runs}, the trace has {got}"
    )


@pytest.mark.parametrize("tracer", FUNCTION_TRACERS)
def test_pids_are_forgotten_on_an_offline_cpu(agent: Agent, tracing: Tracing, second_cpu: None, tracer: str) -> None:
    """A processor that was offline while the tracer's pids were cleared traces all processes when it is back."""
    agent.request("pin", cpu=0)
    tracing.start(tracer, FUNCTION)
    tracing.switch("set_ftrace_pid", "1", "\n")
    calls.call(agent, CALL)
    got = dict(tracing.calls())
    assert got == {}, f"{tracer} is to trace process 1 alone, and the trace has {got}"
    agent.request("file_write", path=ONLINE, data="0")
    tracing.write("set_ftrace_pid", "\n")
    agent.request("file_write", path=ONLINE, data="1")
    for cpu in (0, 1):
        agent.request("pin", cpu=cpu)
        tracing.clear()
        calls.call(agent, CALL)
        got = dict(tracing.calls())
        assert got == {FUNCTION: 1}, f"{tracer} is to trace all again, and of a call on CPU {cpu} has {got}"


@pytest.mark.parametrize("tracers", [1, 2])
def test_processor_goes_traced(agent: Agent, tracing: Tracing, second_cpu: None, tracers: int) -> None:
    """With a filter on another function, the calls of a processor that goes and comes are traced. Two
    tracers use the route that asks filters."""
    filters.attach(agent, FUNCTION, Rule(DROP_ALL))
    tracings = [tracing, *(tracing.instance(f"farm{n}") for n in range(1, tracers))]
    for one in tracings:
        one.start("function", GOING, COMING)
    for state in ("0", "1"):
        agent.request("file_write", path=ONLINE, data=state)
    for number, one in enumerate(tracings, 1):
        got = dict(one.names())
        assert set(got) == {GOING, COMING}, f"CPU 1 went and came, the trace of tracer {number} of {tracers} has {got}"
