# SPDX-License-Identifier: GPL-2.0
"""What an open event refuses: in PERF_EVENT_IOC_SET_BPF, and the calls that other events
know."""

from typing import Any

import pytest

from farm.guest.agent import Agent
from suites import assembler, calls, filters
from suites.assembler import R0
from suites.calls import PATTERNS
from suites.contract import (
    BPF_MAP_TYPE_ARRAY,
    BPF_PERF_EVENT,
    PERF_COUNT_SW_CPU_CLOCK,
    PERF_COUNT_SW_DUMMY,
    PERF_TYPE_BREAKPOINT,
    PERF_TYPE_SOFTWARE,
    PERF_TYPE_TRACEPOINT,
    prog_type,
)
from suites.filters import DROP_ALL, Program, Rule
from suites.tracefs import Tracing

pytestmark = pytest.mark.needs("bpf_ftrace")

FUNCTION = "target_args2"

RETURN_ZERO = assembler.mov(R0, 0) + assembler.leave()

#: Types that a program of two instructions can be of, without more of a target.
OTHER_TYPES = ("SOCKET_FILTER", "KPROBE", "SCHED_CLS", "TRACEPOINT", "XDP", "PERF_EVENT", "RAW_TRACEPOINT")

#: The kernel's own, from where no process may read or write.
KERNEL_ADDRESS = "0xffffffff81000000"
HW_BREAKPOINT_W, HW_BREAKPOINT_LEN_8 = 2, 8


def _set_bpf(agent: Agent, event: int, program: int) -> str:
    return filters.refusal(agent, "perf_ioctl", fd=event, request="SET_BPF", arg=program)


def test_set_bpf_refuses(agent: Agent) -> None:
    """SET_BPF refuses everything but a filter, and still takes a filter after these failures."""
    event = filters.open_event(agent, FUNCTION)
    closed = agent.request("dup", fd=event)["fd"]
    agent.request("close", fd=closed)
    for number in (closed, -1, 4000):
        got = _set_bpf(agent, event, number)
        assert got == "EBADF", f"SET_BPF with descriptor {number}, which is not open, gave {got}"
    record = agent.request("map_create", type=BPF_MAP_TYPE_ARRAY, key_size=4, value_size=8, max_entries=1)["fd"]
    for what, number in {"the event itself": event, "a map": record, "standard input": 0}.items():
        got = _set_bpf(agent, event, number)
        assert got == "EINVAL", f"SET_BPF with {what}, which is no program, gave {got}"
    for name in OTHER_TYPES:
        got = _set_bpf(agent, event, filters.load(agent, RETURN_ZERO, prog_type(name)))
        assert got == "EINVAL", f"SET_BPF with a program of type {name} gave {got}"
    got = _set_bpf(agent, event, filters.load(agent, RETURN_ZERO))
    assert got == "success", f"SET_BPF with a filter, behind all this, gave {got}"


def test_first_program_stays(agent: Agent, tracing: Tracing) -> None:
    """A second program is refused, even the same one, whether the event is on or off."""
    first, second = Program(agent, Rule(DROP_ALL)), Program(agent)
    event = filters.open_event(agent, FUNCTION)
    filters.set_program(agent, event, first.fd)
    tracing.start("function", FUNCTION)
    for state in ("ENABLE", "DISABLE", "ENABLE"):
        agent.request("perf_ioctl", fd=event, request=state)
        for what, program in {"a second program": second, "the same program": first}.items():
            got = _set_bpf(agent, event, program.fd)
            assert got == "EEXIST", f"SET_BPF with {what} after {state} gave {got}, not EEXIST"
    calls.call(agent, ("args2", PATTERNS["distinct"]))
    assert (first.count(), second.count()) == (1, 0), "the first program is not the one that runs"
    assert tracing.calls() == {}, "traced, though the program that was first refuses every call"


def _tracepoint(tracing: Tracing, name: str) -> dict[str, Any]:
    return {"type": PERF_TYPE_TRACEPOINT, "config": int(tracing.read(f"events/{name}/id")), "disabled": True}


def _check_other(agent: Agent, name: str, attr: dict[str, Any]) -> None:
    program = filters.load(agent, RETURN_ZERO)
    event = agent.request("perf_open", attr=attr, pid=-1, cpu=0)["fd"]
    got = _set_bpf(agent, event, program)
    assert got == "EINVAL", f"an FTRACE program on an event {name} gave {got}, not EINVAL"
    agent.request("close", fd=event)


def test_other_events_refuse_the_program(agent: Agent, tracing: Tracing) -> None:
    """Events of other PMUs refuse an FTRACE program."""
    kprobe = int(agent.request("file_read", path="/sys/bus/event_source/devices/kprobe/type")["data"])
    breakpoint_ = {"bp_type": HW_BREAKPOINT_W, "config1": KERNEL_ADDRESS, "config2": HW_BREAKPOINT_LEN_8}
    others: dict[str, dict[str, Any]] = {
        "dummy": {"type": PERF_TYPE_SOFTWARE, "config": PERF_COUNT_SW_DUMMY},
        "cpu-clock": {"type": PERF_TYPE_SOFTWARE, "config": PERF_COUNT_SW_CPU_CLOCK},
        "sched:sched_switch": _tracepoint(tracing, "sched/sched_switch"),
        "kprobe": {"type": kprobe, "function": FUNCTION},
        "breakpoint": {"type": PERF_TYPE_BREAKPOINT, **breakpoint_},
    }
    for name, attr in others.items():
        _check_other(agent, name, attr)


def test_function_event_refuses_the_program(agent: Agent, tracing: Tracing) -> None:
    """Perf's own event ftrace:function refuses an FTRACE program too. While it is open it is on
    all functions, which takes seconds if they are really patched."""
    tracing.enter(tracing.paused())
    _check_other(agent, "ftrace:function", _tracepoint(tracing, "ftrace/function"))


def test_event_with_another_program(agent: Agent) -> None:
    """An event that has a perf_event program refuses an FTRACE program with EEXIST."""
    attr = {"type": PERF_TYPE_SOFTWARE, "config": PERF_COUNT_SW_CPU_CLOCK}
    event = agent.request("perf_open", attr=attr, pid=-1, cpu=0)["fd"]
    filters.set_program(agent, event, filters.load(agent, RETURN_ZERO, prog_type("PERF_EVENT")))
    got = _set_bpf(agent, event, filters.load(agent, RETURN_ZERO))
    assert got == "EEXIST", f"an FTRACE program on an event with a perf_event program gave {got}, not EEXIST"


REFUSED_IOCTLS: dict[str, dict[str, Any]] = {
    "SET_FILTER": {"arg": "arg1 == 1"},
    "PERIOD": {"arg": "0x10"},
    "REFRESH": {"arg": 1},
    "QUERY_BPF": {},
}


def test_other_calls(agent: Agent) -> None:
    """The event refuses the calls that other events know, with and without a program."""
    program = filters.load(agent, RETURN_ZERO)
    kprobe = filters.load(agent, RETURN_ZERO, prog_type("KPROBE"))
    event = filters.open_event(agent, FUNCTION)
    attr = {"type": filters.pmu_type(agent), "function": FUNCTION}
    for when in ("without a program", "with one"):
        got = {
            what: filters.refusal(agent, "perf_ioctl", fd=event, request=what, **arguments)
            for what, arguments in REFUSED_IOCTLS.items()
        }
        got["MODIFY_ATTRIBUTES"] = filters.refusal(
            agent, "perf_ioctl", fd=event, request="MODIFY_ATTRIBUTES", attr=attr
        )
        got["BPF_TASK_FD_QUERY"] = filters.refusal(agent, "task_fd_query", fd=event)
        for what, number in {"": program, " of a kprobe program": kprobe}.items():
            got[f"BPF_LINK_CREATE{what}"] = filters.refusal(
                agent, "link_create", prog_fd=number, target_fd=event, attach_type=BPF_PERF_EVENT
            )
        expected = dict.fromkeys(got, "EINVAL") | {"MODIFY_ATTRIBUTES": "EOPNOTSUPP", "BPF_TASK_FD_QUERY": "ENOENT"}
        wrong = [f"{what} gave {got[what]}, not {errno}" for what, errno in expected.items() if got[what] != errno]
        assert not wrong, f"an event {when}: {', '.join(wrong)}"
        if when == "without a program":
            filters.set_program(agent, event, program)
