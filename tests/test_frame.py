# SPDX-License-Identifier: GPL-2.0
"""The check of the trampoline's frame goes red, for the right reason: on frames
that are made up, and on a real kernel with a bug in its trampoline."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.arch.x86_64 import X86_64
from farm.artifact import locate
from farm.base.errors import GuestCrashed
from farm.guest import vm
from farm.guest.agent import Agent
from farm.guest.poke import parse
from farm.guest.symbols import symbols
from farm.kernel import builder
from farm.kernel.builder import Built
from farm.matrix import MATRIX, choose, load
from farm.run.classify import SlotsDiffer
from farm.run.spec import guest_spec
from suites import arch, calls, filters, frame
from suites.frame import Expected
from suites.outside import CALLER, REGS_CALLER, STATIC, OutsideObserver, Traced
from suites.tracefs import Tracing

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


# A real kernel, and bugs in its trampolines.


@pytest.fixture(scope="module")
def built() -> Built:
    process = builder.start(builder.Order(["x86_64-regs"], None, None, str(MATRIX)))
    done = [event.built for event in builder.events(process) if event.built]
    assert process.wait() == 0
    assert done[0]
    return done[0]


@pytest.fixture(scope="module")
def spec(built: Built) -> vm.Spec:
    (cell,) = choose(load(), [built.cell])
    return guest_spec(cell, built, "tcg")


@pytest.fixture(scope="module")
def guest(spec: vm.Spec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[vm.Guest]:
    with vm.boot(spec, tmp_path_factory.mktemp("guest") / "console.log") as machine:
        yield machine


@contextmanager
def planted(guest: vm.Guest, built: Built, where: str | int, old: str, new: str) -> Iterator[None]:
    """A bug in the text of the running kernel: `new` in place of the first
    `old` behind the symbol or address, in hex."""
    before, after = bytes.fromhex(old), bytes.fromhex(new)
    assert len(before) == len(after)
    with guest.debugger() as debugger:
        start = where if isinstance(where, int) else symbols(locate(built.kernel))[where]
        at = debugger.read(start, 256).find(before)
        assert at >= 0, f"{where} has no {old}"
        debugger.write(start + at, after)
    try:
        yield
    finally:
        with guest.debugger() as debugger:
            debugger.write(start + at, before)


@contextmanager
def traced_calls(guest: vm.Guest, trampoline: str, copied: bool = False) -> Iterator[Agent]:
    """Calls of the targets that go by the trampoline, and an agent to make them."""
    tracing = Tracing(guest, True)
    functions = [f"target_{target}" for target in frame.CALLED]
    with guest.agent() as agent:
        if trampoline == REGS_CALLER:
            for function in functions:
                tracing.kprobe(function)
        elif not copied:
            for function in functions:
                filters.attach(agent, function)
        if trampoline == CALLER or not copied:
            tracing.start("function", *functions)
        try:
            yield agent
        finally:
            agent.close(guest.deadline(10))
            tracing.reset()


#: Name, trampoline, what to break behind which symbol, the wrong registers of
#: the picture, and words of the message. Bugs that the guest survives.
BUGS = [
    (
        "rdi_and_rsi_swapped", CALLER, "ftrace_caller", "4889742468 48897c2470", "4889742470 48897c2468",
        {"rdi", "rsi"}, "arg1 (rdi, 112(%rsp)) was passed as",
    ),
    ("r8_not_saved", CALLER, "ftrace_caller", "4c89442448", "0f1f440000", {"r8"}, "the stack held 0xb6b6b6b6b6b6b6b6"),
    ("r9_not_restored", CALLER, "ftrace_caller", "4c8b4c2440", "0f1f440000", {"r9"}, "the callee received 0xb6"),
    (
        "orig_rax_not_zero", CALLER, "ftrace_caller", "48c744247800000000", "48c744247801000000",
        {"orig_rax"}, "orig_rax (orig_rax, 120(%rsp)) should be 0x0, the stack held 0x1",
    ),
    ("rsp_off_by_8", CALLER, "ftrace_caller", "488d8c24b0000000", "488d8c24a8000000", {"rsp"}, "rsp (rsp, 152(%rsp))"),
    ("parent_off_by_8", CALLER, "ftrace_caller", "488bb424b0000000", "488bb424a8000000", set(), "as parent (rsi)"),
    ("ip_off_by_1", CALLER, "ftrace_caller", "4883ef05", "4883ef04", set(), "as ip (rdi)"),
    ("r11_not_saved", REGS_CALLER, "ftrace_regs_caller", "4c895c2430", "0f1f440000", {"r11"}, "r11 (r11, 48(%rsp))"),
    ("r10_not_restored", REGS_CALLER, "ftrace_regs_call", "4c8b542438", "0f1f440000", set(), "r10 is 0xb6"),
    (
        "ss_wrong", REGS_CALLER, "ftrace_regs_caller", "48c7c118000000", "48c7c110000000",
        {"ss"}, "ss (ss, 160(%rsp)) should be 0x18, the stack held 0x10",
    ),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=[bug[0] for bug in BUGS])
def test_bug_is_named(guest: vm.Guest, built: Built, bug: tuple[str, str, str, str, str, set[str], str]) -> None:
    _, trampoline, symbol, old, new, registers, words = bug
    observer = OutsideObserver(guest, built)
    with traced_calls(guest, trampoline) as agent:
        with planted(guest, built, symbol, old, new), pytest.raises(SlotsDiffer) as raised:
            frame.check_calls(agent, observer, "function", Expected(trampoline))
        assert {slot.register for slot in raised.value.slots if slot.wrong} == registers
        assert words in str(raised.value)
        frame.check_calls(agent, observer, "function", Expected(trampoline))


@pytest.mark.parametrize("trampoline", [CALLER, REGS_CALLER])
def test_bug_in_a_copy_is_named(guest: vm.Guest, built: Built, trampoline: str) -> None:
    """An ops keeps the copy that it got once, so the bug is planted into that."""
    observer = OutsideObserver(guest, built)
    with traced_calls(guest, trampoline, copied=True) as agent:
        frame.check_calls(agent, observer, "function", Expected(trampoline, copied=True))
        enabled = agent.request("file_read", path="/sys/kernel/tracing/enabled_functions")["data"]
        copy = int(enabled.partition("tramp: ")[2].split()[0], 16)
        with (
            planted(guest, built, copy, "4c89442448", "0f1f440000"),
            pytest.raises(SlotsDiffer, match=r"a copy of \w+: arg5 \(r8, 72\(%rsp\)\) was passed"),
        ):
            frame.check_calls(agent, observer, "function", Expected(trampoline, copied=True))


def test_wrong_route_is_named(guest: vm.Guest, built: Built) -> None:
    observer = OutsideObserver(guest, built)
    with traced_calls(guest, CALLER) as agent, pytest.raises(AssertionError, match="should go to ftrace_regs_caller"):
        frame.check_calls(agent, observer, "function", Expected(REGS_CALLER))
    with guest.agent() as agent, pytest.raises(AssertionError, match="target_args6 is not traced"):
        frame.check_calls(agent, observer, "function", Expected(CALLER))


def test_call_that_loses_its_way(guest: vm.Guest, built: Built) -> None:
    """A trampoline that returns at once is no hang: the agent's answer is there first."""
    observer = OutsideObserver(guest, built)
    with (
        traced_calls(guest, CALLER) as agent,
        planted(guest, built, CALLER, "48", "c3"),
        pytest.raises(AssertionError, match="went to ftrace_caller never came to the call there"),
    ):
        frame.check_calls(agent, observer, "function", Expected(CALLER))


def test_crash_is_told_by_its_frame(spec: vm.Spec, built: Built, tmp_path: Path) -> None:
    """The trampoline jumps to what is in the slot of orig_rax, and nobody made it zero."""
    bug = parse("ftrace_regs_caller:48c744247800000000=660f1f840000000000")
    with vm.boot(replace(spec, pokes=(bug,)), tmp_path / "console.log") as guest:
        observer = OutsideObserver(guest, built)
        with (
            suppress(GuestCrashed),  # behind the check there is no guest to be put in order
            traced_calls(guest, REGS_CALLER) as agent,
            pytest.raises(SlotsDiffer) as raised,
        ):
            frame.check_calls(agent, observer, "function", Expected(REGS_CALLER))
        assert "orig_rax (orig_rax, 120(%rsp)) should be 0x0, the stack held 0xb6b6b6b6b6b6b6b6" in str(raised.value)


def test_failed_picture_gets_its_raw_memory(guest: vm.Guest, built: Built) -> None:
    """What the suites do for every call whose slots differ."""
    observer = OutsideObserver(guest, built)
    with planted(guest, built, "ftrace_caller", "4889542460", "48894c2460"), traced_calls(guest, CALLER) as agent:
        program = filters.attach(agent, "target_args6")
        (done,) = calls.call(agent, ("args6", calls.PATTERNS["distinct"]))
        with pytest.raises(SlotsDiffer) as raised:
            calls.check("call", done, program.seen()[0])
        told = frame.with_raw(raised.value, observer, agent)
    assert [slot.name for slot in told.slots if slot.wrong] == ["arg3"]
    assert all(slot.raw == slot.passed for slot in told.slots if slot.name != "arg3")
    assert told.slots[5].offset == KNOWN.slots["r9"]
    (wrong,) = [slot for slot in told.slots if slot.wrong]
    assert wrong.raw == wrong.program == done.passed[3]
    assert "the stack held" in str(told)
    assert str(told).endswith("raw memory is of the same call once more, by ftrace_caller")
