# SPDX-License-Identifier: GPL-2.0
"""BPF filters on functions of the guest, through the perf interface alone."""

import struct
from dataclasses import dataclass

from farm.guest.agent import Agent, Refused
from suites.contract import ARGS_SIZE, FTRACE_TYPE

PMU = "/sys/bus/event_source/devices/ftrace"
PROGRAM = "/payload/filter.bpf.o"

#: enum filter_mode of payload/include/filter.h
PASS_ALL, DROP_ALL, ARG_EQUALS, RETURN = range(4)


@dataclass(frozen=True)
class Rule:
    """What the program answers: `arg` is 1 to 5, `value` what it is compared
    with or, with RETURN, what the program returns."""

    mode: int = PASS_ALL
    arg: int = 0
    value: int = 0

    def packed(self) -> str:
        return struct.pack("<IIQ", self.mode, self.arg, self.value).hex()


def pmu_type(agent: Agent) -> int:
    """The number of the PMU `ftrace`. Fails where the kernel has none."""
    try:
        return int(agent.request("file_read", path=f"{PMU}/type")["data"])
    except Refused as error:
        raise AssertionError(f"the kernel has no PMU named ftrace: {error}") from error


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

    def _update(self, name: str, key: int, value: str) -> None:
        self._agent.request("map_update", fd=self._maps[name], key=_key(key), value=value)

    def count(self) -> int:
        """How often the program ran."""
        answer = self._agent.request("map_lookup", fd=self._maps["count"], key=_key(0), value_size=8)
        return int.from_bytes(bytes.fromhex(answer["value"]), "little")

    def seen(self) -> list[tuple[int, ...]]:
        """arg1 to arg5 of each run, in order."""
        return [self._seen(index) for index in range(self.count())]

    def _seen(self, index: int) -> tuple[int, ...]:
        answer = self._agent.request("map_lookup", fd=self._maps["seen"], key=_key(index), value_size=ARGS_SIZE)
        return struct.unpack("<5Q", bytes.fromhex(answer["value"]))


def _key(number: int) -> str:
    return struct.pack("<I", number).hex()


def open_event(agent: Agent, function: str, **attr: object) -> int:
    """A perf event that filters `function`; its file descriptor in the agent."""
    wanted = {"type": pmu_type(agent), "function": function, **attr}
    return int(agent.request("perf_open", attr=wanted, pid=-1, cpu=0)["fd"])


def attach(agent: Agent, function: str, rule: Rule = Rule()) -> Program:
    """A program that filters `function` from now on, until the session ends."""
    program = Program(agent, rule)
    event = open_event(agent, function)
    agent.request("perf_ioctl", fd=event, request="SET_BPF", arg=program.fd)
    return program
