# SPDX-License-Identifier: GPL-2.0
"""Which directories of runs and hunts may go: they are old, and nothing is learnt from them any more.

Kept, whatever their age, are the runs from which a failure is hunted: for each case,
where a failure began, the last that passed before it and the first that failed; and the
last run of each line, with which the next one will be compared. A failure that comes
back with the reason it had before is known from its first time, and as long as it
lasts from this time as well: so a flake keeps four runs, and not one a night. A hunt for
mutants is kept as long as a mutant that survived it was not caught since. Of what goes
the history keeps the verdicts and the outcomes.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from farm.base import removal
from farm.history import index, reading, store
from farm.history.model import Mutation, Summary, Timeline
from farm.record.verdict import MEANING, TELLING, is_bad

#: The codes of what says something of the kernel, by whether it is bad.
_BAD = {MEANING[verdict].code: is_bad(verdict) for verdict in TELLING}


_RUNNING = "it is running, or was killed"


@dataclass(frozen=True)
class RetentionPlan:
    """What becomes of the runs and hunts that are older than was asked: `prunable` may go,
    `kept` stay, each with the reason."""

    prunable: tuple[Summary | Mutation, ...]
    kept: tuple[tuple[Summary | Mutation, str], ...]


def plan(db: sqlite3.Connection, days: float, now: datetime | None = None) -> RetentionPlan:
    """What may go of what was started more than `days` ago. Deletes nothing."""
    limit = (now or datetime.now(UTC)) - timedelta(days=days)
    everything = store.runs(db)
    runs = [run for run in everything if run.place]
    old = {run.id for run in runs if _started(run) < limit}
    why: dict[str, str] = {}
    for line in {run.line for run in runs}:
        mine = [run for run in everything if run.line == line]
        if line and mine and not mine[0].planted:  # which nothing is compared with
            last = next((run for run in reversed(mine) if run.complete), mine[-1])
            why.setdefault(last.id, "the next run will be compared with it")
            for position, said in needed(store.timelines(db, mine).values()):
                why.setdefault(mine[position].id, said)
    for run in runs:
        if run.status == "running":
            why.setdefault(run.id, _RUNNING)
    hunts = [hunt for hunt in store.mutations(db) if hunt.place]
    why |= dict(_hunted(hunts))
    why |= {hunt.id: _RUNNING for hunt in hunts if hunt.status == "running"}
    chosen: list[Summary | Mutation] = [run for run in runs if run.id in old]
    chosen += [hunt for hunt in hunts if _started(hunt) < limit]
    return RetentionPlan(
        tuple(run for run in chosen if run.id not in why),
        tuple((run, why[run.id]) for run in chosen if run.id in why),
    )


def _hunted(hunts: Sequence[Mutation]) -> Iterable[tuple[str, str]]:
    """The hunts that are needed: the last, and those that a mutant survived, or was not decided in, at last."""
    last: dict[str, tuple[Mutation, str]] = {}
    for hunt in hunts:
        last |= {name: (hunt, end) for name, end in hunt.outcomes.items() if end != "not run"}
    for name, (hunt, end) in last.items():
        if end in ("survived", "error"):
            yield hunt.id, f"mutant {name}: {end}"
    for hunt in hunts[-1:]:
        yield hunt.id, "it is the last hunt for mutants"


def needed(timelines: Iterable[Timeline]) -> Iterable[tuple[int, str]]:
    """Positions of runs in which a failure began, and of those before it that passed."""
    for line in timelines:
        good: int | None = None
        first: int | None = None  # of the failures that go on
        known: set[tuple[int, int]] = set()
        for position, code in enumerate(line.codes):
            if code not in _BAD:
                continue
            if not _BAD[code]:
                good, first = position, None
                continue
            first = position if first is None else first
            outcome = code, line.reasons[position]
            if outcome not in known:
                known.add(outcome)
                yield from _began(position, good)
        if first is not None:
            yield from _began(first, good)


def _began(position: int, good: int | None) -> Iterable[tuple[int, str]]:
    yield position, "a failure began here"
    if good is not None:
        yield good, "it is the last good one before a failure"


def ready(results: Path, days: float) -> RetentionPlan:
    """What may go of a results directory, as it is on the disk now. Removes nothing."""
    index.index(results)
    with store.reading(results) as db:
        planned = plan(db, days)
    why = {run.id: _refusal(results, run) for run in planned.prunable}
    return RetentionPlan(
        tuple(run for run in planned.prunable if not why[run.id]),
        (*planned.kept, *((run, why[run.id]) for run in planned.prunable if why[run.id])),
    )


def _refusal(results: Path, run: Summary | Mutation) -> str:
    """Why a directory is not removed, by what is in it now; empty if it may be."""
    directory = results / run.place
    if run.place != directory.name or directory.is_symlink():
        return f"{directory} is not a directory of {results}, it only leads to one"
    try:
        there = reading.mutation(directory) if isinstance(run, Mutation) else reading.read_run(directory)[0]
    except reading.Unreadable as error:
        return f"it is not the run that it was: {error}"
    if there.id != run.id:
        return f"{directory} is run {there.id} by now"
    return _RUNNING if there.status == "running" else ""


def prune(results: Path, days: float) -> Sequence[Summary | Mutation]:
    """Remove the directories that may go, after their verdicts are in the history; those
    that went. Raises FarmError where one cannot be removed."""
    gone = []
    removal.sweep(results)
    for run in ready(results, days).prunable:
        if not _refusal(results, run):  # `farm run --resume` may have come in between
            removal.remove(results / run.place, results)
            gone.append(run)
    if gone:
        index.index(results)
    return gone


def _started(run: Summary | Mutation) -> datetime:
    try:
        started = datetime.fromisoformat(run.started)
    except ValueError:
        return datetime.now(UTC)  # nobody knows: it stays
    return started if started.tzinfo else started.replace(tzinfo=UTC)
