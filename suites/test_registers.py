# SPDX-License-Identifier: GPL-2.0
"""Every register around a traced call: the trampoline leaves no trace of itself."""

import pytest

from farm.guest.agent import Agent
from farm.matrix import Cell
from suites import filters
from suites.tracefs import TRACERS, Tracing

#: What a trampoline may change. The function's own return address makes rsp
#: differ in the callee by the address that the call pushed, see below.
CLOBBERED = {"ftrace_caller": {"r10", "r11", "rflags"}, "ftrace_regs_caller": {"r11"}}

#: The arithmetic flags, CF PF AF ZF SF OF, which a call is allowed to lose.
#: Those that control the processor (IF, DF, AC, …) never are.
ARITHMETIC = 0x8D5


@pytest.mark.needs("dynamic_ftrace")
@pytest.mark.parametrize("tracer", TRACERS)
@pytest.mark.parametrize("route", ["ftrace_caller", "ftrace_regs_caller"])
@pytest.mark.parametrize("filtered", ["unfiltered", "filtered"])
def test_registers(agent: Agent, tracing: Tracing, cell: Cell, tracer: str, route: str, filtered: str) -> None:
    """Sentinels in all registers, an assembly target, a look before, within and after."""
    if route == "ftrace_regs_caller" and "with_regs" not in cell.supports:
        pytest.skip(f"{cell.name} declares no with_regs: it has no ftrace_regs_caller")
    if filtered == "filtered":
        if "bpf_ftrace" not in cell.supports:
            pytest.skip(f"{cell.name} declares no bpf_ftrace")
        filters.attach(agent, "target_registers")
    if route == "ftrace_regs_caller":
        tracing.kprobe("target_registers")
    tracing.start(tracer, "target_registers")
    seen = agent.request("call_registers")
    before, callee, after = (
        {name: int(v, 16) for name, v in seen[when].items()} for when in ("before", "callee", "after")
    )
    expected = before | {"rsp": before["rsp"] - 8}  # the return address
    how = f"{tracer} by {route}, {filtered}"
    _compare(f"as the callee received it, {how}", callee, expected, CLOBBERED[route])
    # behind the return there may be the graph tracer's return_to_handler, which may use what a function may
    scratch = {"r8", "r9", "r10", "r11", "rcx", "rsi", "rdi", "rflags"}
    _compare(f"after the return, {how}", after, before, scratch)
    traced = tracing.calls()
    assert traced == {"target_registers": 1}, f"the trace has {traced}"


def _compare(what: str, got: dict[str, int], expected: dict[str, int], clobbered: set[str]) -> None:
    wrong = [
        f"{name} is {got[name]:#x} and was {expected[name]:#x}"
        for name in expected
        if name not in clobbered and got[name] != expected[name]
    ]
    if (got["rflags"] ^ expected["rflags"]) & ~ARITHMETIC:
        wrong.append(f"rflags is {got['rflags']:#x} and was {expected['rflags']:#x}")
    assert not wrong, f"{what}: {'; '.join(dict.fromkeys(wrong))}"
