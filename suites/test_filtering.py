# SPDX-License-Identifier: GPL-2.0
"""How a call is filtered: which programs run, how often, and what their results do."""

from collections.abc import Callable
from functools import partial
from itertools import product

import pytest

from farm.guest.agent import Agent
from farm.guest.vm import Guest
from suites import calls, filters
from suites.calls import PATTERNS
from suites.filters import ARG_EQUALS, DROP_ALL, PASS_ALL, RETURN, Program, Rule
from suites.tracefs import INVALID, ROOT, Tracing

pytestmark = pytest.mark.needs("bpf_ftrace")

FUNCTION = "target_args2"
CALL = ("args2", PATTERNS["distinct"])
OTHER_CALL = ("args2", PATTERNS["zeros"])


def _traced(agent: Agent, tracing: Tracing, times: int = 1) -> int:
    """How many of `times` calls get into the trace."""
    tracing.clear()
    calls.call(agent, *[CALL] * times)
    return tracing.calls()[FUNCTION]


#: Return values of a program. The kernel looks only at the lower half.
PASSING = (1, 2, 3, 255, 256, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32 | 1, (1 << 64) - 1, 1 << 63 | 1 << 31)
DROPPING = (0, 1 << 32, 1 << 33, 1 << 63, 0xFFFFFFFF << 32)


def test_return_values(agent: Agent, tracing: Tracing) -> None:
    """The low 32 bits of the return value decide: zero refuses the call, anything else lets it through."""
    program = filters.attach(agent, FUNCTION)
    tracing.start("function", FUNCTION)
    wrong = []
    for value in PASSING + DROPPING:
        program.set_rule(Rule(RETURN, 0, value))
        traced = _traced(agent, tracing)
        if traced != (value in PASSING):
            wrong.append(f"{value:#x}: in the trace {traced} times")
    assert not wrong, f"one call each, and what the program returned: {', '.join(wrong)}"


def test_raw_returns_are_not_combined(agent: Agent, tracing: Tracing) -> None:
    """Return values of several programs are not combined bit by bit: 2 and 1 both let through, though 2 & 1 is 0."""
    for value in (2, 1, 1 << 31):
        filters.attach(agent, FUNCTION, Rule(RETURN, 0, value))
    tracing.start("function", FUNCTION)
    assert _traced(agent, tracing) == 1, "filters that returned 2, 1 and 1 << 31 have refused a call"


@pytest.mark.parametrize("filters_", [2, 3, 4])
def test_several_filters(agent: Agent, tracing: Tracing, filters_: int) -> None:
    """All filters on a function run, once for each call, and all must let it through."""
    programs = [filters.attach(agent, FUNCTION) for _ in range(filters_)]
    tracing.start("function", FUNCTION)
    modes = {PASS_ALL: "passes", DROP_ALL: "drops"}
    # of four, what three do not show: one that drops among three that pass, in each place
    combinations = [
        combination
        for combination in product(modes, repeat=filters_)
        if filters_ < 4 or combination.count(DROP_ALL) in (0, 1, 4)
    ]
    for combination in combinations:
        said = ", ".join(modes[mode] for mode in combination)
        for program, mode in zip(programs, combination, strict=True):
            program.set_rule(Rule(mode))
            program.forget()
        traced = _traced(agent, tracing, 2)
        expected = 0 if DROP_ALL in combination else 2
        assert traced == expected, f"filters that {said}: of 2 calls {traced} are in the trace"
        ran = [program.count() for program in programs]
        assert ran == [2] * filters_, f"filters that {said}: in 2 calls they ran {ran} times"


def test_one_program_for_two_events(agent: Agent, tracing: Tracing) -> None:
    """A program on two events runs for each of them, and each event counts its own runs."""
    program = Program(agent)
    events = [filters.open_event(agent, FUNCTION) for _ in range(2)]
    for event in events:
        filters.set_program(agent, event, program.fd)
    tracing.start("function", FUNCTION)
    assert _traced(agent, tracing, 3) == 3, "two filters let 3 calls through"
    runs = [int(agent.request("read_u64", fd=event)["value"], 16) for event in events]
    assert (runs, program.count()) == ([3, 3], 6), f"3 calls: the events count {runs}, the program {program.count()}"


def test_run_statistics(agent: Agent, tracing: Tracing) -> None:
    """The kernel counts the runs of a program while bpf_stats_enabled is on."""
    program = filters.attach(agent, FUNCTION, Rule(DROP_ALL))
    tracing.start("function", FUNCTION)
    for enabled, expected in (("0", 0), ("1", 3)):
        tracing.switch("/proc/sys/kernel/bpf_stats_enabled", enabled)
        calls.call(agent, *[CALL] * 3)
        runs = int(agent.request("prog_info", fd=program.fd)["run_cnt"], 16)
        assert runs == expected, f"3 calls, bpf_stats_enabled is {enabled}, and the program's run_cnt is {runs}"


def test_disabled_filter_has_no_say(agent: Agent, tracing: Tracing) -> None:
    """If one of two filters on a function is disabled, it neither runs nor refuses a call."""
    events = []
    programs = [Program(agent, Rule(mode)) for mode in (DROP_ALL, PASS_ALL)]
    for program in programs:
        events.append(filters.open_event(agent, FUNCTION))
        filters.set_program(agent, events[-1], program.fd)
    tracing.start("function", FUNCTION)
    agent.request("perf_ioctl", fd=events[0], request="DISABLE")
    assert _traced(agent, tracing, 3) == 3, "a filter that is disabled has refused calls"
    ran = [program.count() for program in programs]
    assert ran == [0, 3], f"3 calls, of two filters the second enabled: they ran {ran} times"
    agent.request("perf_ioctl", fd=events[0], request="ENABLE")
    agent.request("perf_ioctl", fd=events[1], request="DISABLE")
    assert _traced(agent, tracing, 2) == 0, "a filter that is enabled again has let calls through"
    ran = [program.count() for program in programs]
    assert ran == [2, 3], f"2 calls more, now the first enabled: the filters ran {ran} times in all"


def test_filters_on_two_functions(agent: Agent, tracing: Tracing) -> None:
    """A filter decides only about its own function, also if one program filters both."""
    first = filters.attach(agent, FUNCTION, Rule(DROP_ALL))
    second = filters.attach(agent, "target_args3")
    both = Program(agent)
    for function in (FUNCTION, "target_args3"):
        filters.set_program(agent, filters.open_event(agent, function), both.fd)
    tracing.start("function", FUNCTION, "target_args3", "target_args4")
    three, four = (("args3", PATTERNS["ones"]), ("args4", PATTERNS["distinct"]))
    calls.call(agent, CALL, three, four, CALL, three, three)
    traced = tracing.calls()
    assert traced == {"target_args3": 3, "target_args4": 1}, f"the trace has {traced}"
    ran = (first.count(), second.count(), both.count())
    assert ran == (2, 3, 5), f"for 2 and 3 calls the programs of the one, the other and both ran {ran} times"


# Who has a program run, and who does not.


#: Of the kernel's hash_64(): the high bits of the product with it are the bucket.
GOLDEN_RATIO = 0x61C8864680B583EB


def test_filters_of_one_bucket(guest: Guest, agent: Agent, tracing: Tracing) -> None:
    """A filter is found by a hash of its function's address. It must not affect a function whose
    hash begins with the same bits."""
    # of a large kernel it is longer than an answer of the agent's can be
    done = guest.connection.run(f"cat {ROOT}/available_filter_functions_addrs", guest.deadline(20))
    assert done.status == 0, done.stderr
    lines = map(str.split, done.stdout.splitlines())
    sites = {name: int(address, 16) for address, name, *_ in lines if not name.startswith(INVALID)}
    here = sites.pop(FUNCTION) * GOLDEN_RATIO
    other = min(sites, key=lambda name: (sites[name] * GOLDEN_RATIO ^ here) % (1 << 64))
    filters.attach(agent, FUNCTION)
    refusing = Program(agent, Rule(DROP_ALL))
    attr = {"type": filters.pmu_type(agent), "config2": hex(sites[other])}
    filters.set_program(agent, agent.request("perf_open", attr=attr, pid=-1, cpu=0)["fd"], refusing.fd)
    tracing.start("function", FUNCTION)
    traced = _traced(agent, tracing, 2)
    said = (
        f"a filter refuses the calls of {other}, and of 2 calls of {FUNCTION}, which has another, {traced} are traced"
    )
    assert (traced, refusing.count()) == (2, 0), f"{said}; it ran {refusing.count()} times"


@pytest.mark.parametrize("kprobe", range(3), ids=["first", "between", "last"])
def test_one_run_a_call(agent: Agent, tracing: Tracing, kprobe: int) -> None:
    """Two tracers and a kprobe on one function share one run of the program for each call, in any order of setup."""
    program = filters.attach(agent, FUNCTION, Rule(ARG_EQUALS, 1, CALL[1][0]))
    second = tracing.instance("farm")
    coming: list[Callable[[], None]] = [partial(one.start, "function", FUNCTION) for one in (tracing, second)]
    coming.insert(kprobe, partial(tracing.kprobe, FUNCTION))
    for come in coming:
        come()
    calls.call(agent, CALL, OTHER_CALL, CALL, OTHER_CALL, OTHER_CALL)
    assert program.count() == 5, f"5 calls, and the program ran {program.count()} times"
    assert tracing.read("trace").count("probe1: (") == 5, "the kprobe has not seen all 5 calls"
    traced = (tracing.calls()[FUNCTION], second.calls()[FUNCTION])
    assert traced == (2, 2), f"2 calls pass, and the traces of the two tracers have {traced}"


def test_nobody_asks(agent: Agent, tracing: Tracing) -> None:
    """No program runs without a tracer that wants the call. A kprobe is not a tracer, and a
    tracer of other functions, or one that excludes this one, does not want it."""
    program = filters.attach(agent, FUNCTION, Rule(DROP_ALL))
    calls.call(agent, *[CALL] * 3)
    assert program.count() == 0, "there is no tracer at all, and the program ran"
    tracing.kprobe(FUNCTION)
    calls.call(agent, *[CALL] * 3)
    assert program.count() == 0, "there is a kprobe alone, and the program ran"
    assert tracing.read("trace").count("probe1: (") == 3, "the kprobe was filtered"
    tracing.start("function", "target_args3")
    calls.call(agent, *[CALL] * 3)
    assert program.count() == 0, "the tracer is on another function, and the program ran"
    tracing.write("set_ftrace_notrace", FUNCTION)
    tracing.write("set_ftrace_filter", FUNCTION, append=True)
    calls.call(agent, *[CALL] * 3)
    tracing.write("set_ftrace_notrace", "\n")
    assert program.count() == 0, "the tracer leaves the function out, and the program ran"
    calls.call(agent, *[CALL] * 3)
    assert program.count() == 3, f"3 calls that the tracer wants, and the program ran {program.count()} times"
    assert tracing.read("trace").count("probe1: (") == 9, "the kprobe has not seen all of 9 calls"


def test_tracer_comes_and_goes(agent: Agent, tracing: Tracing) -> None:
    """A filter works with a tracer that starts after the filter, stops, and starts again."""
    program = filters.attach(agent, FUNCTION, Rule(ARG_EQUALS, 1, CALL[1][0]))
    for _ in range(2):
        tracing.start("function", FUNCTION)
        calls.call(agent, CALL, OTHER_CALL)
        traced = tracing.calls()
        assert traced == {FUNCTION: 1}, f"1 of 2 calls passes, and the trace has {traced}"
        tracing.start("nop", FUNCTION)
        calls.call(agent, CALL, OTHER_CALL)
    assert program.count() == 4, f"4 of 8 calls were traced, and the program ran {program.count()} times"
