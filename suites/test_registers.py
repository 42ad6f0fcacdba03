# SPDX-License-Identifier: GPL-2.0
"""Every register around a traced call: the trampoline leaves no trace of itself."""

import pytest

from farm.guest.agent import Agent
from farm.matrix import Cell
from suites import calls, filters, registers
from suites.observer import DIRECT, OPS_CHANGE, ModuleObserver
from suites.outside import CALLER, REGS_CALLER
from suites.registers import frame_pointers
from suites.tracefs import FUNCTION_TRACERS, Tracing


@pytest.mark.needs("dynamic_ftrace")
@pytest.mark.parametrize("tracer", FUNCTION_TRACERS)
@pytest.mark.parametrize("route", [CALLER, pytest.param(REGS_CALLER, marks=pytest.mark.needs("with_regs"))])
@pytest.mark.parametrize("filtered", ["unfiltered", pytest.param("filtered", marks=pytest.mark.needs("bpf_ftrace"))])
def test_registers(agent: Agent, tracing: Tracing, cell: Cell, tracer: str, route: str, filtered: str) -> None:
    """All registers keep their sentinels before, inside and after a traced call of an assembly function."""
    if filtered == "filtered":
        filters.attach(agent, "target_registers")
    if route == REGS_CALLER:
        tracing.kprobe("target_registers")
    tracing.start(tracer, "target_registers")
    done = registers.call(agent)
    flags = registers.keeps_flags(cell)
    how = f"{tracer} by {route}, {filtered}"
    known = done.convention
    wrong = registers.differences(known, done.callee, done.entered, known.clobbered(route), flags)
    assert not wrong, f"as the callee received it, {how}: {'; '.join(wrong)}"
    # behind the return there may be the graph tracer's return_to_handler, which may use what a function may
    wrong = registers.differences(known, done.after, done.before, known.lost_behind_return, flags)
    assert not wrong, f"after the return, {how}: {'; '.join(wrong)}"
    traced = tracing.calls()
    assert traced == {"target_registers": 1}, f"the trace has {traced}"


@pytest.mark.needs("dynamic_ftrace", "with_regs")
@pytest.mark.parametrize("beside", ["alone", "tracer", "direct"])
def test_changed_registers(agent: Agent, tracing: Tracing, cell: Cell, beside: str) -> None:
    """A callback with all registers, such as a kprobe, may change them: the function receives the
    new values, by each exit of the trampoline."""
    observer = ModuleObserver(agent, OPS_CHANGE, ["target_registers"])
    if beside == "direct":
        ModuleObserver(agent, DIRECT, ["target_registers"])
    if beside == "tracer":
        tracing.start("function", "target_registers")
    done = registers.call(agent)
    seen = len(observer.seen())
    assert seen == 1, f"one call, {beside}, and the callback that changes its registers saw {seen}"
    known = done.convention
    kept = known.not_restored | ({known.fp} if frame_pointers(cell) else set())
    expected = {name: value if name in kept else ~value & calls.MASK for name, value in done.entered.items()}
    expected[known.flags] ^= known.arithmetic | known.unowned
    clobbered = known.clobbered(REGS_CALLER) | ({known.flags} if beside == "direct" else set())
    wrong = registers.differences(known, done.callee, expected, clobbered, registers.keeps_flags(cell))
    assert not wrong, f"a callback changed all registers, {beside}, and the function received: {'; '.join(wrong)}"
