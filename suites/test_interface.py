# SPDX-License-Identifier: GPL-2.0
"""The perf interface of the filters: what it accepts, what it refuses, and
what each step of an event's life does to the trace."""

from typing import Any

import pytest

from farm.guest.agent import Agent, Refused
from suites import calls, filters
from suites.calls import PATTERNS
from suites.contract import FTRACE_TYPE
from suites.filters import ARG_EQUALS, DROP_ALL, PASS_ALL, PMU, RETURN, Program, Rule
from suites.tracefs import Tracing

pytestmark = pytest.mark.needs("bpf_ftrace")

FUNCTION = "target_args2"
CALL = ("args2", PATTERNS["distinct"])

PERF_TYPE_SOFTWARE, PERF_COUNT_SW_DUMMY = 1, 9
PROG_TYPE_TRACEPOINT = 5
RETURN_ZERO = "b700000000000000" + "9500000000000000"


def _traced(agent: Agent, tracing: Tracing, times: int = 1) -> int:
    """How many of `times` calls get into the trace."""
    tracing.clear()
    calls.call(agent, *[CALL] * times)
    return tracing.calls()[FUNCTION]


# The life of an event.


def test_pmu_is_in_sysfs(agent: Agent) -> None:
    """A dynamic PMU, whose number is beyond those of the static ones."""
    assert filters.pmu_type(agent) > 5
    entries = agent.request("file_list", path=PMU)["entries"]
    assert "type" in entries


def test_program_loads(agent: Agent) -> None:
    """The program of the published contract, and it is what it says it is."""
    program = Program(agent)
    assert agent.request("prog_info", fd=program.fd)["type"] == FTRACE_TYPE


def test_life_of_an_event(agent: Agent, tracing: Tracing) -> None:
    """Open, attach, disable, enable, close, with a program that refuses every call."""
    tracing.start("function", FUNCTION)
    assert _traced(agent, tracing) == 1, "not traced before there was a filter"
    event = filters.open_event(agent, FUNCTION)
    assert _traced(agent, tracing) == 1, "an event without a program must not filter"
    program = Program(agent, Rule(DROP_ALL))
    agent.request("perf_ioctl", fd=event, request="SET_BPF", arg=program.fd)
    assert _traced(agent, tracing, 3) == 0, "traced, though the program refused the call"
    agent.request("perf_ioctl", fd=event, request="DISABLE")
    assert _traced(agent, tracing) == 1, "a disabled event must not filter"
    agent.request("perf_ioctl", fd=event, request="ENABLE")
    assert _traced(agent, tracing, 2) == 0, "traced, though the event was enabled again"
    assert program.count() == 5, f"5 calls were filtered, the program ran {program.count()} times"
    agent.request("close", fd=event)
    assert _traced(agent, tracing) == 1, "a closed event must not filter"


def test_event_opened_disabled(agent: Agent, tracing: Tracing) -> None:
    tracing.start("function", FUNCTION)
    program = Program(agent, Rule(DROP_ALL))
    event = filters.open_event(agent, FUNCTION, disabled=True)
    agent.request("perf_ioctl", fd=event, request="SET_BPF", arg=program.fd)
    assert _traced(agent, tracing) == 1, "filtered before ENABLE"
    agent.request("perf_ioctl", fd=event, request="ENABLE")
    assert _traced(agent, tracing) == 0, "not filtered after ENABLE"


def test_last_reference_detaches(agent: Agent, tracing: Tracing) -> None:
    tracing.start("function", FUNCTION)
    program = Program(agent, Rule(DROP_ALL))
    event = filters.open_event(agent, FUNCTION)
    agent.request("perf_ioctl", fd=event, request="SET_BPF", arg=program.fd)
    second = agent.request("dup", fd=event)["fd"]
    agent.request("close", fd=event)
    assert _traced(agent, tracing) == 0, "the duplicate still holds the filter"
    agent.request("close", fd=second)
    assert _traced(agent, tracing) == 1, "nobody holds the filter any more"


def test_read_counts_runs(agent: Agent, tracing: Tracing) -> None:
    tracing.start("function", FUNCTION)
    program = Program(agent, Rule(ARG_EQUALS, 1, 0))
    event = filters.open_event(agent, FUNCTION)
    agent.request("perf_ioctl", fd=event, request="SET_BPF", arg=program.fd)
    calls.call(agent, *[CALL] * 7)
    assert int(agent.request("read_u64", fd=event)["value"], 16) == 7


def test_untraced_function_runs_nothing(agent: Agent) -> None:
    """Without a tracer nobody asks, and no program runs."""
    program = filters.attach(agent, FUNCTION)
    calls.call(agent, *[CALL] * 5)
    assert program.count() == 0


def test_other_functions_are_unchanged(agent: Agent, tracing: Tracing) -> None:
    program = filters.attach(agent, FUNCTION, Rule(DROP_ALL))
    tracing.start("function", FUNCTION, "target_args3")
    calls.call(agent, CALL, ("args3", PATTERNS["distinct"]), CALL)
    assert tracing.calls() == {"target_args3": 1}
    assert program.count() == 2


@pytest.mark.parametrize(
    "value, traced",
    [(0, 0), (1, 1), (2, 1), (256, 1), (0xFFFFFFFF, 1), (1 << 31, 1), (1 << 32, 0), (0xFFFFFFFF << 32, 0)],
    ids=hex,
)
def test_return_value(agent: Agent, tracing: Tracing, value: int, traced: int) -> None:
    """The low 32 bits decide: zero refuses, anything else lets through."""
    filters.attach(agent, FUNCTION, Rule(RETURN, 0, value))
    tracing.start("function", FUNCTION)
    assert _traced(agent, tracing) == traced


@pytest.mark.parametrize(
    "first, second, traced", [(PASS_ALL,) * 2 + (1,), (PASS_ALL, DROP_ALL, 0), (DROP_ALL, PASS_ALL, 0)]
)
def test_several_filters(agent: Agent, tracing: Tracing, first: int, second: int, traced: int) -> None:
    """All run, and all must let the call through."""
    programs = [filters.attach(agent, FUNCTION, Rule(mode)) for mode in (first, second)]
    tracing.start("function", FUNCTION)
    assert _traced(agent, tracing, 4) == 4 * traced
    assert [program.count() for program in programs] == [4, 4]


def test_raw_returns_are_not_combined(agent: Agent, tracing: Tracing) -> None:
    """2 and 1 are both "trace it", though 2 & 1 is 0."""
    for value in (2, 1):
        filters.attach(agent, FUNCTION, Rule(RETURN, 0, value))
    tracing.start("function", FUNCTION)
    assert _traced(agent, tracing) == 1


def test_kprobe_is_never_filtered(agent: Agent, tracing: Tracing) -> None:
    """An observer that did not opt in sees every call."""
    filters.attach(agent, FUNCTION, Rule(DROP_ALL))
    tracing.kprobe(FUNCTION)
    tracing.start("function", FUNCTION)
    calls.call(agent, *[CALL] * 3)
    trace = tracing.read("trace")
    assert trace.count("probe1: (") == 3, f"3 calls, in the trace:\n{trace}"
    assert tracing.calls()[FUNCTION] == 0


# What is refused, by perf_event_open.

EINVAL_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "config": {"config": 1},
    "neither_name_nor_address": {"function": None},
    "name_and_address": {"config2": "0xffffffff81000000"},
    "inherit": {"inherit": True},
    "exclude_kernel": {"exclude_kernel": True},
    "exclude_user": {"exclude_user": True},
    "exclude_hv": {"exclude_hv": True},
    "exclude_idle": {"exclude_idle": True},
    "no_entry_of_a_function": {"function": None, "config2": "0x1000"},
    "notrace_function": {"function": "__fentry__"},
}


def _refusal(agent: Agent, **request: Any) -> str:
    attr = {"type": filters.pmu_type(agent), "function": FUNCTION} | request.pop("attr", {})
    attr = {key: value for key, value in attr.items() if value is not None}
    with pytest.raises(Refused) as refused:
        agent.request("perf_open", **{"attr": attr, "pid": -1, "cpu": 0} | request)
    return refused.value.name


@pytest.mark.parametrize("attr", EINVAL_ATTRIBUTES.values(), ids=list(EINVAL_ATTRIBUTES))
def test_open_refuses_attributes(agent: Agent, attr: dict[str, Any]) -> None:
    assert _refusal(agent, attr=attr) == "EINVAL"


REFUSED_REQUESTS: dict[str, tuple[dict[str, Any], str]] = {
    "this_task": ({"pid": 0}, "EINVAL"),
    "a_task": ({"pid": 1, "cpu": -1}, "EINVAL"),
    "no_cpu": ({"pid": -1, "cpu": -1}, "EINVAL"),
    "cpu_out_of_range": ({"cpu": 4096}, "EINVAL"),
    "unknown_symbol": ({"attr": {"function": "no_such_function"}}, "ENOENT"),
    "name_too_long": ({"attr": {"function": "x" * 600}}, "E2BIG"),
    "name_unreadable": ({"attr": {"function": None, "config1": "0x10"}}, "EFAULT"),
    "sampling": ({"attr": {"sample_period": 1}}, "EOPNOTSUPP"),
    "freq": ({"attr": {"freq": True, "sample_freq": 10}}, "EOPNOTSUPP"),
    "branch_stack": ({"attr": {"sample_type": 1 << 11, "branch_sample_type": 9}}, "EOPNOTSUPP"),
}


@pytest.mark.parametrize("what", REFUSED_REQUESTS)
def test_open_refuses(agent: Agent, what: str) -> None:
    request, errno = REFUSED_REQUESTS[what]
    assert _refusal(agent, **request) == errno


def test_open_refuses_groups(agent: Agent) -> None:
    leader = agent.request("perf_open", attr={"type": PERF_TYPE_SOFTWARE, "config": PERF_COUNT_SW_DUMMY}, pid=-1, cpu=0)
    assert _refusal(agent, group_fd=leader["fd"]) == "EINVAL"


# What is refused, by PERF_EVENT_IOC_SET_BPF and the other calls.


def _set_bpf(agent: Agent, event: int, program: int) -> str:
    with pytest.raises(Refused) as refused:
        agent.request("perf_ioctl", fd=event, request="SET_BPF", arg=program)
    return refused.value.name


def test_set_bpf_refuses(agent: Agent) -> None:
    event = filters.open_event(agent, FUNCTION)
    assert _set_bpf(agent, event, 4000) == "EBADF", "a descriptor that is not open"
    assert _set_bpf(agent, event, event) == "EINVAL", "a descriptor that is no program"
    other = agent.request("prog_load", type=PROG_TYPE_TRACEPOINT, insns=RETURN_ZERO, license="GPL")["fd"]
    assert _set_bpf(agent, event, other) == "EINVAL", "a program of another type"
    first, second = Program(agent), Program(agent)
    agent.request("perf_ioctl", fd=event, request="SET_BPF", arg=first.fd)
    assert _set_bpf(agent, event, second.fd) == "EEXIST", "a second program"


def test_other_events_refuse_the_program(agent: Agent) -> None:
    program = Program(agent)
    attr = {"type": PERF_TYPE_SOFTWARE, "config": PERF_COUNT_SW_DUMMY}
    event = agent.request("perf_open", attr=attr, pid=-1, cpu=0)["fd"]
    assert _set_bpf(agent, event, program.fd) == "EINVAL"


REFUSED_IOCTLS: dict[str, dict[str, Any]] = {
    "SET_FILTER": {"arg": "arg1 == 1"},
    "PERIOD": {"arg": "0x10"},
    "REFRESH": {"arg": 1},
    "QUERY_BPF": {},
}


@pytest.mark.parametrize("what", REFUSED_IOCTLS)
def test_ioctl_refuses(agent: Agent, what: str) -> None:
    event = filters.open_event(agent, FUNCTION)
    with pytest.raises(Refused) as refused:
        agent.request("perf_ioctl", fd=event, request=what, **REFUSED_IOCTLS[what])
    assert refused.value.name == "EINVAL"


REFUSED_PROGRAMS = {
    "write_to_the_context": ("7a01000000000000", "EACCES"),
    # r2 = *(u8 *)(r1 + 0); r2 &= 8; r1 += r2; r1 = *(u64 *)(r1 + 0)
    "variable_offset": ("7112000000000000" + "5702000008000000" + "0f21000000000000" + "7911000000000000", "EACCES"),
    # bpf_override_return, for kprobes alone
    "helper_of_another_type": ("b702000000000000" + "850000003a000000", "EINVAL"),
}


@pytest.mark.parametrize("what", REFUSED_PROGRAMS)
def test_load_refuses(agent: Agent, what: str) -> None:
    insns, errno = REFUSED_PROGRAMS[what]
    with pytest.raises(Refused) as refused:
        agent.request("prog_load", type=FTRACE_TYPE, insns=insns + RETURN_ZERO, license="GPL")
    assert refused.value.name == errno, f"{what} gave {refused.value.name}\n{refused.value.log}"


def test_foreign_events_are_left_alone(agent: Agent) -> None:
    """The PMU answers for its own type only."""
    for kind, config in ((PERF_TYPE_SOFTWARE, PERF_COUNT_SW_DUMMY), (PERF_TYPE_SOFTWARE, 0)):
        fd = agent.request("perf_open", attr={"type": kind, "config": config}, pid=-1, cpu=0)["fd"]
        assert int(agent.request("read_u64", fd=fd)["value"], 16) >= 0
