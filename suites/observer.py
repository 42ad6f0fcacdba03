# SPDX-License-Identifier: GPL-2.0
"""Readers of the slots that are neither tracers nor filters: the ftrace_ops and direct
call of the target module, and kprobes."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from farm.guest.agent import Agent
from suites import arch
from suites.calls import PATTERNS, Call
from suites.tracefs import Tracing

#: The observers of payload/include/ftrace_target.h.
OPS, OPS_REGS, OPS_JUMP, OPS_CHANGE, OPS_GUARDED = "ops", "ops-regs", "ops-jump", "ops-change", "ops-guarded"
REPLACE, DIRECT = "replace", "direct"

#: A hit of a kprobe in the trace; the kprobe has the name of the function.
_HIT = re.compile(r"(?P<name>\w+): \((?P<where>\w+)\+0x[04]/\S+(?: \[\w+\])?\) ip=(?P<ip>\w+)(?P<args>(?: arg\d=\w+)*)")


@dataclass(frozen=True)
class Seen:
    """What an observer saw of one call. `stack` are the return addresses from the
    observer upwards, None if it does not look at them."""

    ip: int
    parent: int | None
    args: Sequence[int]
    stack: Sequence[int] | None
    slots: Mapping[str, int]
    has_regs: bool


class ModuleObserver:
    """One observer of the module. It works until the session ends."""

    def __init__(self, agent: Agent, kind: str, functions: Iterable[str]) -> None:
        self._agent, self.kind = agent, kind
        self._fd = agent.request("observe", observer=kind, functions=list(functions))["fd"]

    def seen(self) -> list[Seen]:
        """Every call so far, in order."""
        answer = self._agent.request("observed", fd=self._fd)
        assert not answer["wrong_ops"], (
            f"{answer['wrong_ops']} times the trampoline handed on an ftrace_ops that is none of the observers'"
        )
        assert not answer["wrong_jumps"], (
            f"{answer['wrong_jumps']} times a trampoline that serves one ops jumped to a direct call"
        )
        assert answer["count"] == len(answer["records"]), f"{answer['count']} calls are more than there is room for"
        return [self._seen(record) for record in answer["records"]]

    def _seen(self, record: dict[str, object]) -> Seen:
        slots = {name: int(value, 16) for name, value in record["slots"].items()}  # type: ignore[attr-defined]
        direct = self.kind == DIRECT
        return Seen(
            ip=int(str(record["ip"]), 16),
            parent=int(str(record["parent_ip"]), 16),
            args=[slots[name] for name in arch.of(self._agent.arch).arguments] if direct else _numbers(record["args"]),
            stack=None if direct else _numbers(record["stack"]),
            slots=slots,
            has_regs=bool(record["has_regs"]),
        )


def _numbers(values: object) -> list[int]:
    assert isinstance(values, list)
    return [int(value, 16) for value in values]


def kprobe(tracing: Tracing, function: str) -> None:
    """A kprobe that reports the instruction pointer and eight arguments."""
    fetch = " ".join(f"arg{n}=$arg{n}:x64" for n in range(1, len(PATTERNS["zeros"]) + 1))
    tracing.event(f"p:farm/{function} {function} ip=%ip:x64 {fetch}", "kprobe_events")


def kprobe_hits(tracing: Tracing, function: str) -> list[Seen]:
    """What the kprobe on a function reported, in order. Kprobes get an address one
    byte after their own, as if there were a breakpoint."""
    return [
        Seen(
            ip=int(hit["ip"], 16) - 1,
            parent=None,
            args=[int(value, 16) for value in re.findall(r"=(\w+)", hit["args"])],
            stack=None,
            slots={},
            has_regs=True,
        )
        for hit in _HIT.finditer(tracing.read("trace"))
        if hit["name"] == hit["where"] == function
    ]


def differences(who: str, seen: Seen, done: Call, caller: int, leads_to: Sequence[int]) -> list[str]:
    """In words, what a witness got wrong about a call from `caller`. A stack trace
    from inside the trampoline must contain `leads_to`."""
    wrong = []
    for n, value in enumerate(seen.args[: done.parameters]):
        if value != done.passed[n]:
            place, offset = done.convention.place(n), done.convention.slot_of(n)
            if offset is not None:
                place += f", {offset}(%{done.convention.sp})"
            wrong.append(f"arg{n + 1} ({place}) was passed as {done.passed[n]:#x}, {who} saw {value:#x}")
    if seen.ip != done.entry:
        wrong.append(f"ip was {done.entry:#x}, {who} saw {seen.ip:#x}")
    if seen.parent not in (None, caller):
        wrong.append(f"the caller was {caller:#x}, {who} saw {seen.parent:#x}")
    return wrong + stack_differences(who, seen, leads_to)


def stack_differences(who: str, seen: Seen, leads_to: Sequence[int]) -> list[str]:
    """What is wrong with a stack trace from inside the trampoline: it must have these addresses in a row."""
    if seen.stack is None:
        return []
    stack, wanted = list(seen.stack), list(leads_to)
    if any(stack[n : n + len(wanted)] == wanted for n in range(len(stack))):
        return []
    want, have = (" ".join(f"{address:#x}" for address in one) for one in (wanted, stack))
    return [f"the stack is {want}, the trace of {who} has {have}"]
