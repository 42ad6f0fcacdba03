# SPDX-License-Identifier: GPL-2.0
"""What the suites' readers of registers and slots say when they disagree."""

from dataclasses import replace

import pytest

from suites import arch, calls, observer, registers
from suites.calls import PATTERNS, Call
from suites.observer import DIRECT, OPS, OPS_REGS, Seen
from suites.routes import KPROBE, Route

KNOWN = arch.of("x86_64")
BEFORE = {"rdi": 1, "r10": 2, "r11": 3, "rflags": 0xAD7}
PASSED = PATTERNS["distinct"]


def _call(target: str = "args8", **changes: object) -> Call:
    returned = calls.PARAMETERS[target]
    for value in PASSED[:returned]:
        returned = (returned * 31 + value) & calls.MASK
    done = Call(KNOWN, target, PASSED, PASSED, returned, ~returned & calls.MASK, 0x1000, 0x2000, frozenset())
    return replace(done, **changes)  # type: ignore[arg-type]


SEEN = Seen(0x1000, 0x2000, PASSED[:6], (0x10, 0x1005, 0x2000), {}, True)


def test_registers_that_are_kept() -> None:
    assert not registers.differences(KNOWN, BEFORE, BEFORE)
    assert not registers.differences(KNOWN, BEFORE | {"r11": 0}, BEFORE, {"r11"})
    assert registers.differences(KNOWN, BEFORE | {"r10": 0, "r11": 0}, BEFORE, {"r11"}) == ["r10 is 0x0, not 0x2"]


@pytest.mark.parametrize(
    "flags, clobbered, kept, wrong",
    [
        (0x202, set(), True, ["rflags is 0x202, not 0xad7"]),
        (0x202, {"rflags"}, True, []),
        (0x202, set(), False, []),
        (0x8D7, {"rflags"}, True, ["rflags is 0x8d7, not 0xad7"]),  # IF
        (0xED7, set(), False, ["rflags is 0xed7, not 0xad7"]),  # DF
    ],
)
def test_flags(flags: int, clobbered: set[str], kept: bool, wrong: list[str]) -> None:
    """A call may lose the arithmetic flags, and never those that control the processor."""
    assert registers.differences(KNOWN, BEFORE | {"rflags": flags}, BEFORE, clobbered, kept) == wrong


def test_witness_that_agrees() -> None:
    assert not observer.differences("ops", SEEN, _call(), 0x2000, [0x1005, 0x2000])
    blind = replace(SEEN, parent=None, stack=None)
    assert not observer.differences("kprobe", blind, _call(), 0x2000, [0x1005, 0x2000])


@pytest.mark.parametrize(
    "change, words",
    [
        ({"args": (*PASSED[:2], 5, *PASSED[3:6])}, ["arg3 (rdx, 96(%rsp)) was passed as", "ops saw 0x5"]),
        ({"args": (*PASSED[:5], 5)}, ["arg6 (r9) was passed as", "ops saw 0x5"]),
        ({"args": (*PASSED[:7], 5)}, ["arg8 (16(%rsp)) was passed as", "ops saw 0x5"]),
        ({"ip": 0xFFB}, ["ip was 0x1000, ops saw 0xffb"]),
        ({"parent": 0x1005}, ["the caller was 0x2000, ops saw 0x1005"]),
        ({"stack": (0x10, 0x1005, 0x3000)}, ["the stack is 0x1005 0x2000, the trace of ops has 0x10 0x1005 0x3000"]),
        ({"stack": ()}, ["the stack is 0x1005 0x2000"]),
    ],
)
def test_witness_that_disagrees(change: dict[str, object], words: list[str]) -> None:
    seen = replace(SEEN, **change)  # type: ignore[arg-type]
    (wrong,) = observer.differences("ops", seen, _call(), 0x2000, [0x1005, 0x2000])
    for word in words:
        assert word in wrong


def test_return_value_that_is_wrong() -> None:
    calls.check("wide", _call("wide"))
    with pytest.raises(AssertionError, match="rdx came back as 0x0, not 0x"):
        calls.check("wide", _call("wide", high=0))
    with pytest.raises(AssertionError, match="rax came back as 0x1, not 0x"):
        calls.check("six", _call("args6", returned=1))
    calls.check("what rdx holds is nobody's business", _call("args6", high=0))


@pytest.mark.parametrize(
    "route, ops, regs, clobbered",
    [
        (Route(before=(OPS,)), 1, False, {"r10", "r11", "rflags"}),
        (Route(before=(OPS_REGS,)), 1, True, {"r11"}),
        (Route(before=(DIRECT,)), 1, True, set()),
        (Route(("function",), filtered=True), 2, False, {"r10", "r11", "rflags"}),
        (Route(("function",), after=(KPROBE,)), 2, True, {"r11"}),
        (Route(("function",), before=(DIRECT,)), 2, True, {"r11", "rflags"}),
        (Route(("function_graph", "function_graph"), filtered=True), 2, False, {"r10", "r11", "rflags"}),
    ],
    ids=lambda value: str(value) if isinstance(value, Route) else None,
)
def test_routes(route: Route, ops: int, regs: bool, clobbered: set[str]) -> None:
    """How a call goes, by who wants it."""
    assert (route.ops, route.regs, route.clobbered(KNOWN)) == (ops, regs, frozenset(clobbered))
