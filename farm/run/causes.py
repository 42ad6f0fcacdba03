# SPDX-License-Identifier: GPL-2.0
"""Groups the failures of a run by their cause.

A kernel that does not build is one cause, not one for each test. So is a slot that holds the
wrong register, whichever tests look at it, and a warning that every test meets.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from farm.guest import splat
from farm.record.records import VerdictRecord
from farm.record.verdict import MEANING, Verdict
from farm.worker.classify import DURING
from farm.worker.diagnosis import diagnoses

#: What the farm writes before a complaint.
_BEFORE = re.compile(rf"^((the guest ended|{'|'.join(map(re.escape, splat.KINDS))}): )+")

#: An assertion without a message has only values.
_BARE = re.compile(r"^(assert |AssertionError$|no reason was given$)")


@dataclass(frozen=True)
class Cause:
    """Bad verdicts with one cause. `headline` describes it, and `example` is the member that shows it
    best. Members are in the order in which they were seen."""

    headline: str
    verdict: Verdict
    members: tuple[VerdictRecord, ...]
    example: VerdictRecord

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells in which it shows, in the order in which it was seen."""
        return tuple(dict.fromkeys(record.cell for record in self.members))


@dataclass(frozen=True)
class _Key:
    """What the members of a group have in common: the verdict, and what went wrong. For `slots` that
    is the place, the register, and what is there `instead` (empty if that is unknown)."""

    verdict: Verdict
    place: tuple[str, ...]
    instead: str = ""
    slots: bool = False

    @property
    def whole(self) -> bool:
        """Whether nothing is unknown."""
        return not self.slots or (bool(self.instead) and self.place[0] != "call")


def by_cause(records: Iterable[VerdictRecord]) -> list[Cause]:
    """Group the bad verdicts among `records`. The gravest groups come first, then those with most
    members. LOST verdicts are a group as well, though it only counts them. The result does not
    depend on the order of the groups in `records`."""
    bad = [record for record in records if record.bad]
    keys = [_key(record) for record in bad]
    whole = _folded(keys)
    members: dict[_Key, list[VerdictRecord]] = {}
    for key, record in zip(keys, bad, strict=True):
        members.setdefault(whole[key], []).append(record)
    causes = [_cause(mine) for mine in members.values()]
    return sorted(causes, key=lambda one: (-MEANING[one.verdict].gravity, -len(one.members), one.headline))


def headline(record: VerdictRecord) -> str:
    """What went wrong in one line."""
    if record.verdict is Verdict.FAIL and (found := diagnoses(record.slots)):
        return found[0].text
    lines = [line.strip() for line in record.reason.splitlines() if line.strip()]
    if record.verdict is Verdict.BUILD and len(lines) > 1:
        # the first line names the cell and the log
        what = lines[0].removeprefix(f"{record.cell}: ")
        return f"{'the kernel does not build:' if what.startswith('target ') else what} {lines[1]}"
    return lines[0] if lines else "no reason was given"


def explained(record: VerdictRecord) -> str:
    """The whole reason. Its first line says what went wrong."""
    first, reason = headline(record), record.reason.strip()
    return reason if reason.startswith(first) else f"{first}\n{reason}".strip()


def _key(record: VerdictRecord) -> _Key:
    if record.verdict is Verdict.FAIL and (found := diagnoses(record.slots)):
        first = found[0]
        # values do not identify a cause: other bits differ in every call
        return _Key(record.verdict, (first.where, first.register), first.instead, slots=True)
    if record.verdict is Verdict.BUILD:
        # the first line names cell and log
        lines = record.reason.strip().splitlines()
        return _Key(record.verdict, tuple(map(_normal, lines[1:] or lines)))
    return _Key(record.verdict, alike(record.verdict, headline(record), record.suite, record.test))


def alike(verdict: Verdict, line: str, suite: str, test: str) -> tuple[str, ...]:
    """What a failure has in common with others of its cause, according to its headline."""
    if verdict is Verdict.CRASH:
        return verdict, _normal(_BEFORE.sub("", DURING.sub("", line)))
    if verdict is Verdict.FAIL and _BARE.match(line):
        return verdict, suite, test.partition("[")[0], _normal(line)
    return verdict, _normal(line)


def _normal(text: str) -> str:
    """A reason without its values. This removes more than splat.normal does, because it is not
    displayed: `target_args2` and `target_args3` fail alike."""
    return re.sub(r"\d+", "N", splat.normal(text))


def _folded(keys: Iterable[_Key]) -> dict[_Key, _Key]:
    """For each key, the more complete one that it belongs to. If a test did not look at the slot, or
    passed too few arguments to identify what it holds, the other tests decide, if they agree."""
    different = dict.fromkeys(keys)
    folded = {}
    for key in different:
        fitting = [] if key.whole else [other for other in different if other.whole and _fits(key, other)]
        folded[key] = fitting[0] if len(fitting) == 1 else key
    return folded


def _fits(key: _Key, other: _Key) -> bool:
    """Whether one key may be a less complete form of the other."""
    where, *register = key.place
    return (
        other.slots
        and key.verdict is other.verdict
        and (where, *register) in (other.place, ("call", *other.place[1:]))
        and key.instead in ("", other.instead)
    )


def _cause(members: Sequence[VerdictRecord]) -> Cause:
    """For wrong slots, the member with a diagnosis and the most witnesses; otherwise the first."""

    def worth(record: VerdictRecord) -> tuple[bool, int, bool]:
        found = diagnoses(record.slots)[:1]
        raw = any(slot.raw is not None for slot in record.slots)
        return any(one.certain for one in found), sum(one.explains for one in found), raw

    example = max(members, key=worth)  # the first one of equals
    return Cause(headline(example), example.verdict, tuple(members), example)
