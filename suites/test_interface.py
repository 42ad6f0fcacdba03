# SPDX-License-Identifier: GPL-2.0
"""The life of an event: what opens it, what each step does to the trace, who holds
it, and what ends it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from farm.artifact import locate
from farm.guest.agent import Agent
from farm.guest.symbols import symbols
from farm.guest.vm import Guest
from farm.kernel.builder import Built
from suites import calls, filters
from suites.calls import PATTERNS
from suites.contract import (
    FTRACE_TYPE,
    PERF_COUNT_SW_CPU_CLOCK,
    PERF_COUNT_SW_DUMMY,
    PERF_FLAG_FD_CLOEXEC,
    PERF_TYPE_SOFTWARE,
    PERF_TYPE_TRACEPOINT,
)
from suites.filters import DROP_ALL, PMU, Program, Rule
from suites.tracefs import Tracing

pytestmark = pytest.mark.needs("bpf_ftrace")

FUNCTION = "target_args2"
CALL = ("args2", PATTERNS["distinct"])


def _traced(agent: Agent, tracing: Tracing, times: int = 1) -> int:
    """How many of `times` calls get into the trace."""
    tracing.clear()
    calls.call(agent, *[CALL] * times)
    return tracing.calls()[FUNCTION]


def _dropping(agent: Agent, flags: int = PERF_FLAG_FD_CLOEXEC) -> tuple[int, Program]:
    """An event whose program refuses every call."""
    program = Program(agent, Rule(DROP_ALL))
    attr = {"type": filters.pmu_type(agent), "function": FUNCTION}
    event = int(agent.request("perf_open", attr=attr, pid=-1, cpu=0, flags=flags)["fd"])
    filters.set_program(agent, event, program.fd)
    return event, program


def test_pmu_is_in_sysfs(agent: Agent) -> None:
    """sysfs has the PMU, with a number beyond those of the static PMUs."""
    assert (number := filters.pmu_type(agent)) > 5, f"the PMU has number {number}, which is that of a static one"
    entries = agent.request("file_list", path=PMU)["entries"]
    assert "type" in entries, f"{PMU} has no file type: {entries}"


def test_program_loads(agent: Agent) -> None:
    """The program of the published contract loads, and has the right type."""
    program = Program(agent)
    assert agent.request("prog_info", fd=program.fd)["type"] == FTRACE_TYPE


# Open, attach, switch, close.


def test_life_of_an_event(agent: Agent, tracing: Tracing) -> None:
    """Open, attach, disable, enable, close, with a program that refuses every call."""
    tracing.start("function", FUNCTION)
    assert _traced(agent, tracing) == 1, "not traced before there was a filter"
    event = filters.open_event(agent, FUNCTION)
    assert _traced(agent, tracing) == 1, "an event without a program must not filter"
    program = Program(agent, Rule(DROP_ALL))
    filters.set_program(agent, event, program.fd)
    assert _traced(agent, tracing, 3) == 0, "traced, though the program refused the call"
    agent.request("perf_ioctl", fd=event, request="DISABLE")
    assert _traced(agent, tracing) == 1, "a disabled event must not filter"
    agent.request("perf_ioctl", fd=event, request="ENABLE")
    assert _traced(agent, tracing, 2) == 0, "traced, though the event was enabled again"
    assert program.count() == 5, f"5 calls were filtered, the program ran {program.count()} times"
    agent.request("close", fd=event)
    assert _traced(agent, tracing) == 1, "a closed event must not filter"
    assert program.count() == 5, f"the program ran {program.count() - 5} times behind the close"


def test_event_opened_disabled(agent: Agent, tracing: Tracing) -> None:
    tracing.start("function", FUNCTION)
    program = Program(agent, Rule(DROP_ALL))
    event = filters.open_event(agent, FUNCTION, disabled=True)
    filters.set_program(agent, event, program.fd)
    assert _traced(agent, tracing) == 1, "filtered before ENABLE"
    agent.request("perf_ioctl", fd=event, request="ENABLE")
    assert _traced(agent, tracing) == 0, "not filtered after ENABLE"


def test_enabled_before_the_program(agent: Agent, tracing: Tracing) -> None:
    """Without a program, enabling and disabling an event does not filter, but the state holds for a later program."""
    tracing.start("function", FUNCTION)
    event = filters.open_event(agent, FUNCTION, disabled=True)
    for state in ("ENABLE", "DISABLE", "ENABLE"):
        agent.request("perf_ioctl", fd=event, request=state)
        assert _traced(agent, tracing) == 1, f"filtered without a program, after {state}"
    filters.set_program(agent, event, Program(agent, Rule(DROP_ALL)).fd)
    assert _traced(agent, tracing) == 0, "not filtered, though the event was enabled before it got the program"


def test_filters_come_and_go(agent: Agent, tracing: Tracing) -> None:
    """Each filter works from its opening to its close, whatever others on this or another function do."""
    tracing.start("function", FUNCTION, "target_args3")
    other = ("args3", PATTERNS["distinct"])

    def check(open_: dict[str, str]) -> None:
        tracing.clear()
        calls.call(agent, CALL, other)
        expected = {function for function in (FUNCTION, "target_args3") if function not in open_.values()}
        traced = tracing.calls()
        assert traced.keys() == expected, f"open filters that drop every call: {open_}; the trace has {traced}"

    programs = {name: Program(agent, Rule(DROP_ALL)) for name in "ABC"}
    functions = {"A": FUNCTION, "B": FUNCTION, "C": "target_args3"}
    events: dict[str, int] = {}
    # what is open, one letter each: the first and the last of a function, and of all, in both orders
    for wanted in ("", "A", "AB", "B", "", "C", "CA", "CAB", "CB", "C", "", "B", "BC", "BCA", "BA", "A", ""):
        for name in events.keys() - set(wanted):
            agent.request("close", fd=events.pop(name))
        for name in set(wanted) - events.keys():
            events[name] = filters.open_event(agent, functions[name])
            filters.set_program(agent, events[name], programs[name].fd)
        check({name: functions[name] for name in events})


#: What other events can demand of their CPU. Both together take all others off it.
DEMANDS: list[dict[str, bool]] = [{}, {"pinned": True}, {"exclusive": True}, {"pinned": True, "exclusive": True}]


def test_nothing_is_asked_once_all_are_closed(guest: Guest, agent: Agent, built: Built) -> None:
    """A static key counts the filters; while it is 0, traced calls do not even look for any. It must
    be 0 again when all filters are closed; only its value, read from outside, shows that."""
    names = symbols(locate(built.kernel))
    assert "bpf_ftrace_key" in names, "the kernel has no bpf_ftrace_key to count its filters"
    key = names["bpf_ftrace_key"]

    def filters_counted() -> int:
        with guest.debugger() as debugger:
            return int.from_bytes(debugger.read(key, 4), "little")

    counted = [filters_counted()]
    events = [filters.open_event(agent, FUNCTION) for _ in range(2)]
    counted.append(filters_counted())
    for event in events:
        agent.request("close", fd=event)
        counted.append(filters_counted())
    before, both, one, after = counted
    assert before == after == 0 < min(one, both), f"bpf_ftrace_key before, with 2 filters, with 1, with none: {counted}"


def test_perf_does_not_switch_filters(agent: Agent, tracing: Tracing) -> None:
    """A filter keeps working when perf takes its event off the CPU because other events are
    opened or want the CPU for themselves."""
    tracing.start("function", FUNCTION)
    event, program = _dropping(agent)
    for demands in DEMANDS:
        other = filters.open_event(agent, "target_args3", **demands)
        assert _traced(agent, tracing, 2) == 0, f"not filtered while there is another event on the CPU, {demands}"
        agent.request("close", fd=other)
        assert _traced(agent, tracing) == 0, f"not filtered behind another event on the CPU, {demands}"
    assert program.count() == 12, f"12 calls, and the program ran {program.count()} times"
    runs = int(agent.request("read_u64", fd=event)["value"], 16)
    assert runs == 12, f"12 calls, and the event counts {runs} runs"


def test_read_off_the_cpu(agent: Agent, tracing: Tracing) -> None:
    """Runs are counted, and can be read, while perf has taken the event off its CPU."""
    tracing.start("function", FUNCTION)
    event, _ = _dropping(agent)
    for number, demands in enumerate(DEMANDS, 1):
        other = filters.open_event(agent, "target_args3", **demands)
        calls.call(agent, CALL)
        runs = int(agent.request("read_u64", fd=event)["value"], 16)
        assert runs == number, f"{number} calls, and the event counts {runs} runs while there is another one, {demands}"
        agent.request("close", fd=other)


def test_read_counts_runs(agent: Agent, tracing: Tracing) -> None:
    """read() counts runs of the program, not calls: none without a program, a tracer or ENABLE."""
    event = filters.open_event(agent, FUNCTION)

    def runs() -> int:
        return int(agent.request("read_u64", fd=event)["value"], 16)

    tracing.start("function", FUNCTION)
    calls.call(agent, *[CALL] * 5)
    assert runs() == 0, f"there is no program, and it ran {runs()} times"
    program = Program(agent, Rule(DROP_ALL))
    filters.set_program(agent, event, program.fd)
    for times, expected in ((7, 7), (0, 7), (1, 8)):
        calls.call(agent, *[CALL] * times)
        assert runs() == expected, f"{expected} calls, and the event counts {runs()} runs"
    agent.request("perf_ioctl", fd=event, request="DISABLE")
    calls.call(agent, *[CALL] * 3)
    assert runs() == 8, f"the event is disabled, and counts {runs() - 8} runs more"
    agent.request("perf_ioctl", fd=event, request="ENABLE")
    calls.call(agent, *[CALL] * 2)
    assert runs() == program.count() == 10, f"10 runs by the program's count, {runs()} by the event's"
    for before in (0, 4):
        calls.call(agent, *[CALL] * before)
        agent.request("perf_ioctl", fd=event, request="RESET")
        assert runs() == 0, f"the count was reset, and is {runs()}"
        calls.call(agent, *[CALL] * 3)
        assert runs() == 3, f"3 calls behind a reset, and the event counts {runs()} runs"


# Who holds it.


def test_last_duplicate_detaches(agent: Agent, tracing: Tracing) -> None:
    tracing.start("function", FUNCTION)
    event, _ = _dropping(agent)
    second = agent.request("dup", fd=event)["fd"]
    agent.request("close", fd=event)
    assert _traced(agent, tracing) == 0, "traced, though a duplicate of the event still holds the filter"
    agent.request("close", fd=second)
    assert _traced(agent, tracing) == 1, "filtered, though nobody holds the filter any more"


#: Whether a child that runs another program still holds the event.
HOLDERS = {
    "fork": (False, PERF_FLAG_FD_CLOEXEC, True),
    "exec": (True, 0, True),
    "exec_with_cloexec": (True, PERF_FLAG_FD_CLOEXEC, False),
}


@pytest.mark.parametrize("how", HOLDERS)
def test_child_holds_the_event(agent: Agent, tracing: Tracing, how: str) -> None:
    """A child inherits the event. An exec keeps or closes it like any descriptor."""
    run_another, flags, holds = HOLDERS[how]
    tracing.start("function", FUNCTION)
    event, program = _dropping(agent, flags)
    child = agent.request("start_child", exec=run_another)["pid"]
    assert _traced(agent, tracing) == 0, "traced, though two processes hold the filter"
    agent.request("close", fd=event)
    assert _traced(agent, tracing) == (0 if holds else 1), (
        "traced, though the child still holds the filter"
        if holds
        else "filtered, though the child has closed the filter by its exec"
    )
    agent.request("end_child", pid=child)
    assert _traced(agent, tracing) == 1, "filtered, though nobody holds the filter any more"
    assert program.count() == (2 if holds else 1), f"the program ran {program.count()} times"


def test_session_that_dies(guest: Guest, agent: Agent, tracing: Tracing) -> None:
    """When a process dies, its filters end."""
    tracing.start("function", FUNCTION)
    with guest.agent() as other:
        _dropping(other)
        assert _traced(agent, tracing) == 0, "traced, though another process has a filter that refuses the call"
    assert _traced(agent, tracing) == 1, "filtered, though the process that held the filter is gone"


@pytest.mark.needs("smp")
def test_close_ends_all_runs(guest: Guest, agent: Agent, tracing: Tracing) -> None:
    """After close() returns, no new run of the program begins, although another CPU makes
    calls all the time. One run that began before may still be under way."""
    tracing.start("function", FUNCTION)
    agent.request("pin", cpu=0)
    with guest.agent() as caller, ThreadPoolExecutor(1) as thread:
        caller.request("pin", cpu=1)
        done, enough = threading.Semaphore(0), threading.Event()

        def pour() -> None:
            while not enough.is_set():
                calls.call(caller, *[CALL] * 50)
                done.release()

        pouring = thread.submit(pour)
        try:
            for _ in range(3):
                event, program = _dropping(agent)
                deadline = guest.deadline(20)
                while not program.count():
                    assert not deadline.passed, "calls pour in, and the program does not run"
                agent.request("close", fd=event)
                before = program.count()
                # the second round that ends has begun behind the close
                while done.acquire(blocking=False):
                    pass
                for _ in range(2):
                    if not done.acquire(timeout=deadline.seconds):
                        break  # the caller has failed: its error is raised below
                late = program.count() - before
                assert late <= 1, f"the program ran {late} times after close() had returned"
        finally:
            enough.set()
            pouring.result()


# Other PMUs.


def test_unknown_type(agent: Agent) -> None:
    """An event of a type that no PMU has is refused, although the kernel also asks this PMU."""
    for attr in ({"function": FUNCTION}, {"config2": "0xffffffff81000000"}, {}):
        got = filters.refusal(agent, "perf_open", attr={"type": 1 << 30, **attr}, pid=-1, cpu=0)
        assert got == "ENOENT", f"an event of a type that no PMU has, {attr}, gave {got}, not ENOENT"


def test_other_events_count(agent: Agent, tracing: Tracing) -> None:
    """Events of other PMUs open, count, and are not filtered: the PMU takes only its own type."""
    agent.request("pin", cpu=0)
    kprobe = int(agent.request("file_read", path="/sys/bus/event_source/devices/kprobe/type")["data"])
    fork = int(tracing.read("events/sched/sched_process_fork/id"))
    attributes = {
        "dummy": {"type": PERF_TYPE_SOFTWARE, "config": PERF_COUNT_SW_DUMMY},
        "cpu-clock": {"type": PERF_TYPE_SOFTWARE, "config": PERF_COUNT_SW_CPU_CLOCK},
        "sched_process_fork": {"type": PERF_TYPE_TRACEPOINT, "config": fork},
        "kprobe": {"type": kprobe, "function": FUNCTION},
    }
    filters.attach(agent, FUNCTION, Rule(DROP_ALL))
    events = {name: agent.request("perf_open", attr=attr, pid=-1, cpu=0)["fd"] for name, attr in attributes.items()}
    tracing.start("function", FUNCTION)
    calls.call(agent, *[CALL] * 4)
    agent.request("end_child", pid=agent.request("start_child")["pid"])
    counts = {name: int(agent.request("read_u64", fd=fd)["value"], 16) for name, fd in events.items()}
    assert tracing.calls() == {}, "traced, though the filter drops every call"
    assert counts["dummy"] == 0, f"the dummy event counts {counts['dummy']}"
    assert counts["cpu-clock"] > 0, "the clock stands still"
    assert counts["sched_process_fork"] >= 1, "there was a fork, and the tracepoint has not counted it"
    assert counts["kprobe"] == 4, f"4 calls, and the kprobe has counted {counts['kprobe']}"
