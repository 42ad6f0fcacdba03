# SPDX-License-Identifier: GPL-2.0
"""Queries of the history: the comparison of one run with another."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from farm.base.errors import UsageError
from farm.history import changes, index, reading, store
from farm.history.changes import Comparison, Side
from farm.history.model import Case, Seen, Summary


def latest(runs: Sequence[Summary]) -> Summary | None:
    """The newest run of the suites, planted or not, else the newest run; `runs` are oldest first."""
    of_suites = [run for run in runs if reading.own_tests(run.line)] or [run for run in runs if run.line]
    return next(reversed(of_suites or runs), None)


def own_tests(runs: Sequence[Summary], run: Summary) -> Summary | None:
    """The run of the kernel's own tests that belongs to a run of the suites: the last one after it, but
    before the next of its line."""
    line = reading.own_tests(run.line)
    following = min((one.order for one in runs if one.line == run.line and one.order > run.order), default=None)
    found = [
        one
        for one in runs
        if line and one.line == line and one.order > run.order and (following is None or one.order < following)
    ]
    return max(found, key=lambda one: one.order, default=None)


def compared(db: sqlite3.Connection, run: Summary) -> Comparison:
    """A run compared with the last comparable one, judged by the runs before it."""
    runs = store.runs(db)
    over = changes.past(runs, run)
    return changes.compare(
        before(db, runs, run), Side(run, store.verdicts(db, run.id)), over, store.timelines(db, over)
    )


def before(db: sqlite3.Connection, runs: Sequence[Summary], run: Summary) -> Side | None:
    """What a run is compared with: the last comparable one, and what was retested since."""
    base = changes.last_comparable(runs, run)
    if base is None:
        return None
    seen, newer = store.verdicts(db, base.id), []
    for one in changes.past(runs, run)[:-1]:
        if one.order > base.order and one.complete and set(one.cells) & set(run.cells):
            if not one.select:  # a case that it lacks was gone by then
                seen = {case: seen[case] for case in seen if case.cell not in one.cells}
            seen |= {case: last for case, last in store.verdicts(db, one.id).items() if case.cell in run.cells}
            newer.append(one.id)
    return Side(base, seen, tuple(newer))


def named(results: Path, before: str, after: str) -> Comparison:
    """Compare two runs as a user names them: an id, a run directory, or RUN:CELL. If
    `results` exists, new runs in it are indexed first.

    With cells on both sides, the tests of these two cells are compared. Raises
    UsageError for a name that is neither a run in the history nor a run directory.
    """
    with ExitStack() as stack:
        db = None
        if results.is_dir():
            index.index(results)
            db = stack.enter_context(store.reading(results))
        return _named(db, results, before, after)


def _named(db: sqlite3.Connection | None, results: Path, before: str, after: str) -> Comparison:
    old, old_cell = _side(db, results, before)
    new, new_cell = _side(db, results, after)
    if bool(old_cell) != bool(new_cell):
        raise UsageError(f"{before}, {after}: name a cell of both runs or of neither, as in {before}:CELL {after}:CELL")
    if not new_cell:
        if db is None or run(db, new.run.id) is None:
            return changes.compare(old, new)
        over = changes.past(store.runs(db), new.run)
        return changes.compare(old, new, over, store.timelines(db, over))
    return changes.compare(_of_cell(old, old_cell, new_cell), _of_cell(new, new_cell, new_cell))


def _side(db: sqlite3.Connection | None, results: Path, name: str) -> tuple[Side, str]:
    """A run, and the cell of it that was named, if any."""
    run, cell = _find(db, results, name), ""
    if run is None and ":" in name:
        place, _, cell = name.rpartition(":")
        run = _find(db, results, place)
    if run is None:
        raise UsageError(f"{name}: neither a run directory nor a run of {results}")
    if cell and cell not in run.run.cells:
        raise UsageError(f"{name}: {run.run.id} has no cell {cell}; it has {', '.join(run.run.cells)}")
    return run, cell


def _find(db: sqlite3.Connection | None, results: Path, name: str) -> Side | None:
    for directory in (Path(name), results / name):
        if name and (directory / "run.json").exists():
            try:
                return Side(*index.take(directory))
            except reading.Unreadable as error:
                raise UsageError(str(error)) from error
    if db and (known := run(db, name)):
        return Side(known, store.verdicts(db, known.id))
    return None


def run(db: sqlite3.Connection, name: str) -> Summary | None:
    """The run with that id; None if the history has none."""
    return next((run for run in store.runs(db) if run.id == name), None)


def _of_cell(side: Side, cell: str, called: str) -> Side:
    """One cell of a run, with its cases under the name of another cell."""
    seen: Mapping[Case, Seen] = {
        replace(case, cell=called): one for case, one in side.seen.items() if case.cell == cell
    }
    return Side(replace(side.run, cells=(called,)), seen)
