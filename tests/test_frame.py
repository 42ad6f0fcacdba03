# SPDX-License-Identifier: GPL-2.0
"""The check of the trampoline's frame goes red, for the right reason: on frames that are made up."""

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.arch.x86_64 import X86_64
from farm.worker.classify import SlotsDiffer
from suites import arch, frame
from suites.frame import Expected
from suites.outside import CALLER, REGS_CALLER, STATIC, Traced

# Frames that are made up.

SITE, PARENT, OP = 0xFFFFFFFFA0000170, 0xFFFFFFFFA00002C0, 0xFFFFFFFF81AA8200
RSP = 0xFFFF88800052BE18
KNOWN = arch.of("x86_64")
ENTRY = {name: 0x1111111111111111 * n for n, name in enumerate(X86_64.registers.sizes)} | {
    "rip": SITE,
    "rsp": RSP,
    "rflags": 0x297,
}
PASSED = {name: ENTRY[name] for name in KNOWN.arguments}


def traced(trampoline: str, frame_pointer: bool = False) -> Traced:
    """A call through a trampoline without a fault."""
    promise = KNOWN.promises[trampoline]
    size = 168 + 8 + (8 if trampoline == REGS_CALLER else 0) + (40 if frame_pointer else 0)
    rsp = RSP - size
    stack = bytearray(b"\xa5" * size + struct.pack("<Q", PARENT))

    def put(offset: int, value: int) -> None:
        struct.pack_into("<Q", stack, offset, value)

    for name in promise.saved:
        put(KNOWN.slots[name], ENTRY[name])
    for name, value in {**promise.constants, "rip": SITE + 5}.items():
        put(KNOWN.slots[name], value)
    rbp = ENTRY["rbp"]
    if frame_pointer:
        for offset, value in ((168, rsp + 184), (176, SITE + 5), (184, rbp), (192, PARENT), (200, rbp)):
            put(offset, value)
        rbp = rsp + (1 if trampoline == REGS_CALLER else 168)
    call = {**ENTRY, "rdi": SITE, "rsi": PARENT, "rdx": OP, "rcx": rsp, "rsp": rsp, "rbp": rbp}
    after = {**ENTRY, "rip": SITE + 5, **dict.fromkeys(promise.lost, 0xDEAD)}
    op = None if trampoline == STATIC else OP
    return Traced(KNOWN, "target_x", trampoline, False, SITE, PARENT, ENTRY, call, bytes(stack), op, after, PARENT)


trampolines = pytest.mark.parametrize("trampoline", KNOWN.promises)


@trampolines
@pytest.mark.parametrize("frame_pointer", [False, True])
def test_nothing_wrong(trampoline: str, frame_pointer: bool) -> None:
    expected = Expected(trampoline, frame_pointer=frame_pointer)
    frame.check("call", traced(trampoline, frame_pointer), expected, PASSED)


def test_flags_that_calls_change() -> None:
    """Where a call changes the arithmetic flags, those are not looked at, and the others are."""
    good = traced(REGS_CALLER)

    def saved(flags: int) -> Traced:
        stack = bytearray(good.stack)
        struct.pack_into("<Q", stack, KNOWN.slots["rflags"], ENTRY["rflags"] ^ flags)
        return replace(good, stack=bytes(stack))

    lenient = Expected(REGS_CALLER, flags=False)
    frame.check("call", saved(KNOWN.arithmetic), lenient, PASSED)
    for flags, expected in ((KNOWN.arithmetic, Expected(REGS_CALLER)), (0x200, lenient), (KNOWN.resume, lenient)):
        with pytest.raises(SlotsDiffer, match="rflags"):
            frame.check("call", saved(flags), expected, PASSED)


@trampolines
@given(data=st.data())
def test_each_slot_is_looked_at(trampoline: str, data: st.DataObject) -> None:
    promise = KNOWN.promises[trampoline]
    name = data.draw(st.sampled_from(sorted({*promise.saved, *promise.constants, "rip"})))
    good = traced(trampoline)
    stack = bytearray(good.stack)
    stack[KNOWN.slots[name] + data.draw(st.integers(0, 7))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SlotsDiffer) as raised:
        frame.check("call", replace(good, stack=bytes(stack)), Expected(trampoline), PASSED)
    (wrong,) = [slot for slot in raised.value.slots if slot.wrong]
    assert (wrong.register, wrong.offset) == (name, KNOWN.slots[name])
    assert wrong.raw == int.from_bytes(stack[KNOWN.slots[name] :][:8], "little")
    assert f"({name}, {KNOWN.slots[name]}(%rsp))" in str(raised.value)
    assert raised.value.besides == ()


@trampolines
@given(data=st.data())
def test_each_register_is_looked_at_behind_the_trampoline(trampoline: str, data: st.DataObject) -> None:
    promise = KNOWN.promises[trampoline]
    name = data.draw(st.sampled_from(sorted(set(ENTRY) - promise.lost - {"rip"})))
    good = traced(trampoline)
    assert good.after
    flipped = good.after[name] ^ (1 << data.draw(st.integers(8, 15) if name == "rflags" else st.integers(0, 63)))
    if name == "rflags" and not (flipped ^ good.after[name]) & ~promise.lost_flags:
        return  # the overflow flag, which this trampoline may lose
    with pytest.raises(SlotsDiffer, match=rf"call by \S+: {name} is {flipped:#x} behind the trampoline") as raised:
        frame.check("call", replace(good, after={**good.after, name: flipped}), Expected(trampoline), PASSED)
    assert not any(slot.wrong for slot in raised.value.slots)


@trampolines
def test_each_argument_of_the_callback_is_looked_at(trampoline: str) -> None:
    for register, what in KNOWN.promises[trampoline].handed.items():
        bad = traced(trampoline)
        bad = replace(bad, call={**bad.call, register: 0x42})
        with pytest.raises(SlotsDiffer, match=rf"was handed 0x42 as {what} \({register}\)"):
            frame.check("call", bad, Expected(trampoline), PASSED)


def test_ops_of_a_copy_is_looked_at() -> None:
    copy = replace(traced(CALLER), copied=True, op=None)
    frame.check("call", copy, Expected(CALLER, copied=True), PASSED)
    frame.check("call", copy, Expected(CALLER, copied=True, op=OP), PASSED)
    with pytest.raises(SlotsDiffer, match=rf"was handed {OP:#x} as ops \(rdx\), and not 0x43"):
        frame.check("call", copy, Expected(CALLER, copied=True, op=0x43), PASSED)


def test_route_is_looked_at() -> None:
    words = "goes to ftrace_caller, and should go to a copy of ftrace_caller"
    with pytest.raises(AssertionError, match=words):
        frame.check("call", traced(CALLER), Expected(CALLER, copied=True), PASSED)


def test_return_address_is_looked_at() -> None:
    with pytest.raises(SlotsDiffer, match=f"target_x will return to {PARENT:#x}, and not to 0x42"):
        frame.check("call", traced(CALLER), Expected(CALLER, returns_to=0x42), PASSED)


def test_user_space_goes_before_the_processor() -> None:
    """A register that was wrong before the trampoline is told as that, too."""
    with pytest.raises(SlotsDiffer, match="rsi was 0x4444444444444444 before the trampoline, and not 0x42") as raised:
        frame.check("call", traced(CALLER), Expected(CALLER), {**PASSED, "rsi": 0x42})
    assert [slot.name for slot in raised.value.slots if slot.wrong] == ["arg2"]


@pytest.mark.parametrize(
    "offset, words",
    [
        (168, "the frame of the caller is at"),
        (176, "the frame of the function returns to"),
        (184, "the frame of the caller leads to"),
        (192, "the frame of the caller returns to"),
    ],
)
def test_each_frame_pointer_is_looked_at(offset: int, words: str) -> None:
    good = traced(CALLER, frame_pointer=True)
    stack = bytearray(good.stack)
    stack[offset + 4] ^= 0xFF
    with pytest.raises(SlotsDiffer, match=words):
        frame.check("call", replace(good, stack=bytes(stack)), Expected(CALLER, frame_pointer=True), PASSED)


def test_mark_of_saved_registers_is_looked_at() -> None:
    good = traced(REGS_CALLER, frame_pointer=True)
    bad = replace(good, call={**good.call, "rbp": good.call["rsp"]})
    with pytest.raises(SlotsDiffer, match="does not mark the registers"):
        frame.check("call", bad, Expected(REGS_CALLER, frame_pointer=True), PASSED)
