# SPDX-License-Identifier: GPL-2.0
"""The kernel's own tests of its tracers, at boot."""

import pytest

from farm.guest import startup
from farm.guest.console import READY
from farm.guest.vm import Guest
from farm.matrix import Cell

#: By fact, what there is to be tested at boot.
EXPECTED = {
    "": ("tracer function", "kprobe tracing", "all events"),
    "dynamic_ftrace": (
        "dynamic ftrace",
        "dynamic ftrace ops #1",
        "dynamic ftrace ops #2",
        "ftrace recursion",
        "ftrace recursion safe",
    ),
    "with_regs": ("ftrace regs",),
    "function_graph": ("tracer function_graph",),
    "latency_tracers": ("tracer irqsoff", "tracer wakeup", "tracer wakeup_rt", "tracer wakeup_dl"),
    "preempt_tracers": ("tracer preemptoff", "tracer preemptirqsoff"),
}


@pytest.mark.needs("startup_test")
def test_startup(guest: Guest, cell: Cell) -> None:
    """Each of the kernel's tests at boot ran and passed."""
    boot, ready, _ = guest.console.text().partition(READY)
    assert ready
    found = startup.outcomes(boot)
    expected = [name for fact, names in EXPECTED.items() if not fact or fact in cell.supports for name in names]
    missing = [name for name in expected if name not in found]
    assert not missing, f"not tested at boot: {', '.join(missing)}; tested were {', '.join(found)}"
    bad = [f"{name}: {outcome or 'no outcome'}" for name, outcome in found.items() if outcome not in startup.GOOD]
    assert not bad, f"tests at boot: {'; '.join(bad)}"
