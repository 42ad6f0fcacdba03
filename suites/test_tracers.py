# SPDX-License-Identifier: GPL-2.0
"""Every tracer counts exactly the calls that the filter lets through, and the program runs
once for each call."""

import re
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from farm.guest.agent import Agent
from farm.guest.vm import Guest
from farm.matrix import Cell
from farm.version import Version
from suites import calls, filters, tracefs, versions
from suites.filters import ARG_EQUALS, DROP_ALL, PASS_ALL, Program, Rule
from suites.registers import frame_pointers
from suites.tracefs import Tracing
from suites.tracers import LATENCY_TRACERS, TRACERS, Take, Tracer, Wanted

tracers = pytest.mark.parametrize("tracer", tracefs.FUNCTION_TRACERS)
in_instances = pytest.mark.parametrize(
    "tracer", ["function", pytest.param("function_graph", marks=pytest.mark.needs("function_graph", "graph_instances"))]
)
each_tracer = pytest.mark.parametrize("tracer", [tracer.param() for tracer in TRACERS + LATENCY_TRACERS])

FILTERED, CONTROL = "target_args2", "target_args3"

#: What the filter looks for, in the first argument.
VALUE = 0x0123456789ABCDEF

PASSED: Wanted = ("args2", (VALUE, 2))
REFUSED: Wanted = ("args2", (VALUE ^ 1 << 40, VALUE))
OTHER: Wanted = ("args3", (VALUE, 2, 3))

#: 3 that pass, 5 that are refused, 4 that nobody filters: a sum tells them apart.
MIXED = [REFUSED, PASSED, OTHER, REFUSED, REFUSED, OTHER, PASSED, PASSED, OTHER, REFUSED, OTHER, REFUSED]

#: The same in short, for tracers that have to be asked after each call.
SHORT = [REFUSED, PASSED, OTHER, REFUSED]


def _calls(tracer: Tracer) -> list[Wanted]:
    return SHORT if tracer.once or tracer.context != "task" else MIXED


def _check(
    what: str,
    tracer: Tracer,
    agent: Agent,
    tracing: Tracing,
    take: Take,
    passing: set[Wanted],
    program: Program | None = None,
) -> None:
    """Make the calls, and compare what each witness says of them: the tracer, the
    program and the callees."""
    wanted = _calls(tracer)
    before = program.count() if program else 0
    done, counted = tracer.count(agent, tracing, take, wanted)
    for one in done:
        calls.check(f"target_{one.target}, {tracer.name}, {what}", one)
    expected = Counter({CONTROL: wanted.count(OTHER), FILTERED: sum(one in passing for one in wanted)})
    assert counted == +expected, f"{tracer.name}, {what}: counted {dict(counted)}, and should have {dict(+expected)}"
    if program:
        runs, made = program.count() - before, sum(f"target_{one.target}" == FILTERED for one in done)
        assert runs == made, f"{tracer.name}, {what}: {made} calls, the program ran {runs} times"


@each_tracer
@pytest.mark.absent("bpf_ftrace")
def test_without_the_feature(agent: Agent, tracing: Tracing, tracer: Tracer) -> None:
    """Without the feature every call is counted, so in the other tests it is the filter that removes calls."""
    take = tracer.start(agent, tracing, (FILTERED, CONTROL))
    _check("without the feature", tracer, agent, tracing, take, {PASSED, REFUSED})


@each_tracer
@pytest.mark.needs("bpf_ftrace")
def test_tracer(agent: Agent, tracing: Tracing, tracer: Tracer) -> None:
    """A tracer that starts before the filter obeys it, and counts every call again after the filter is closed."""
    take = tracer.start(agent, tracing, (FILTERED, CONTROL))
    _check("before there was a filter", tracer, agent, tracing, take, {PASSED, REFUSED})
    program = Program(agent, Rule(ARG_EQUALS, 1, VALUE))
    event = filters.open_event(agent, FILTERED)
    agent.request("perf_ioctl", fd=event, request="SET_BPF", arg=program.fd)
    _check("filtered by value", tracer, agent, tracing, take, {PASSED}, program)
    program.set_rule(Rule(DROP_ALL))
    _check("all refused", tracer, agent, tracing, take, set(), program)
    agent.request("close", fd=event)
    _check("after the filter was closed", tracer, agent, tracing, take, {PASSED, REFUSED})


@pytest.mark.parametrize("tracer", [tracer.param() for tracer in TRACERS])
@pytest.mark.needs("bpf_ftrace")
def test_filter_first(agent: Agent, tracing: Tracing, tracer: Tracer) -> None:
    """A tracer that starts after the filter obeys it."""
    program = filters.attach(agent, FILTERED, Rule(ARG_EQUALS, 1, VALUE))
    take = tracer.start(agent, tracing, (FILTERED, CONTROL))
    _check("filtered by value", tracer, agent, tracing, take, {PASSED}, program)
    program.set_rule(Rule(PASS_ALL))
    _check("all let through", tracer, agent, tracing, take, {PASSED, REFUSED}, program)


@pytest.mark.needs("dynamic_ftrace")
@tracers
def test_pids_of_a_running_tracer(agent: Agent, tracing: Tracing, tracer: str) -> None:
    """The pids of a running tracer can change. Alone on its functions it has its own trampoline,
    which must call another function as soon as the tracer has to check pids."""
    tracing.start(tracer, FILTERED)

    def traced() -> int:
        tracing.clear()
        calls.call(agent, PASSED, REFUSED)
        return tracing.calls()[FILTERED]

    assert traced() == 2, f"{tracer} of all processes has not traced both calls"
    tracing.switch("set_ftrace_pid", "1", "\n")
    got = traced()
    assert got == 0, f"{tracer} is to trace process 1 alone, and traced {got} calls of another"
    tracing.write("set_ftrace_pid", str(agent.request("hello")["pid"]))
    got = traced()
    assert got == 2, f"{tracer} is to trace the process that makes 2 calls, and traced {got}"


@pytest.mark.needs("dynamic_ftrace")
@in_instances
@pytest.mark.parametrize("order", ["chosen_first", "started_first"])
def test_pids_of_an_instance(agent: Agent, tracing: Tracing, tracer: str, order: str) -> None:
    """An instance has its own pids: another tracer beside it sees all processes, and vice versa."""
    mine = str(agent.request("hello")["pid"])
    one, other = tracing, tracing.instance("farm")
    tracing.later(tracing.write, "set_ftrace_pid", "\n")

    def check(what: str, *expected: int) -> None:
        one.clear()
        other.clear()
        calls.call(agent, PASSED, REFUSED)
        got = one.calls()[FILTERED], other.calls()[FILTERED]
        assert got == expected, f"{tracer}, {what}: of 2 calls the first trace and the instance's have {got}"

    steps: list[Callable[[], None]] = [
        partial(other.write, "set_ftrace_pid", "1"),
        partial(other.start, tracer, FILTERED),
    ]
    for step in steps if order == "chosen_first" else reversed(steps):
        step()
    check("the instance traces process 1 alone", 0, 0)
    one.start(tracer, FILTERED)
    check("the instance traces process 1 alone, the first all", 2, 0)
    other.write("set_ftrace_pid", mine)
    check("the instance traces the caller alone, the first all", 2, 2)
    one.write("set_ftrace_pid", "1")
    check("the instance traces the caller alone, the first process 1", 0, 2)
    other.write("set_ftrace_pid", "\n")
    check("the instance traces all, the first process 1", 0, 2)


two_tracers = pytest.mark.parametrize(
    "both",
    [
        ("function", "function"),
        pytest.param(("function_graph", "function"), marks=pytest.mark.needs("function_graph")),
        *(
            pytest.param(both, marks=pytest.mark.needs("function_graph", "graph_instances"))
            for both in (("function_graph", "function_graph"), ("function", "function_graph"))
        ),
    ],
    ids="+".join,
)


@pytest.mark.needs("dynamic_ftrace")
@two_tracers
def test_each_tracer_has_functions_of_its_own(agent: Agent, tracing: Tracing, both: tuple[str, str]) -> None:
    """Each of two tracers sees its own functions, and not those of the other."""
    other = tracing.instance("farm")
    tracing.start(both[0], FILTERED, "target_args4")
    other.start(both[1], CONTROL, "target_args4")
    calls.call(agent, PASSED, OTHER, OTHER, NEVER)
    got = dict(tracing.calls()), dict(other.calls())
    expected = {FILTERED: 1, "target_args4": 1}, {CONTROL: 2, "target_args4": 1}
    assert got == expected, f"the traces of the two have {got}, and should have {expected}"


@pytest.mark.needs("dynamic_ftrace")
@two_tracers
def test_what_one_excludes_another_traces(agent: Agent, tracing: Tracing, both: tuple[str, str]) -> None:
    """set_ftrace_notrace affects only its own tracer, also when the two tracers together trace more."""
    other = tracing.instance("farm")
    tracing.switch("set_ftrace_notrace", CONTROL, "\n")
    tracing.start(both[0], FILTERED)
    other.start(both[1], CONTROL)
    calls.call(agent, PASSED, OTHER, OTHER)
    got = dict(tracing.calls()), dict(other.calls())
    assert got == ({FILTERED: 1}, {CONTROL: 2}), f"the first excludes {CONTROL}, the traces of the two have {got}"


@pytest.mark.needs("dynamic_ftrace")
@two_tracers
def test_one_of_two_tracers_goes(agent: Agent, tracing: Tracing, both: tuple[str, str]) -> None:
    """If one of two tracers stops, the other continues, whether it was first or second."""
    one, other = tracing, tracing.instance("farm")
    one.start(both[0], FILTERED, "target_args4")
    other.start(both[1], CONTROL, "target_args4")

    def check(what: str, *expected: dict[str, int]) -> None:
        one.clear()
        other.clear()
        calls.call(agent, PASSED, OTHER, OTHER, NEVER)
        got = dict(one.calls()), dict(other.calls())
        assert got == expected, f"{what}: the traces of the two have {got}, and should have {expected}"

    of_one, of_other = {FILTERED: 1, "target_args4": 1}, {CONTROL: 2, "target_args4": 1}
    other.write("current_tracer", "nop")
    check("the second went", of_one, {})
    other.write("current_tracer", both[1])
    check("and came back", of_one, of_other)
    one.write("current_tracer", "nop")
    check("the first went", {}, of_other)


@pytest.mark.needs("dynamic_ftrace")
@pytest.mark.parametrize("chosen", ["all", "pid"])
def test_stack_of_a_call(agent: Agent, tracing: Tracing, cell: Cell, version: Version, chosen: str) -> None:
    """With a trampoline of its own, func_stack_trace begins at the called function. With the shared
    one it does not, because the tracer does not know how deep it is in there."""
    if chosen == "pid":
        tracing.switch("set_ftrace_pid", str(agent.request("hello")["pid"]), "\n")
    tracing.start("function", FILTERED, options=["func_stack_trace"])
    calls.call(agent, PASSED)
    text = tracing.read("trace")
    stacks = re.findall(r"<stack trace>\n((?: => .*\n)+)", text)
    assert len(stacks) == 1, f"1 call, and the trace has {len(stacks)} stacks"
    frames = re.findall(r"=> (.+)", stacks[0])
    unnamed = versions.TRAMPOLINE_IN_STACKS_UNNAMED.hold(version) and frames[0].startswith("0x")
    if not frame_pointers(cell) and (unnamed or frames[0] == "[FTRACE TRAMPOLINE]"):
        frames.pop(0)  # the tracer skips one less with ORC (STACK_SKIP in kernel/trace/trace_functions.c)
    assert frames[0].split()[0] == FILTERED, f"of {chosen}: the stack of a call of {FILTERED} begins with {frames[:4]}"


@pytest.mark.needs("dynamic_ftrace")
def test_symbols_of_trampolines(agent: Agent, tracing: Tracing, guest: Guest) -> None:
    """Each tracer that is alone on its functions has its own trampoline, and each trampoline has a symbol
    while it exists."""

    def listed() -> int:
        command = "grep -c ' ftrace_trampoline[[:space:]]*\\[__builtin__ftrace\\]' /proc/kallsyms"
        return int(guest.connection.run(command, guest.deadline(20)).stdout)

    other = tracing.instance("farm")
    tracing.start("function", FILTERED)  # the trampoline of the first tracer stays when it goes
    before = listed()
    other.start("function", CONTROL)
    got = listed() - before
    assert got == 1, f"a second tracer has a trampoline of its own, and kallsyms lists {got} more"
    other.write("current_tracer", "nop")
    got = listed() - before
    assert got == 0, f"the tracer of the instance went, with its trampoline, and kallsyms lists {got} more than before"


@pytest.mark.needs("function_graph", "dynamic_ftrace")
def test_stack_below_hooked_returns(agent: Agent, tracing: Tracing) -> None:
    """If a hooked function ends with a jump to another one, one return address stands for both; an
    unwinder still finds their caller."""
    outer, inner, caller = "schedule_timeout_uninterruptible", "schedule_timeout", "target_sleep2"
    pid = agent.request("hello")["pid"]
    tracing.start("function_graph", outer, inner)
    tracing.switch("events/sched/sched_switch/trigger", f"stacktrace if prev_pid == {pid}", "!stacktrace")
    calls.call(agent, ("sleep2", (1, 2)))
    text = tracing.read("trace")
    stacks = [re.findall(r"=> (\w+)", stack) for stack in re.findall(r"<stack trace>\n((?: => .*\n)+)", text)]
    asleep = [stack for stack in stacks if inner in stack]
    assert asleep, f"{caller} slept, and {inner} is in none of the stacks {stacks}"
    for stack in asleep:
        behind = [name for name in stack[stack.index(inner) + 1 :] if name != outer]
        assert behind[0] == caller, f"{inner}, called by {outer}, called by {caller}: the stack is {stack}"


def test_pids_of_the_dead(agent: Agent, tracing: Tracing) -> None:
    """With function-fork, a process that ends is removed from set_ftrace_pid. After the option is switched
    off again, the pid stays there."""
    witness = tracing.instance("farm")
    child = agent.request("start_child")["pid"]
    for one in (tracing, witness):
        one.switch("set_ftrace_pid", str(child), "\n")
        one.switch("options/function-fork")
    tracing.write("options/function-fork", "0")
    agent.request("end_child", pid=child)
    for _ in tracing.guest.deadline(20).poll():  # behind the exit, when nobody looks at the task any more
        if str(child) not in witness.read("set_ftrace_pid").split():
            break
    else:
        pytest.fail(f"process {child} has ended, and with function-fork set_ftrace_pid of an instance has it still")
    left = tracing.read("set_ftrace_pid")
    assert left == f"{child}\n", f"function-fork is off again, {child} has ended, and set_ftrace_pid says {left!r}"


# Several tracers at once: one run of the program for all of them.

#: A function that is filtered too, but refused always.
NEVER: Wanted = ("args4", (VALUE, 2, 3, 4))

#: An answer that is kept for the next function is the wrong one: each of the three
#: comes behind each of the others.
ALTERNATING = [
    PASSED,
    NEVER,
    OTHER,
    PASSED,
    OTHER,
    NEVER,
    REFUSED,
    OTHER,
    NEVER,
    PASSED,
    REFUSED,
    NEVER,
    REFUSED,
    OTHER,
]

#: These change what others see, or count more than the calls.
ALONE = {"function_stack", "traceon", "traceoff", "snapshot", "function_graph"}


@pytest.mark.needs("bpf_ftrace")
@pytest.mark.parametrize(
    "first", [tracer.param() for tracer in TRACERS if tracer.name in ("function", "function_graph")]
)
def test_all_at_once(agent: Agent, tracing: Tracing, cell: Cell, first: Tracer) -> None:
    """All tracers that can be on together are on, and each one obeys the same run of the program."""
    functions = (FILTERED, CONTROL, "target_args4")
    program = filters.attach(agent, FILTERED, Rule(ARG_EQUALS, 1, VALUE))
    never = filters.attach(agent, "target_args4", Rule(DROP_ALL))
    there = [tracer for tracer in TRACERS if cell.supports.issuperset(tracer.needs) and tracer.call is calls.call]
    chosen = [first] + [tracer for tracer in there if tracer.name not in ALONE | {first.name, "function"}]
    takes = {tracer: tracer.start(agent, tracing, functions) for tracer in chosen}
    for what, wanted in (("calls that are refused", [REFUSED, NEVER, REFUSED]), ("all kinds of calls", ALTERNATING)):
        before = program.count(), never.count()
        for take in takes.values():
            take()
        calls.call(agent, *wanted)
        expected = +Counter({CONTROL: wanted.count(OTHER), FILTERED: wanted.count(PASSED)})
        for tracer, take in takes.items():
            counted = take()
            if tracer.once:  # the deepest stack is of one of those that pass
                assert bool(counted) == bool(expected), f"{tracer.name} among others, {what}: counted {dict(counted)}"
                continue
            assert counted == expected, (
                f"{tracer.name} among others, {what}: counted {dict(counted)}, and should have {dict(expected)}"
            )
        runs = program.count() - before[0], never.count() - before[1]
        made = wanted.count(PASSED) + wanted.count(REFUSED), wanted.count(NEVER)
        assert runs == made, f"{len(chosen)} tracers, {what}: {made} calls of the two, their programs ran {runs} times"


# What else decides over what is traced, together with a filter.


def _passed(agent: Agent, tracing: Tracing, function: str = FILTERED) -> int:
    """How many of the mixed calls get into the trace."""
    tracing.clear()
    calls.call(agent, *MIXED)
    return tracing.calls()[function]


@pytest.mark.needs("bpf_ftrace")
@tracers
def test_pids(agent: Agent, tracing: Tracing, tracer: str) -> None:
    """A call is traced if both set_ftrace_pid and the filter let it through."""
    filters.attach(agent, FILTERED, Rule(ARG_EQUALS, 1, VALUE))
    tracing.start(tracer, FILTERED, CONTROL)
    tracing.later(tracing.write, "set_ftrace_pid", "\n")
    tracing.later(tracing.write, "set_ftrace_notrace_pid", "\n")
    mine, other = str(agent.request("hello")["pid"]), "1"
    for file, pid, expected in (
        ("set_ftrace_pid", mine, MIXED.count(PASSED)),
        ("set_ftrace_pid", other, 0),
        ("set_ftrace_pid", "\n", MIXED.count(PASSED)),
        ("set_ftrace_notrace_pid", mine, 0),
        ("set_ftrace_notrace_pid", other, MIXED.count(PASSED)),
    ):
        tracing.write(file, pid)
        passed = _passed(agent, tracing)
        whose = {mine: "the caller", other: "another task"}.get(pid, "nobody")
        assert passed == expected, f"{tracer}, {file} is {whose}: {passed} calls in the trace, should be {expected}"


@pytest.mark.needs("bpf_ftrace", "fentry")  # for the BTF of the functions
@pytest.mark.parametrize(
    "tracer, option",
    [
        ("function", "func-args"),
        pytest.param("function_graph", "funcgraph-args", marks=pytest.mark.needs("function_graph")),
    ],
)
def test_printed_arguments(agent: Agent, tracing: Tracing, version: Version, tracer: str, option: str) -> None:
    """The arguments that a tracer prints are those of the calls that the filter lets through."""
    if not versions.FUNCTION_ARGUMENTS.hold(version):
        pytest.skip(f"tracers can print arguments {versions.FUNCTION_ARGUMENTS}")
    program = filters.attach(agent, FILTERED, Rule(ARG_EQUALS, 1, VALUE))
    tracing.start(tracer, FILTERED, CONTROL, options=[option])
    calls.call(agent, *MIXED)
    text = tracing.read("trace")
    for name, call, times in ((FILTERED, PASSED, MIXED.count(PASSED)), (CONTROL, OTHER, MIXED.count(OTHER))):
        lists = re.findall(rf"\b{name}(?: \[\w+\])?\((.*?)\)", text)
        printed = [tuple(int(value, 16) for value in re.findall(r"=(0x[0-9a-f]+)", one)) for one in lists]
        assert printed == [call[1]] * times, f"{tracer} with {option}, {times} calls of {name}: it printed {lists}"
    made = MIXED.count(PASSED) + MIXED.count(REFUSED)
    assert program.count() == made, f"{made} calls of {FILTERED}, and the program ran {program.count()} times"


#: It calls the targets.
PARENT = "target_call_function"


def _check_tree(agent: Agent, tracing: Tracing, when: str, *expected: int) -> None:
    """Compare how often the parent, the filtered child and the other one are in the trace."""
    tracing.clear()
    calls.call(agent, *MIXED)
    names = tracing.names()
    wrong = [
        f"{function} is in the trace {names[function]} times, and should be {times} times"
        for function, times in zip((PARENT, FILTERED, CONTROL), expected, strict=True)
        if names[function] != times
    ]
    assert not wrong, f"{when}: {', '.join(wrong)}"


@pytest.mark.needs("bpf_ftrace", "function_graph")
def test_graph_children(agent: Agent, tracing: Tracing) -> None:
    """The children of a refused call are still traced."""
    program = filters.attach(agent, PARENT)
    tracing.start("function_graph", PARENT, FILTERED, CONTROL)
    children = MIXED.count(PASSED) + MIXED.count(REFUSED), MIXED.count(OTHER)
    _check_tree(agent, tracing, "all calls let through", len(MIXED), *children)
    program.set_rule(Rule(DROP_ALL))
    _check_tree(agent, tracing, "the parent refused", 0, *children)
    assert program.count() == 2 * len(MIXED), f"{2 * len(MIXED)} calls of the parent, {program.count()} runs"


@pytest.mark.needs("bpf_ftrace", "function_graph")
def test_graph_roots(agent: Agent, tracing: Tracing) -> None:
    """With set_graph_function, a refused root opens no subtree. In an open subtree, the filter
    removes the calls that it refuses."""
    program = filters.attach(agent, PARENT, Rule(DROP_ALL))
    child = filters.attach(agent, FILTERED, Rule(ARG_EQUALS, 1, VALUE))
    tracing.switch("set_graph_function", PARENT, "\n")
    tracing.start("function_graph", PARENT, FILTERED, CONTROL)
    _check_tree(agent, tracing, "the root refused", 0, 0, 0)
    program.set_rule(Rule(PASS_ALL))
    expected = len(MIXED), MIXED.count(PASSED), MIXED.count(OTHER)
    _check_tree(agent, tracing, "the root let through and one child filtered", *expected)
    program.set_rule(Rule(DROP_ALL))
    _check_tree(agent, tracing, "the root refused again", 0, 0, 0)
    filtered = 3 * (MIXED.count(PASSED) + MIXED.count(REFUSED))
    assert (program.count(), child.count()) == (3 * len(MIXED), filtered), (
        f"{3 * len(MIXED)} calls of the root and {filtered} of the filtered child, "
        f"the programs ran {program.count()} and {child.count()} times"
    )
