# SPDX-License-Identifier: GPL-2.0
"""The check of the trampoline's frame goes red, for the right reason: on a real kernel with a bug
in its trampoline."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from farm.artifact import locate
from farm.base.errors import GuestCrashed
from farm.guest import vm
from farm.guest.agent import Agent
from farm.guest.poke import parse
from farm.guest.symbols import symbols
from farm.kernel import builder
from farm.kernel.builder import Built
from farm.matrix import MATRIX, choose, load
from farm.worker.classify import SlotsDiffer
from farm.worker.spec import guest_spec
from suites import arch, calls, filters, frame
from suites.frame import Expected
from suites.outside import CALLER, REGS_CALLER, OutsideObserver
from suites.tracefs import Tracing

KNOWN = arch.of("x86_64")


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
