# SPDX-License-Identifier: GPL-2.0
"""Calls in every context: tasks, interrupts, NMIs, with interrupts or preemption off,
with a wakeup pending, and functions that sleep."""

from collections import Counter

import pytest

from farm.guest.agent import Agent
from farm.matrix import Cell
from suites import assembler, calls, filters, routes
from suites.calls import PATTERNS, Call
from suites.contract import FTRACE_TYPE, prog_type
from suites.filters import DROP_ALL, HELPER, HELPER_FUNCTION, PASS_ALL, Program, Rule
from suites.routes import WANTED
from suites.tracefs import FUNCTION_TRACERS, Tracing

#: What the function must find in each context, at least. That preemption is
#: off is something it can only see where the kernel counts.
CONTEXTS = {
    "task": set(),
    "irqs-off": {"irqs-off"},
    "preempt-off": {"preempt-off"},
    "softirq": {"in-softirq"},
    "hardirq": {"in-hardirq", "irqs-off"},
    "nmi": {"in-nmi", "irqs-off"},
    "idle": {"in-idle", "in-hardirq", "irqs-off"},
    "wakeup": {"preempt-off"},
    "wakeup-rt": {"preempt-off"},
    "wakeup-dl": {"preempt-off"},
}

#: Stack arguments and a return value of 128 bits.
TARGETS = ("args8", "wide")

tracers = pytest.mark.parametrize("tracer", FUNCTION_TRACERS)


def _check(what: str, cell: Cell, context: str, done: list[Call], program: Program | None = None) -> None:
    wanted = CONTEXTS[context] - (set() if "preempt_tracers" in cell.supports else {"preempt-off"})
    seen = program.seen() if program else [None] * len(done)
    assert len(seen) == len(done), f"{what}: {len(done)} calls, and the program ran {len(seen)} times"
    for one, slots in zip(done, seen, strict=True):
        calls.check(f"target_{one.target}, {what}", one, slots)
        assert wanted <= one.found, f"{what}: target_{one.target} found itself in {sorted(one.found)}"


@pytest.mark.needs("bpf_ftrace")
@tracers
@pytest.mark.parametrize("context", CONTEXTS)
def test_filtered(agent: Agent, tracing: Tracing, cell: Cell, tracer: str, context: str) -> None:
    """In each context the program sees what was passed, and a call that it refuses is not traced."""
    names = [f"target_{target}" for target in TARGETS]
    program = routes.attach(agent, names)
    tracing.start(tracer, *names)
    patterns = [*PATTERNS.values(), PATTERNS["distinct"]]
    done = calls.call(agent, *((target, values) for target in TARGETS for values in patterns), context=context)
    _check(f"{tracer} in {context}", cell, context, done, program)
    traced = tracing.calls()
    expected = Counter(f"target_{one.target}" for one in done if one.passed[0] == WANTED)
    assert traced == expected, f"{tracer} in {context}: the filter lets {expected} through, the trace has {traced}"


@tracers
def test_unfiltered(agent: Agent, tracing: Tracing, cell: Cell, tracer: str) -> None:
    """Only the trampoline, in each context and every kind of kernel."""
    tracing.start(tracer, *(f"target_{target}" for target in TARGETS))
    # in one request: a static kernel traces the agent and the network too
    wanted = [(context, target, PATTERNS["distinct"]) for context in CONTEXTS for target in TARGETS]
    for (context, _, _), done in zip(wanted, calls.call_in(agent, *wanted), strict=True):
        _check(f"{tracer} in {context}", cell, context, [done])
    traced = tracing.calls()
    expected = dict.fromkeys([f"target_{target}" for target in TARGETS], len(CONTEXTS))
    assert traced == expected, f"one call in each of {len(CONTEXTS)} contexts, the trace has {traced}"


@tracers
@pytest.mark.parametrize(
    "filtered",
    ["unfiltered", *(pytest.param(how, marks=pytest.mark.needs("bpf_ftrace")) for how in ("passed", "refused"))],
)
def test_sleeping(agent: Agent, tracing: Tracing, cell: Cell, tracer: str, filtered: str) -> None:
    """A function that sleeps: other functions run before it returns, and are traced too."""
    program = None
    if filtered != "unfiltered":
        program = filters.attach(agent, "target_sleep2", Rule(DROP_ALL if filtered == "refused" else 0))
    tracing.start(tracer, "target_sleep2")
    done = calls.call(agent, *(("sleep2", values) for values in PATTERNS.values()))
    _check(f"{tracer}, {filtered}", cell, "task", done, program)
    traced = tracing.calls()
    expected = {} if filtered == "refused" else {"target_sleep2": len(done)}
    assert traced == expected, f"{tracer}, {filtered}: {len(done)} calls, the trace has {traced}"


@pytest.mark.needs("bpf_ftrace", "smp")
@pytest.mark.absent("validates_rcu")
@tracers
def test_rcu_is_not_watching(agent: Agent, tracing: Tracing, tracer: str) -> None:
    """If RCU is not watching, no filter runs, and the call is not traced, even if the filter is
    disabled. Functions without a filter are traced as usual."""
    program, disabled = Program(agent), Program(agent)
    events = {}
    for function, one in (("target_args2", program), ("target_args3", disabled)):
        events[function] = filters.open_event(agent, function)
        filters.set_program(agent, events[function], one.fd)
    agent.request("perf_ioctl", fd=events["target_args3"], request="DISABLE")
    tracing.start(tracer, *events, "target_args4")
    targets = [(f"args{nr}", PATTERNS["distinct"]) for nr in (2, 3, 4)]
    for context, expected in (("task", {*events, "target_args4"}), ("no-rcu", {"target_args4"})):
        tracing.clear()
        program.forget()
        for (target, _), done in zip(targets, calls.call(agent, *targets, context=context), strict=True):
            calls.check(f"target_{target}, {tracer} in {context}", done)
            assert ("no-rcu" in done.found) == (context == "no-rcu"), f"in {context}, found {sorted(done.found)}"
        runs, traced = program.count(), tracing.calls()
        assert runs == (context == "task"), f"{tracer}, 1 call in {context}: the program ran {runs} times"
        assert traced == dict.fromkeys(expected, 1), f"{tracer}, calls in {context}: the trace has {traced}"


#: How the kernel is told which allocation of the agent fails, and whom that is for.
FAIL_NTH, FAILSLAB = "/proc/self/fail-nth", "/sys/kernel/debug/failslab"

#: More than one close of a filter allocates.
MOST_ALLOCATIONS = 50


@pytest.mark.needs("bpf_ftrace", "smp", "fault_injection")
@pytest.mark.absent("validates_rcu")
def test_rcu_is_not_watching_after_a_close_without_memory(agent: Agent, tracing: Tracing) -> None:
    """Whichever allocation fails when a filter is closed, the function has none any more: where RCU is not
    watching, and another filter is open, its calls are traced."""
    tracing.switch(f"{FAILSLAB}/ignore-gfp-wait", "N", "Y")
    tracing.switch(f"{FAILSLAB}/verbose", "0", "2")
    tracing.start("function", "target_args2")
    filters.attach(agent, "target_args3")
    untraced, failed = [], 0
    for number in range(1, MOST_ALLOCATIONS):
        event = filters.open_event(agent, "target_args2")
        requests = [
            {"op": "file_write", "path": FAIL_NTH, "data": str(number)},
            {"op": "close", "fd": event},
            {"op": "file_read", "path": FAIL_NTH},
            {"op": "file_write", "path": FAIL_NTH, "data": "0"},
        ]
        _, closed, left, _ = agent.request("batch", requests=requests)["answers"]
        assert closed["ok"], f"close() gave {closed['name']}"
        if not left["ok"] or int(left["data"]):
            break  # close() had not as many, and the next one may be that of opening the file
        failed += 1
        tracing.clear()
        calls.call(agent, ("args2", PATTERNS["distinct"]), context="no-rcu")
        if not tracing.calls():
            untraced.append(number)
        # a function that could not be taken out of ftrace's hash goes with the next filter
        agent.request("close", fd=filters.open_event(agent, "target_args2"))
    assert 0 < failed < MOST_ALLOCATIONS - 1, f"{failed} allocations of closes were made to fail"
    assert not untraced, f"calls without a filter are not traced after allocation {untraced} of a close failed"


@pytest.mark.needs("function_graph")
def test_graph_is_paused(agent: Agent, tracing: Tracing) -> None:
    """Code that must not be hooked can pause the graph tracer, only for its own task."""
    tracing.start("function_graph", "target_args2")
    wanted = [(context, "args2", PATTERNS["distinct"]) for context in ("graph-paused", "task", "graph-paused")]
    for (context, _, _), done in zip(wanted, calls.call_in(agent, *wanted), strict=True):
        calls.check(f"target_args2, function_graph in {context}", done)
    traced = tracing.calls()
    assert traced == {"target_args2": 1}, f"1 call, and 2 while the graph tracer is paused: the trace has {traced}"


@pytest.mark.needs("bpf_ftrace")
@tracers
@pytest.mark.parametrize("change", ["update", "delete"])
def test_map_changes(agent: Agent, tracing: Tracing, tracer: str, change: str) -> None:
    """While user space changes a map, filters run as usual. It may be preempted there, so they must run
    for other tasks on that CPU."""
    function, times = f"array_map_{change}_elem", 3
    program = filters.attach(agent, function, Rule(PASS_ALL))
    tracing.start(tracer, function)
    for _ in range(times):
        if change == "update":
            program.set_rule(Rule(PASS_ALL))
        else:  # the function is called to say that an array keeps all it has
            assert filters.refusal(agent, "map_delete", fd=program.count_map, key="00000000") == "EINVAL"
    misses = int(agent.request("prog_info", fd=program.fd)["recursion_misses"], 16)
    seen = program.count(), misses, tracing.names()[function]
    assert seen == (times, 0, times), f"{times} changes of a map: runs, misses and calls in the trace are {seen}"


#: The PMU of kprobes. Its event counts what its program answers with 1.
KPROBES = "/sys/bus/event_source/devices/kprobe"
COUNT_IT = assembler.mov(assembler.R0, 1) + assembler.leave()


#: Some thousand functions that tracers, programs, interrupts and the scheduler
#: call inside: the tracers must not recurse into themselves by way of them.
#: All there are would do as well, and take ten times as long.
WHAT_IS_CALLED_INSIDE = ("*lock*", "*irq*", "*rcu*", "*bpf*", "*preempt*", "*time*", "sched*")


@pytest.mark.needs("bpf_ftrace")
@pytest.mark.misses
@tracers
@pytest.mark.parametrize("traced", ["helper_function", pytest.param("much_more", marks=pytest.mark.touches_many)])
def test_recursion(agent: Agent, tracing: Tracing, tracer: str, traced: str) -> None:
    """A filter on a function that its own program calls: that call cannot be evaluated, so it
    is counted as missed and not traced. The guest survives."""
    answer = agent.request("object_load", path=HELPER, ftrace_type=FTRACE_TYPE)
    (program,) = answer["programs"].values()
    events = {function: filters.open_event(agent, function) for function in ("target_args8", HELPER_FUNCTION)}
    for event in events.values():
        filters.set_program(agent, event, program)
    tracing.start(tracer, *events, *(WHAT_IS_CALLED_INSIDE if traced == "much_more" else ()))
    wanted = [(context, "args8", PATTERNS["distinct"]) for context in CONTEXTS]
    done = calls.call_in(agent, *wanted)
    for (context, _, _), one in zip(wanted, done, strict=True):
        calls.check(f"target_args8, {tracer} in {context}", one)
    text = tracing.read("trace") if traced == "helper_function" else ""
    runs = {function: int(agent.request("read_u64", fd=event)["value"], 16) for function, event in events.items()}
    assert runs == {"target_args8": len(done), HELPER_FUNCTION: 0}, f"{len(done)} calls, and the filters ran {runs}"
    misses = int(agent.request("prog_info", fd=program)["recursion_misses"], 16)
    assert misses == len(done), f"{len(done)} runs, each of which calls a helper, and {misses} were missed"
    if traced == "helper_function":
        traced_calls = tracing.calls()
        assert traced_calls == {"target_args8": len(done)}, f"{len(done)} calls, and the trace has {traced_calls}"
        assert HELPER_FUNCTION not in text, f"the call of {HELPER_FUNCTION} cannot be evaluated, and is in the trace"


@pytest.mark.needs("bpf_ftrace")
@tracers
def test_filter_within_a_program(agent: Agent, tracing: Tracing, tracer: str) -> None:
    """A filter is asked about a call that the program of another filter makes."""
    answer = agent.request("object_load", path=HELPER, ftrace_type=FTRACE_TYPE)
    (outer,) = answer["programs"].values()
    filters.set_program(agent, filters.open_event(agent, "target_args8"), outer)
    inner, times = filters.attach(agent, HELPER_FUNCTION, Rule(PASS_ALL)), 3
    tracing.start(tracer, "target_args8", HELPER_FUNCTION)
    inner.forget()  # patching code calls the function as well
    tracing.clear()
    calls.call(agent, *[("args8", PATTERNS["distinct"])] * times)
    traced = tracing.names()
    seen = inner.count(), traced[HELPER_FUNCTION], traced["target_args8"]
    assert seen == (times, times, times), (
        f"{times} calls of target_args8, whose filter calls {HELPER_FUNCTION}, which has another one: "
        f"runs of that, its calls in the trace, and those of target_args8 are {seen}"
    )


@pytest.mark.needs("bpf_ftrace")
def test_program_of_a_kprobe_within_a_filter(agent: Agent, tracing: Tracing) -> None:
    """While a filter runs, programs of others run too: here that of a kprobe on a function that the
    filter calls, elsewhere those of interrupts."""
    answer = agent.request("object_load", path=HELPER, ftrace_type=FTRACE_TYPE)
    (program,) = answer["programs"].values()
    filters.set_program(agent, filters.open_event(agent, "target_args8"), program)
    agent.request("pin", cpu=0)
    attr = {"type": int(tracing.read(f"{KPROBES}/type")), "function": HELPER_FUNCTION}
    kprobe = agent.request("perf_open", attr=attr, cpu=0)["fd"]
    filters.set_program(agent, kprobe, filters.load(agent, COUNT_IT, prog_type("KPROBE")))
    tracing.start("function", "target_args8")
    times = 3
    agent.request("perf_ioctl", fd=kprobe, request="RESET")  # patching code calls the function as well
    calls.call(agent, *[("args8", PATTERNS["distinct"])] * times)
    counted = int(agent.request("read_u64", fd=kprobe)["value"], 16)
    assert counted == times, f"{times} runs of a filter with a kprobe in them, and its program ran {counted} times"
