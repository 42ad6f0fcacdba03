# SPDX-License-Identifier: GPL-2.0
"""Failures of one cause as one: which verdicts of a run are owed to the same thing.

A kernel that does not build is one cause, not one a test; so is a slot that holds the
wrong register, whichever tests look at it, and a warning that every test runs into.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from farm.guest import splat
from farm.run.diagnosis import diagnoses
from farm.run.records import Verdict, VerdictRecord
from farm.run.verdict import GRAVITY

#: Behind a complaint: during which request it was noticed.
_DURING = re.compile(r" \([^()]*`[^`]*`[^()]*\)$")

#: What the farm puts before a complaint.
_BEFORE = re.compile(rf"^(the guest ended|{'|'.join(re.escape(kind) for kind in splat.KINDS)}): ")

#: An assertion without a message says nothing but values.
_BARE = re.compile(r"^(assert |AssertionError$|no reason was given$)")


@dataclass(frozen=True)
class Cause:
    """Bad verdicts that have one cause. `headline` says in words which; `example` is the
    member that shows it best; members are in the order in which they fell."""

    headline: str
    verdict: Verdict
    members: tuple[VerdictRecord, ...]
    example: VerdictRecord

    @property
    def cells(self) -> tuple[str, ...]:
        """Where it shows, in the order in which it did."""
        return tuple(dict.fromkeys(record.cell for record in self.members))


@dataclass(frozen=True)
class _Key:
    """What members have in common: the verdict, the place of a wrong slot or a complaint, and
    what is there instead, empty where nobody can say it."""

    verdict: Verdict
    place: tuple[str, ...]
    instead: str = ""


def by_cause(records: Iterable[VerdictRecord]) -> list[Cause]:
    """The bad verdicts among `records` as causes, the gravest first, then those with most
    members; LOST ones too, which tell no more than how many they are. The same whatever the
    order of causes in `records`."""
    members: dict[_Key, list[VerdictRecord]] = {}
    for record in records:
        if record.bad:
            members.setdefault(_key(record), []).append(record)
    causes = [_cause(mine) for mine in _folded(members).values()]
    return sorted(causes, key=lambda one: (-GRAVITY.index(one.verdict), -len(one.members), one.headline))


def headline(record: VerdictRecord) -> str:
    """What went wrong in one line."""
    if record.verdict is Verdict.FAIL and (found := diagnoses(record.slots)):
        return found[0].text
    lines = [line.strip() for line in record.reason.splitlines() if line.strip()]
    if record.verdict is Verdict.BUILD and len(lines) > 1:
        return f"the kernel does not build: {lines[1]}"
    return lines[0] if lines else "no reason was given"


def _key(record: VerdictRecord) -> _Key:
    if record.verdict is Verdict.FAIL and (found := diagnoses(record.slots)):
        first = found[0]
        # values are not what tells causes apart: bits that differ are others in every call
        return _Key(record.verdict, (first.where, first.register), first.instead)
    first_line = headline(record)
    if record.verdict is Verdict.BUILD:
        # the first line names cell and log
        lines = record.reason.strip().splitlines()
        return _Key(record.verdict, tuple(map(_normal, lines[1:] or lines)))
    if record.verdict is Verdict.CRASH:
        return _Key(record.verdict, (_normal(_BEFORE.sub("", _DURING.sub("", first_line))),))
    if record.verdict is Verdict.FAIL and _BARE.match(first_line):
        return _Key(record.verdict, (record.suite, record.test.partition("[")[0], _normal(first_line)))
    return _Key(record.verdict, (_normal(first_line),))


def _normal(text: str) -> str:
    """A reason but for its values, more than splat.normal, as it is seen by nobody: `target_args2`
    and `target_args3` fail alike."""
    return re.sub(r"\d+", "N", splat.normal(text))


def _folded(members: dict[_Key, list[VerdictRecord]]) -> dict[_Key, list[VerdictRecord]]:
    """Where nobody can say what a slot holds, as too little was passed, it is what all others
    say of that slot, if they agree."""
    known = Counter((key.verdict, key.place) for key in members if key.instead)
    folded: dict[_Key, list[VerdictRecord]] = {}
    for key, mine in members.items():
        if not key.instead and known[key.verdict, key.place] == 1:
            key = next(other for other in members if other.instead and replace(other, instead="") == key)
        folded.setdefault(key, []).extend(mine)
    return folded


def _cause(members: Sequence[VerdictRecord]) -> Cause:
    """The example of wrong slots is the one with a diagnosis and most witnesses; else the first."""

    def worth(record: VerdictRecord) -> tuple[bool, int, bool]:
        found = diagnoses(record.slots)[:1]
        raw = any(slot.raw is not None for slot in record.slots)
        return any(one.certain for one in found), sum(one.explains for one in found), raw

    example = max(members, key=worth)  # of equals it is the first
    return Cause(headline(example), example.verdict, tuple(members), example)
