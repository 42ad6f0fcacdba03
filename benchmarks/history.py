# SPDX-License-Identifier: GPL-2.0
"""A long history that was made up: how long one more night takes to index, to read and to compare.

    python -m benchmarks.history [DIRECTORY [RUNS [CELLS [TESTS]]]]

The history (1000 runs of 20 cells with 500 tests) is made in DIRECTORY (a temporary
one) where it is not there yet. Its runs have no directories but the last: they went
into the store as `farm report` would have put them.
"""

import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path

from farm.history import index, query, reading, store
from farm.history.model import Case, RunKernel, Seen, Summary
from farm.matrix import MATRIX
from farm.record import records
from farm.record.records import Run, VerdictRecord
from farm.record.verdict import Verdict

SUITES = 20


@contextmanager
def timed(what: str) -> Iterator[None]:
    wall, processor = time.monotonic(), time.process_time()
    yield
    print(
        f"{what}: {time.monotonic() - wall:.2f} s, {time.process_time() - processor:.2f} s of it computing", flush=True
    )


def night(number: int, cells: list[str], tests: int, chance: random.Random) -> dict[Case, Seen]:
    """What came of all cases in one night: one in a thousand fails, durations have their noise."""
    seen = {}
    for cell in cells:
        for test in range(tests):
            case = Case(cell, f"suite{test % SUITES}", f"test_{test}[args{test % 7}-function]")
            seconds = round(chance.lognormvariate(-1, 0.2), 3)
            bad = (test * 7 + number // 9) % 997 == 0 or chance.random() < 0.0005
            seen[case] = (
                Seen(Verdict.FAIL, f"slot {test % 6} differs", seconds, 1, 1)
                if bad
                else Seen(Verdict.PASS, "", seconds)
            )
    return seen


def stamp(number: int) -> tuple[str, str]:
    when = datetime(2020, 1, 1, 2) + timedelta(days=number)
    return f"{when:%Y%m%d-%H%M%S}", f"{when.isoformat()}+00:00"


def made_up(number: int, cells: list[str]) -> Run:
    name, started = stamp(number)
    host = {"machine": "x86_64"}
    run = Run(name, ["farm", "nightly"], None, None, "", cells, "tcg", "", 2, host, {}, str(MATRIX), started)
    return replace(run, status="finished", finished=started, exit=1)


def fill(results: Path, runs: int, cells: list[str], tests: int) -> None:
    chance = random.Random(1)
    with store.writing(store.path(results)) as db:
        for number in range(runs):
            run, seen = made_up(number, cells), night(number, cells, tests, chance)
            counts: dict[tuple[str, str], Counter[Verdict]] = {}
            for case, one in seen.items():
                counts.setdefault((case.cell, case.suite), Counter())[one.verdict] += 1
            empty = reading.Reading(run, (), ())
            summary: Summary = reading.summary(results / run.id, empty, {})
            kernels = {cell: RunKernel("linux", "c" * 40, "t" * 40, f"{number}", 60.0, (1.0,)) for cell in cells}
            store.put_run(db, replace(summary, place="", counts=counts, kernels=kernels), "", seen)


def write(results: Path, number: int, cells: list[str], tests: int) -> Path:
    run = made_up(number, cells)
    directory = results / run.id
    directory.mkdir(exist_ok=True)
    records.save_run(directory, run)
    with (directory / "verdicts.jsonl").open("w") as handle:
        for case, one in night(number, cells, tests, random.Random(number)).items():
            record = VerdictRecord(
                case.test, case.suite, case.cell, one.verdict, one.seconds, one.reason, span=(1, 99999)
            )
            handle.write(json.dumps(asdict(record)) + "\n")
    return directory


def main(place: str = "", runs: str = "1000", cells: str = "20", tests: str = "500") -> None:
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(place or scratch)
        names = [f"x86_64-cell{number}" for number in range(int(cells))]
        if not store.path(results).exists():
            with timed(f"making up {runs} runs x {cells} cells x {tests} tests"):
                fill(results, int(runs), names, int(tests))
        print(f"{store.path(results).stat().st_size / 1e6:.0f} MB, {int(runs) * int(cells) * int(tests):,} verdicts")
        with store.reading(results) as db:
            number = len(store.runs(db))
        write(results, number, names, int(tests))
        with timed("index of one more run"):
            index.index(results)
        with timed("index of nothing new"):
            index.index(results)
        with store.reading(results) as db:
            with timed("summaries of all runs"):
                everything = store.runs(db)
            with timed("comparison with the last comparable run"):
                comparison = query.compared(db, everything[-1])
            print(f"  {dict(comparison.counts)}")
            with timed("timelines of all cases over all runs"):
                lines = store.timelines(db, everything)
            print(f"  {len(lines)} timelines of {len(next(iter(lines.values())))} runs")


if __name__ == "__main__":
    main(*sys.argv[1:])
