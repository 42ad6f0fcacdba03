# SPDX-License-Identifier: GPL-2.0
"""The history on disk: SQLite with a write-ahead log.

A run is one row. The results of its cases are one blob of columns, with a place for
each case that was ever seen. So a run of ten thousand cases is added as one row, and a
thousand runs are read as a thousand blobs; strided slices turn them into one timeline for
each case. One row for each verdict would be ten million rows.

Names are stored as JSON: SQLite's text cannot hold every name that a test may have.
"""

import json
import sqlite3
import sys
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from farm.base.deadline import Deadline
from farm.base.errors import FarmError, UsageError
from farm.history.model import Case, Mutation, RunKernel, Seen, Summary, Timeline
from farm.record.verdict import BY_CODE, MEANING, Verdict

#: To be raised when the content of the file changes. The file is then rebuilt.
SCHEMA = 1

NAME = "history.sqlite"

#: How long one writer waits for another, in seconds.
PATIENCE = 60.0

TABLES = (
    # directory below the results, empty if it is gone; stamp of its files; model.Summary; pack()
    "CREATE TABLE run (id TEXT PRIMARY KEY, place TEXT, stamp TEXT, summary TEXT, columns BLOB)",
    # the place of a case in the columns
    "CREATE TABLE cell_suite_test (number INTEGER PRIMARY KEY, name TEXT UNIQUE)",
    "CREATE TABLE reason (number INTEGER PRIMARY KEY, text TEXT UNIQUE)",
    # model.Mutation
    "CREATE TABLE mutation (id TEXT PRIMARY KEY, place TEXT, stamp TEXT, summary TEXT)",
)

#: The columns of a run, each with one number for each case; the type codes are those of array.array.
COLUMNS = {"codes": "B", "milliseconds": "I", "reasons": "I", "tries": "H", "bad": "H"}

Columns = dict[str, "array[int]"]


def path(results: Path) -> Path:
    return results / NAME


@contextmanager
def reading(results: Path) -> Iterator[sqlite3.Connection]:
    """The history of a results directory, for reading. All that is read in one block is from
    one moment, even if another process writes meanwhile. Raises UsageError if there is
    none, or if it is of another farm."""
    file, db = path(results), None
    if not file.exists():
        raise _nothing_yet(results)
    try:
        db = _open_to_read(file)
        if _is_empty(db):  # its creation failed, as on a full disk
            raise _nothing_yet(results)
        _check(db, file)
        db.execute("BEGIN")
        yield db
    except sqlite3.DatabaseError as error:
        raise broken(file, error) from error
    finally:
        if db:
            db.close()


def _open_to_read(file: Path) -> sqlite3.Connection:
    uri = f"{file.resolve().as_uri()}?mode=ro"
    try:
        db = sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)
        db.execute("PRAGMA schema_version").fetchone()
    except sqlite3.OperationalError:
        # even a reader must write the log, which it cannot do in a read-only directory
        db = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
    return db


def _nothing_yet(results: Path) -> UsageError:
    return UsageError(f"{results}: no history yet; `farm report --reindex` makes it from the run directories")


def _is_empty(db: sqlite3.Connection) -> bool:
    return not db.execute("SELECT name FROM sqlite_master").fetchall()


def _check(db: sqlite3.Connection, file: Path) -> None:
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found != SCHEMA:
        raise UsageError(f"{file}: schema {found}, this farm reads {SCHEMA}; `farm report --reindex` rebuilds it")


def broken(file: Path, error: sqlite3.Error) -> FarmError:
    """SQLite's error as a message that says what to do. The verdicts are safe in the run directories."""
    said = str(error)
    if "locked" in said:
        advice = f"another farm has been writing for {PATIENCE:.0f} s: try again when it is done"
    elif "full" in said or "I/O" in said:
        advice = "make room, then `farm report --reindex`; the verdicts are safe in the run directories"
    else:
        advice = "`farm report --reindex` rebuilds it from the run directories, where the verdicts are safe"
    return FarmError(f"{file}: {said}; {advice}")


def runs(db: sqlite3.Connection) -> list[Summary]:
    """All runs, oldest first."""
    rows = db.execute("SELECT summary FROM run")
    return sorted((load_summary(text) for (text,) in rows), key=lambda run: run.order)


def verdicts(db: sqlite3.Connection, run: str) -> dict[Case, Seen]:
    """The result of each case of a run. Raises UsageError if there is no such run."""
    row = db.execute("SELECT columns FROM run WHERE id = ?", (json.dumps(run),)).fetchone()
    if row is None:
        raise UsageError(f"the history has no run {run}")
    columns, texts, seen = unpack(row[0]), reasons(db), {}
    width = len(columns["codes"])
    for number, case in cases(db):
        if number < width and (verdict := BY_CODE.get(columns["codes"][number])):
            seen[case] = Seen(
                verdict,
                texts[columns["reasons"][number]],
                columns["milliseconds"][number] / 1000,
                columns["tries"][number],
                columns["bad"][number],
            )
    return seen


def timelines(
    db: sqlite3.Connection, over: Sequence[Summary], only: "frozenset[Case] | None" = None
) -> dict[Case, Timeline]:
    """Each case in any of these runs, over all of them; with `only`, just these cases.

    This takes 13 bytes for each case and run while it works. For more than a thousand
    runs of ten thousand cases, ask for some of the cases at a time.
    """
    wanted = [(number, case) for number, case in cases(db) if only is None or case in only]
    width = max((number for number, _ in wanted), default=-1) + 1
    table: Columns = {name: array(kind) for name, kind in COLUMNS.items()}
    for run in over:
        row = db.execute("SELECT columns FROM run WHERE id = ?", (json.dumps(run.id),)).fetchone()
        one = unpack(row[0]) if row else unpack(pack({}))
        for name, column in one.items():
            have = column[:width]
            table[name].extend(have)
            table[name].frombytes(bytes((width - len(have)) * have.itemsize))
    texts, found = reasons(db), {}
    codes = table["codes"].tobytes()
    for number, case in wanted:
        mine = codes[number::width]
        if any(mine):
            found[case] = Timeline(
                mine,
                table["milliseconds"][number::width],
                table["reasons"][number::width],
                table["tries"][number::width],
                table["bad"][number::width],
                texts,
            )
    return found


def mutations(db: sqlite3.Connection) -> list[Mutation]:
    """All hunts for mutants, oldest first."""
    found = [Mutation(**json.loads(text)) for (text,) in db.execute("SELECT summary FROM mutation")]
    return sorted(found, key=lambda one: (one.started, one.id))


def cases(db: sqlite3.Connection) -> list[tuple[int, Case]]:
    """The cases that were ever seen, with their places in the columns."""
    rows = db.execute("SELECT number, name FROM cell_suite_test ORDER BY number")
    return [(number, Case(*json.loads(name))) for number, name in rows]


def reasons(db: sqlite3.Connection) -> list[str]:
    """The reasons that the columns refer to; the first is the empty one."""
    return ["", *(json.loads(text) for (text,) in db.execute("SELECT text FROM reason ORDER BY number"))]


def pack(numbers: Mapping[int, tuple[int, int, int, int, int]]) -> bytes:
    """The columns (code, milliseconds, reason, tries, bad) of each case's number, as one blob."""
    width = max(numbers, default=-1) + 1
    columns = {name: array(kind, bytes(width * array(kind).itemsize)) for name, kind in COLUMNS.items()}
    for number, values in numbers.items():
        for column, value in zip(columns.values(), values, strict=True):
            column[number] = min(value, (1 << 8 * column.itemsize) - 1)
    return zlib.compress(b"".join(_little(column).tobytes() for column in columns.values()), 1)


def unpack(blob: bytes) -> Columns:
    """The columns of a run. Cases that were first seen later have no place in them."""
    data = zlib.decompress(blob)
    width = len(data) // sum(array(kind).itemsize for kind in COLUMNS.values())
    columns, start = {}, 0
    for name, kind in COLUMNS.items():
        column = array(kind)
        end = start + width * column.itemsize
        column.frombytes(data[start:end])
        columns[name], start = _little(column), end
    return columns


def _little(column: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        column.byteswap()
    return column


def save_summary(run: Summary) -> str:
    raw: dict[str, Any] = {**vars(run), "kernels": {cell: asdict(kernel) for cell, kernel in run.kernels.items()}}
    raw["counts"] = [[cell, suite, dict(tally)] for (cell, suite), tally in run.counts.items()]
    return json.dumps(raw)


def load_summary(text: str) -> Summary:
    raw = json.loads(text)
    for name in ("command", "cells", "troubles"):
        raw[name] = tuple(raw[name])
    raw["kernels"] = {
        cell: RunKernel(**{**kernel, "boot_seconds": tuple(kernel["boot_seconds"])})
        for cell, kernel in raw["kernels"].items()
    }
    raw["counts"] = {(cell, suite): _tally(tally) for cell, suite, tally in raw["counts"]}
    return Summary(**raw)


_VERDICTS = {str(verdict): verdict for verdict in Verdict}


def _tally(counts: Mapping[str, int]) -> Counter[Verdict]:
    """A Counter from names, filled by hand because there are some hundred thousand of them."""
    tally: Counter[Verdict] = Counter.__new__(Counter)
    for name, number in counts.items():
        tally[_VERDICTS[name]] = number
    return tally


@contextmanager
def writing(file: Path, anew: bool = False) -> Iterator[sqlite3.Connection]:
    """The history in that file, for writing. It is made if it is missing, and with `anew`
    also if it is of another farm or no database at all. There is one writer at a time; the
    next one waits. Either everything that the block writes is stored, or nothing.

    Raises FarmError if it cannot be written, UsageError if it is of another farm."""
    db = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if anew:
            _remove_ruin(file)
        db = sqlite3.connect(file, timeout=PATIENCE, isolation_level=None)
        _begin_log(db)
        db.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last index, but never the file
        db.execute("BEGIN IMMEDIATE")
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if anew and db.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:
            for name in tables:
                db.execute(f'DROP TABLE "{name}"')
            tables = []
        if not tables:
            for statement in TABLES:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA}")
        _check(db, file)
        yield db
        db.execute("COMMIT")
    except sqlite3.Error as error:
        raise broken(file, error) from error
    except OSError as error:
        raise FarmError(f"{error.filename}: {error.strerror}") from error
    finally:
        if db:
            db.close()


def _begin_log(db: sqlite3.Connection) -> None:
    """Give the database a write-ahead log, permanently. If another process is in the way, SQLite reports
    that at once, without waiting: both could wait for each other."""
    for _ in Deadline(PATIENCE).poll():
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            refused = error
        else:
            return
    raise refused


def _remove_ruin(file: Path) -> None:
    """Remove a history that SQLite cannot read, for example after a crash of the host."""
    db = sqlite3.connect(file, timeout=PATIENCE)
    try:
        good = db.execute("PRAGMA quick_check").fetchone() == ("ok",)
    except sqlite3.OperationalError:
        raise  # locked, or no file can be made: this says nothing about its content
    except sqlite3.DatabaseError:
        good = False
    finally:
        db.close()
    for name in () if good else ("", "-wal", "-shm"):
        Path(f"{file}{name}").unlink(missing_ok=True)


def clear(db: sqlite3.Connection) -> None:
    """Forget everything."""
    for table in ("run", "cell_suite_test", "reason", "mutation"):
        db.execute(f"DELETE FROM {table}")


def stamp(db: sqlite3.Connection, run: str) -> str:
    """The stamp of a run's directory when it was added."""
    return str(db.execute("SELECT stamp FROM run WHERE id = ?", (json.dumps(run),)).fetchone()[0])


def tell_gone(db: sqlite3.Connection, run: str) -> None:
    """Keep a run whose directory is gone."""
    (text,) = db.execute("SELECT summary FROM run WHERE id = ?", (json.dumps(run),)).fetchone()
    gone = replace(load_summary(text), place="")
    db.execute("UPDATE run SET place = '\"\"', summary = ? WHERE id = ?", (save_summary(gone), json.dumps(run)))


def stamps(db: sqlite3.Connection) -> dict[str, str]:
    """The stamp of each run, which changes when its directory does."""
    return {json.loads(run): stamp for run, stamp in db.execute("SELECT id, stamp FROM run")}


def put_run(db: sqlite3.Connection, run: Summary, stamp: str, seen: Mapping[Case, Seen]) -> None:
    """Add a run, or replace it."""
    case_numbers = _numbers(
        db, "cell_suite_test", "name", (json.dumps([case.cell, case.suite, case.test]) for case in seen)
    )
    reason_numbers = _numbers(db, "reason", "text", (json.dumps(one.reason) for one in seen.values() if one.reason))
    numbers = {
        case_numbers[json.dumps([case.cell, case.suite, case.test])]: (
            MEANING[one.verdict].code,
            round(one.seconds * 1000),
            reason_numbers[json.dumps(one.reason)] if one.reason else 0,
            one.tries,
            one.bad,
        )
        for case, one in seen.items()
    }
    row = (json.dumps(run.id), json.dumps(run.place), stamp, save_summary(run), pack(numbers))
    db.execute("INSERT OR REPLACE INTO run VALUES (?, ?, ?, ?, ?)", row)


def _numbers(db: sqlite3.Connection, table: str, column: str, names: Iterable[str]) -> dict[str, int]:
    """The numbers of names, from 1 (0 is free for "none"); new names get the next ones."""
    known: dict[str, int] = dict(db.execute(f"SELECT {column}, number FROM {table}"))
    new = [name for name in dict.fromkeys(names) if name not in known]
    numbered = {name: len(known) + number for number, name in enumerate(new, 1)}
    db.executemany(f"INSERT INTO {table} ({column}, number) VALUES (?, ?)", numbered.items())
    return known | numbered


def put_mutation(db: sqlite3.Connection, mutation: Mutation, stamp: str) -> None:
    row = (json.dumps(mutation.id), json.dumps(mutation.place), stamp, json.dumps(asdict(mutation)))
    db.execute("INSERT OR REPLACE INTO mutation VALUES (?, ?, ?, ?)", row)
