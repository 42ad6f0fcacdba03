# SPDX-License-Identifier: GPL-2.0
"""The trampoline's stack frame: what must be in it, and around it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from farm.base.errors import Blamed, KernelError
from farm.guest.agent import Agent
from farm.record.records import Slot
from farm.worker.classify import SlotsDiffer
from suites import arch
from suites.calls import PATTERNS
from suites.filters import Program
from suites.outside import REGS_CALLER, OutsideObserver, Traced

#: The functions that check_calls() calls.
CALLED = ("args6", "registers")


@dataclass(frozen=True)
class Expected:
    """What one call must look like: its trampoline, or whether it uses a copy of it; the
    ops that a copy passes on, None if unknown; where the function returns to after the
    trampoline, None if to its caller; whether calls and returns keep the arithmetic flags
    (registers.keeps_flags)."""

    trampoline: str
    copied: bool = False
    op: int | None = None
    returns_to: int | None = None
    frame_pointer: bool = False
    flags: bool = True

    def lost_flags(self, convention: arch.Convention) -> int:
        """The flags that are not checked."""
        return convention.resume | (0 if self.flags else convention.arithmetic)


def route(trampoline: str, copied: bool) -> str:
    return f"a copy of {trampoline}" if copied else trampoline


def check(
    what: str,
    traced: Traced,
    expected: Expected,
    passed: Mapping[str, int],
    program: Sequence[int] | None = None,
    received: Sequence[int] | None = None,
) -> None:
    """Compare one call with what it must look like. `passed` is what user space
    knows about the registers, `program` and `received` are the arguments that the
    program and the callee saw.

    Raises SlotsDiffer, which has the whole frame.
    """
    taken, wanted = route(traced.trampoline, traced.copied), route(expected.trampoline, expected.copied)
    assert taken == wanted, f"{what}: the call site of {traced.target} goes to {taken}, and should go to {wanted}"
    slots = picture(traced, passed, program, received, expected.flags)
    others = [*_before(traced, expected, passed), *_handed(traced, expected), *_behind(traced, expected)]
    if expected.frame_pointer:
        others += _frames(traced)
    if others or any(slot.wrong for slot in slots):
        raise SlotsDiffer(f"{what} by {taken}", slots, others)


def picture(
    traced: Traced,
    passed: Mapping[str, int],
    program: Sequence[int] | None = None,
    received: Sequence[int] | None = None,
    flags: bool = True,
) -> list[Slot]:
    """The frame slot by slot, as it is on the stack, its top first. What user space
    knows takes precedence over what the processor had at the call site. The arithmetic
    flags are not checked if calls do not keep the `flags`."""
    known = traced.convention
    promise = known.promises[traced.trampoline]
    expected = {name: passed.get(name, traced.entry[name]) for name in promise.saved}
    expected |= {**promise.constants, known.pc: traced.site + known.call_size}
    if known.flags in expected:
        expected[known.flags] &= ~known.resume
        if not flags:
            expected[known.flags] &= ~known.arithmetic
            expected[known.flags] |= traced.word(known.slots[known.flags]) & known.arithmetic
    numbers = {name: n for n, name in enumerate(known.arguments) if name in passed}
    return [
        Slot(
            name=f"arg{numbers[name] + 1}" if name in numbers else name,
            register=name,
            offset=offset,
            passed=expected[name],
            raw=traced.word(offset),
            program=_nth(program, numbers.get(name)),
            callee=_nth(received, numbers.get(name)),
        )
        for name, offset in sorted(known.slots.items(), key=lambda item: -item[1])
        if name in expected
    ]


def _nth(values: Sequence[int] | None, number: int | None) -> int | None:
    return values[number] if values is not None and number is not None and number < len(values) else None


def _before(traced: Traced, expected: Expected, passed: Mapping[str, int]) -> list[str]:
    """Differences between the registers at the call site and what user space passed."""
    known = traced.convention
    return [
        f"{name} was {traced.entry[name]:#x} before the trampoline, and not {value:#x} as passed"
        for name, value in passed.items()
        if (traced.entry[name] ^ value) & ~(expected.lost_flags(known) if name == known.flags else 0)
    ]


def _handed(traced: Traced, expected: Expected) -> list[str]:
    """What is wrong with the arguments of the callback."""
    values = {
        "ip": traced.site,
        "parent": traced.parent,
        "ops": expected.op if traced.copied else traced.op,
        "fregs": traced.call[traced.convention.sp],
    }
    return [
        f"the callback was handed {traced.call[name]:#x} as {what} ({name}), and not {values[what]:#x}"
        for name, what in traced.convention.promises[traced.trampoline].handed.items()
        if values[what] not in (None, traced.call[name])
    ]


def _behind(traced: Traced, expected: Expected) -> list[str]:
    """What is wrong after the trampoline."""
    if traced.after is None:
        return []
    known = traced.convention
    promise = known.promises[traced.trampoline]
    ignored = {known.flags: expected.lost_flags(known) | promise.lost_flags}
    wrong = [
        f"{name} is {traced.after[name]:#x} behind the trampoline, and was {value:#x} before"
        for name, value in traced.entry.items()
        if name != known.pc and name not in promise.lost and (traced.after[name] ^ value) & ~ignored.get(name, 0)
    ]
    returns_to = traced.parent if expected.returns_to is None else expected.returns_to
    if traced.returns_to != returns_to:
        wrong.append(f"{traced.target} will return to {traced.returns_to:#x}, and not to {returns_to:#x}")
    return wrong


def _frames(traced: Traced) -> list[str]:
    """What is wrong with the frames that an unwinder follows from the trampoline's call:
    that of the traced function and that of its caller. If all registers are saved, it
    finds these instead, by their address plus one (ENCODE_FRAME_POINTER). An unwinder
    that looks earlier, from an NMI, finds the frames."""
    known = traced.convention
    sp, fp = traced.call[known.sp], traced.call[known.fp]
    if traced.trampoline == REGS_CALLER:
        if fp != sp + 1:
            return [f"{known.fp} is {fp:#x} at the call, and does not mark the registers at {sp:#x}"]
        fp = sp + known.size
    for whose, address in (("function", traced.site + known.call_size), ("caller", traced.parent)):
        at = fp - sp
        if not 0 <= at <= len(traced.stack) - 16:
            return [f"the frame of the {whose} is at {fp:#x}, outside of the trampoline's at {sp:#x}"]
        if traced.word(at + 8) != address:
            return [f"the frame of the {whose} returns to {traced.word(at + 8):#x}, and not to {address:#x}"]
        fp = traced.word(at)
    before = traced.entry[known.fp]
    return [] if fp == before else [f"the frame of the caller leads to {fp:#x}, and {known.fp} was {before:#x}"]


def check_calls(
    agent: Agent, observer: OutsideObserver, tracer: str, expected: Expected, program: Program | None = None
) -> None:
    """Call CALLED under QEMU's eyes: target_args6 with every pattern of
    arguments, target_registers with sentinels in all registers."""
    convention = arch.of(agent.arch)
    values = [passed[: len(convention.arguments)] for passed in PATTERNS.values()]
    known = [dict(zip(convention.arguments, passed, strict=True)) for passed in values]
    names = [f"target_args6, {name}, {tracer}" for name in PATTERNS]
    wanted = [{"target": "args6", "args": [hex(value) for value in passed]} for passed in values]
    with _explained(observer, names, expected, known):
        results = observer.watch(agent, CALLED, "call_many", calls=wanted)["results"]
    assert len(observer.seen) == len(wanted), f"{len(wanted)} calls, and QEMU saw {len(observer.seen)}"
    told = program.seen() if program else [None] * len(wanted)
    assert len(told) == len(wanted), f"{len(wanted)} calls, and the program ran {len(told)} times"
    for name, traced, passed, slots, result in zip(names, observer.seen, known, told, results, strict=True):
        check(name, traced, expected, passed, slots, [int(value, 16) for value in result["received"]])

    name = f"target_registers, sentinels, {tracer}"
    with _explained(observer, [name], expected, [{}]):
        before = observer.watch(agent, CALLED, "call_registers")["before"]
    assert len(observer.seen) == 1, f"one call of target_registers, and QEMU saw {len(observer.seen)}"
    passed = {register: int(value, 16) for register, value in before.items()}
    passed[convention.sp] -= 8  # the return address
    check(name, observer.seen[0], expected, passed)


@contextmanager
def _explained(
    observer: OutsideObserver, names: Sequence[str], expected: Expected, known: Sequence[Mapping[str, int]]
) -> Iterator[None]:
    """Explain a lost call by its frame, if that is wrong."""
    try:
        yield
    except (KernelError, AssertionError) as error:
        for name, traced, passed in zip(names, observer.seen, known, strict=False):
            try:
                check(name, traced, expected, passed)
            except AssertionError as cause:
                raise cause from error
        raise


def with_raw(error: SlotsDiffer, observer: OutsideObserver, agent: Agent) -> SlotsDiffer:
    """The picture of a failed call, with the stack of a repetition under QEMU's eyes. It
    only makes the picture better: whatever goes wrong now, the failure stays the same."""
    assert error.call
    target, passed = error.call
    try:
        observer.watch(agent, [target], "call", target=target, args=[hex(value) for value in passed])
        (traced,) = observer.seen
    except (Blamed, AssertionError, OSError, ValueError, KeyError) as trouble:
        return SlotsDiffer(error.what, error.slots, (*error.besides, f"no raw memory: {trouble}"))
    places = traced.convention.slots
    slots = [
        replace(slot, offset=places[slot.register], raw=traced.word(places[slot.register]))
        if slot.register in places
        else slot
        for slot in error.slots
    ]
    told = f"raw memory is of the same call once more, by {route(traced.trampoline, traced.copied)}"
    return SlotsDiffer(error.what, slots, (*error.besides, told))
