# SPDX-License-Identifier: GPL-2.0
"""The routes that a call can take through ftrace, and everything that must hold on each.

The route depends on who else wants the call. An ops that is alone has a trampoline of
its own, copied from ftrace_caller or ftrace_regs_caller. Two ops share the kernel's
own. A direct call is called by the site itself if it is alone, and otherwise by
ftrace_regs_caller.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from farm.guest.agent import Agent
from farm.matrix import Cell
from suites import arch, calls, filters, observer, registers
from suites.calls import PATTERNS, Call
from suites.filters import ARG_EQUALS, Program, Rule
from suites.observer import DIRECT, OPS_JUMP, OPS_REGS, REPLACE, ModuleObserver, Seen
from suites.outside import CALLER, REGS_CALLER
from suites.registers import Registers
from suites.tracefs import Tracing

KPROBE = "kprobe"

#: Six arguments in registers, two more on the stack, and all registers.
TARGETS = ("args6", "args8")
FUNCTIONS = ("target_args6", "target_args8", "target_registers")

#: A filter lets through the calls with this arg1.
WANTED = PATTERNS["distinct"][0]

#: A line of enabled_functions: how many ops a function has, R if one of them wants
#: all registers, D if there is a direct call, tramp if one is alone.
_ENABLED = re.compile(r"^(?P<name>\w+)(?: \[\w+\])? \((?P<count>\d+)\)(?P<flags>[ A-Z]*)(?P<rest>.*)$", re.M)


@dataclass(frozen=True)
class Route:
    """Who wants the calls: observers of the module or kprobes, which come before or after
    the tracers. `tracers` are those of the top and of instances."""

    tracers: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    filtered: bool = False

    @property
    def others(self) -> tuple[str, ...]:
        return self.before + self.after

    @property
    def regs(self) -> bool:
        """Whether any of them wants all registers, so that the site calls ftrace_regs_caller."""
        return any(other in (OPS_REGS, OPS_JUMP, DIRECT, KPROBE) for other in self.others)

    @property
    def ops(self) -> int:
        """How many ops are at the site. All filters share one, and all graph tracers share one."""
        functions = self.tracers.count("function")
        return functions + ("function_graph" in self.tracers) + len(self.others) + self.filtered

    def clobbered(self, convention: arch.Convention) -> frozenset[str]:
        """The registers that a call on this route may change."""
        if self.others == (DIRECT,) and self.ops == 1:
            return frozenset()  # the site calls the observer's trampoline, which changes nothing
        if not self.regs:
            return convention.clobbered(CALLER)
        # the exit to a direct call adds to the stack pointer after its popf
        return convention.clobbered(REGS_CALLER) | ({convention.flags} if DIRECT in self.others else set())

    def __str__(self) -> str:
        words = [*self.before, *(f"[{tracer}]" for tracer in self.tracers), *self.after]
        return f"{' + '.join(words)}{', filtered' if self.filtered else ''}"


@dataclass(frozen=True)
class Taken:
    """A route in use: who watches, and who the callers are, as found by untraced calls.
    `tracings` has one entry for each tracer."""

    route: Route
    observers: Sequence[ModuleObserver]
    program: Program | None
    top: Tracing
    tracings: Sequence[Tracing]
    callers: dict[str, int]
    frame_pointers: bool
    convention: arch.Convention

    def leads_to(self, target: str, entry: int) -> list[int]:
        """What a stack trace from inside the trampoline must contain: the function and its caller.

        If all registers were saved, an unwinder with frame pointers continues from the saved
        program counter and frame pointer. At a function's entry the frame pointer is still that
        of its caller, so the caller is missing; and the program counter is that of the
        replacement, if there is one.
        """
        if self.frame_pointers and self.route.regs:
            replaced = REPLACE in self.route.others and f"target_{target}" == REPLACED
            return [] if replaced else [entry + self.convention.call_size]
        return [entry + self.convention.call_size, self.callers[target]]


def take(agent: Agent, tracing: Tracing, cell: Cell, route: Route) -> Taken:
    """Set everything up, and check that the kernel sends calls along this route."""
    zeros = PATTERNS["zeros"]
    callers = {done.target: done.returns_to for done in calls.call(agent, *((target, zeros) for target in TARGETS))}
    callers["registers"] = registers.call(agent).returns_to
    program = attach(agent, FUNCTIONS) if route.filtered else None
    observers = _watch(agent, tracing, route.before)
    tracings = [tracing if n == 0 else tracing.instance(f"farm{n}") for n in range(len(route.tracers))]
    for one, tracer in zip(tracings, route.tracers, strict=True):
        one.start(tracer, *FUNCTIONS)
    if not tracings:
        tracing.clear()
    observers += _watch(agent, tracing, route.after)
    _check_site(tracing, route)
    return Taken(
        route, observers, program, tracing, tracings, callers, registers.frame_pointers(cell), arch.of(agent.arch)
    )


def attach(agent: Agent, functions: Sequence[str], rule: Rule = Rule(ARG_EQUALS, 1, WANTED)) -> Program:
    """One program that filters several functions."""
    program = Program(agent, rule)
    for function in functions:
        filters.set_program(agent, filters.open_event(agent, function), program.fd)
    return program


def _watch(agent: Agent, tracing: Tracing, kinds: Sequence[str]) -> list[ModuleObserver]:
    observers = []
    for kind in kinds:
        if kind == KPROBE:
            for function in FUNCTIONS:
                observer.kprobe(tracing, function)
        else:
            observers.append(ModuleObserver(agent, kind, [REPLACED] if kind == REPLACE else FUNCTIONS))
    return observers


#: The function that makes all calls of the target functions.
MAKES_CALLS = "target_call_function"

#: The function that an observer can replace.
REPLACED = "target_args8"


def _check_site(tracing: Tracing, route: Route) -> None:
    """Check that the call site of each function goes where the route's name says."""
    text = tracing.read("enabled_functions")
    sites = {found["name"]: found for found in _ENABLED.finditer(text)}
    for function in FUNCTIONS:
        mine = route
        if function != REPLACED:
            kinds = (tuple(kind for kind in side if kind != REPLACE) for side in (route.before, route.after))
            mine = replace(route, before=next(kinds), after=next(kinds))
        site = sites.get(function)
        if not mine.ops:
            assert site is None, f"nobody wants {function}, and it is enabled: {text}"
            continue
        assert site, f"{function} is not enabled by {route}:\n{text}"
        alone = mine.ops == 1 and DIRECT not in mine.others
        expected = (mine.ops, mine.regs, DIRECT in mine.others, alone)
        got = (int(site["count"]), "R" in site["flags"], "D" in site["flags"], "tramp: 0x" in site["rest"])
        names = ("ops", "all registers", "direct call", "a trampoline of its own")
        wrong = [
            f"{name}: {have}, not {want}" for name, have, want in zip(names, got, expected, strict=True) if have != want
        ]
        assert not wrong, f"{function} by {route} has {'; '.join(wrong)}:\n{text}"


def check_arguments(agent: Agent, taken: Taken) -> None:
    """Check every pattern of arguments, six and eight of them: the program, the observers,
    the kprobes and the callee must see what was passed, and exactly the calls that the
    filter lets through must be traced."""
    route = taken.route
    done = calls.call(agent, *((target, values) for target in TARGETS for values in PATTERNS.values()))
    names = [f"target_{one.target}, {name}, by {route}" for one, name in zip(done, [*PATTERNS] * 2, strict=True)]
    by_function = {
        f"target_{target}": [(n, c) for n, c in zip(names, done, strict=True) if c.target == target]
        for target in TARGETS
    }
    told = taken.program.seen() if taken.program else [None] * len(done)
    ran, made = len(told), len(done)
    assert ran == made, f"{route}: {made} calls, and the program ran {ran} times"
    for name, one, slots in zip(names, done, told, strict=True):
        calls.check(name, one, slots)
        replaced = "in-replacement" in one.found
        assert replaced == (REPLACE in route.others and f"target_{one.target}" == REPLACED), (
            f"{name}: {'the replacement' if replaced else 'the function itself'} was called"
        )
        _check_return(name, taken, one)
    for watcher in taken.observers:
        mine = by_function[REPLACED] if watcher.kind == REPLACE else [*zip(names, done, strict=True)]
        _check_witness(taken, watcher.kind, watcher.seen(), mine)
    if KPROBE in route.others:
        for function, mine in by_function.items():
            _check_witness(taken, KPROBE, observer.kprobe_hits(taken.top, function), mine)
    expected = Counter(f"target_{one.target}" for one in done if not route.filtered or one.passed[0] == WANTED)
    for number, tracing in enumerate(taken.tracings):
        traced = tracing.calls()
        assert traced == expected, f"{route}: the trace of tracer {number + 1} has {traced}, not {expected}"
        if route.tracers[number] == "function":
            parents = set(tracing.parents())
            assert parents == {MAKES_CALLS}, f"{route}: all were called by {MAKES_CALLS}, the trace says {parents}"


def _hooked(route: Route, arg1: int) -> bool:
    """Whether a graph tracer hooks the return of a call."""
    return "function_graph" in route.tracers and (not route.filtered or arg1 == WANTED)


def _check_return(name: str, taken: Taken, done: Call) -> None:
    """Check that only the graph tracer hooks returns, and only of calls that it traces."""
    caller = taken.callers[done.target]
    if _hooked(taken.route, done.passed[0]):
        assert done.returns_to != caller, f"{name}: the graph tracer did not hook the return"
    else:
        assert done.returns_to == caller, f"{name}: it returns to {done.returns_to:#x}, its caller is {caller:#x}"


def _check_witness(taken: Taken, who: str, seen: Sequence[Seen], done: Sequence[tuple[str, Call]]) -> None:
    """Check that a witness saw these calls, which come with names for messages."""
    told, made = len(seen), len(done)
    assert told == made, f"{taken.route}: {made} calls, {who} saw {told}"
    for (name, one), record in zip(done, seen, strict=True):
        # a direct call finds on the stack what the graph tracer has left there
        caller = one.returns_to if who == DIRECT else taken.callers[one.target]
        wrong = observer.differences(who, record, one, caller, taken.leads_to(one.target, one.entry))
        assert not wrong, f"{name}: {'; '.join(wrong)}"


def check_registers(agent: Agent, taken: Taken, cell: Cell) -> None:
    """Check sentinels in all registers: what the observers found in the slots, what the
    function received, and what is left after its return."""
    route, flags = taken.route, registers.keeps_flags(cell)
    seen_before = {watcher: len(watcher.seen()) for watcher in taken.observers}
    done = registers.call(agent)
    known, lost = done.convention, done.convention.lost_behind_return
    wrong = [
        *registers.differences(known, done.callee, done.entered, route.clobbered(known), flags),
        *(f"after the return {each}" for each in registers.differences(known, done.after, done.before, lost, flags)),
    ]
    assert not wrong, f"target_registers by {route}, as it received them: {'; '.join(wrong)}"
    for watcher in taken.observers:
        if watcher.kind == REPLACE:
            continue
        new = watcher.seen()[seen_before[watcher] :]
        told = len(new)
        assert told == 1, f"{route}: one call of target_registers, {watcher.kind} saw {told}"
        wrong = _slot_differences(route, watcher.kind, new[0], done, flags)
        wrong += observer.stack_differences(watcher.kind, new[0], taken.leads_to("registers", done.entry))
        assert not wrong, f"target_registers by {route}, as {watcher.kind} saw it: {'; '.join(wrong)}"


def _slot_differences(route: Route, who: str, seen: Seen, done: Registers, flags: bool) -> list[str]:
    """What is wrong with an observer's picture of the registers. A direct call makes its
    own picture, from the registers after the trampoline."""
    known = done.convention
    expected = done.entered | {known.pc: done.behind_call}
    if who == DIRECT:
        return registers.differences(known, seen.slots, expected, route.clobbered(known), flags)
    wrong = []
    if seen.has_regs != route.regs:
        wrong.append(f"ftrace says it has {'all' if seen.has_regs else 'not all'} registers")
    constants = dict(known.promises[REGS_CALLER if route.regs else CALLER].constants)
    if not route.regs:
        for name in known.outside_frame:
            del expected[name]
    if DIRECT in route.others:  # which says by a slot of the frame where to go
        constants = {name: value for name, value in constants.items() if name != known.jump}
    return wrong + registers.differences(known, seen.slots, expected | constants, (), flags)
