# SPDX-License-Identifier: GPL-2.0
"""Filters on functions of modules: they keep their module from being unloaded, and cannot
be opened while it is loading or unloading."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from farm.artifact import locate
from farm.base.errors import KernelError
from farm.guest.agent import Agent, Refused
from farm.guest.gdb import Debugger
from farm.guest.symbols import symbols
from farm.guest.vm import Guest
from farm.kernel.builder import Built
from suites import arch, calls, filters
from suites.calls import PATTERNS
from suites.filters import DROP_ALL, Rule
from suites.tracefs import FUNCTION_TRACERS, Tracing

pytestmark = pytest.mark.needs("bpf_ftrace")

FUNCTION = "target_args2"
CALL = ("args2", PATTERNS["distinct"])

TARGET, WAITER = "ftrace_target", "ftrace_waiter"


def _open(agent: Agent, **attr: object) -> str:
    return filters.refusal(agent, "perf_open", attr={"type": filters.pmu_type(agent), **attr}, pid=-1, cpu=0)


def _references(agent: Agent, module: str) -> int:
    return int(agent.request("file_read", path=f"/sys/module/{module}/refcnt")["data"])


def test_filter_holds_the_module(agent: Agent, tracing: Tracing) -> None:
    """A module with a filtered function cannot be unloaded. Without the filter it can, and can be loaded again."""
    held = _references(agent, TARGET)
    assert held == 0, f"{held} others hold the module already"
    events = [filters.open_event(agent, function) for function in (FUNCTION, FUNCTION, "target_args3")]
    held = _references(agent, TARGET)
    assert held == 3, f"3 events are open, and the module has {held} references"
    while events:
        got = filters.refusal(agent, "module_unload", name=TARGET)
        assert got in ("EAGAIN", "EBUSY"), f"unloading the module while {len(events)} of its filters are open: {got}"
        agent.request("close", fd=events.pop())
    got = _open(agent, function="target_registers_call")
    assert got == "EINVAL", f"a function of the module that cannot be traced gave {got}, not EINVAL"
    held = _references(agent, TARGET)
    assert held == 0, f"no event is open, and the module has {held} references"
    agent.request("module_unload", name=TARGET)
    try:
        got = _open(agent, function=FUNCTION)
        assert got == "ENOENT", f"a function of a module that is gone gave {got}, not ENOENT"
    finally:
        agent.request("module_load", path=f"/payload/{TARGET}.ko")
    tracing.start("function", FUNCTION)
    calls.call(agent, CALL)
    traced = tracing.calls()
    assert traced == {FUNCTION: 1}, f"the module is back, one call of it, and the trace has {traced}"
    filters.attach(agent, FUNCTION, Rule(DROP_ALL))
    tracing.clear()
    calls.call(agent, CALL)
    assert tracing.calls() == {}, "the module is back, and a filter on it does not work"


#: payload/module/visitor.c calls its function so often each time, also when it comes and when it goes.
VISITOR, VISITED, VISITS = "ftrace_visitor", "visitor_args3", 16


def test_name_that_the_kernel_has_as_well(agent: Agent) -> None:
    """A name is ambiguous, and refused, while both the kernel and a module have a function with it."""
    agent.request("close", fd=filters.open_event(agent, "kernfs_fop_open"))
    agent.request("module_load", path=f"/payload/{VISITOR}.ko")
    try:
        got = _open(agent, function="kernfs_fop_open")
    finally:
        agent.request("module_unload", name=VISITOR)
    assert got == "EADDRNOTAVAIL", f"kernfs_fop_open, of the kernel and of a module, gave {got}"
    agent.request("close", fd=filters.open_event(agent, "kernfs_fop_open"))


@pytest.mark.parametrize("tracer", FUNCTION_TRACERS)
@pytest.mark.parametrize("wanted", ["by_name", "with_all"])
def test_module_that_comes_traced(agent: Agent, tracing: Tracing, tracer: str, wanted: str) -> None:
    """If a tracer waits for a module, its function is traced from the first call on: by the tracer's
    own trampoline, by the shared one beside a filter, and by its own again. "All functions" here
    excludes those that exist already, so that the whole kernel is not traced."""
    if wanted == "by_name":
        tracing.start(tracer, FUNCTION, f"{VISITED}:mod:{VISITOR}")
    else:
        tracing.switch("set_ftrace_notrace", "*", "\n")
        tracing.start(tracer)
    agent.request("module_load", path=f"/payload/{VISITOR}.ko")
    try:
        seen = [tracing.names()[VISITED]]
        event = filters.open_event(agent, VISITED)
        for undo in (lambda: agent.request("close", fd=event), lambda: None):
            agent.request("file_write", path=f"/sys/module/{VISITOR}/parameters/call", data="1")
            seen.append(tracing.names()[VISITED])
            undo()
    finally:
        agent.request("module_unload", name=VISITOR)
    assert seen == [VISITS, 2 * VISITS, 3 * VISITS], (
        f"{VISITS} calls when the module came, as many beside a filter, and without: the trace had {seen}"
    )


def test_module_that_goes_from_a_filter(agent: Agent, tracing: Tracing) -> None:
    """After a module is unloaded, set_ftrace_filter does not have the functions of one that is loaded in its place."""
    agent.request("module_load", path=f"/payload/{VISITOR}.ko")
    tracing.limit(FUNCTION, VISITED)
    agent.request("module_unload", name=VISITOR)
    agent.request("module_load", path=f"/payload/{VISITOR}.ko")
    try:
        chosen = tracing.read("set_ftrace_filter").split()
    finally:
        agent.request("module_unload", name=VISITOR)
    assert VISITED not in chosen, f"the module went and came, and set_ftrace_filter has its function again: {chosen}"


@pytest.mark.parametrize("second", FUNCTION_TRACERS)
def test_module_that_comes_to_two_tracers(agent: Agent, tracing: Tracing, second: str) -> None:
    """If two tracers wait for a module, both trace its function."""
    both = {tracing: "function", tracing.instance("farm"): second}
    for one, tracer in both.items():
        one.switch("set_ftrace_notrace", "*", "\n")
        one.start(tracer)
    agent.request("module_load", path=f"/payload/{VISITOR}.ko")
    try:
        seen = [one.names()[VISITED] for one in both]
    finally:
        agent.request("module_unload", name=VISITOR)
    assert seen == [VISITS, VISITS], f"{VISITS} calls when the module came, function and {second} had {seen}"


#: The kernel looks an address up with this before it holds the module there.
FINDS_MODULE = "__module_text_address"

#: A function's name as it is in a module's data, and one of the same length.
NAME, OTHER_NAME = FUNCTION.encode() + b"\0", b"target_args3\0"

PAGE = 4096


def _swap_names(debugger: Debugger, start: int) -> None:
    """From outside, let the two functions of a module swap names. `start` is in its data."""
    data = bytearray()
    with suppress(KernelError):  # where the data ends
        while True:
            data += debugger.read(start + len(data), PAGE - (start + len(data)) % PAGE)
    found = list(re.finditer(re.escape(NAME) + b"|" + re.escape(OTHER_NAME), data))
    assert {one[0] for one in found} == {NAME, OTHER_NAME}, f"the names are not in {len(data)} bytes at {start:#x}"
    for one in found:
        debugger.write(start + one.start(), OTHER_NAME if one[0] == NAME else NAME)


def test_name_that_goes_elsewhere(guest: Guest, agent: Agent, built: Built) -> None:
    """When a name has been looked up and its module is not held yet, another one can take its place, with another
    function at the address. Then opening fails. Here two functions of one module swap names in that moment."""
    path = f"/sys/module/{TARGET}/sections/.gnu.linkonce.this_module"
    data = int(agent.request("file_read", path=path)["data"], 16)
    listed = guest.connection.run(f"grep -w {FUNCTION} /proc/kallsyms", guest.deadline(20)).stdout.split()
    address, place = int(listed[0], 16), symbols(locate(built.kernel))[FINDS_MODULE]
    first = arch.of(agent.arch).arguments[0]
    attr = {"type": filters.pmu_type(agent), "function": FUNCTION}
    with guest.debugger() as debugger:
        agent.send("perf_open", attr=attr, pid=-1, cpu=0)
        found = None
        while found != address:
            debugger.insert(place)
            debugger.go()
            assert debugger.wait(guest.deadline(20), agent), f"{FINDS_MODULE} is not called for {FUNCTION}"
            debugger.remove(place)
            found = debugger.registers()[first]
            debugger.step()  # or it would stop here again
        _swap_names(debugger, data)
    got = "success"
    try:
        agent.receive()
    except Refused as refused:
        got = refused.name
    finally:
        with guest.debugger() as debugger:
            _swap_names(debugger, data)
    assert got == "ENOENT", f"{FUNCTION} is elsewhere by the time its module is held, and opening it gave {got}"
    held = _references(agent, TARGET)
    assert held == 0, f"no event is open, and the module has {held} references"
    agent.request("close", fd=filters.open_event(agent, FUNCTION))


# A module that stops on its way.


@contextmanager
def _stopped(agent: Agent, guest: Guest, do: Callable[[], object]) -> Iterator[None]:
    """While the module has stopped in what `do` has it do; it goes on at the end."""
    with ThreadPoolExecutor(1) as thread:
        doing: Future[object] = thread.submit(do)
        try:
            deadline = guest.deadline(20)
            while not _waits(agent):
                assert not deadline.passed, "the module does not stop on its way"
                if doing.done():
                    doing.result()
                    raise AssertionError("the module has not stopped on its way")
            yield
        finally:
            filters.refusal(agent, "file_write", path=f"/sys/module/{WAITER}/parameters/go", data="1")
            doing.result()


def _waits(agent: Agent) -> bool:
    path = f"/sys/module/{WAITER}/parameters/waiting"
    if filters.refusal(agent, "file_read", path=path) != "success":
        return False
    return str(agent.request("file_read", path=path)["data"]).strip() == "Y"


def _symbols(guest: Guest) -> dict[str, int]:
    found = guest.connection.run("grep waiter_ /proc/kallsyms", guest.deadline(20)).stdout.splitlines()
    return {line.split()[2]: int(line.split()[0], 16) for line in found}


def test_module_on_its_way(guest: Guest, agent: Agent, tracing: Tracing) -> None:
    """Functions of a module that is loading or unloading, or of its init text, cannot be filtered."""
    with guest.agent() as other:

        def load() -> object:
            return other.request("module_load", path=f"/payload/{WAITER}.ko", parameters="wait=1")

        def unload() -> object:
            return other.request("module_unload", name=WAITER)

        with _stopped(agent, guest, load):
            symbols = _symbols(guest)
            assert "waiter_begin" in symbols, f"the module comes, and of it there is {symbols}"
            for attr in ({"function": "waiter_begin"}, {"config2": hex(symbols["waiter_begin"])}):
                got = _open(agent, **attr)
                assert got == "EINVAL", f"a function of the init text, {attr}, gave {got}, not EINVAL"
            for attr in ({"function": "waiter_stop"}, {"config2": hex(symbols["waiter_stop"])}):
                got = _open(agent, **attr)
                assert got == "ENOENT", f"a function of a module that may still fail, {attr}, gave {got}, not ENOENT"
        got = _open(agent, function="waiter_begin")
        assert got == "ENOENT", f"the init text is gone, and a function of it gave {got}, not ENOENT"
        event = filters.open_event(agent, "waiter_stop")
        agent.request("close", fd=event)
        held = _references(agent, WAITER)
        assert held == 0, f"no event is open, and the module has {held} references"
        with _stopped(agent, guest, unload):
            for attr in ({"function": "waiter_stop"}, {"config2": hex(symbols["waiter_stop"])}):
                got = _open(agent, **attr)
                assert got == "ENOENT", f"a function of a module that goes, {attr}, gave {got}, not ENOENT"
        got = _open(agent, function="waiter_stop")
        assert got == "ENOENT", f"a function of a module that is gone gave {got}, not ENOENT"
