# SPDX-License-Identifier: GPL-2.0
"""perf_event_open: what it refuses, one by one, and what it accepts as a function."""

from collections import Counter
from typing import Any

import pytest

from farm.artifact import locate
from farm.guest.agent import Agent
from farm.guest.symbols import symbols
from farm.guest.vm import Guest
from farm.kernel.builder import Built
from suites import calls, filters
from suites.calls import PATTERNS
from suites.contract import (
    PERF_COUNT_SW_DUMMY,
    PERF_FLAG_FD_CLOEXEC,
    PERF_FLAG_PID_CGROUP,
    PERF_TYPE_SOFTWARE,
)
from suites.filters import DROP_ALL, Program, Rule
from suites.tracefs import INVALID, ROOT, Tracing

pytestmark = pytest.mark.needs("bpf_ftrace")

#: What a symbol takes at most, its end included (include/linux/kallsyms.h).
KSYM_NAME_LEN = 512

FUNCTION = "target_args2"

#: Any function of the kernel itself that has an entry of some length.
KERNEL_FUNCTION = "vfs_read"

#: The functions that can be traced, with the addresses of their calls.
TRACEABLE = f"{ROOT}/available_filter_functions_addrs"

#: How far from its symbol the call of a function can be, on any architecture.
ENTRY_MAX = 8

#: No architecture loads modules as far up as this.
NO_MODULE = 0xFFFFFFFFFE000000

PERF_SAMPLE_BRANCH_STACK = 1 << 11
PERF_SAMPLE_BRANCH_USER_ANY = 1 | 1 << 3


def _open(agent: Agent, attr: dict[str, Any] | None = None, **request: Any) -> str:
    """The result of opening a correct event with these changes; an attribute of None is
    left out."""
    wanted = {"type": filters.pmu_type(agent), "function": FUNCTION} | (attr or {})
    wanted = {key: value for key, value in wanted.items() if value is not None}
    return filters.refusal(agent, "perf_open", **({"attr": wanted, "pid": -1, "cpu": 0} | request))


def _by_name(name: str) -> dict[str, Any]:
    return {"attr": {"function": name}}


def _by_address(address: int) -> dict[str, Any]:
    return {"attr": {"function": None, "config2": hex(address)}}


#: One line for each fault: the errno, and all the ways to commit it.
REFUSED: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "task": ("EINVAL", [{"pid": 0}, {"pid": 0, "cpu": -1}, {"pid": 1, "cpu": -1}]),
    # the pid is then a descriptor, here the agent's standard input
    "cgroup": ("EINVAL", [{"pid": 0, "flags": PERF_FLAG_PID_CGROUP | PERF_FLAG_FD_CLOEXEC}]),
    "neither_task_nor_cpu": ("EINVAL", [{"pid": -1, "cpu": -1}]),
    "cpu_out_of_range": ("EINVAL", [{"cpu": 4096}, {"cpu": 0x7FFFFFFF}, {"cpu": -2}]),
    "inherit": ("EINVAL", [{"attr": {"inherit": True}}]),
    "exclude": (
        "EINVAL",
        [
            {"attr": {f"exclude_{what}": True}}
            for what in ("kernel", "user", "hv", "idle", "host", "guest", "callchain_kernel", "callchain_user")
        ],
    ),
    "config": ("EINVAL", [{"attr": {"config": value}} for value in (1, "0x100000000", "0x8000000000000000")]),
    "config3": ("EINVAL", [{"attr": {"config3": 1}}]),
    "neither_name_nor_address": ("EINVAL", [{"attr": {"function": None}}]),
    "name_and_address": ("EINVAL", [{"attr": {"config2": "0xffffffff81000000"}}]),
    "sampling": ("EOPNOTSUPP", [{"attr": {"sample_period": value}} for value in (1, 1000)]),
    "freq": ("EOPNOTSUPP", [{"attr": {"freq": True, "sample_freq": value}} for value in (0, 10)]),
    "branch_stack": (
        "EOPNOTSUPP",
        [{"attr": {"sample_type": PERF_SAMPLE_BRANCH_STACK, "branch_sample_type": PERF_SAMPLE_BRANCH_USER_ANY}}],
    ),
    # page zero, the kernel's memory, no address at all
    "name_unreadable": (
        "EFAULT",
        [
            {"attr": {"function": None, "config1": value}}
            for value in ("0x10", "0xffffffff81000000", "0x8000000000000000")
        ],
    ),
    "name_too_long": ("E2BIG", [_by_name("x" * length) for length in (KSYM_NAME_LEN, 600, 5000)]),
    "unknown_symbol": (
        "ENOENT",
        [
            _by_name(name)
            for name in (
                "no_such_function",
                "",
                "target_args",
                f"{FUNCTION} ",
                f"ftrace_target:{FUNCTION}",
                "x" * (KSYM_NAME_LEN - 1),
            )
        ],
    ),
    # in assembly, by attribute, by a directory that is compiled without tracing
    "notrace_function": (
        "EINVAL",
        [_by_name(name) for name in ("__fentry__", "ktime_get_mono_fast_ns", "bpf_ftrace_traced")],
    ),
    "symbol_of_data": ("EINVAL", [_by_name("init_task")]),
    "address_without_code": (
        "EINVAL",
        [_by_address(value) for value in (1, 0x1000, 0xFFFFFFFF00000000, NO_MODULE, 0xFFFFFFFFFFFFFFFF)],
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_open_refuses(agent: Agent, what: str) -> None:
    """perf_event_open refuses each fault with its errno, and accepts the same event without the fault."""
    errno, requests = REFUSED[what]
    assert _open(agent) == "success", "an event that has nothing wrong with it"
    for request in requests:
        got = _open(agent, **request)
        assert got == errno, f"perf_event_open with {request} gave {got}, not {errno}"


@pytest.mark.parametrize("leader", ["software", "ftrace"])
def test_open_refuses_groups(agent: Agent, leader: str) -> None:
    attr: dict[str, Any] = {"type": PERF_TYPE_SOFTWARE, "config": PERF_COUNT_SW_DUMMY}
    if leader == "ftrace":
        attr = {"type": filters.pmu_type(agent), "function": FUNCTION}
    group = agent.request("perf_open", attr=attr, pid=-1, cpu=0)["fd"]
    got = _open(agent, group_fd=group)
    assert got == "EINVAL", f"an event in the group of a {leader} event gave {got}, not EINVAL"


def test_open_refuses_ambiguous_names(agent: Agent, built: Built) -> None:
    """A name that two functions have is refused, because the kernel must not guess."""
    addresses: dict[str, set[str]] = {}
    for line in (locate(built.kernel) / "System.map").read_text().splitlines():
        address, kind, name = line.split(maxsplit=2)
        if kind in "tT":
            addresses.setdefault(name, set()).add(address)
    names = sorted(name for name, places in addresses.items() if len(places) > 1)
    assert names, "the kernel has no two functions of one name, so there is nothing to be ambiguous"
    for name in dict.fromkeys((names[0], names[len(names) // 2], names[-1])):
        got = _open(agent, **_by_name(name))
        assert got == "EADDRNOTAVAIL", f"{name}, which {len(addresses[name])} functions are called, gave {got}"


def _check_no_entries(agent: Agent, built: Built, *offsets: int) -> None:
    entry = symbols(locate(built.kernel))[KERNEL_FUNCTION]
    got = _open(agent, **_by_address(entry))
    assert got == "success", f"the entry of {KERNEL_FUNCTION} gave {got}"
    taken = {offset: _open(agent, **_by_address(entry + offset)) for offset in offsets}
    wrong = [f"{KERNEL_FUNCTION}+{offset} gave {got}" for offset, got in taken.items() if got != "EINVAL"]
    assert not wrong, f"addresses that are no entry, so EINVAL: {', '.join(wrong)}"


def test_open_refuses_the_middle_of_a_function(agent: Agent, built: Built) -> None:
    """An address after the call of the tracer is refused; an ENDBR may precede that call."""
    _check_no_entries(agent, built, 9, 10, 16)


def test_open_refuses_the_middle_of_the_call(agent: Agent, built: Built) -> None:
    """An address inside the call of the tracer is refused, except its first byte (after an ENDBR, the fifth)."""
    _check_no_entries(agent, built, 1, 2, 3, 5, 6, 7, 8)


def test_open_takes_the_first_and_the_last(agent: Agent, guest: Guest) -> None:
    """The first and the last function by address, of the kernel and of a module, can be filtered."""
    listed = guest.connection.run(
        f"grep -v {INVALID} {TRACEABLE} | sed -n '1p; /\\[ftrace_target\\]/p'", guest.deadline(60)
    )
    (first, *_), *module = (line.split() for line in listed.stdout.splitlines())
    ends = sorted(int(address, 16) for address, *_ in module)
    for what, address in {
        "first function of the kernel": int(first, 16),
        "first of the module": ends[0],
        "last of the module": ends[-1],
    }.items():
        got = _open(agent, **_by_address(address))
        assert got == "success", f"perf_event_open of the {what}, at {address:#x}, gave {got}"


@pytest.mark.touches_many
def test_open_next_to_dropped_functions(agent: Agent, guest: Guest, tracing: Tracing) -> None:
    """The linker dropped weak functions and kept their calls of ftrace, each after some other function. A filter
    on that function takes the call of its own. If it has none, opening is refused, as it is for the kept call
    itself. There are such in the module (payload/module/dropped.c), in the kernel where the build leaves them."""
    lines = guest.connection.run(f"cat {TRACEABLE}", guest.deadline(60)).stdout.splitlines()
    listed = {int(address, 16): name for address, name, *_ in map(str.split, lines)}
    kept = {address: int(name.rpartition("_")[2]) for address, name in listed.items() if name.startswith(INVALID)}
    assert kept, "not even the module has a call whose function was dropped"
    names = dict.fromkeys(kept, "")
    for symbol in sorted({address - offset for address, offset in kept.items()}):
        near = (listed.get(symbol + distance, INVALID) for distance in range(ENTRY_MAX + 1))
        names[symbol] = next((name for name in near if not name.startswith(INVALID)), "")
    wanted = {address: {"type": filters.pmu_type(agent), "config2": hex(address)} for address in names}
    requests = [{"op": "perf_open", "attr": attr} for attr in wanted.values()]
    answers = agent.request("batch", requests=requests)["answers"]
    wrong = []
    for (address, name), answer in zip(names.items(), answers, strict=True):
        got, expected = "success" if answer["ok"] else answer["name"], "success" if name else "EINVAL"
        if got != expected:
            wrong.append(f"{address:#x} ({name or 'nothing that can be traced'}) gave {got}, not {expected}")
    enabled = [line.split()[0] for line in tracing.read("enabled_functions").splitlines()]
    missing = Counter(filter(None, names.values()))
    missing.subtract(enabled)
    wrong += [f"{name} has {'no filter' if more > 0 else 'a filter'}" for name, more in missing.items() if more]
    assert not wrong, f"next to {len(kept)} dropped functions, {len(wrong)} are wrong: {'; '.join(wrong[:5])}"


def test_open_when_ftrace_is_dead(guest: Guest, agent: Agent, built: Built) -> None:
    """When ftrace has shut down because of a broken call site, opening an event fails with ENODEV.
    The test sets that state from outside, because nothing is wrong here."""
    disabled = symbols(locate(built.kernel))["ftrace_disabled"]
    got = _open(agent)
    assert got == "success", f"ftrace is alive, and perf_event_open gave {got}"

    def kill(dead: int) -> None:
        with guest.debugger() as debugger:
            debugger.write(disabled, dead.to_bytes(4, "little"))

    kill(1)
    try:
        got = _open(agent)
    finally:
        kill(0)
    assert got == "ENODEV", f"ftrace is dead, and perf_event_open gave {got}, not ENODEV"


def test_filter_by_address(agent: Agent, tracing: Tracing) -> None:
    """A filter on the address where a function calls the tracers is a filter on that function."""
    (called,) = calls.call(agent, ("args2", PATTERNS["distinct"]))
    attr = {"type": filters.pmu_type(agent), "config2": hex(called.entry)}
    event = agent.request("perf_open", attr=attr, pid=-1, cpu=0)["fd"]
    program = Program(agent, Rule(DROP_ALL))
    filters.set_program(agent, event, program.fd)
    tracing.start("function", FUNCTION, "target_args3")
    calls.call(agent, ("args2", PATTERNS["distinct"]), ("args3", PATTERNS["distinct"]))
    traced = tracing.calls()
    assert traced == {"target_args3": 1}, f"a filter drops every call of {FUNCTION}, and the trace has {traced}"
    told = program.seen()
    assert len(told) == 1, f"one call of {FUNCTION}, and the program ran {len(told)} times"
    (seen,) = told
    assert seen[:2] == PATTERNS["distinct"][:2], f"the program saw {seen[0]:#x} and {seen[1]:#x}"
