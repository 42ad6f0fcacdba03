# SPDX-License-Identifier: GPL-2.0
"""Which verdicts of a run have one cause."""

import random
from dataclasses import replace

import pytest

from farm.record.records import VerdictRecord
from farm.record.verdict import Verdict
from farm.run.causes import by_cause
from tests.test_diagnosis import PASSED, frame


def record(verdict: Verdict, reason: str, test: str = "test_x", cell: str = "x86_64-regs") -> VerdictRecord:
    return VerdictRecord(test, "slots", cell, verdict, 1.0, reason)


def wrong(count: int, /, cell: str = "x86_64-regs", **raw: int) -> VerdictRecord:
    """A test of a function with that many arguments that found slots wrong."""
    one = record(Verdict.FAIL, "whatever", f"test_arguments[args{count}]", cell)
    return replace(one, slots=tuple(frame(count, **raw)))


def test_nothing_bad_has_no_cause() -> None:
    assert by_cause([record(Verdict.PASS, ""), record(Verdict.SKIP, "no")]) == []


def test_one_wrong_slot_is_one_cause_whatever_was_passed() -> None:
    """Where the register that it holds had no name, or by its own, where a value was passed
    that shows nothing, in every cell: it is the same bug."""
    shown = wrong(2, rdi=PASSED[1])
    alone = wrong(1, rdi=PASSED[1])
    other = wrong(1, rdi=PASSED[0] ^ 2)
    by_register = replace(shown, slots=tuple(replace(slot, name=slot.register) for slot in shown.slots))
    elsewhere = wrong(4, "x86_64-static", rdi=PASSED[1])
    (cause,) = by_cause([alone, other, shown, by_register, elsewhere])
    assert cause.headline == "arg1's slot holds rsi (arg2)"
    assert (cause.example, cause.members) == (shown, (alone, other, shown, by_register, elsewhere))
    assert cause.cells == ("x86_64-regs", "x86_64-static")


def test_where_nobody_looked_at_the_slot_it_is_what_others_saw_there() -> None:
    def received(test: str, raw: int | None) -> VerdictRecord:
        slots = (replace(frame(2)[0], raw=raw, callee=PASSED[1]), frame(2)[1])
        return replace(record(Verdict.FAIL, "whatever", test), slots=slots)

    alone, at_slot, behind = received("a", None), wrong(2, rdi=PASSED[1]), received("b", PASSED[0])
    assert [len(cause.members) for cause in by_cause([alone, at_slot])] == [2]
    assert [len(cause.members) for cause in by_cause([behind, alone])] == [2]
    assert [len(cause.members) for cause in by_cause([behind, at_slot])] == [1, 1]
    assert [len(cause.members) for cause in by_cause([behind, at_slot, alone])] == [1, 1, 1]  # either of them


def test_a_shift_is_one_cause_for_any_number_of_arguments() -> None:
    shifted = dict(zip(("rdi", "rsi", "rdx", "rcx"), [*PASSED[1:4], 7], strict=True))
    some = [wrong(count, "x86_64-regs", **dict(list(shifted.items())[:count])) for count in (1, 2, 3, 4)]
    (cause,) = by_cause(some)
    assert cause.headline == "the slots from arg1 on are shifted by one"


def test_another_slot_or_another_value_is_another_cause() -> None:
    causes = by_cause([wrong(3, rdi=PASSED[1]), wrong(3, rdi=0), wrong(3, rdx=0), wrong(1, rdi=5)])
    assert [cause.headline for cause in causes] == [
        "arg1's slot holds 0", "arg1's slot holds another value", "arg1's slot holds rsi (arg2)", "arg3's slot holds 0",
    ]  # fmt: skip


BUILD = (
    "{}: target kernel failed, log in /cache/{}/build.log\n  kernel/fork.c:{}:2: error: 'x' undeclared\n  make: *** 2"
)


@pytest.mark.parametrize(
    "verdict, one, other, headline",
    [
        (
            Verdict.BUILD,
            BUILD.format("x86_64-regs", "a", 7),
            BUILD.format("x86_64-static", "b", 7),
            "the kernel does not build: kernel/fork.c:7:2: error: 'x' undeclared",
        ),
        (
            Verdict.CRASH,
            "WARN: WARNING: CPU: 0 PID: 9 at kernel/x.c:7 f+0x1/0x9\nmore",
            "WARNING: CPU: 1 PID: 10 at kernel/x.c:7 f+0x1/0x9 (no answer to `hello` within 9 s)",
            "WARN: WARNING: CPU: 0 PID: 9 at kernel/x.c:7 f+0x1/0x9",
        ),
        (
            Verdict.HANG,
            "no answer to `hello` within 10 s",
            "no answer to `hello` within 12 s",
            "no answer to `hello` within 10 s",
        ),
        (
            Verdict.FAIL,
            "target_args2: counted 3 calls, and should have 4",
            "target_args3: counted 0 calls, and should have 2\nassert 0 == 2",
            "target_args2: counted 3 calls, and should have 4",
        ),
        (Verdict.INFRA, "OSError: disk full", "OSError: disk full", "OSError: disk full"),
    ],
)
def test_the_same_but_for_values(verdict: Verdict, one: str, other: str, headline: str) -> None:
    (cause,) = by_cause([record(verdict, one, "test_a"), record(verdict, other, "test_b", "x86_64-static")])
    assert (cause.headline, cause.verdict, len(cause.members)) == (headline, verdict, 2)


def test_dropped_options_are_told_by_the_first() -> None:
    reason = "x86_64-regs: the tree dropped options that the cell asks for:\n  CONFIG_X=y: needs Y"
    (cause,) = by_cause([record(Verdict.BUILD, reason)])
    assert cause.headline == "the tree dropped options that the cell asks for: CONFIG_X=y: needs Y"


@pytest.mark.parametrize(
    "verdict, one, other",
    [
        (Verdict.BUILD, BUILD.format("c", "a", 7), BUILD.format("c", "a", 7).replace("'x'", "'y'")),
        (Verdict.CRASH, "oops: BUG: kernel NULL pointer dereference", "panic: Kernel panic - not syncing: no init"),
        (Verdict.HANG, "no answer to `hello` within 10 s", "no answer to `call` within 10 s"),
        (Verdict.FAIL, "assert 1 == 2", "assert 1 == 2"),  # of two tests: that says nothing of what went wrong
    ],
)
def test_not_the_same(verdict: Verdict, one: str, other: str) -> None:
    assert len(by_cause([record(verdict, one, "test_a"), record(verdict, other, "test_b")])) == 2


def test_gravest_first_then_the_largest_in_whatever_order_they_came() -> None:
    bad = [record(Verdict.FAIL, "few")]
    bad += [record(Verdict.FAIL, "many", f"test_{n}") for n in range(3)]
    bad += [record(Verdict.CRASH, "oops: BUG: x"), record(Verdict.INFRA, "OSError"), record(Verdict.LOST, "no worker")]
    for seed in range(5):
        random.Random(seed).shuffle(bad)
        causes = [(cause.headline, len(cause.members)) for cause in by_cause(bad)]
        assert causes == [("OSError", 1), ("no worker", 1), ("oops: BUG: x", 1), ("many", 3), ("few", 1)]
