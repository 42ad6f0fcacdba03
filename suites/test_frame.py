# SPDX-License-Identifier: GPL-2.0
"""The trampoline's stack frame, slot by slot, as QEMU reads it from the guest's
memory at the trampoline's call: on each route, under each tracer."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest

from farm.artifact import locate
from farm.guest.agent import Agent
from farm.guest.symbols import symbols
from farm.guest.vm import Guest
from farm.kernel.builder import Built
from farm.matrix import Cell
from suites import filters, frame
from suites.frame import Expected
from suites.outside import CALLER, REGS_CALLER, STATIC, OutsideObserver
from suites.registers import keeps_flags
from suites.tracefs import FUNCTION_TRACERS, Tracing

FUNCTIONS = tuple(f"target_{target}" for target in frame.CALLED)

#: The ops of a tracer and of kprobes, which a copied trampoline hands on.
OPS = {"function": "global_ops", "function_graph": "graph_ops", "kprobe": "kprobe_ftrace_ops"}


@pytest.fixture
def observer(guest: Guest, built: Built) -> OutsideObserver:
    return OutsideObserver(guest, built)


@pytest.mark.needs("dynamic_ftrace")
@pytest.mark.parametrize("tracer", FUNCTION_TRACERS)
@pytest.mark.parametrize("route", [CALLER, pytest.param(REGS_CALLER, marks=pytest.mark.needs("with_regs"))])
def test_shared_trampoline(
    agent: Agent,
    tracing: Tracing,
    observer: OutsideObserver,
    built: Built,
    cell: Cell,
    filterable: bool,
    route: str,
    tracer: str,
) -> None:
    """The frame of the kernel's own trampoline, which serves calls that several ops want."""
    program = None
    if filterable:
        program, _ = (filters.attach(agent, function) for function in FUNCTIONS)
    if route == REGS_CALLER:
        for function in FUNCTIONS:
            tracing.kprobe(function)
    tracing.start(tracer, *FUNCTIONS)
    with _triggers(tracing) if program is None and route == CALLER else nullcontext():
        frame.check_calls(agent, observer, tracer, _expected(built, cell, tracer, route), program)


@pytest.mark.needs("dynamic_ftrace")
@pytest.mark.parametrize("tracer", FUNCTION_TRACERS)
def test_copied_trampoline(
    agent: Agent, tracing: Tracing, observer: OutsideObserver, built: Built, cell: Cell, tracer: str
) -> None:
    """The frame of a copy of ftrace_caller, which a tracer has if it is alone."""
    tracing.start(tracer, *FUNCTIONS)
    frame.check_calls(agent, observer, tracer, _expected(built, cell, tracer, CALLER, True))


@pytest.mark.needs("dynamic_ftrace", "with_regs")
def test_copied_trampoline_of_kprobes(
    agent: Agent, tracing: Tracing, observer: OutsideObserver, built: Built, cell: Cell
) -> None:
    """The frame of a copy of ftrace_regs_caller, which kprobes have if they are alone."""
    for function in FUNCTIONS:
        tracing.kprobe(function)
    frame.check_calls(agent, observer, "kprobe", _expected(built, cell, "kprobe", REGS_CALLER, True))


@pytest.mark.absent("dynamic_ftrace")
@pytest.mark.parametrize("tracer", FUNCTION_TRACERS)
def test_static_trampoline(
    agent: Agent, tracing: Tracing, observer: OutsideObserver, built: Built, cell: Cell, tracer: str
) -> None:
    """The frame of static ftrace, where every function always calls __fentry__."""
    tracing.start(tracer)
    frame.check_calls(agent, observer, tracer, _expected(built, cell, tracer, STATIC))


@contextmanager
def _triggers(tracing: Tracing) -> Iterator[None]:
    """A second ops on the functions that every kernel has: a function trigger."""
    for function in FUNCTIONS:
        tracing.write("set_ftrace_filter", f"{function}:traceon", append=True)
    yield
    for function in FUNCTIONS:
        tracing.write("set_ftrace_filter", f"!{function}:traceon", append=True)


def _expected(built: Built, cell: Cell, tracer: str, trampoline: str, copied: bool = False) -> Expected:
    kernel = locate(built.kernel)
    names = symbols(kernel)
    return Expected(
        trampoline,
        copied,
        op=names.get(OPS[tracer]) if copied else None,
        returns_to=names["return_to_handler"] if tracer == "function_graph" else None,
        frame_pointer="CONFIG_FRAME_POINTER=y\n" in (kernel / "config").read_text(),
        flags=keeps_flags(cell),
    )
