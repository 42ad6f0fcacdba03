# SPDX-License-Identifier: GPL-2.0
"""BPF filters on functions of the guest, only through the perf interface."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from farm.guest.agent import Agent, Refused
from suites import assembler
from suites.assembler import Instruction, Label
from suites.contract import ARGS_SIZE, FTRACE_TYPE

PMU = "/sys/bus/event_source/devices/ftrace"
PROGRAM = "/payload/filter.bpf.o"

#: Another program, and what a helper of it calls, see payload/bpf/helper.bpf.c.
HELPER, HELPER_FUNCTION = "/payload/helper.bpf.o", "copy_from_kernel_nofault"

#: enum filter_mode and FILTER_SEEN_MAX of payload/include/filter.h
PASS_ALL, DROP_ALL, ARG_EQUALS, RETURN = range(4)
SEEN_MAX = 64

#: Read once in each session: the number stays the same while the guest lives.
_PMU_TYPES: WeakKeyDictionary[Agent, int] = WeakKeyDictionary()


@dataclass(frozen=True)
class Rule:
    """How the program decides: `arg` is 1 to 5, and `value` is compared with it, or
    with RETURN is what the program returns."""

    mode: int = PASS_ALL
    arg: int = 0
    value: int = 0

    def packed(self) -> str:
        return struct.pack("<IIQ", self.mode, self.arg, self.value).hex()


def pmu_type(agent: Agent) -> int:
    """The number of the PMU `ftrace`. Fails if the kernel has none."""
    if agent not in _PMU_TYPES:
        try:
            _PMU_TYPES[agent] = int(agent.request("file_read", path=f"{PMU}/type")["data"])
        except Refused as error:
            raise AssertionError(f"the kernel has no PMU named ftrace: {error}") from error
    return _PMU_TYPES[agent]


class Program:
    """payload/bpf/filter.bpf.c, loaded."""

    def __init__(self, agent: Agent, rule: Rule = Rule()) -> None:
        self._agent = agent
        answer = agent.request("object_load", path=PROGRAM, ftrace_type=FTRACE_TYPE)
        self._maps = answer["maps"]
        (self.fd,) = answer["programs"].values()
        self.set_rule(rule)

    def set_rule(self, rule: Rule) -> None:
        self._update("rule", 0, rule.packed())

    def forget(self) -> None:
        """Reset the count and the records."""
        self._update("count", 0, bytes(8).hex())

    def _update(self, name: str, key: int, value: str) -> None:
        self._agent.request("map_update", fd=self._maps[name], key=_key(key), value=value)

    @property
    def count_map(self) -> int:
        """The map that counts the runs, for readers that do not send a request."""
        return int(self._maps["count"])

    def count(self) -> int:
        """How often the program ran."""
        answer = self._agent.request("map_lookup", fd=self._maps["count"], key=_key(0), value_size=8)
        return int.from_bytes(bytes.fromhex(answer["value"]), "little")

    def seen(self) -> list[tuple[int, ...]]:
        """arg1 to arg5 of the first SEEN_MAX runs, in order."""
        count = min(self.count(), SEEN_MAX)
        answer = self._agent.request("map_read", fd=self._maps["seen"], value_size=ARGS_SIZE, count=count)
        return [struct.unpack("<5Q", bytes.fromhex(value)) for value in answer["values"]]


def _key(number: int) -> str:
    return struct.pack("<I", number).hex()


def load(agent: Agent, code: Sequence[Instruction | Label], number: int = FTRACE_TYPE, **options: Any) -> int:
    """Load code as a program of a type. Returns its file descriptor in the agent."""
    insns = assembler.assemble(code)
    return int(agent.request("prog_load", type=number, insns=insns, license="GPL", **options)["fd"])


def open_event(agent: Agent, function: str, cpu: int = 0, **attr: object) -> int:
    """Open a perf event that filters `function`. Returns its file descriptor in the agent."""
    wanted = {"type": pmu_type(agent), "function": function, **attr}
    return int(agent.request("perf_open", attr=wanted, pid=-1, cpu=cpu)["fd"])


def set_program(agent: Agent, event: int, program: int) -> None:
    agent.request("perf_ioctl", fd=event, request="SET_BPF", arg=program)


def attach(agent: Agent, function: str, rule: Rule = Rule()) -> Program:
    """A program that filters `function` from now on, until the session ends."""
    program = Program(agent, rule)
    set_program(agent, open_event(agent, function), program.fd)
    return program


def refusal(agent: Agent, op: str, **arguments: Any) -> str:
    """The name of the errno of a request; "success" if there is none."""
    try:
        agent.request(op, **arguments)
    except Refused as refused:
        return refused.name
    return "success"
