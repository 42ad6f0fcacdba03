# SPDX-License-Identifier: GPL-2.0
"""The site over a long history: all pages for the first time, again with nothing
new, and with one more night. What the largest page has.

    python -m benchmarks.site [RUNS CELLS TESTS]

By default 1000 runs of 20 cells and 500 tests. One verdict in a thousand is bad.
The history is made in the store; only the last runs, which the pages show, have
directories as well, and what came of each case is the same in all that are older.
With each of the last runs go one of the kernel's own tests and a hunt for mutants.
"""

import json
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from farm.history import reading, store
from farm.history.changes import WINDOW
from farm.history.model import Case, Mutation, RunKernel, Seen, Summary
from farm.matrix import MATRIX
from farm.record import records
from farm.record.records import VerdictRecord
from farm.record.verdict import Verdict
from farm.report.site.make import make
from tests import nights

SUITES = 20
OWN_TESTS = 150
FIRST = datetime(2026, 1, 1, 2, tzinfo=UTC)


def cases(cells: int, tests: int) -> list[Case]:
    return [
        Case(f"x86_64-cell-{cell}", f"suite{test % SUITES}", f"test_something[ftrace_caller-regs-{test}]")
        for cell in range(cells)
        for test in range(tests)
    ]


def night(number: int, of: Sequence[Case]) -> dict[Case, Seen]:
    """Mostly passes, in seconds with some noise; the same for the same number."""
    chance = random.Random(number)
    broken = set(chance.sample(of, len(of) // 1000)) | set(of[5 : 5 + len(of) // 2000])
    return {
        case: Seen(Verdict.FAIL, "arg2 differs", 1.0, 1, 1)
        if case in broken
        else Seen(Verdict.PASS, "", chance.uniform(1, 1.2), 1, 0)
        for case in of
    }


def add(results: Path, number: int, of: Sequence[Case]) -> None:
    """One more run in the store, with a directory for its failures."""
    seen = night(number, of)
    summary = summary_of(number, of, seen)
    cells = summary.cells
    directory = nights.write_run(results, summary.id, cells)
    for cell in cells:
        nights.write_cell(directory / "cells" / cell, cell, 0)
    for case, one in seen.items():
        if one.is_bad:
            record = VerdictRecord(
                case.test, case.suite, case.cell, one.verdict, 1.0, one.reason, "E  differs\n" * 60, nights.FRAME
            )
            records.append_verdict(directory, record)
    with store.writing(store.path(results)) as db:
        store.put_run(db, summary, "", seen)


def add_night(results: Path, number: int, of: Sequence[Case]) -> None:
    """One more run, the kernel's own tests and a hunt."""
    add(results, number, of)
    own = [Case(of[0].cell, "selftests", f"test.d/ftrace/own-{test}.tc") for test in range(OWN_TESTS)]
    started = FIRST + timedelta(days=number, hours=3)
    seen = night(number, own)
    made = replace(summary_of(number, own, seen), id=stamp(started), started=started.isoformat(), place="")
    hunt = stamp(started + timedelta(hours=1))
    with store.writing(store.path(results)) as db:
        store.put_run(db, replace(made, line=reading.own_tests(made.line)), "", seen)
        store.put_mutation(
            db, Mutation(f"mutants-{hunt}", "", started.isoformat(), "finished", 60.0, {"a": "caught"}), ""
        )


def add_old(results: Path, numbers: Sequence[int], of: Sequence[Case]) -> None:
    """Runs whose directories are gone."""
    seen = night(0, of)
    first = replace(summary_of(0, of, seen), place="")
    with store.writing(store.path(results)) as db:
        store.put_run(db, first, "", seen)
        (columns,) = db.execute("SELECT columns FROM run WHERE id = ?", (json.dumps(first.id),)).fetchone()
        for number in numbers[1:]:
            started = FIRST + timedelta(days=number)
            one = replace(first, id=stamp(started), started=started.isoformat(), finished=started.isoformat())
            row = (json.dumps(one.id), '""', "", store.save_summary(one), columns)
            db.execute("INSERT INTO run VALUES (?, ?, ?, ?, ?)", row)


def stamp(started: datetime) -> str:
    return started.strftime("%Y%m%d-%H%M%S")


def summary_of(number: int, of: Sequence[Case], seen: Mapping[Case, Seen]) -> Summary:
    started = FIRST + timedelta(days=number)
    name = stamp(started)
    cells = tuple(dict.fromkeys(case.cell for case in of))
    counts: dict[tuple[str, str], Counter[Verdict]] = defaultdict(Counter)
    for case, one in seen.items():
        counts[case.cell, case.suite][one.verdict] += 1
    return Summary(
        id=name,
        place=name,
        line=reading.line_of("run", None, None, str(MATRIX)),
        command=("farm", "nightly"),
        started=started.isoformat(),
        finished=(started + timedelta(hours=5, minutes=number % 7)).isoformat(),
        status="finished",
        exit=1,
        tree=None,
        series=None,
        select="",
        cells=cells,
        accel="kvm",
        workers=8,
        planned=len(of),
        kernels={
            cell: RunKernel("debian-6.12", f"{number:040x}", "", f"{number:020x}", 90.0, (2.0,)) for cell in cells
        },
        counts=counts,
    )


def timed(what: str, results: Path) -> None:
    started, spent = time.monotonic(), time.process_time()
    make(results)
    took, busy = time.monotonic() - started, time.process_time() - spent
    print(f"{what}: {took:.1f} s, of which the processor {busy:.1f} s", flush=True)


def main(runs: int = 1000, cells: int = 20, tests: int = 500) -> None:
    of = cases(cells, tests)
    with tempfile.TemporaryDirectory(prefix="site-") as scratch:
        results = Path(scratch)
        old = max(0, runs - 1 - WINDOW)
        add_old(results, range(old), of)
        for number in range(old, runs - 1):
            add_night(results, number, of)
        timed("the first time", results)
        timed("nothing new", results)
        add_night(results, runs - 1, of)
        timed("one more night", results)
        pages = sorted((results / "site").rglob("*.html"), key=lambda page: page.stat().st_size)
        size = sum(page.stat().st_size for page in pages)
        largest = pages[-1].relative_to(results)
        print(f"{len(pages)} pages, {size >> 20} MiB; the largest: {largest}, {pages[-1].stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
