# SPDX-License-Identifier: GPL-2.0
"""What perf records of ftrace: call sites as they are patched, trampolines as they
come and go, and the samples of its own event ftrace:function. A profile is read with
nothing else to go by.

The formats are those of enum perf_event_type in include/uapi/linux/perf_event.h.
"""

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

from farm.guest.agent import Agent
from farm.guest.vm import Guest
from suites import calls, filters, tracers
from suites.calls import PATTERNS
from suites.contract import PERF_COUNT_SW_DUMMY, PERF_TYPE_SOFTWARE
from suites.filters import DROP_ALL, PASS_ALL, Rule
from suites.tracefs import Tracing

PERF_RECORD_SAMPLE, PERF_RECORD_KSYMBOL, PERF_RECORD_TEXT_POKE = 9, 17, 20
PERF_RECORD_KSYMBOL_TYPE_OOL, PERF_RECORD_KSYMBOL_FLAGS_UNREGISTER = 2, 1
PERF_SAMPLE_TID, PERF_SAMPLE_CALLCHAIN, PERF_SAMPLE_RAW = 2, 32, 1024

#: Callchain entries beyond this are markers: what follows is of the kernel, or the user.
PERF_CONTEXT_MAX = (1 << 64) - 4095

NOP = bytes.fromhex("0f1f440000")

FUNCTION = "target_args3"
CALL = ("args3", PATTERNS["distinct"])


@dataclass(frozen=True)
class Symbol:
    address: int
    length: int
    kind: int
    flags: int
    name: str


@dataclass(frozen=True)
class Poke:
    """Code at `address` that was `old` and is `new`; one of them is empty where
    code comes or goes."""

    address: int
    old: bytes
    new: bytes


@dataclass(frozen=True)
class Sample:
    """A call of a function, as perf's own event has it; `chain` goes outwards."""

    pid: int
    chain: Sequence[int]
    ip: int
    parent: int


Record = Symbol | Poke | Sample


def _symbol(data: bytes) -> Symbol:
    address, length, kind, flags = struct.unpack_from("<QIHH", data)
    return Symbol(address, length, kind, flags, data[16:].split(b"\0")[0].decode())


def _poke(data: bytes) -> Poke:
    address, old, new = struct.unpack_from("<QHH", data)
    return Poke(address, data[12 : 12 + old], data[12 + old : 12 + old + new])


def _sample(data: bytes) -> Sample:
    pid, _, links = struct.unpack_from("<IIQ", data)
    chain = struct.unpack_from(f"<{links}Q", data, 16)
    # behind the size of the raw data and the header of a trace entry
    ip, parent = struct.unpack_from("<QQ", data, 16 + 8 * links + 4 + 8)
    return Sample(pid, [link for link in chain if link < PERF_CONTEXT_MAX], ip, parent)


READERS: dict[int, Callable[[bytes], Record]] = {
    PERF_RECORD_SAMPLE: _sample,
    PERF_RECORD_KSYMBOL: _symbol,
    PERF_RECORD_TEXT_POKE: _poke,
}


class Buffer:
    """The records of one event."""

    def __init__(self, agent: Agent, event: int) -> None:
        self._agent, self._event = agent, event
        agent.request("perf_map", fd=event)

    def take(self) -> list[Record]:
        """What has come since the last time."""
        records = self._agent.request("perf_records", fd=self._event)["records"]
        unknown = {record["type"] for record in records} - READERS.keys()
        assert not unknown, f"perf has records of the types {unknown}, among {len(records)}"
        return [READERS[record["type"]](bytes.fromhex(record["data"])) for record in records]


@pytest.fixture
def changes(agent: Agent, guest: Guest) -> Buffer:
    """perf's records about code, from the task that sets up the tracers."""
    attr = {"type": PERF_TYPE_SOFTWARE, "config": PERF_COUNT_SW_DUMMY, "ksymbol": True, "text_poke": True}
    return Buffer(agent, agent.request("perf_open", attr=attr, pid=guest.control.request("hello")["pid"], cpu=-1)["fd"])


@pytest.mark.needs("dynamic_ftrace")
def test_trampoline_comes_and_goes(agent: Agent, tracing: Tracing, changes: Buffer) -> None:
    """perf records the symbol and then the code of a new trampoline, and the reverse when it goes."""
    (site,) = (one.entry for one in calls.call(agent, CALL))
    instance = tracing.instance("farm")
    instance.start("function", FUNCTION)
    (shown,) = re.findall(rf"^{FUNCTION} .*tramp: 0x([0-9a-f]+)", tracing.read("enabled_functions"), re.M)
    trampoline = int(shown, 16)

    def told() -> list[Record]:  # a tracer patches branches of the kernel as well
        return [one for one in changes.take() if getattr(one, "address", 0) in (site, trampoline)]

    got = told()
    code = b"".join(one.new for one in got if isinstance(one, Poke) and one.address == trampoline)
    symbol = Symbol(trampoline, len(code), PERF_RECORD_KSYMBOL_TYPE_OOL, 0, "ftrace_trampoline")
    call = b"\xe8" + struct.pack("<i", trampoline - site - len(NOP))
    expected = [symbol, Poke(trampoline, b"", code), Poke(site, NOP, call)]
    assert got == expected, f"a trampoline came and was called: {expected}, and perf was told {got}"

    instance.write("current_tracer", "nop")
    got = told()
    gone = replace(symbol, flags=PERF_RECORD_KSYMBOL_FLAGS_UNREGISTER)
    expected = [Poke(site, call, NOP), Poke(trampoline, code, b""), gone]
    assert got == expected, f"it went: {expected}, and perf was told {got}"


@pytest.mark.needs("dynamic_ftrace")
def test_event_that_is_off(agent: Agent, tracing: Tracing) -> None:
    """perf's event ftrace:function counts only calls that are made while it is on."""
    agent.request("pin", cpu=0)
    (_, event), *_ = tracers.perf_events(agent, tracing, [FUNCTION])
    counted = []
    for request in ("ENABLE", "DISABLE", "ENABLE"):
        agent.request("perf_ioctl", fd=event, request=request)
        calls.call(agent, CALL)
        counted.append(int(agent.request("read_u64", fd=event)["value"], 16))
    assert counted == [1, 1, 2], f"a call while it is on, off and on: it counts {counted}"


@pytest.mark.needs("dynamic_ftrace")
@pytest.mark.parametrize(
    "filtered",
    ["unfiltered", *(pytest.param(how, marks=pytest.mark.needs("bpf_ftrace")) for how in ("passed", "refused"))],
)
def test_samples(agent: Agent, tracing: Tracing, filtered: str) -> None:
    """perf samples each call that is not refused, with function, caller and callchain."""
    if filtered != "unfiltered":
        filters.attach(agent, FUNCTION, Rule(DROP_ALL if filtered == "refused" else PASS_ALL))
    pid = agent.request("hello")["pid"]
    sample = PERF_SAMPLE_TID | PERF_SAMPLE_CALLCHAIN | PERF_SAMPLE_RAW
    attr = {"sample_period": 1, "sample_type": sample, "exclude_callchain_user": True}
    ((_, event),) = tracers.perf_events(agent, tracing, [FUNCTION], pid, **attr)
    buffer = Buffer(agent, event)
    buffer.take()  # what was called before the event had its filter
    done = calls.call(agent, CALL, CALL)
    got = buffer.take()
    if filtered == "refused":
        assert got == [], f"{len(done)} calls were refused, and perf sampled {got}"
        return
    assert len(got) == len(done), f"{len(done)} calls, {filtered}, and perf sampled {len(got)}"
    for call, one in zip(done, got, strict=True):
        assert isinstance(one, Sample), one
        wanted = (pid, call.entry, call.returns_to)
        assert (one.pid, one.ip, one.parent) == wanted, f"a call of {wanted}, and perf sampled {one}"
        inside = call.entry + len(NOP)  # where the call of __fentry__ returns to
        chain = [hex(link) for link in one.chain]
        assert (inside, call.returns_to) in pairwise(one.chain), (
            f"{inside:#x} was called from {call.returns_to:#x}, and the callchain is {chain}"
        )
