# SPDX-License-Identifier: GPL-2.0
"""Random programs, on which Python and the kernel must agree.

The programs are the same in every run, so that a failure can be repeated by its
name. Hypothesis then looks for the smallest one that fails.
"""

import re
from collections import Counter

import pytest
from hypothesis import Phase, given, settings

from farm.base.deadline import Deadline
from farm.guest.agent import Agent, Refused
from farm.guest.vm import Guest
from suites import assembler, filters
from suites.contract import BPF_MAP_TYPE_ARRAY, FTRACE_TYPE
from suites.generated import RECORD, Example, compare, examples, program
from suites.tracefs import ROOT, Tracing

pytestmark = pytest.mark.needs("bpf_ftrace")

PROGRAMS = 25

#: How long Hypothesis may look for a smaller example, once it has one.
SHRINK_SECONDS = 10

TARGET, MARKER = "args5", "args0"

#: The one element of the map, as the agent takes it.
KEY = bytes(4).hex()

_TRACED = re.compile(r": target_(args\d)(?: \[\w+\])? <-")


class KernelVerdicts:
    """The guest's, by way of a filter."""

    def __init__(self, agent: Agent, tracing: Tracing) -> None:
        self._agent = agent
        # the marks below must stay in order: one ring buffer, that of one CPU
        agent.request("pin", cpu=0)
        tracing.start("function", f"target_{TARGET}", f"target_{MARKER}")
        # has no program; as long as it is open the others come and go without patching code
        filters.open_event(agent, f"target_{TARGET}")
        answer = agent.request("map_create", type=BPF_MAP_TYPE_ARRAY, key_size=4, value_size=RECORD.size, max_entries=1)
        self._record = answer["fd"]

    def judge(self, example: Example) -> tuple[list[int], list[bool]]:
        try:
            trace, record = self._ask(example)
        except Refused as refused:
            raise AssertionError(f"{example.expression}: {refused}\n{refused.log}") from refused
        return verdicts(example, trace, record)

    def _ask(self, example: Example) -> tuple[str, str]:
        """The trace of the calls, and the map behind them: in two requests, as each takes its time."""
        target = {"type": filters.pmu_type(self._agent), "function": f"target_{TARGET}"}
        insns = assembler.assemble(program(example.expression, self._record))
        _, loaded, opened = self._agent.batch(
            {"op": "map_update", "fd": self._record, "key": KEY, "value": bytes(RECORD.size).hex()},
            {"op": "prog_load", "type": FTRACE_TYPE, "insns": insns, "license": "GPL"},
            {"op": "perf_open", "attr": target},
        )
        # behind each call one of another function: they tell the calls apart in the trace
        pairs = [pair for arguments in example.arguments for pair in ((TARGET, arguments), (MARKER, ()))]
        made = [{"target": name, "args": [hex(value) for value in values]} for name, values in pairs]
        _, _, _, trace, record, _, _ = self._agent.batch(
            {"op": "perf_ioctl", "fd": opened["fd"], "request": "SET_BPF", "arg": loaded["fd"]},
            {"op": "file_write", "path": f"{ROOT}/trace", "data": "\n"},
            {"op": "call_many", "calls": made},
            {"op": "file_read", "path": f"{ROOT}/trace"},
            {"op": "map_lookup", "fd": self._record, "key": KEY, "value_size": RECORD.size},
            {"op": "close", "fd": opened["fd"]},
            {"op": "close", "fd": loaded["fd"]},
        )
        return trace["data"], record["value"]


def verdicts(example: Example, trace: str, record: str) -> tuple[list[int], list[bool]]:
    """Out of the trace and the map, call by call: what was returned, and whether it was traced."""
    runs, *returned = RECORD.unpack(bytes.fromhex(record))
    made = len(example.arguments)
    assert runs == made, f"{example.expression}: {made} calls, and the program ran {runs} times"
    traced = [part.split() for part in " ".join(_TRACED.findall(trace)).split(MARKER)[:-1]]
    assert len(traced) == made, f"{example.expression}: {made} calls, {len(traced)} marks behind them in the trace"
    assert all(part in ([], [TARGET]) for part in traced), f"{example.expression}: a call is in the trace twice"
    return list(returned[:made]), [bool(part) for part in traced]


class Patience:
    """Ends Hypothesis's search for a smaller example, which knows no limit of
    its own: what is not known to fail by then is taken to pass."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._deadline: Deadline | None = None
        self._failures: dict[Example, AssertionError] = {}

    def over(self, example: Example) -> bool:
        if self._deadline is None or not self._deadline.passed:
            return False
        if example in self._failures:
            raise self._failures[example]
        return True

    def note(self, example: Example, error: AssertionError) -> None:
        self._deadline = self._deadline or self._guest.deadline(SHRINK_SECONDS)
        self._failures[example] = error


def test_random_programs(guest: Guest, agent: Agent, tracing: Tracing) -> None:
    """Random filters over the arguments, and parts of them, with signed and unsigned
    arithmetic and comparisons of 64 and 32 bits."""
    kernel, patience = KernelVerdicts(agent, tracing), Patience(guest)
    passed: Counter[bool] = Counter()

    @settings(
        max_examples=PROGRAMS,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
    )
    @given(examples())
    def agree(example: Example) -> None:
        if patience.over(example):
            return
        try:
            passed.update(compare(example, kernel))
        except AssertionError as error:
            patience.note(example, error)
            raise

    agree()
    # of programs that all say the same the agreement would mean little
    assert min(passed[True], passed[False]) > PROGRAMS, f"calls that passed (True) and did not: {passed}"
