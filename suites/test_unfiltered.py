# SPDX-License-Identifier: GPL-2.0
"""What a filter does not affect: probes, live patches, direct calls and all others that did
not opt in see every call, even those that the filter refuses every tracer."""

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import pytest

from farm.guest.agent import Agent, Refused
from farm.matrix import Cell
from farm.version import Version
from suites import calls, filters, tracefs, versions
from suites import observer as module
from suites.calls import MASK, PATTERNS, Call
from suites.filters import ARG_EQUALS, DROP_ALL, PASS_ALL, Rule
from suites.tracefs import Tracing

pytestmark = pytest.mark.needs("bpf_ftrace")

FUNCTION = "target_args5"
CALLS = [("args5", values) for values in PATTERNS.values()]

#: enum bpf_attach_type (include/uapi/linux/bpf.h)
BPF_TRACE_FENTRY, BPF_TRACE_FEXIT, BPF_TRACE_KPROBE_MULTI, BPF_TRACE_KPROBE_SESSION = 24, 25, 42, 56


@dataclass(frozen=True)
class Seen:
    """One call, as an observer saw it: None for what it has no way to see."""

    arguments: tuple[int, ...] | None
    returned: int | None


#: All calls since the observer was started, in order.
Look = Callable[[], list[Seen]]


@dataclass(frozen=True)
class UnfilteredObserver:
    """Something that gets calls from ftrace, but is not a tracer."""

    name: str
    start: Callable[[Agent, Tracing], Look]
    needs: tuple[str, ...] = ()

    def param(self) -> Any:
        """For pytest.mark.parametrize."""
        return pytest.param(self, id=self.name, marks=pytest.mark.needs(*self.needs))


# Events of tracefs, which are written into the trace beside what the tracer writes.

REGISTERS = "a1=%di:x64 a2=%si:x64 a3=%dx:x64 a4=%cx:x64 a5=%r8:x64"
ARGUMENTS = "a1=$arg1:x64 a2=$arg2:x64 a3=$arg3:x64 a4=$arg4:x64 a5=$arg5:x64"
RETURNED = "returned=$retval:x64"


def _event(kind: str, place: str, fetch: str) -> Callable[[Agent, Tracing], Look]:
    def start(agent: Agent, tracing: Tracing) -> Look:
        tracing.clear()
        tracing.event(f"{kind}:farm/observer {place} {fetch}")

        def look() -> list[Seen]:
            return [_fetched(line) for line in tracing.read("trace").splitlines() if "observer: (" in line]

        return look

    return start


def _fetched(line: str) -> Seen:
    values = {name: int(value, 16) for name, value in re.findall(r" (\w+)=(0x[0-9a-f]+)", line)}
    returned = values.pop("returned", None)
    assert values or returned is not None, f"the event has no value that can be read: {line}"
    return Seen(tuple(values.values()) or None, returned)


# Programs that are attached by BPF, and keep what they see in a map.

SEEN = struct.Struct("<5QQ")  # struct observed, payload/include/observer.h


def _program(name: str, attach_type: int, arguments: bool, returned: bool, **how: object) -> Callable[..., Look]:
    def start(agent: Agent, tracing: Tracing) -> Look:
        loaded = agent.request("object_load", path=f"/payload/{name}.bpf.o", expected_attach_type=attach_type)
        (program,) = loaded["programs"].values()
        agent.request("link_create", prog_fd=program, attach_type=attach_type, **how)

        def read(table: str, key: int, size: int) -> bytes:
            wanted = {"fd": loaded["maps"][table], "key": struct.pack("<I", key).hex(), "value_size": size}
            return bytes.fromhex(agent.request("map_lookup", **wanted)["value"])

        def look() -> list[Seen]:
            (number,) = struct.unpack("<Q", read("count", 0, 8))
            found = [SEEN.unpack(read("seen", index, SEEN.size)) for index in range(number)]
            return [Seen(words[:5] if arguments else None, words[5] if returned else None) for words in found]

        return look

    return start


def _multi(on_return: bool) -> Callable[[Agent, Tracing], Look]:
    how = {"symbols": [FUNCTION], "return": on_return}
    return _program("kprobe_multi", BPF_TRACE_KPROBE_MULTI, not on_return, on_return, **how)


def _session(agent: Agent, tracing: Tracing) -> Look:
    """Of each call, the first record has the arguments and the second what was returned."""
    both = _program("kprobe_multi", BPF_TRACE_KPROBE_SESSION, True, True, symbols=[FUNCTION])(agent, tracing)

    def look() -> list[Seen]:
        runs = both()
        assert len(runs) % 2 == 0, f"all calls have returned, and the program ran {len(runs)} times"
        return [Seen(entry.arguments, back.returned) for entry, back in zip(runs[::2], runs[1::2], strict=True)]

    return look


# Those of the target module: callbacks that did not ask to be filtered.


def _module(kind: str) -> Callable[[Agent, Tracing], Look]:
    def start(agent: Agent, tracing: Tracing) -> Look:
        observer = module.ModuleObserver(agent, kind, [FUNCTION])
        return lambda: [Seen(tuple(one.args[:5]), None) for one in observer.seen()]

    return start


OBSERVERS = (
    UnfilteredObserver("ops", _module(module.OPS)),
    UnfilteredObserver("ops_regs", _module(module.OPS_REGS)),
    UnfilteredObserver("direct", _module(module.DIRECT)),
    UnfilteredObserver("kprobe", _event("p", FUNCTION, REGISTERS)),
    UnfilteredObserver("kretprobe", _event("r", FUNCTION, RETURNED)),
    UnfilteredObserver("fprobe", _event("f", FUNCTION, ARGUMENTS), ("fprobe",)),
    UnfilteredObserver("fprobe_exit", _event("f", f"{FUNCTION}%return", RETURNED), ("fprobe",)),
    UnfilteredObserver("kprobe_multi", _multi(False), ("fprobe",)),
    UnfilteredObserver("kretprobe_multi", _multi(True), ("fprobe",)),
    UnfilteredObserver("kprobe_session", _session, ("fprobe",)),
    UnfilteredObserver("fentry", _program("fentry", BPF_TRACE_FENTRY, True, False), ("fentry",)),
    UnfilteredObserver("fexit", _program("fexit", BPF_TRACE_FEXIT, True, True), ("fentry",)),
)

tracers = pytest.mark.parametrize(
    "tracer", ["function", pytest.param("function_graph", marks=pytest.mark.needs("function_graph"))]
)


@pytest.mark.parametrize("observer", [observer.param() for observer in OBSERVERS])
@pytest.mark.parametrize("first", ["observer_first", "filter_first"])
@tracers
def test_observer(agent: Agent, tracing: Tracing, observer: UnfilteredObserver, first: str, tracer: str) -> None:
    """An observer that is not a tracer sees every call that the filter refuses, with the right arguments."""
    if first == "observer_first":
        look = observer.start(agent, tracing)
        program = filters.attach(agent, FUNCTION, Rule(DROP_ALL))
    else:
        program = filters.attach(agent, FUNCTION, Rule(DROP_ALL))
        look = observer.start(agent, tracing)
    done = calls.call(agent, *CALLS)
    _compare(f"{observer.name} and a filter, no tracer", look(), done)
    assert program.count() == 0, f"{observer.name} and no tracer: the program ran {program.count()} times"
    tracing.start(tracer, FUNCTION)  # which empties the trace
    before = [] if not look() else look()
    done = calls.call(agent, *CALLS)
    _compare(f"{observer.name} beside {tracer} that is refused all calls", look()[len(before) :], done)
    assert not tracing.calls(), f"{tracer} beside {observer.name}: a refused call is in the trace"
    assert program.seen() == [one.passed[:5] for one in done], f"{observer.name}: what the program saw was not passed"
    program.set_rule(Rule(PASS_ALL))
    calls.call(agent, *CALLS)
    assert tracing.calls() == {FUNCTION: len(CALLS)}, f"{tracer} beside {observer.name}: not traced, though let through"


@pytest.mark.parametrize("observer", [observer.param() for observer in OBSERVERS])
@tracers
def test_observer_joins(agent: Agent, tracing: Tracing, observer: UnfilteredObserver, tracer: str) -> None:
    """An observer that comes after the tracer sees every call, and the tracer is still filtered."""
    program = filters.attach(agent, FUNCTION, Rule(DROP_ALL))
    tracing.start(tracer, FUNCTION)
    look = observer.start(agent, tracing)
    done = calls.call(agent, *CALLS)
    _compare(f"{observer.name} that joins {tracer}", look(), done)
    assert not tracing.calls(), f"{observer.name} joined {tracer}: a refused call is in the trace"
    program.set_rule(Rule(PASS_ALL))
    calls.call(agent, *CALLS)
    assert tracing.calls() == {FUNCTION: len(CALLS)}, f"{observer.name} joined {tracer}: not traced, though let through"
    assert program.count() == 2 * len(CALLS), f"{2 * len(CALLS)} calls, and the program ran {program.count()} times"


#: They follow a call to its return, so that they and function_graph hook the same return address.
RETURNS = [observer for observer in OBSERVERS if observer.name in ("fprobe_exit", "kretprobe_multi", "kprobe_session")]

#: The order in which three users of one function come.
ORDERS = list(permutations(("function", "function_graph", "observer")))


@pytest.mark.needs("function_graph")
@pytest.mark.parametrize("order", ORDERS, ids="+".join)
@pytest.mark.parametrize("observer", [observer.param() for observer in RETURNS])
def test_one_run_for_all(
    agent: Agent, tracing: Tracing, observer: UnfilteredObserver, order: tuple[str, str, str]
) -> None:
    """Both tracers go by one run of the program for each call, also if someone else hooks the return."""
    program = filters.attach(agent, FUNCTION, Rule(DROP_ALL))
    graph = tracing.instance("farm")
    looks: list[Look] = []
    starts: dict[str, Callable[[], object]] = {
        "function": lambda: tracing.start("function", FUNCTION),
        "function_graph": lambda: graph.start("function_graph", FUNCTION),
        "observer": lambda: looks.append(observer.start(agent, tracing)),
    }
    for one in order:
        starts[one]()
    (look,) = looks
    first = CALLS[0][1][0]
    matching = sum(values[0] == first for _, values in CALLS)
    for what, rule, passed in (
        ("all are refused", Rule(DROP_ALL), 0),
        ("all are let through", Rule(PASS_ALL), len(CALLS)),
        (f"those with {first:#x} are let through", Rule(ARG_EQUALS, 1, first), matching),
    ):
        program.set_rule(rule)
        program.forget()
        for trace in (tracing, graph):
            trace.clear()
        before = len(look())
        done = calls.call(agent, *CALLS)
        _compare(f"{observer.name}, {what}", look()[before:], done)
        got = tracing.calls()[FUNCTION], graph.calls()[FUNCTION], program.count()
        expected = passed, passed, len(CALLS)
        assert got == expected, (
            f"{len(CALLS)} calls, {what}: function, function_graph and the program have {got}, should be {expected}"
        )


@pytest.mark.parametrize("observer", [observer.param() for observer in OBSERVERS])
def test_kprobe_goes(agent: Agent, tracing: Tracing, observer: UnfilteredObserver) -> None:
    """An observer still gets the registers that it needs after the last kprobe is gone that wanted them all."""
    look = observer.start(agent, tracing)
    filters.attach(agent, FUNCTION, Rule(DROP_ALL))
    tracing.start("function", FUNCTION)
    tracing.event(f"p:farm/going {FUNCTION}")
    for what, enabled in (("beside a kprobe", "1"), ("behind a kprobe", "0")):
        tracing.write("events/farm/going/enable", enabled)
        before = len(look())
        done = calls.call(agent, *CALLS)
        _compare(f"{observer.name} {what}", look()[before:], done)


@pytest.mark.needs("fentry")
@pytest.mark.parametrize("order", [("fentry", "fexit"), ("fexit", "fentry")], ids="+".join)
def test_second_program(agent: Agent, tracing: Tracing, order: tuple[str, str]) -> None:
    """With a second program on a function, the code that calls the first is replaced by code that calls both,
    beside a tracer."""
    observers = {observer.name: observer for observer in OBSERVERS}
    program = filters.attach(agent, FUNCTION, Rule(PASS_ALL))
    tracing.start("function", FUNCTION)
    looks: dict[str, Look] = {}
    for name in order:
        looks[name] = observers[name].start(agent, tracing)
        before = {name: len(look()) for name, look in looks.items()}
        done = calls.call(agent, *CALLS)
        for name, look in looks.items():
            _compare(f"{name} of {' and '.join(looks)} beside a tracer", look()[before[name] :], done)
    made = len(order) * len(CALLS)
    got = program.count(), tracing.calls()[FUNCTION]
    assert got == (made, made), f"{made} calls beside {' and '.join(order)}: asked about and traced {got}"


@pytest.mark.needs("fentry")
def test_program_after_program(agent: Agent) -> None:
    """Of two loaded programs, one is attached and detached, and then the other one is attached."""
    loaded = {name: agent.request("object_load", path=f"/payload/{name}.bpf.o") for name in ("fentry", "fexit")}
    for name, attach_type in (("fentry", BPF_TRACE_FENTRY), ("fexit", BPF_TRACE_FEXIT)):
        (program,) = loaded[name]["programs"].values()
        link = agent.request("link_create", prog_fd=program, attach_type=attach_type)["fd"]
        calls.call(agent, *CALLS)
        agent.request("close", fd=link)
        wanted = {"fd": loaded[name]["maps"]["count"], "key": "00000000", "value_size": 8}
        count = int.from_bytes(bytes.fromhex(agent.request("map_lookup", **wanted)["value"]), "little")
        assert count == len(CALLS), f"{len(CALLS)} calls while {name} is attached, and it saw {count}"


def _compare(what: str, seen: Sequence[Seen], done: Sequence[Call]) -> None:
    """That an observer saw the calls that were made, and no others."""
    assert len(seen) == len(done), f"{what}: {len(done)} calls, it saw {len(seen)}"
    for one, look in zip(done, seen, strict=True):
        calls.check(what, one)
        assert look.arguments in (None, one.passed[:5]), (
            f"{what}: passed {_hex(one.passed[:5])}, and it saw {_hex(look.arguments or ())}"
        )
        assert look.returned in (None, one.returned), f"{what}: returned {one.returned:#x}, it saw {look.returned:#x}"


def _hex(values: Sequence[int]) -> str:
    return ", ".join(map(hex, values))


LIVEPATCH = "/sys/kernel/livepatch/target_livepatch"


@pytest.mark.needs("livepatch")
def test_livepatch(agent: Agent, tracing: Tracing, cell: Cell) -> None:
    """With a live patch, the replacement is called, whatever the filter decides for the tracer."""
    program = filters.attach(agent, FUNCTION, Rule(DROP_ALL))
    _patch(tracing)
    try:
        _replaced("a filter, no tracer", agent)
        assert program.count() == 0, f"no tracer, and the program ran {program.count()} times"
        for tracer in ("function", "function_graph") if "function_graph" in cell.supports else ("function",):
            before = program.seen()
            program.set_rule(Rule(DROP_ALL))
            tracing.start(tracer, FUNCTION)
            _replaced(f"{tracer} that is refused all calls", agent)
            assert not tracing.calls(), f"{tracer} beside a live patch: a refused call is in the trace"
            expected = [*before, *(values[:5] for _, values in CALLS)]
            assert program.seen() == expected, f"{tracer} beside a live patch: the program saw {program.seen()}"
            program.set_rule(Rule(PASS_ALL))
            _replaced(f"{tracer} that is let see all calls", agent)
            traced = tracing.calls()
            assert traced == {FUNCTION: len(CALLS)}, f"{tracer} beside a live patch, all let through: {dict(traced)}"
    finally:
        _unpatch(tracing)
    for one in calls.call(agent, *CALLS):
        calls.check("after the live patch", one)


@pytest.mark.needs("livepatch")
def test_switch_beside_a_livepatch(agent: Agent, tracing: Tracing, version: Version) -> None:
    """ftrace cannot be switched off while there is a live patch, and stays on."""
    expected = "EBUSY" if versions.FTRACE_SWITCH.hold(version) else "EOPNOTSUPP"
    _patch(tracing)
    try:
        got = filters.refusal(agent, "file_write", path=tracefs.SWITCH, data="0")
        enabled = tracing.read(tracefs.SWITCH).strip()
    finally:
        _unpatch(tracing)
    assert (got, enabled) == (expected, "1"), f"switching off gave {got}, and ftrace_enabled is {enabled}"


@pytest.mark.needs("livepatch", "fentry")
@pytest.mark.parametrize("observer", [one.param() for one in OBSERVERS if one.name in ("fentry", "fexit")])
def test_livepatch_and_direct_call(agent: Agent, tracing: Tracing, observer: UnfilteredObserver) -> None:
    """With a live patch and a direct call, the call goes from ftrace to a program, and from there to
    the replacement of the called function."""
    look = observer.start(agent, tracing)
    _patch(tracing)
    try:
        _replaced(observer.name, agent)
        seen = look()
    finally:
        _unpatch(tracing)
    assert [one.arguments for one in seen] == [values[:5] for _, values in CALLS], f"{observer.name} saw {seen}"


@pytest.mark.needs("livepatch", "with_regs")
@pytest.mark.parametrize("first", ["kprobe", "livepatch"])
def test_livepatch_and_kprobe(agent: Agent, tracing: Tracing, first: str) -> None:
    """A kprobe does not disturb a live patch of the same function, whichever came first."""
    if first == "kprobe":
        tracing.kprobe(FUNCTION)
    _patch(tracing)
    try:
        if first == "livepatch":
            tracing.kprobe(FUNCTION)
        _replaced(f"a kprobe, {first} first", agent)
    finally:
        _unpatch(tracing)


def _replaced(what: str, agent: Agent) -> None:
    """That calls reach the replacement: it returns the complement, and records nothing."""
    for one in calls.call(agent, *CALLS):
        expected = one.expected_return ^ MASK
        assert one.returned == expected, (
            f"a live patch and {what}: returned {one.returned:#x}, the replacement returns {expected:#x}"
            + (", and the function that it replaces was called" if any(one.received) else "")
        )


def _run(tracing: Tracing, command: str) -> None:
    done = tracing.guest.connection.run(command, tracing.guest.deadline(20))
    assert done.status == 0, f"{command}: {done.stderr.strip()}"


def _patch(tracing: Tracing) -> None:
    _run(tracing, "insmod /payload/target_livepatch.ko")
    _settle(tracing, "patching")


def _unpatch(tracing: Tracing) -> None:
    tracing.write(f"{LIVEPATCH}/enabled", "0")
    _settle(tracing, "unpatching")
    # the kernel lets go of the module by a work of its own, behind what `_settle` sees
    for _ in tracing.guest.deadline(30).poll():
        done = tracing.guest.connection.run("rmmod target_livepatch", tracing.guest.deadline(20))
        if done.status == 0:
            return
    raise AssertionError(f"the live patch is off, and its module does not go: {done.stderr.strip()}")


def _settle(tracing: Tracing, what: str) -> None:
    """Wait until every task has gone over. The kernel looks once a second at those
    that could not at first (kernel/livepatch/transition.c)."""
    for _ in tracing.guest.deadline(30).poll():
        try:
            if tracing.read(f"{LIVEPATCH}/transition").strip() == "0":
                return
        except Refused:  # the last step of unpatching
            return
    raise AssertionError(f"{what} does not end")
