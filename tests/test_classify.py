# SPDX-License-Identifier: GPL-2.0
"""From what happened to what is said of it."""

import errno
from collections.abc import Callable

import pytest

from farm.base.errors import BootFailed, BuildFailed, FarmError, GuestCrashed, GuestHung, UsageError
from farm.guest.agent import Refused
from farm.record.records import Slot
from farm.record.verdict import MEANING, Verdict
from farm.worker.classify import Finding, SlotsDiffer, classify, describe, gravest

RIGHT = Slot("arg1", "rdi", 112, passed=1, program=1, callee=1)
LOST = Slot("arg3", "rdx", 96, passed=0x123456789ABCDD3, program=0, callee=0x123456789ABCDD3)


def exception(call: Callable[[], object]) -> BaseException:
    """What pytest's own functions raise."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        call()
    return caught.value


@pytest.mark.parametrize(
    "error, verdict",
    [
        (AssertionError("1 != 2"), Verdict.FAIL),
        (Refused(errno.EPERM, "bpf", "no"), Verdict.FAIL),
        (SlotsDiffer("call", [LOST]), Verdict.FAIL),
        (exception(lambda: pytest.fail("no")), Verdict.FAIL),
        (exception(lambda: pytest.fail("Timeout >120.0s")), Verdict.HANG),
        (exception(lambda: pytest.skip("no")), Verdict.SKIP),
        (GuestCrashed("oops"), Verdict.CRASH),
        (GuestHung("no answer"), Verdict.HANG),
        (BootFailed("silent"), Verdict.BOOT),
        (BuildFailed("x.c:1: error"), Verdict.BUILD),
        (FarmError("no QEMU"), Verdict.INFRA),
        (UsageError("late"), Verdict.INFRA),
        (ValueError("a bug of ours"), Verdict.INFRA),
        (OSError(errno.ENOSPC, "full"), Verdict.INFRA),
        (KeyError("x"), Verdict.INFRA),
        (SystemExit(3), Verdict.INFRA),
    ],
)
def test_classify(error: BaseException, verdict: Verdict) -> None:
    finding = classify(error)
    assert finding.verdict == verdict
    assert finding.reason


def test_reason_of_the_unknown_names_its_type() -> None:
    assert classify(ValueError("x")).reason == "ValueError: x"
    assert classify(AssertionError()).reason == "AssertionError"


def test_slots_are_named() -> None:
    error = SlotsDiffer("target_args6, distinct", [RIGHT, LOST])
    assert str(error).splitlines() == [
        "arg3's slot holds 0",
        "target_args6, distinct: arg3 (rdx, 96(%rsp)) was passed as 0x123456789abcdd3, the program saw 0x0",
    ]
    assert classify(error).slots == (RIGHT, LOST)


def test_both_witnesses_and_an_argument_without_a_slot() -> None:
    assert describe(Slot("arg6", "r9", None, passed=1, callee=2)) == (
        "arg6 (r9) was passed as 0x1, the callee received 0x2"
    )
    assert describe(Slot("arg1", "rdi", 112, passed=1, program=3, callee=2)).endswith(
        "the program saw 0x3 and the callee received 0x2"
    )


def test_raw_memory_and_registers_that_are_no_arguments() -> None:
    assert describe(Slot("arg1", "rdi", 112, passed=1, raw=4, program=3, callee=2)) == (
        "arg1 (rdi, 112(%rsp)) was passed as 0x1, the stack held 0x4, the program saw 0x3 and the callee received 0x2"
    )
    assert describe(Slot("orig_rax", "orig_rax", 120, passed=0, raw=1)) == (
        "orig_rax (orig_rax, 120(%rsp)) should be 0x0, the stack held 0x1"
    )


def test_what_has_no_slot_is_told_behind_the_slots() -> None:
    error = SlotsDiffer("call", [RIGHT, LOST], ["r9 is lost"])
    assert str(error).endswith("the program saw 0x0; r9 is lost")
    assert str(SlotsDiffer("call", [RIGHT], ["r9 is lost"])) == "call: r9 is lost"


def test_what_nobody_saw_is_not_wrong() -> None:
    assert not Slot("arg1", "rdi", 112, passed=0).wrong
    assert not Slot("arg1", "rdi", 112, passed=0, program=0, callee=0).wrong
    assert Slot("arg1", "rdi", 112, passed=1, program=0).wrong
    assert Slot("arg1", "rdi", 112, passed=1, callee=0).wrong
    assert Slot("arg1", "rdi", 112, passed=1, raw=0).wrong


def test_gravest_decides_and_keeps_the_other_reasons() -> None:
    findings = [
        Finding(Verdict.FAIL, "1 != 2", (LOST,)),
        Finding(Verdict.CRASH, "oops"),
        Finding(Verdict.FAIL, "1 != 2"),
    ]
    assert gravest(findings) == Finding(Verdict.CRASH, "oops\n1 != 2", (LOST,))


OOPS = "oops: BUG: kernel NULL pointer dereference at f+0x1/0x2"


@pytest.mark.parametrize(
    "reasons, said",
    [
        ([f"{OOPS} (no answer to `hello` within 9 s)\ncall trace: g", f"{OOPS} (the agent ended during `mark`)", OOPS],
         f"{OOPS} (no answer to `hello` within 9 s)\ncall trace: g"),
        ([f"{OOPS} (no answer to `hello` within 9 s)", "no request is made after `hello`, which had no answer"],
         f"{OOPS} (no answer to `hello` within 9 s)"),
        (["no request is made after `hello`, which had no answer"],
         "no request is made after `hello`, which had no answer"),
        (["a (of two)", "b", "a (of two)"], "a (of two)\nb"),
    ],
)  # fmt: skip
def test_a_reason_that_only_follows_is_no_second_one(reasons: list[str], said: str) -> None:
    """A dead guest fails each phase of a test, during whatever request comes next."""
    assert gravest([Finding(Verdict.CRASH, reason) for reason in reasons]).reason == said


def test_no_findings_pass() -> None:
    assert gravest([]) == Finding(Verdict.PASS, "")


@pytest.mark.parametrize("other", [verdict for verdict in Verdict if verdict is not Verdict.INFRA])
def test_the_farms_own_failure_makes_the_rest_worthless(other: Verdict) -> None:
    assert gravest([Finding(other, ""), Finding(Verdict.INFRA, "")]).verdict == Verdict.INFRA


def test_order_of_the_documents() -> None:
    """docs/verdicts.md: INFRA, BUILD, BOOT, CRASH, HANG, FAIL."""
    named = [Verdict.FAIL, Verdict.HANG, Verdict.CRASH, Verdict.BOOT, Verdict.BUILD, Verdict.INFRA]
    assert sorted(named, key=lambda verdict: MEANING[verdict].gravity) == named
