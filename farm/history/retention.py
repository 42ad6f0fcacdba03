# SPDX-License-Identifier: GPL-2.0
"""Which run directories may go: they are old, and nothing is learnt from them any more.

Kept, whatever their age, are the runs from which a failure is hunted: for each case,
where a failure began, the last that passed before it and the first that failed; and the
last run of each line, with which the next one will be compared. A failure that comes
back with the reason it had before is known from its first time: so a flake keeps two
runs, and not one a night. Of a run that goes the history keeps the verdicts.
"""

import shutil
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from farm.base.errors import FarmError
from farm.history import index, store
from farm.history.model import CODES, TELLING, Summary, Timeline, is_bad

#: The codes of what says something of the kernel, by whether it is bad.
_BAD = {code: is_bad(verdict) for code, verdict in enumerate(CODES) if verdict in TELLING}


@dataclass(frozen=True)
class Plan:
    """What becomes of the runs that are older than was asked: `prunable` may go, `kept`
    stay, each with the reason."""

    prunable: tuple[Summary, ...]
    kept: tuple[tuple[Summary, str], ...]


def plan(db: sqlite3.Connection, days: float, now: datetime | None = None) -> Plan:
    """What may go of the runs that started more than `days` ago. Deletes nothing."""
    limit = (now or datetime.now(UTC)) - timedelta(days=days)
    runs = [run for run in store.runs(db) if run.place]
    old = {run.id for run in runs if _started(run) < limit}
    why: dict[str, str] = {}
    for line in {run.line for run in runs}:
        mine = [run for run in store.runs(db) if run.line == line]
        if line and mine:
            last = next((run for run in reversed(mine) if run.complete), mine[-1])
            why.setdefault(last.id, "the next run will be compared with it")
            for position, said in needed(store.timelines(db, mine).values()):
                why.setdefault(mine[position].id, said)
    for run in runs:
        if run.status == "running":
            why.setdefault(run.id, "it is running, or was killed")
    chosen = [run for run in runs if run.id in old]
    return Plan(
        tuple(run for run in chosen if run.id not in why),
        tuple((run, why[run.id]) for run in chosen if run.id in why),
    )


def needed(timelines: Iterable[Timeline]) -> Iterable[tuple[int, str]]:
    """Positions of runs in which a failure began, and of those before it that passed."""
    for line in timelines:
        good: int | None = None
        known: set[tuple[int, int]] = set()
        for position, code in enumerate(line.codes):
            if code not in _BAD:
                continue
            if not _BAD[code]:
                good = position
                continue
            outcome = code, line.reasons[position]
            if outcome not in known:
                known.add(outcome)
                yield position, "a failure began here"
                if good is not None:
                    yield good, "it is the last good one before a failure"


def prune(results: Path, days: float) -> Sequence[Summary]:
    """Delete the directories that may go, after their verdicts are in the history; those
    that went. Raises FarmError where one cannot be deleted."""
    index.index(results)
    with store.reading(results) as db:
        gone = plan(db, days).prunable
    for run in gone:
        try:
            shutil.rmtree(results / run.place)
        except OSError as error:
            raise FarmError(f"{results / run.place}: cannot be deleted, {error.strerror}: {error.filename}") from error
    if gone:
        index.index(results)
    return gone


def _started(run: Summary) -> datetime:
    try:
        started = datetime.fromisoformat(run.started)
    except ValueError:
        return datetime.now(UTC)  # nobody knows: it stays
    return started if started.tzinfo else started.replace(tzinfo=UTC)
