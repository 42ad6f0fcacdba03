# SPDX-License-Identifier: GPL-2.0
"""Adds run directories to the history."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from farm.base.errors import FarmError
from farm.history import reading, store
from farm.history.model import Case, Seen, Summary
from farm.history.reading import Unreadable

#: A directory counts as unchanged if size and time of these files are the same. Only runs of
#: the kernel's own tests and hunts have the last two.
STAMPED = ("run.json", "verdicts.jsonl", "comparison.json", "score.json")


@dataclass(frozen=True)
class Indexed:
    """What an index did: the ids of the runs and hunts that it added, how many were
    unchanged, and why it could not add others."""

    taken: tuple[str, ...]
    known: int
    skipped: tuple[str, ...]


def index(results: Path) -> Indexed:
    """Add everything that is new or has changed to the history of a results directory. A run
    that is still running is added as far as it is, and again the next time.

    If two processes index at once, the second waits. Raises FarmError if the history cannot
    be written. It is then unchanged, and the next index does the work.
    """
    with store.writing(store.path(results)) as db:
        return _take_all(db, results, _places(db), _stamps(db))


def reindex(results: Path) -> Indexed:
    """Rebuild the history from the run directories. Runs and hunts whose directory is gone or has become
    unreadable are copied from the old history. Readers see the old one until this is done.

    Raises FarmError if the history cannot be written, or a directory cannot be read at the moment. The
    history is then unchanged."""
    with store.writing(store.path(results), anew=True) as db:
        known = {run.id: run for run in store.runs(db)}
        old = [(run, store.stamp(db, run.id), store.verdicts(db, run.id)) for run in _lost(results, known)]
        hunts = [hunt for hunt in store.mutations(db) if not (results / hunt.place / "score.json").is_file()]
        store.clear(db)
        for run, stamp, seen in old:
            store.put_run(db, run, stamp, seen)
        for hunt in hunts:
            store.put_mutation(db, hunt, "")
        indexed = _take_all(db, results, _places(db), {})
        if gone := known.keys() - _places(db).keys():
            # it was readable a moment ago, so the host is to blame: keep the old history, which has them
            raise FarmError("\n".join(indexed.skipped) or f"{results}: {', '.join(sorted(gone))} cannot be read")
        return indexed


def _lost(results: Path, known: Mapping[str, Summary]) -> list[Summary]:
    """The runs that no longer have a directory."""
    lost = []
    for run in known.values():
        try:
            if run.place and reading.read(results / run.place).run.id == run.id:
                continue
        except Unreadable:
            pass
        lost.append(run)
    return lost


def _take_all(db: sqlite3.Connection, results: Path, places: dict[str, str], stamps: Mapping[str, str]) -> Indexed:
    taken, skipped, known = [], [], 0
    directories = sorted(path for path in results.iterdir() if path.is_dir())
    here = {directory.name for directory in directories}
    for run in [run for run, place in places.items() if place and place not in here]:
        store.tell_gone(db, run)
        places[run] = ""
    for hunt in store.mutations(db):
        if hunt.place and hunt.place not in here:
            store.put_mutation(db, replace(hunt, place=""), "")
    for directory in directories:
        stamp = _stamp(directory)
        if not stamp:
            continue  # neither a run nor a hunt
        if stamps.get(directory.name) == stamp:
            known += 1
            continue
        try:
            taken.append(_take(db, directory, stamp, places))
        except Unreadable as error:
            skipped.append(str(error))
    return Indexed(tuple(taken), known, tuple(skipped))


def _take(db: sqlite3.Connection, directory: Path, stamp: str, places: dict[str, str]) -> str:
    if not (directory / "run.json").exists():
        hunt = reading.mutation(directory)
        store.put_mutation(db, hunt, stamp)
        return hunt.id
    run, seen = take(directory)
    if places.get(run.id, directory.name) not in ("", directory.name):
        raise Unreadable(f"{directory}: is run {run.id}, which {places[run.id]} is already; remove one of them")
    places[run.id] = directory.name
    store.put_run(db, run, stamp, seen)
    return run.id


def take(directory: Path) -> tuple[Summary, dict[Case, Seen]]:
    """A run in the form of the history, from its directory. Raises Unreadable."""
    read = reading.read(directory)
    seen = reading.seen(read.verdicts)
    return reading.summary(directory, read, seen), seen


def _places(db: sqlite3.Connection) -> dict[str, str]:
    """The directories of the runs in the history."""
    return {json.loads(run): json.loads(place) for run, place in db.execute("SELECT id, place FROM run")}


def _stamps(db: sqlite3.Connection) -> dict[str, str]:
    # older farms stored no line for a run with something planted: read it again
    of_runs = 'SELECT place, stamp FROM run WHERE instr(substr(summary, 1, 4000), \'"line": "",\') = 0'
    rows = [*db.execute(of_runs), *db.execute("SELECT place, stamp FROM mutation")]
    return {json.loads(place): stamp for place, stamp in rows}


def _stamp(directory: Path) -> str:
    """A stamp that changes when a directory does; empty if it has neither a run nor a hunt."""
    found = {}
    for name in STAMPED:
        try:
            status = (directory / name).stat()
        except OSError:
            continue
        found[name] = [status.st_size, status.st_mtime_ns]
    return json.dumps(found) if "run.json" in found or "score.json" in found else ""
