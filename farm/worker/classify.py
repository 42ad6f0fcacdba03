# SPDX-License-Identifier: GPL-2.0
"""Makes the verdict of a test from the exception that it raised."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from farm.base.errors import KernelError, UsageError
from farm.guest.agent import FOLLOWS, Refused
from farm.record.records import Slot
from farm.record.verdict import MEANING, Verdict
from farm.worker.diagnosis import diagnose

#: The end of a complaint, which names the request during which it was noticed.
DURING = re.compile(r" \([^()]*`[^`]*`[^()]*\)$")


class SlotsDiffer(AssertionError):
    """The witnesses of a call do not agree. `slots` are the rows of the picture, and `besides` is
    what has no row. `call` is the function and its arguments, so that the call can be repeated.

    The first line of the text is the diagnosis: every test that sees the same bug has the same
    one. The second line has the call and the values."""

    def __init__(
        self,
        what: str,
        slots: Sequence[Slot],
        besides: Sequence[str] = (),
        call: tuple[str, Sequence[int]] | None = None,
    ) -> None:
        wrong = [slot for slot in slots if slot.wrong]
        values = f"{what}: {'; '.join([*map(describe, wrong), *besides])}"
        super().__init__("\n".join([*diagnose(slots)[:1], values]))
        self.what, self.slots, self.besides, self.call = what, tuple(slots), tuple(besides), call


def describe(slot: Slot) -> str:
    """One wrong slot in words: its name, its place, what was there instead."""
    place = f"{slot.register}, {slot.offset}(%rsp)" if slot.offset is not None else slot.register
    seen = []
    if slot.raw not in (None, slot.passed):
        seen.append(f"the stack held {slot.raw:#x}")
    if slot.program not in (None, slot.passed):
        seen.append(f"the program saw {slot.program:#x}")
    if slot.callee not in (None, slot.passed):
        seen.append(f"the callee received {slot.callee:#x}")
    *others, last = seen
    told = f"{', '.join(others)} and {last}" if others else last
    if slot.name.startswith("arg"):
        return f"{slot.name} ({place}) was passed as {slot.passed:#x}, {told}"
    return f"{slot.name} ({place}) should be {slot.passed:#x}, {told}"


@dataclass(frozen=True)
class Finding:
    """The verdict of one phase of a test."""

    verdict: Verdict
    reason: str
    slots: tuple[Slot, ...] = ()


def causes(error: BaseException) -> list[BaseException]:
    """The errors in an exception group. pytest makes one if several fixtures fail after a test: a
    dead guest fails all of them."""
    if isinstance(error, BaseExceptionGroup):
        return [cause for each in error.exceptions for cause in causes(each)]
    return [error]


def classify(error: BaseException) -> Finding:
    """The verdict and the reason for an exception from a test. An unknown one is the farm's fault."""
    reason = f"{error}".strip() or type(error).__name__
    if isinstance(error, KernelError):
        return Finding(Verdict(error.verdict), reason)
    if isinstance(error, pytest.skip.Exception):
        return Finding(Verdict.SKIP, reason)
    if isinstance(error, pytest.fail.Exception) and reason.startswith("Timeout"):
        return Finding(Verdict.HANG, reason)
    if isinstance(error, SlotsDiffer):
        return Finding(Verdict.FAIL, reason, error.slots)
    if isinstance(error, (AssertionError, Refused, pytest.fail.Exception)):
        return Finding(Verdict.FAIL, reason)
    if isinstance(error, UsageError):
        return Finding(Verdict.INFRA, reason)
    return Finding(Verdict.INFRA, f"{type(error).__name__}: {reason}")


def gravest(findings: Sequence[Finding]) -> Finding:
    """The finding of the highest gravity. The reasons of the others are appended to its own."""
    ordered = sorted(findings, key=lambda finding: MEANING[finding.verdict].gravity, reverse=True)
    if not ordered:
        return Finding(Verdict.PASS, "")
    first = ordered[0]
    reasons = _different([finding.reason for finding in ordered if finding.reason])
    slots = next((finding.slots for finding in ordered if finding.slots), ())
    return Finding(first.verdict, "\n".join(reasons), slots)


def _different(reasons: Sequence[str]) -> list[str]:
    """The reasons without repetitions, as a complaint seen during several requests is, and without
    those that only follow from an earlier one."""
    kept: dict[str, str] = {}
    for reason in [reason for reason in reasons if not reason.startswith(FOLLOWS)] or reasons:
        kept.setdefault(DURING.sub("", reason.partition("\n")[0]), reason)
    return list(kept.values())
