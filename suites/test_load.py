# SPDX-License-Identifier: GPL-2.0
"""Filters under load, and how they end: many at once, in any order, while calls are
made. Measured in operations, not in seconds."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from farm.guest.agent import Agent
from farm.guest.vm import Guest
from farm.matrix import Cell
from suites import calls, filters
from suites.calls import FUNCTIONS, PATTERNS
from suites.contract import FTRACE_TYPE
from suites.filters import DROP_ALL, PASS_ALL, Program, Rule
from suites.tracefs import FUNCTION_TRACERS, INVALID, ROOT, Tracing

FUNCTION = "target_args2"
CALL = ("args2", PATTERNS["distinct"])

#: Functions of the kernel's own that a seek goes through.
SEEK = ("vfs_llseek", "generic_file_llseek_size")

#: A program that takes 20 ms, see payload/bpf/slow.bpf.c.
SLOW = "/payload/slow.bpf.o"

#: A module that goes, and its function.
VISITOR, VISITOR_FUNCTION = "ftrace_visitor", "visitor_args3"

OK = frozenset({"OK"})


@dataclass(frozen=True)
class Worker:
    """A thread of a storm, what it does, and which outcomes of its calls are right
    besides success."""

    do: str
    cpu: int = 0
    rounds: int = 0
    legal: Mapping[str, frozenset[str]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def request(self) -> dict[str, Any]:
        return {"do": self.do, "cpu": self.cpu, "rounds": self.rounds, **self.options}

    def complaints(self, result: Mapping[str, Any]) -> list[str]:
        """What went wrong, of what the agent reports."""
        found = [
            f"{call} gave {outcome} {count} times"
            for call, outcomes in result["calls"].items()
            for outcome, count in outcomes.items()
            if outcome not in OK | self.legal.get(call, OK)
        ]
        if result["nr_wrong"]:
            found.append(f"{result['wrong']} ({result['nr_wrong']} such)")
        return [f"{self.do} on CPU {self.cpu}: {what}" for what in found]


def storm(agent: Agent, guest: Guest, *workers: Worker) -> list[dict[str, Any]]:
    """Run the workers all at once; fail if one of them met what it must not."""
    agent.limit = guest.deadline(180).seconds
    results = agent.request("storm", workers=[worker.request() for worker in workers])["workers"]
    wrong = [what for worker, result in zip(workers, results, strict=True) for what in worker.complaints(result)]
    assert not wrong, "; ".join(wrong)
    return list(results)


def cpus(cell: Cell) -> tuple[int, int]:
    """Two processors, as different as the cell has them."""
    assert cell.machine
    return 0, cell.machine.cpus - 1


def attach(agent: Agent, programs: list[Program], *functions: str, cpu: int = 0, **more: Any) -> Worker:
    """A worker that puts filters on functions and takes them off."""
    legal = {"perf_event_open": frozenset({"ENOENT"})} if VISITOR_FUNCTION in functions else {}
    rounds = more.pop("rounds", 0)
    options = {"type": filters.pmu_type(agent), "functions": list(functions), "programs": [p.fd for p in programs]}
    return Worker("attach", cpu, rounds, legal, {**options, **more})


def visits(rounds: int, cpu: int, calls: int = 0) -> Worker:
    """A worker that loads and unloads the module, with so many calls of others in
    between. It cannot go while a filter holds it."""
    legal = {"init_module": frozenset({"EEXIST"}), "delete_module": frozenset({"EAGAIN"})}
    options = {"path": f"/payload/{VISITOR}.ko", "name": VISITOR, "calls": calls}
    return Worker("module", cpu, rounds, legal, options)


def switches(cell: Cell, rounds: int) -> Worker:
    """A worker that changes the tracer, and what it traces: never all functions."""
    steps = [
        ("set_ftrace_filter", f"{SEEK[0]}\ntarget_args6\n"),
        ("current_tracer", "function"),
        # of the last of them there may be none: it goes behind those that there are
        ("set_ftrace_filter", f"{SEEK[1]}\n{FUNCTION}\n{VISITOR_FUNCTION}\n"),
        ("current_tracer", "function_graph" if "function_graph" in cell.supports else "nop"),
        ("set_ftrace_filter", f"{SEEK[0]}\n{SEEK[1]}\n{FUNCTION}\ntarget_args6\n"),
        ("current_tracer", "nop"),
    ]
    options = {"paths": [f"{ROOT}/{path}" for path, _ in steps], "texts": [text for _, text in steps]}
    return Worker("write", 0, rounds, {"set_ftrace_filter": frozenset({"EINVAL"})}, options)


def check_slots(agent: Agent, tracing: Tracing, filterable: bool) -> None:
    """The guest is as good as new."""
    program = filters.attach(agent, "target_args6") if filterable else None
    tracing.start("function", *(f"target_{name}" for name in FUNCTIONS))
    done = calls.call(agent, *((name, values) for name in FUNCTIONS for values in PATTERNS.values()))
    asked = program.seen() if program else []
    made = len(PATTERNS) if program else 0
    assert len(asked) == made, f"after the storm: {made} calls of target_args6, and the program ran {len(asked)} times"
    seen = iter(asked)
    for one in done:
        calls.check(f"target_{one.target}, after the storm", one, next(seen, None) if one.target == "args6" else None)
    traced = tracing.calls()
    assert traced == dict.fromkeys((f"target_{name}" for name in FUNCTIONS), len(PATTERNS)), f"the trace has {traced}"


@pytest.mark.needs("dynamic_ftrace")
def test_storm(agent: Agent, tracing: Tracing, guest: Guest, cell: Cell, filterable: bool) -> None:
    """On every processor, filters come and go, tracers are switched, a module is loaded and
    unloaded, and all traced functions are called without a pause."""
    first, last = cpus(cell)
    workers = [
        switches(cell, rounds=12),
        visits(rounds=8, cpu=last, calls=2000),
        # its function is called when it is there
        Worker(
            "write",
            first,
            0,
            {"call": frozenset({"ENOENT", "ENODEV"})},
            {"paths": [f"/sys/module/{VISITOR}/parameters/call"], "texts": ["1"]},
        ),
        Worker("call", first, options={"args": 6}),
        Worker("call", last, options={"args": 2}),
        Worker("seek", first),
        Worker("seek", last),
    ]
    programs = []
    if filterable:
        programs = [Program(agent, Rule(PASS_ALL)), Program(agent, Rule(DROP_ALL))]
        workers += [
            attach(agent, programs, *SEEK, FUNCTION, "target_args6", cpu=first, rounds=10, hold=2),
            attach(agent, programs, "target_args6", FUNCTION, *SEEK, cpu=last, rounds=10),
            attach(agent, programs, VISITOR_FUNCTION, *SEEK, cpu=last, hold=0),
        ]
    tracing.start("nop", *SEEK)
    storm(agent, guest, *workers)
    # nobody holds it any more
    storm(agent, guest, visits(rounds=1, cpu=first))
    check_slots(agent, tracing, filterable)


#: Workers that open something before the storm starts.
OPENERS = (
    {"do": "seek", "rounds": 1},
    {"do": "call", "args": 2},
    {"do": "module", "path": "/payload/agent", "name": VISITOR},
)

#: What keeps a storm from starting: workers behind those, and the error.
OBSTACLES = {
    "unknown": ([*OPENERS, {"do": "nothing"}], "REQUEST"),
    "bad_option": ([*OPENERS, {"do": "call", "args": 9}], "REQUEST"),
    "no_file": ([*OPENERS, {"do": "module", "path": "/payload/missing", "name": VISITOR}], "ENOENT"),
    "no_module": ([*OPENERS, {"do": "module", "path": "/payload", "name": VISITOR}], "EISDIR"),
    "endless": ([*OPENERS[1:], {"do": "seek"}], "REQUEST"),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_refused_storm_holds_nothing(agent: Agent, obstacle: str) -> None:
    """Where one worker cannot be had, the agent gives back what those before it opened."""
    workers, error = OBSTACLES[obstacle]
    looks = {"op": "file_list", "path": "/proc/self/fd"}
    before, answer, after = agent.request("batch", requests=[looks, {"op": "storm", "workers": workers}, looks])[
        "answers"
    ]
    assert answer["name"] == error, f"the storm gave {answer}"
    assert after["entries"] == before["entries"], (
        f"the agent had the descriptors {before['entries']}, and has {after['entries']}"
    )


# The ends of filters' lives.


@pytest.mark.needs("bpf_ftrace")
@pytest.mark.parametrize("tracer", FUNCTION_TRACERS)
def test_attached_while_called(agent: Agent, tracing: Tracing, guest: Guest, cell: Cell, tracer: str) -> None:
    """Filters on one function come and go on two processors, while calls that are about to ask
    them are always under way."""
    first, last = cpus(cell)
    rounds = 20
    programs = [Program(agent, Rule(mode)) for mode in (PASS_ALL, DROP_ALL)]
    tracing.start(tracer, FUNCTION)
    storm(
        agent,
        guest,
        attach(agent, programs[:1], FUNCTION, cpu=first, rounds=rounds, calls=4),
        attach(agent, programs[1:], FUNCTION, cpu=last, rounds=rounds, calls=4, hold=2),
        Worker("call", first, options={"args": 2}),
        Worker("call", last, options={"args": 2}),
    )
    for program in programs:
        assert program.count() >= rounds, f"attached {rounds} times, called each time, and ran {program.count()} times"


@pytest.mark.needs("bpf_ftrace")
@pytest.mark.parametrize("tracer", FUNCTION_TRACERS)
def test_closed_filter_does_not_run(agent: Agent, tracing: Tracing, guest: Guest, cell: Cell, tracer: str) -> None:
    """After close() has returned, the program does not start again, although the function is
    called all the time. The filter is closed and opened many times."""
    first, last = cpus(cell)
    program = Program(agent)
    tracing.start(tracer, FUNCTION)
    expire = {
        "type": filters.pmu_type(agent),
        "functions": [FUNCTION],
        "programs": [program.fd],
        "map": program.count_map,
        "calls": 20,
    }
    storm(
        agent,
        guest,
        Worker("expire", first, 8, options=expire),
        Worker("call", first, options={"args": 2}),
        Worker("call", last, options={"args": 2}),
    )


@pytest.mark.needs("bpf_ftrace")
def test_close_waits_for_runs(agent: Agent, tracing: Tracing, guest: Guest, cell: Cell) -> None:
    """The program no longer runs when close() returns, and a call that it was filtering goes on to
    the other filters."""
    first, last = cpus(cell)
    refusing = filters.attach(agent, FUNCTION, Rule(DROP_ALL))  # behind the newer one
    answer = agent.request("object_load", path=SLOW, ftrace_type=FTRACE_TYPE)
    tracing.start("function", FUNCTION)
    rounds = 6
    expire = {
        "type": filters.pmu_type(agent),
        "functions": [FUNCTION],
        "programs": list(answer["programs"].values()),
        "map": answer["maps"]["count"],
        "calls": 4,  # two may be under way that nobody was asked about
    }
    storm(
        agent,
        guest,
        Worker("expire", first, rounds, options=expire),
        Worker("call", first, options={"args": 2}),
        Worker("call", last, options={"args": 2}),
    )
    traced = tracing.calls()
    assert not traced, f"refused by a filter that was there all the time, and the trace has {traced}"
    assert refusing.count() >= 4 * rounds, f"at least {4 * rounds} calls, and that filter was asked {refusing.count()}"


@pytest.mark.needs("bpf_ftrace")
def test_last_reference(agent: Agent, tracing: Tracing, guest: Guest, cell: Cell) -> None:
    """A program that only its filter holds is freed with the filter, and not before. Several are
    closed at once, so that each close waits for the others."""
    first, last = cpus(cell)
    functions = [f"target_args{nr}" for nr in range(2, 6)]
    tracing.start("function", *functions)
    options = {"type": filters.pmu_type(agent), "program_type": FTRACE_TYPE}
    options["calls"] = 2000  # for longer than it takes until a program that nobody holds is freed
    storm(
        agent,
        guest,
        *(Worker("last", first, 8, options={**options, "functions": [function]}) for function in functions),
        *(Worker("call", last, options={"args": nr}) for nr in range(2, 6)),
    )


@pytest.mark.needs("bpf_ftrace")
def test_switched_while_called(agent: Agent, tracing: Tracing, guest: Guest, cell: Cell) -> None:
    """Each call is refused or traced, whenever the filter is switched on or off."""
    first, last = cpus(cell)
    times = 4000
    program = Program(agent, Rule(DROP_ALL))
    event = filters.open_event(agent, FUNCTION)
    agent.request("perf_ioctl", fd=event, request="SET_BPF", arg=program.fd)
    tracing.start("function", FUNCTION)
    _, toggled = storm(
        agent,
        guest,
        Worker("call", last, times, options={"args": 2}),
        Worker("toggle", first, options={"event": event}),
    )
    refused, traced = program.count(), entries(tracing, cell)
    assert refused + traced == times, (
        f"{times} calls while the filter was switched {toggled['rounds']} times: "
        f"{refused} were refused, {traced} traced"
    )


@pytest.mark.needs("bpf_ftrace", "smp")
def test_runs_on_two_processors(agent: Agent, tracing: Tracing, guest: Guest, cell: Cell) -> None:
    """The event counts every call that two processors make at the same time. Under TCG the processors
    take turns, so a count that is not atomic is wrong only under KVM."""
    times = 4000
    program = Program(agent, Rule(DROP_ALL))
    event = filters.open_event(agent, FUNCTION)
    filters.set_program(agent, event, program.fd)
    tracing.start("function", FUNCTION)
    storm(agent, guest, *(Worker("call", cpu, times, options={"args": 2}) for cpu in cpus(cell)))
    runs = int(agent.request("read_u64", fd=event)["value"], 16)
    assert runs == program.count() == 2 * times, (
        f"{times} calls on each of two processors, the program ran {program.count()} times and the event counts {runs}"
    )


def entries(tracing: Tracing, cell: Cell) -> int:
    """How many events are in the trace, none lost."""
    assert cell.machine
    total = 0
    for cpu in range(cell.machine.cpus):
        stats = dict(line.split(": ") for line in tracing.read(f"per_cpu/cpu{cpu}/stats").splitlines())
        for lost in ("overrun", "commit overrun", "dropped events"):
            assert stats[lost] == "0", f"the trace of CPU {cpu} has lost events: {lost} {stats[lost]}"
        total += int(stats["entries"])
    return total


@pytest.mark.needs("bpf_ftrace")
def test_only_one_sets_the_program(agent: Agent) -> None:
    """If two threads set the program of an event at once, one succeeds and the other gets EEXIST."""
    programs = [Program(agent).fd for _ in range(2)]
    rounds = 20
    answer = agent.request(
        "set_bpf_race", type=filters.pmu_type(agent), functions=[FUNCTION], programs=programs, rounds=rounds
    )
    assert answer["outcomes"] == {"OK EEXIST": rounds}, f"of {rounds} races: {answer['outcomes']}"


@pytest.mark.needs("bpf_ftrace")
def test_one_of_two_filters_closed(agent: Agent, tracing: Tracing) -> None:
    """If one of two filters is closed, the other still works, whichever was first."""
    tracing.start("function", FUNCTION)
    for gone in (0, 1):
        programs = [Program(agent, Rule(DROP_ALL)) for _ in range(2)]
        events = [filters.open_event(agent, FUNCTION) for _ in programs]
        for event, program in zip(events, programs, strict=True):
            agent.request("perf_ioctl", fd=event, request="SET_BPF", arg=program.fd)
        agent.request("close", fd=events[gone])
        calls.call(agent, *[CALL] * 3)
        runs = [program.count() for program in programs]
        assert runs[gone] == 0, f"the program of the closed filter ran {runs[gone]} times"
        assert runs[1 - gone] == 3, f"3 calls, and the filter that is left was asked {runs[1 - gone]} times"
        agent.request("close", fd=events[1 - gone])
    traced = tracing.calls()
    assert not traced, f"filtered all the time, and the trace has {traced}"


@pytest.mark.needs("bpf_ftrace")
def test_owner_is_killed(agent: Agent, tracing: Tracing) -> None:
    """A filter lives as long as any process has its descriptor, and ends when the last of them
    is killed."""
    tracing.start("function", FUNCTION)
    program = Program(agent, Rule(DROP_ALL))
    event = filters.open_event(agent, FUNCTION)
    agent.request("perf_ioctl", fd=event, request="SET_BPF", arg=program.fd)
    child = agent.request("start_child")["pid"]
    agent.request("close", fd=event)
    calls.call(agent, *[CALL] * 2)
    assert program.count() == 2, f"2 calls while a child had the filter: it was asked {program.count()} times"
    assert not tracing.calls(), "the filter let go when its descriptor was handed over"
    agent.request("end_child", pid=child)
    calls.call(agent, CALL)
    traced = tracing.calls()
    assert traced == {FUNCTION: 1}, f"the owner was killed, the call after that is not traced alone: {traced}"
    assert program.count() == 2, f"the program ran {program.count() - 2} times after its owner was killed"


#: Orders in which filters are closed.
ORDERS = {
    "first_first": lambda nr: list(range(nr)),
    "last_first": lambda nr: list(range(nr))[::-1],
    "from_the_middle": lambda nr: sorted(range(nr), key=lambda n: (abs(n - nr // 2), n)),
}


@pytest.mark.needs("bpf_ftrace")
@pytest.mark.parametrize("order", ORDERS)
def test_many_functions(agent: Agent, tracing: Tracing, order: str) -> None:
    """With filters on many functions, exactly these are enabled, until the last one is closed."""
    names = core_functions(agent, 16)
    events = {name: filters.open_event(agent, name) for name in names}
    enabled_are(tracing, set(names), "opened")
    closing = [names[n] for n in ORDERS[order](len(names))]
    for number, name in enumerate(closing, 1):
        agent.request("close", fd=events[name])
        if number in (1, len(names) - 1, len(names)):
            enabled_are(tracing, set(closing[number:]), f"{number} of {len(names)} closed, {order}")
    # whatever the closed ones left in the hash would come back with the next
    event = filters.open_event(agent, FUNCTION)
    enabled_are(tracing, {FUNCTION}, "opened behind them")
    agent.request("close", fd=event)
    enabled_are(tracing, set(), "closed again")


def core_functions(agent: Agent, number: int) -> list[str]:
    """Functions of the kernel's own from all over its text, which can be named."""
    text = agent.request("file_read", path=f"{ROOT}/available_filter_functions", max=200_000)["data"]
    names = [name for name, times in Counter(text.split("\n")[:-1]).items() if times == 1 and "." not in name]
    names = [name for name in names if not name.startswith(INVALID)]
    step = len(names) // (2 * number)
    usable = []
    for name in names[::step]:
        wanted = {"type": filters.pmu_type(agent), "function": name}
        # others of that name may not be traceable, and so be missing in the list
        (answer,) = agent.request("batch", requests=[{"op": "perf_open", "attr": wanted, "pid": -1, "cpu": 0}])[
            "answers"
        ]
        if answer["ok"]:
            agent.request("close", fd=answer["fd"])
            usable.append(name)
        else:
            assert answer["name"] == "EADDRNOTAVAIL", f"a filter on {name}: {answer['name']}"
        if len(usable) == number:
            return usable
    raise AssertionError(f"only {len(usable)} of {len(names[::step])} functions can be filtered")


def enabled_are(tracing: Tracing, expected: set[str], when: str) -> None:
    """Exactly these functions have a call of ftrace's in them."""
    enabled = {line.split()[0] for line in tracing.read("enabled_functions").splitlines()}
    wrong = [f"{name} is not enabled" for name in sorted(expected - enabled)]
    wrong += [f"{name} is enabled" for name in sorted(enabled - expected)]
    assert not wrong, f"{when}: {'; '.join(wrong[:5])}" + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
