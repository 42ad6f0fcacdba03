# SPDX-License-Identifier: GPL-2.0
"""Which directories of runs and hunts may be removed, because they are old and no longer needed.

Some runs are kept at any age. For each failure of a case, these are the last run that passed
before it and the first run that failed. The last run of each line is kept too, because the
next one will be compared with it. If a failure returns with the same reason, its first time
is kept, and while it lasts its latest time too: so a flake keeps four runs, not one a night.
A hunt for mutants is kept until each mutant that survived it was caught later. The history
keeps the verdicts and outcomes of everything that is removed.
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

#: The codes of verdicts that say something about the kernel, and whether each is bad.
_BAD = {MEANING[verdict].code: is_bad(verdict) for verdict in TELLING}


_RUNNING = "it is running, or was killed"


@dataclass(frozen=True)
class RetentionPlan:
    """What happens to the runs and hunts that are old enough: `prunable` may be removed, and
    `kept` stay, each with the reason."""

    prunable: tuple[Summary | Mutation, ...]
    kept: tuple[tuple[Summary | Mutation, str], ...]


def plan(db: sqlite3.Connection, days: float, now: datetime | None = None) -> RetentionPlan:
    """What may be removed of all that began more than `days` ago. Deletes nothing."""
    limit = (now or datetime.now(UTC)) - timedelta(days=days)
    everything = store.runs(db)
    runs = [run for run in everything if run.place]
    old = {run.id for run in runs if _started(run) < limit}
    why: dict[str, str] = {}
    for line in {run.line for run in runs}:
        mine = [run for run in everything if run.line == line]
        if line and mine and not mine[0].planted:  # nothing is compared with a planted run
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
    """The hunts that are needed: the last one, and for each mutant its latest one, if it survived or was
    undecided there."""
    last: dict[str, tuple[Mutation, str]] = {}
    for hunt in hunts:
        last |= {name: (hunt, end) for name, end in hunt.outcomes.items() if end != "not run"}
    for name, (hunt, end) in last.items():
        if end in ("survived", "error"):
            yield hunt.id, f"mutant {name}: {end}"
    for hunt in hunts[-1:]:
        yield hunt.id, "it is the last hunt for mutants"


def needed(timelines: Iterable[Timeline]) -> Iterable[tuple[int, str]]:
    """Positions of the runs in which a failure began, and of the last passes before these."""
    for line in timelines:
        good: int | None = None
        first: int | None = None  # the first of the present failures
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
    """What may be removed from a results directory, as it is on the disk now. Removes nothing."""
    index.index(results)
    with store.reading(results) as db:
        planned = plan(db, days)
    why = {run.id: _refusal(results, run) for run in planned.prunable}
    return RetentionPlan(
        tuple(run for run in planned.prunable if not why[run.id]),
        (*planned.kept, *((run, why[run.id]) for run in planned.prunable if why[run.id])),
    )


def _refusal(results: Path, run: Summary | Mutation) -> str:
    """Why a directory is not removed, from its present content; empty if it may be removed."""
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
    """Remove the directories that may be removed, after their verdicts are in the history.
    Returns the removed ones. Raises FarmError if one cannot be removed."""
    gone = []
    removal.sweep(results)
    for run in ready(results, days).prunable:
        if not _refusal(results, run):  # `farm run --resume` may have started meanwhile
            removal.remove(results / run.place, results)
            gone.append(run)
    if gone:
        index.index(results)
    return gone


def _started(run: Summary | Mutation) -> datetime:
    try:
        started = datetime.fromisoformat(run.started)
    except ValueError:
        return datetime.now(UTC)  # unknown: it stays
    return started if started.tzinfo else started.replace(tzinfo=UTC)
