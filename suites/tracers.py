# SPDX-License-Identifier: GPL-2.0
"""Every part of ftrace that a filter affects, as one table: how each tracer is set up for
some functions, and how the calls that were let through are counted."""

import re
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from farm.guest.agent import Agent
from suites import arch, calls
from suites.calls import Call
from suites.contract import PERF_TYPE_TRACEPOINT
from suites.tracefs import Tracing, targets

#: Returns how often each function was counted since the last call of this. Raises Missed.
Take = Callable[[], Counter[str]]

#: A call to be made: the target without `target_`, and its arguments.
Wanted = tuple[str, tuple[int, ...]]

#: Sets a tracer up for some functions.
Start = Callable[[Agent, Tracing, Sequence[str]], Take]


class Missed(AssertionError):
    """The tracer was busy with something else when the call was made."""


#: How often a call is repeated if the tracer misses it.
ATTEMPTS = 13


@dataclass(frozen=True)
class Tracer:
    """`call` makes calls in a way that the tracer can see. If `once`, the tracer only shows
    for one call whether it was let through, not how many were. `context` is the only
    context that a latency tracer looks at. `needs` are the facts that the tracer depends
    on. If it `touches_many` functions, its limits alone do not decide what it traces."""

    name: str
    start: Start
    needs: tuple[str, ...] = ()
    call: Callable[..., list[Call]] = calls.call
    once: bool = False
    context: str = "task"
    touches_many: bool = False

    def param(self) -> Any:
        """For pytest.mark.parametrize."""
        marks = [pytest.mark.needs("dynamic_ftrace", *self.needs)]
        if self.touches_many:
            marks.append(pytest.mark.touches_many)
        return pytest.param(self, id=self.name, marks=marks)

    def count(
        self, agent: Agent, tracing: Tracing, take: Take, wanted: Sequence[Wanted]
    ) -> tuple[list[Call], Counter[str]]:
        """Make the calls. Returns those that were made, and the tracer's count of them."""
        if self.context == "task":
            take()
        if not self.once and self.context == "task":
            done = self.call(agent, *wanted)
            return done, take()
        done, counted = [], Counter[str]()
        for one in wanted:
            made, number = self._count_one(agent, tracing, take, one)
            done += made
            counted += number
        return done, counted

    def _count_one(self, agent: Agent, tracing: Tracing, take: Take, one: Wanted) -> tuple[list[Call], Counter[str]]:
        """Make one call, and repeat it if the tracer missed it. It is not repeated because
        of a wrong answer, only if there is no answer."""
        if self.context == "task":
            return self.call(agent, one), take()
        done: list[Call] = []
        for attempt in range(ATTEMPTS):
            # a long time beats other long times; a short one avoids disturbances
            hold_us = HOLD_US << (attempt // 2 + 1 if attempt % 2 else 0)
            _arm(tracing, hold_us)
            done += self.call(agent, one, context=self.context, hold_us=hold_us)
            try:
                return done, take()
            except Missed as error:
                missed = error
        raise AssertionError(f"{self.name} missed {ATTEMPTS} calls, the last of them for {missed}")


def _since(total: Callable[[], Counter[str]]) -> Take:
    """What was added to a total that only grows."""
    before = total()

    def take() -> Counter[str]:
        nonlocal before
        now = total()
        grown, before = now - before, now
        return grown

    return take


# Those that write a trace.


def _tracer(name: str, *options: str) -> Start:
    def start(agent: Agent, tracing: Tracing, functions: Sequence[str]) -> Take:
        tracing.start(name, *functions, options=options)
        return _since(tracing.calls)

    return start


def _instance(name: str) -> Start:
    def start(agent: Agent, tracing: Tracing, functions: Sequence[str]) -> Take:
        return _tracer(name)(agent, tracing.instance(f"farm_{name}"), functions)

    return start


# Those that keep counts of their own.


def _profiler(agent: Agent, tracing: Tracing, functions: Sequence[str]) -> Take:
    """The hits of each processor in trace_stat, added up."""
    tracing.limit(*functions)
    tracing.switch("function_profile_enabled")
    files = [f"trace_stat/{name}" for name in tracing.list("trace_stat") if re.fullmatch(r"function\d+", name)]
    line = re.compile(r"^\s+(\w+)\s+(\d+)\s", re.M)

    def total() -> Counter[str]:
        hits = Counter[str]()
        for file in files:
            for name, number in line.findall(tracing.read(file)):
                hits[name] += int(number)
        return hits

    return _since(total)


STACK_SWITCH = "/proc/sys/kernel/stack_tracer_enabled"


def _stack(agent: Agent, tracing: Tracing, functions: Sequence[str]) -> Take:
    """The deepest stack since its size was last set to zero. That does not change the trace
    itself."""
    tracing.switch("stack_trace_filter", "\n".join(functions), "\n")
    tracing.switch(STACK_SWITCH)
    tracing.later(tracing.write, "stack_max_size", "0")

    def take() -> Counter[str]:
        seen = int(tracing.read("stack_max_size")) > 0
        text = tracing.read("stack_trace") if seen else ""
        tracing.write("stack_max_size", "0")
        return targets(re.findall(r"^\s*\d+\)\s+\d+\s+\d+\s+(\w+)\+", text, re.M))

    return take


def perf_events(
    agent: Agent, tracing: Tracing, functions: Sequence[str], pid: int = -1, **attr: object
) -> list[tuple[str, int]]:
    """perf's event ftrace:function, one for each function, and for each processor or a task.
    Returns function and descriptor of each. `attr` are further attributes."""
    function_event = int(tracing.read("events/ftrace/function/id"))
    attr |= {"type": PERF_TYPE_TRACEPOINT, "config": function_event, "disabled": True}
    processors = range(_processors(tracing)) if pid == -1 else [-1]
    opened = []
    # An event begins with all functions of the kernel, and its filter then removes most of
    # them. Call sites need not be patched in between. Where they are, it is not on meanwhile.
    limit = agent.limit
    agent.limit *= 1 if tracing.pauses else 6
    with tracing.paused():
        for function in functions:
            for cpu in processors:
                fd = agent.request("perf_open", attr=attr, pid=pid, cpu=cpu)["fd"]
                agent.request("perf_ioctl", fd=fd, request="SET_FILTER", arg=f"ip == {function}")
                agent.request("perf_ioctl", fd=fd, request="ENABLE")
                opened.append((function, fd))
    agent.limit = limit
    return opened


def _perf(agent: Agent, tracing: Tracing, functions: Sequence[str], pid: int = -1) -> Take:
    opened = perf_events(agent, tracing, functions, pid)

    def total() -> Counter[str]:
        hits = Counter[str]()
        for function, fd in opened:
            hits[function] += int(agent.request("read_u64", fd=fd)["value"], 16)
        return hits

    return _since(total)


def _processors(tracing: Tracing) -> int:
    """The number of processors, which are numbered from 0."""
    return len([name for name in tracing.list("per_cpu") if name.startswith("cpu")])


def _perf_task(agent: Agent, tracing: Tracing, functions: Sequence[str]) -> Take:
    """The same event, for the agent's own task on any processor."""
    return _perf(agent, tracing, functions, agent.request("hello")["pid"])


# Commands of set_ftrace_filter: each call that is let through reduces a count by one.

#: More than the calls of any test.
MANY = 1000

#: The function that undoes the effect of a trigger, so that it can act again.
PARTNER = "args4"


def _trigger(command: str, back: str = "", changes: str = "tracing_on", normal: str = "1") -> Start:
    """A command, the command that undoes its effect, and the file that shows the effect,
    which stays after the trigger is removed."""

    def start(agent: Agent, tracing: Tracing, functions: Sequence[str]) -> Take:
        tracing.later(tracing.write, changes, normal)
        for function in functions:
            tracing.trigger(f"{function}:{command}:{MANY}")
        if back:
            tracing.trigger(f"target_{PARTNER}:{back}")
        line = re.compile(rf"^(\w+)(?: \[\w+\])?:{re.escape(command)}:count=(\d+)$", re.M)

        def total() -> Counter[str]:
            left = {name: int(number) for name, number in line.findall(tracing.read("set_ftrace_filter"))}
            assert set(left) >= set(functions), f"set_ftrace_filter has {command} on {list(left)} only"
            return Counter({function: MANY - left[function] for function in functions})

        return _since(total)

    return start


def _set_back(agent: Agent, *wanted: Wanted) -> list[Call]:
    """Call the partner before each call, so that the trigger has something to change."""
    partner: Wanted = (PARTNER, (0, 0, 0, 0))
    return calls.call(agent, *(one for pair in wanted for one in (partner, pair)))[1::2]


#: An event that never happens once the kernel has booted.
EVENT = "initcall:initcall_level"


def _event_trigger(command: str, back: str) -> Start:
    switch = f"events/{EVENT.replace(':', '/')}/enable"
    return _trigger(f"{command}:{EVENT}", f"{back}:{EVENT}", switch, "0")


# The latency tracers keep the trace of the longest time that they saw, and of that only.

#: How long the context of a call lasts, so that it becomes the longest one; up to 64 times
#: that if it does not. Time that the host takes from the guest counts too.
HOLD_US = 3000
CYCLES_PER_US = 2000  # payload/module/contexts.c

#: In the header of such a trace: whose time it was. It began in a function of the module
#: (whichever one is left after the compiler's merging), or it was that of the module's
#: own thread.
_OURS = re.compile(r"=> started at: (without_|target_|call_target)|\| task: ftrace_target/")


def _latency(name: str, *options: str) -> Start:
    def start(agent: Agent, tracing: Tracing, functions: Sequence[str]) -> Take:
        # The kernel may have chosen a clock that counts jiffies: with it, most of what
        # is measured here takes no time.
        clock = re.findall(r"\[(.*)\]", tracing.read("trace_clock"))[0]
        tracing.switch("trace_clock", arch.of(agent.arch).cycle_clock, clock)
        if "display-graph" in options:
            # the only filter that this kind obeys; without it the trace can be megabytes long
            tracing.switch("set_graph_function", "\n".join(functions), "\n")
            control = tracing.guest.control
            tracing.later(setattr, control, "limit", control.limit)
            control.limit *= 5
        tracing.start(name, *functions, options=options)

        def take() -> Counter[str]:
            """The count of a call that was made since _arm()."""
            text = tracing.read("trace")
            if not _OURS.search(text):
                head = re.findall(r"^#.*((?:latency|task|started at|ended at): .*)", text, re.M)
                raise Missed("; ".join(head) or "nothing at all")
            return tracing.count(text)

        return take

    return start


def _arm(tracing: Tracing, hold_us: int) -> None:
    """Set the threshold to half the length, in cycles of the TSC as if they were nanoseconds.
    A new record on any processor spoils a measurement that is under way (trace_irqsoff.c,
    max_sequence), so short times must not be records."""
    tracing.clear()
    tracing.write("tracing_max_latency", str(hold_us * CYCLES_PER_US // 2 // 1000))


# pstore: a ring of records in memory for each processor, looked at from outside.


def _pstore(agent: Agent, tracing: Tracing, functions: Sequence[str]) -> Take:
    """The records of each processor's ring that are newer than the last one seen. The
    kernel itself shows them only after a reboot."""
    tracing.limit(*functions)
    every = calls.call(agent, *((function.removeprefix("target_"), (0,) * 8) for function in functions))
    names = {one.entry: f"target_{one.target}" for one in every}
    parameters = "/sys/module/ramoops/parameters"
    start = int(tracing.read(f"{parameters}/mem_address"))
    size = int(tracing.read(f"{parameters}/ftrace_size")) // _processors(tracing)
    tracing.switch("/sys/kernel/debug/pstore/record_ftrace")
    last = -1

    def take() -> Counter[str]:
        nonlocal last
        found = [
            (stamp, ip)
            for zone in range(_processors(tracing))
            for stamp, ip in _zone(tracing, start + zone * size, size)
        ]
        young = [(stamp, ip) for stamp, ip in found if stamp > last]
        last = max((stamp for stamp, _ in found), default=last)
        return Counter(names[ip] for _, ip in young if ip in names)

    return take


def _zone(tracing: Tracing, address: int, size: int) -> list[tuple[int, int]]:
    """Stamp and ip of the records of one ring (fs/pstore/ram_core.c, struct
    persistent_ram_buffer; include/linux/pstore.h, struct pstore_ftrace_record)."""
    command = f"xp /{size // 8}gx {address:#x}"
    text = tracing.guest.monitor.execute("human-monitor-command", **{"command-line": command})
    words = [int(word, 16) for line in text.splitlines() for word in line.partition(":")[2].split()]
    memory = struct.pack(f"<{size // 8}Q", *words)
    _, start, used = struct.unpack_from("<III", memory)
    data = memory[12:]
    if used == len(data):  # it has wrapped around: the oldest begins where the next one will be
        data = data[start:] + data[:start]
        data = data[len(data) % 24 :]
    else:
        data = data[: used - used % 24]
    return [(stamp >> 8, ip) for ip, _, stamp in struct.iter_unpack("<QQQ", data)]


TRACERS = (
    Tracer("function", _tracer("function")),
    Tracer("function_stack", _tracer("function", "func_stack_trace")),
    Tracer("function_graph", _tracer("function_graph"), needs=("function_graph",)),
    Tracer("instance", _instance("function")),
    Tracer("instance_graph", _instance("function_graph"), needs=("function_graph", "graph_instances")),
    Tracer("profiler", _profiler, needs=("profiler",)),
    Tracer("stack", _stack, needs=("stack_tracer",), once=True),
    Tracer("perf", _perf),
    Tracer("perf_task", _perf_task),
    Tracer("traceon", _trigger("traceon", "traceoff"), call=_set_back),
    Tracer("traceoff", _trigger("traceoff", "traceon"), call=_set_back),
    Tracer("snapshot", _trigger("snapshot", changes="snapshot", normal="0")),
    Tracer("stacktrace", _trigger("stacktrace")),
    Tracer("enable_event", _event_trigger("enable_event", "disable_event"), call=_set_back),
    Tracer("disable_event", _event_trigger("disable_event", "enable_event"), call=_set_back),
    Tracer("pstore", _pstore, needs=("pstore",)),
)

_LATENCY_FACT, _PREEMPT_FACT = ("latency_tracers",), ("preempt_tracers",)

#: With display-graph they are graph tracers. The first three share one graph tracer, and
#: the others share another. Each traces all functions, whatever the filter says, and takes
#: seconds to switch on and off. So one of each group is enough.
LATENCY_TRACERS = (
    Tracer("irqsoff", _latency("irqsoff"), _LATENCY_FACT, context="irqs-off"),
    Tracer("preemptoff", _latency("preemptoff"), _PREEMPT_FACT, context="preempt-off"),
    Tracer("preemptirqsoff", _latency("preemptirqsoff"), _PREEMPT_FACT, context="preempt-off"),
    Tracer("wakeup", _latency("wakeup"), _LATENCY_FACT, context="wakeup"),
    Tracer("wakeup_rt", _latency("wakeup_rt"), _LATENCY_FACT, context="wakeup-rt"),
    Tracer("wakeup_dl", _latency("wakeup_dl"), _LATENCY_FACT, context="wakeup-dl"),
    Tracer(
        "irqsoff_graph",
        _latency("irqsoff", "display-graph"),
        (*_LATENCY_FACT, "function_graph"),
        context="irqs-off",
        touches_many=True,
    ),
    Tracer(
        "wakeup_graph",
        _latency("wakeup", "display-graph"),
        (*_LATENCY_FACT, "function_graph"),
        context="wakeup",
        touches_many=True,
    ),
)
