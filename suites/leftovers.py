# SPDX-License-Identifier: GPL-2.0
"""Finds what a test has left in a guest's kernel. The kernel is asked before and after each test.

Some things disappear only some time after the call that released them, after a grace
period of RCU. So a leftover is what is still there after a while.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from farm.guest.agent import Agent
from farm.guest.vm import Guest
from farm.matrix import Cell

ROOT = "/sys/kernel/tracing"
KMEMLEAK = "/sys/kernel/debug/kmemleak"

#: How long the kernel may take to free what is no longer held.
SECONDS = 5.0

#: kmemleak does not report younger objects (mm/kmemleak.c, MSECS_MIN_AGE).
LEAK_AGE = 6

_ALL = "#### all functions enabled ####\n"
_NONE = "#### no functions disabled ####\n"


@dataclass(frozen=True)
class Quiet:
    """A file, and its content while nothing traces. It must exist in cells that declare
    `fact`, or in `all` cells; in others it may be missing."""

    path: str
    says: str
    fact: str = ""
    all: bool = False


FILES = (
    Quiet(f"{ROOT}/current_tracer", "nop\n", all=True),
    Quiet(f"{ROOT}/tracing_on", "1\n", all=True),
    Quiet(f"{ROOT}/tracing_thresh", "0\n"),
    Quiet(f"{ROOT}/events/enable", "0\n", all=True),
    Quiet(f"{ROOT}/set_event", ""),
    Quiet(f"{ROOT}/kprobe_events", ""),
    Quiet(f"{ROOT}/uprobe_events", ""),
    Quiet(f"{ROOT}/dynamic_events", ""),
    Quiet(f"{ROOT}/set_ftrace_pid", "no pid\n"),
    Quiet(f"{ROOT}/set_ftrace_notrace_pid", "no pid\n"),
    Quiet(f"{ROOT}/enabled_functions", "", "dynamic_ftrace"),
    Quiet(f"{ROOT}/set_ftrace_filter", _ALL, "dynamic_ftrace"),
    Quiet(f"{ROOT}/set_ftrace_notrace", _NONE, "dynamic_ftrace"),
    Quiet(f"{ROOT}/set_graph_function", _ALL, "function_graph"),
    Quiet(f"{ROOT}/set_graph_notrace", _NONE, "function_graph"),
    Quiet(f"{ROOT}/max_graph_depth", "0\n", "function_graph"),
    Quiet(f"{ROOT}/function_profile_enabled", "0\n", "profiler"),
    Quiet("/proc/sys/kernel/stack_tracer_enabled", "0\n", "stack_tracer"),
    Quiet("/sys/kernel/debug/kprobes/list", ""),
)

#: All functions that were ever traced. That alone is no leftover, but it is one if they
#: still have users, or save registers for one. enabled_functions is different: it lists
#: what is patched.
TOUCHED = f"{ROOT}/touched_functions"

#: More functions than a test with chosen functions traces. A hash that becomes empty
#: while in use means all functions, even if only for a moment.
MOST_TOUCHED = 300

#: Directories whose entries are made on request.
DIRECTORIES = (f"{ROOT}/instances", "/sys/kernel/livepatch")

MODULES = "/proc/modules"
PROCESSORS = "/sys/devices/system/cpu/online"

#: Files that differ between kernels, but must be the same after every test.
SAME = (f"{ROOT}/trace_options", f"{ROOT}/trace_clock", f"{ROOT}/tracing_cpumask", PROCESSORS)


def look(agent: Agent, *, ids_only: bool = False) -> dict[str, Any]:
    """Everything that `left` needs to know, in one answer."""
    files = [file.path for file in FILES] + [MODULES, *SAME]
    paths = {"files": files, "functions": [TOUCHED], "directories": list(DIRECTORIES)}
    return agent.request("leftovers", **({key: [] for key in paths} if ids_only else paths))


def left(seen: Mapping[str, Any], fresh: Mapping[str, Any], cell: Cell) -> Iterator[str]:
    """In words, each thing that should not be there.

    `fresh` is the state of the guest when it was new.
    """
    for file in FILES:
        text = seen["files"][file.path]
        if text is None:
            # a candidate of `farm config-bisect` may lack it on purpose
            if file.all or (file.fact in cell.supports and not cell.lenient):
                yield f"{file.path} is not there" + (f", though {cell.name} declares {file.fact}" if file.fact else "")
        elif text != file.says:
            yield f"{file.path} says {_short(text)}" + (f", not {_short(file.says)}" if file.says else "")
    for path in SAME:
        now, then = seen["files"][path], fresh["files"][path]
        if now != then:
            yield f"{path} said {_short(then or '')} and says {_short(now or '')}"
    functions = seen["functions"][TOUCHED] or {"held": [], "nr_held": 0, "truncated": False}
    if functions["truncated"]:
        yield f"{TOUCHED} is longer than it can be read"
    for line in functions["held"]:
        yield f"{TOUCHED} has a function that somebody holds: {line}"
    if functions["nr_held"] > len(functions["held"]):
        yield f"{TOUCHED} has {functions['nr_held']} functions that somebody holds"
    for path, names in seen["directories"].items():
        if names:
            yield f"{path} has {', '.join(names)}"
    yield from _modules(seen["files"][MODULES] or "", fresh["files"][MODULES] or "")
    for what in ("programs", "maps"):
        for item in seen[what]:
            yield f"BPF {what[:-1]} {item['id']}, {item['name'] or 'without a name'}, type {item['type']}"


def _modules(now: str, then: str) -> Iterator[str]:
    users, before = _users(now), _users(then)
    for name in before.keys() - users.keys():
        yield f"the module {name} is gone"
    for name in users.keys() - before.keys():
        yield f"the module {name} is loaded"
    for name in users.keys() & before.keys():
        if users[name] != before[name]:
            yield f"the module {name} has {users[name]} users, and had {before[name]}"


def _users(modules: str) -> dict[str, int]:
    """From /proc/modules: `name size users …`."""
    return {line.split()[0]: int(line.split()[2]) for line in modules.splitlines()}


def _short(text: str) -> str:
    lines = text.strip().splitlines()
    return f"{lines[0]!r}" + (f" and {len(lines) - 1} lines more" if len(lines) > 1 else "") if lines else "nothing"


def check(guest: Guest, cell: Cell, fresh: Mapping[str, Any], when: str) -> dict[str, Any]:
    """Fail if anything is left and does not disappear within a while. Returns the last state."""
    things: list[str] = []
    for _ in guest.deadline(SECONDS).poll(0.005):
        seen = look(guest.control)
        things = list(left(seen, fresh, cell))
        if not things:
            return seen
    raise AssertionError(f"{when}: {'; '.join(things)}")


def touched(seen: Mapping[str, Any]) -> int:
    """How many functions were ever traced."""
    return int((seen["functions"][TOUCHED] or {"nr": 0})["nr"])


def check_touched(before: int, after: int) -> None:
    """Fail if so many functions were traced that it may have been all of them. A test
    that traces many on purpose has a mark for it."""
    grown = after - before
    assert grown <= MOST_TOUCHED, f"at least {grown} functions were traced that never were before: all of them?"


def check_misses(agent: Agent) -> None:
    """Fail if a filter missed a call. That is right only if a program runs within
    itself; a test that does so on purpose has a mark for it."""
    programs = look(agent, ids_only=True)["programs"]
    missed = [f"{item['name']} {item['misses']} times" for item in programs if item["misses"]]
    assert not missed, f"filters that could not be asked about a call: {', '.join(missed)}"


def check_memory(guest: Guest) -> None:
    """Fail if the kernel has lost memory since it booted.

    An object is lost if no scan finds a pointer to it, its content has not changed
    since the previous scan, and it is older than some seconds.
    """
    scan = f"echo scan > {KMEMLEAK}"
    done = guest.connection.run(f"{scan} && sleep {LEAK_AGE} && {scan} && cat {KMEMLEAK}", guest.deadline(120))
    assert done.status == 0, f"kmemleak does not scan: {done.stderr}"
    assert not done.stdout, f"memory that nothing points to any more:\n{done.stdout[:4000]}"
