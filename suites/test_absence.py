# SPDX-License-Identifier: GPL-2.0
"""Kernels without the feature: they refuse it as unknown, and the tracers work."""

import errno

import pytest

from farm.guest.agent import Agent, Refused
from suites import calls
from suites.calls import FUNCTIONS, PATTERNS
from suites.contract import FTRACE_TYPE
from suites.filters import PMU, PROGRAM, refusal
from suites.tracefs import FUNCTION_TRACERS, Tracing

pytestmark = pytest.mark.absent("bpf_ftrace")


def test_load_is_refused(agent: Agent) -> None:
    """Loading a program of the type fails with EINVAL, as for any unknown type."""
    with pytest.raises(Refused) as refused:
        agent.request("object_load", path=PROGRAM, ftrace_type=FTRACE_TYPE)
    assert refused.value.errno == errno.EINVAL, f"the load gave {refused.value.name}, not EINVAL"


def test_other_types_still_load(agent: Agent) -> None:
    """The same agent can load a tracepoint program, so it is the type that was refused."""
    insns = "b700000000000000" + "9500000000000000"  # r0 = 0; exit
    fd = agent.request("prog_load", type=5, insns=insns, license="GPL")["fd"]
    assert agent.request("prog_info", fd=fd)["type"] == 5


def test_there_is_no_pmu(agent: Agent) -> None:
    devices = agent.request("file_list", path=PMU.rpartition("/")[0])["entries"]
    assert "software" in devices, f"event sources: {devices}"
    assert "ftrace" not in devices, f"event sources: {devices}"


def test_unknown_type_is_refused(agent: Agent) -> None:
    """An event for the PMU is refused, because no PMU has its type."""
    for attr in ({"function": "target_args2"}, {"config2": "0xffffffff81000000"}):
        got = refusal(agent, "perf_open", attr={"type": 1 << 30, **attr}, pid=-1, cpu=0)
        assert got == "ENOENT", f"perf_event_open with a type that no PMU has gave {got}, not ENOENT"


@pytest.mark.parametrize("tracer", FUNCTION_TRACERS)
def test_tracer_works(agent: Agent, tracing: Tracing, tracer: str) -> None:
    """Every call of the target functions is in the trace, once."""
    tracing.start(tracer, *(f"target_{target}" for target in FUNCTIONS))
    calls.call(agent, *((target, PATTERNS["distinct"]) for target in FUNCTIONS))
    traced = tracing.calls()
    assert traced == {f"target_{target}": 1 for target in FUNCTIONS}, f"the trace has {traced}"
