# SPDX-License-Identifier: GPL-2.0
"""The differences between two runs, case by case, judged by the runs before them.

Two runs are **comparable** if they test the same thing: the same `--tree` and `--series` as
typed, the same matrix, and both run the suites or both run the kernel's own tests. The
revision may differ, because it is what is compared.

Other runs are compared only with a **clean** run, one without `--patch`, `--poke` and
`--partial`. Two runs that are not clean are compared only if the user names both.

The last comparable run is the last finished one before a run that covers all its cells and
tests; if there is none, the last one that shares a cell with it. If a later finished run
retested a case, that result is compared instead. So if cells take turns, what broke yesterday
is not reported as new again today.

If two runs differ in their cells or their `-k`, only the cases in both are compared: a test
that was not asked for is not "gone".

**Before** goes by the id, which does not go back when the clock does (model.order).
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from farm.history import steps
from farm.history.model import Case, RunKernel, Seen, Summary, Timeline
from farm.record.verdict import MEANING, TELLING, Verdict
from farm.run.causes import alike

#: How many comparable runs before a run decide what is usual for its cases.
WINDOW = 60

#: The quantile of the normal distribution for a confidence of 95 %.
Z = 1.96

#: A row of failures that is less likely than this is not the flake that was known before.
CHANCE = 0.01

#: The codes of a case that never failed.
_NEVER_BAD = bytes([0, MEANING[Verdict.PASS].code, MEANING[Verdict.SKIP].code])


class Kind(StrEnum):
    """How a case differs between two runs, gravest first."""

    NEW_FAILURE = "new failure"
    OTHERWISE = "fails otherwise"  # failed and still fails, but in another way
    FLAKY = "flaky"  # comes and goes; the rate says how often
    STILL = "still failing"
    SLOWER = "slower"
    GONE = "gone"  # was tested, and is now skipped or not tested
    FIXED = "fixed"
    NEW = "new"  # was skipped or not tested, and now passes


#: The kinds that make a run worse, if they are news.
WORSE = (Kind.NEW_FAILURE, Kind.OTHERWISE, Kind.FLAKY, Kind.SLOWER, Kind.GONE)


@dataclass(frozen=True)
class Rate:
    """How often a case failed: `bad` of `tries`, over `runs` comparable runs. With a confidence of
    95 %, the true rate is between `low` and `high` (Wilson's interval)."""

    bad: int
    tries: int
    runs: int
    low: float
    high: float

    @property
    def share(self) -> float:
        return self.bad / self.tries if self.tries else 0.0

    def __str__(self) -> str:
        return f"{self.bad} of {self.tries} ({100 * self.low:.2g} to {100 * self.high:.2g} %)"


@dataclass(frozen=True)
class Step:
    """A lasting change of a duration: the medians in seconds before and from the run
    `since` on, and the chance of so clear a step without a real change."""

    before: float
    after: float
    since: str
    chance: float


@dataclass(frozen=True)
class Change:
    """The change of one case. It is `news` if the run before did not have it; then a mail
    is worth sending. The case fails since the run `first_bad`, and passed last in
    `last_good`; they are empty if that is before the window, or never happened."""

    kind: Kind
    case: Case
    before: Seen | None
    after: Seen | None
    news: bool = True
    last_good: str = ""
    first_bad: str = ""
    rate: Rate | None = None
    step: Step | None = None


@dataclass(frozen=True)
class Comparison:
    """Two runs and all their changes, gravest first. `same` counts the cases in both that did
    not change. `notes` say what was not compared, and why. `before` is None if there is
    nothing to compare with; then every failure is new."""

    before: Summary | None
    after: Summary
    changes: tuple[Change, ...]
    same: int = 0
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> Counter[Kind]:
        return Counter(change.kind for change in self.changes)

    @property
    def news(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.news)

    @property
    def worse(self) -> bool:
        """Whether something newly fails, is slower, or is not tested any more."""
        return any(change.news and change.kind in WORSE for change in self.changes)

    def of(self, kind: Kind) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.kind is kind)


@dataclass(frozen=True)
class Side:
    """One of the two compared runs, with the results of its cases. Some of these come from the runs in
    `newer`, which retested them."""

    run: Summary
    seen: Mapping[Case, Seen]
    newer: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Changes of the same kind with the same cause, in any cells: a kernel that does not boot
    is one group, not one line for each test. `reason` is that of the first change, with its
    values if they are known."""

    kind: Kind
    verdict: str
    reason: str
    changes: tuple[Change, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(change.case.cell for change in self.changes))


def grouped(changes: Iterable[Change]) -> list[Group]:
    """Changes grouped by kind, cause and first run, in their present order. Changes with numbers of
    their own (how often it fails, how long it takes) are grouped only within a cell."""
    groups: dict[tuple[str, ...], list[Change]] = {}
    for change in changes:
        seen = change.after or change.before
        cell = change.case.cell if change.rate or change.step else ""
        cause = alike(seen.verdict, seen.reason, change.case.suite, change.case.test) if seen else ()
        key = (change.kind, cell, change.last_good, change.first_bad, *cause)
        groups.setdefault(key, []).append(change)
    return [_group(tuple(members)) for members in groups.values()]


def _group(members: tuple[Change, ...]) -> Group:
    seen = members[0].after or members[0].before
    return Group(members[0].kind, str(seen.verdict) if seen else "", seen.shown if seen else "", members)


def last_comparable(runs: Sequence[Summary], run: Summary) -> Summary | None:
    """The run among `runs` (in any order) that a run is compared with; None if there is none."""
    line = run.clean_line
    earlier = [
        one
        for one in sorted(runs, key=lambda one: one.order)
        if line and one.line == line and one.order < run.order and one.complete and _overlap(one, run)
    ]
    covering = [one for one in earlier if set(run.cells) <= set(one.cells) and one.select in ("", run.select)]
    return next(reversed(covering or earlier), None)


def past(runs: Sequence[Summary], run: Summary, most: int = WINDOW) -> list[Summary]:
    """The last comparable runs before this one, and then this one, oldest first. So the last place
    in their timelines is that of this run."""
    ordered, line = sorted(runs, key=lambda one: one.order), run.clean_line
    before = [one for one in ordered if line and one.line == line and one.order < run.order]
    return [*before[-most:], run]


def _overlap(one: Summary, other: Summary) -> bool:
    return bool(set(one.cells) & set(other.cells)) and (
        one.select == other.select or not one.select or not other.select
    )


def compare(
    before: Side | None, after: Side, over: Sequence[Summary] = (), lines: Mapping[Case, Timeline] | None = None
) -> Comparison:
    """Compare two runs. `lines` are the timelines over `over`, which is past(runs, after).
    Without them nothing can be flaky or slower, and no first run is known."""
    lines = lines or {}
    old, new = _answered(before) if before else {}, _answered(after)
    notes = list(_differences(before.run, after.run)) if before else ["there is no run to compare with"]
    if before and before.newer:
        notes.append(
            f"what was tested again since {before.run.id} is compared with the last of {', '.join(before.newer)}"
        )
    found, same = [], 0
    budget = steps.FALSE_ALARMS / max(1, len(new))
    for case in {*old, *new}:
        past = _Past(case, lines[case], over) if case in lines else None
        change = _change(case, old.get(case), new.get(case), past, budget)
        if change is None:
            same += case in old and case in new
        elif _fair(change, before.run if before else None, after.run):
            found.append(change)
    order = list(Kind)
    found.sort(key=lambda change: (order.index(change.kind), not change.news, change.case))
    return Comparison(before.run if before else None, after.run, tuple(found), same, tuple(notes))


def _answered(side: Side) -> Mapping[Case, Seen]:
    """The cases to compare: if a run did not finish, only those that it reached."""
    if side.run.complete:
        return side.seen
    return {case: seen for case, seen in side.seen.items() if seen.verdict is not Verdict.LOST}


def _fair(change: Change, before: Summary | None, after: Summary) -> bool:
    """Whether a case that only one run has is really missing in the other, and was not just left out."""
    if change.kind is Kind.GONE and after.planted.partial:
        return False  # with only part of the feature, the rest is not tested
    if change.kind is Kind.GONE:
        return before is not None and (change.after is not None or _asked(change.case, after, before))
    if change.kind is Kind.NEW:
        return before is not None and (change.before is not None or _asked(change.case, before, after))
    return True


def _asked(case: Case, run: Summary, other: Summary) -> bool:
    """Whether a run should have tested a case that the other one tested, and finished."""
    return run.complete and case.cell in run.cells and run.select in ("", other.select)


def _differences(before: Summary, after: Summary) -> Iterator[str]:
    """In words, why two runs are not compared in full."""
    for run in (before, after):
        if not run.complete:
            yield f"{run.id} is {run.status}: what it has no verdict of is not compared"
        for trouble in run.troubles:
            yield f"{run.id}: {trouble}"
    if missing := sorted(set(before.cells) - set(after.cells)):
        yield f"only in {before.id}: {' '.join(missing)}"
    if more := sorted(set(after.cells) - set(before.cells)):
        yield f"only in {after.id}: {' '.join(more)}"
    if before.select != after.select:
        yield f"{before.id} has -k {before.select!r}, {after.id} -k {after.select!r}: what both tested is compared"
    if before.accel != after.accel:
        yield f"{before.id} ran under {before.accel}, {after.id} under {after.accel}: durations are not compared"


class _Past:
    """The results of a case in the comparable runs up to the newer one, which is the last."""

    def __init__(self, case: Case, line: Timeline, over: Sequence[Summary]) -> None:
        self.case, self.line, self.over = case, line, over

    @cached_property
    def telling(self) -> list[tuple[int, Seen, RunKernel | None]]:
        """Position, result and kernel of each run whose verdict says something about the kernel."""
        return [
            (position, seen, self.over[position].kernels.get(self.case.cell))
            for position in range(len(self.line))
            if (seen := self.line.seen(position)) and seen.verdict in TELLING
        ]

    def rate(self) -> Rate | None:
        """The share of failures, if the case comes and goes. It does if it both passed and
        failed within one run or with the same kernel, or if it passed between two
        failures. A case that broke once, or was repaired once, does not."""
        if not self.line.codes.translate(None, _NEVER_BAD):
            return None  # the usual case, found out quickly
        both = any(0 < seen.bad < seen.tries for _, seen, _ in self.telling)
        by_kernel: dict[str, set[bool]] = {}
        for _, seen, kernel in self.telling:
            if kernel and kernel.key:
                by_kernel.setdefault(kernel.key, set()).add(seen.is_bad)
        both = both or any(len(ends) > 1 for ends in by_kernel.values())
        spells = [is_bad for is_bad, _ in itertools.groupby(seen.is_bad for _, seen, _ in self.telling)]
        if not both and spells.count(True) < 2:
            return None
        return rate([(seen.bad, seen.tries) for _, seen, _ in self.telling])

    def usual(self) -> Rate | None:
        """The known rate of the case. A run with something planted does not count: its kernel is another
        one, even with the same key, because a poke comes after the build."""
        return self.until(1).rate() if self.over[-1].planted else self.rate()

    def until(self, last: int) -> "_Past":
        """The same without the later runs."""
        shorter = copy(self)
        shorter.telling = [one for one in self.telling if one[0] < len(self.over) - last]
        return shorter

    def streak(self) -> tuple[str, str, int]:
        """The last run that passed, the first that failed after it, and how many have failed since."""
        good, bad, length = "", "", 0
        for position, seen, _ in self.telling:
            if seen.is_bad:
                bad, length = bad or self.over[position].id, length + 1
            else:
                good, bad, length = self.over[position].id, "", 0
        return good, bad if good else "", length

    def improbable(self) -> bool:
        """Whether the failures at the end are more than the known flake: even at its highest rate, so many
        in a row have a chance below CHANCE, or no earlier failure had the reason of the last one."""
        *_, length = self.streak()
        before = self.telling[: len(self.telling) - length]
        known = rate([(seen.bad, seen.tries) for _, seen, _ in before])
        last = self.telling[-1][1]
        reasons = {(seen.verdict, seen.reason) for _, seen, _ in before if seen.is_bad}
        strange = bool(reasons) and (last.verdict, last.reason) not in reasons
        return strange or known.high**length < CHANCE

    def durations(self) -> list[tuple[float, str]]:
        """Seconds and runs of the passes under the accelerator of the last run."""
        alike = [run.accel == self.over[-1].accel for run in self.over]
        return [
            (took / 1000, run.id)
            for code, took, run, same in zip(self.line.codes, self.line.milliseconds, self.over, alike, strict=True)
            if same and code == MEANING[Verdict.PASS].code
        ]


def rate(ends: Iterable[tuple[int, int]]) -> Rate:
    """The share of failures from (bad, tries) of several runs, with Wilson's interval. Unlike the
    usual interval it is right for few failures too (Brown, Cai and DasGupta, Interval Estimation
    for a Binomial Proportion, 2001)."""
    pairs = list(ends)
    bad, tries = sum(bad for bad, _ in pairs), sum(tries for _, tries in pairs)
    if not tries:
        return Rate(0, 0, 0, 0.0, 1.0)
    share, weight = bad / tries, Z * Z / tries
    middle = (share + weight / 2) / (1 + weight)
    half = Z / (1 + weight) * math.sqrt(share * (1 - share) / tries + weight / (4 * tries))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Rate(bad, tries, len(pairs), low if bad else 0.0, high if bad < tries else 1.0)


def _change(case: Case, before: Seen | None, after: Seen | None, past: _Past | None, budget: float) -> Change | None:
    """The change of a case; None if there is none."""
    old = before if before and before.verdict is not Verdict.SKIP else None
    new = after if after and after.verdict is not Verdict.SKIP else None
    if new is None:
        return Change(Kind.GONE, case, before, after) if old else None
    good, bad, _ = past.streak() if past and new.is_bad else ("", "", 0)
    known = past.usual() if past else rate([(new.bad, new.tries)]) if 0 < new.bad < new.tries else None
    if known and not (past and new.is_bad and past.telling and past.improbable()):
        was = past.until(1).rate() if past else None
        return Change(Kind.FLAKY, case, before, after, was is None, good, bad, known)
    if new.is_bad:
        if old is None or not old.is_bad:
            return Change(Kind.NEW_FAILURE, case, before, after, True, good, bad, known)
        same = (old.verdict, old.reason) == (new.verdict, new.reason)
        return Change(Kind.STILL if same else Kind.OTHERWISE, case, before, after, not same, good, bad, known)
    if old is None:
        return Change(Kind.NEW, case, before, after)
    if old.is_bad:
        return Change(Kind.FIXED, case, before, after)
    return _slower(case, before, after, past, budget) if past else None


def _slower(case: Case, before: Seen | None, after: Seen | None, past: _Past, budget: float) -> Change | None:
    durations = past.durations()
    found = steps.find([seconds for seconds, _ in durations], budget)
    if found is None or found.after <= found.before:
        return None
    was = steps.find([seconds for seconds, _ in durations[:-1]], budget)
    step = Step(found.before, found.after, durations[found.position][1], found.chance)
    return Change(Kind.SLOWER, case, before, after, was is None or was.after <= was.before, step=step)
