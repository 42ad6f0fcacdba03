# SPDX-License-Identifier: GPL-2.0
"""A wall clock that jumps by a day, forwards and back, under all processes of a farm (shift.c)."""

import json
import random
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults import processes
from benchmarks.faults.ground import FARM, Ground, run_directory, small_matrix, troubles
from benchmarks.faults.hunts import CELLS, nightly
from benchmarks.faults.kills import Undisturbed, ended, undisturbed
from benchmarks.faults.outcome import Point, Row, differing, lost, repeat, verdicts
from farm.base.command import run
from farm.history import index, store
from farm.nightly import night

DAY = 24 * 3600


@dataclass(frozen=True)
class Clock:
    """A clock that can be set; `environment` makes a process go by it."""

    file: Path
    library: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"CLOCK_SHIFT": str(self.file), "LD_PRELOAD": str(self.library)}

    def shift(self, seconds: int) -> None:
        with self.file.open("r+b") as handle:
            handle.write(struct.pack("l", seconds))


def rows(ground: Ground, points: int) -> Iterator[Row]:
    """In turn: a jump in the middle of a run, a jump between two runs, one after a night that was killed."""
    library = ground.place / "shift.so"
    run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, Path(__file__).with_name("shift.c"), "-ldl"])
    file = ground.place / "shift"
    file.write_bytes(struct.pack("l", 0))
    clock = Clock(file, library)
    before = undisturbed(ground)
    matrix = small_matrix(ground.place / "clock", CELLS)
    kinds = (
        ("in a run", "farm run, guests", lambda jump, chance: _in_a_run(ground, clock, before, jump, chance)),
        (
            "after a killed night",
            "farm nightly, cells without a guest",
            lambda jump, chance: _night(ground, clock, matrix, jump, chance),
        ),
        ("between runs", "farm run, report, clean --runs", lambda jump, chance: _between(ground, clock, matrix, jump)),
    )
    for number, (where, how, what) in enumerate(kinds):

        def point(turn: int, what=what, where=where) -> Point | None:  # type: ignore[no-untyped-def]
            clock.shift(0)
            made = what((DAY, -DAY)[turn // 3 % 2], random.Random(f"{ground.seed} {where} {turn}"))
            assert made is None or isinstance(made, Point)
            return made

        share = points // len(kinds) + (number < points % len(kinds))
        yield repeat(Row(f"the clock jumps by a day, {where}", how), share, point)


def _in_a_run(ground: Ground, clock: Clock, before: Undisturbed, jump: int, chance: random.Random) -> Point | None:
    results = ground.fresh()
    log = results / ".log"
    process = ground.farm(ground.words, results, log, **clock.environment)
    with suppress(subprocess.TimeoutExpired):
        process.wait(chance.uniform(0, before.seconds))
        return None
    clock.shift(jump)
    status = ended(process)
    directory = run_directory(results)
    return Point(
        lost(directory, before.verdicts) if directory else len(before.verdicts),
        processes.left(ground.mark, 10),
        differing(before.verdicts, verdicts(directory) if directory else {}),
        troubles(log, status, (0,)),
    )


def _night(ground: Ground, clock: Clock, matrix: Path, jump: int, chance: random.Random) -> Point | None:
    """A day later a new night begins, and the old one's run is closed; a day earlier the old one goes on."""
    results = ground.fresh()
    argv, log = [*nightly(matrix), "--results", str(results)], results / ".log"
    process = ground.start(argv, log, **clock.environment)
    with suppress(subprocess.TimeoutExpired):
        process.wait(chance.uniform(3, 8))
        return None
    processes.kill(process.pid)
    process.wait()
    orphans = processes.left(ground.mark, 10)
    nights = list(results.glob(f"{night.PREFIX}*/{night.STATE}"))
    clock.shift(jump)
    status = ended(ground.start(argv, log, **clock.environment))
    trouble = troubles(log, status, (0,))
    expected = len(nights) + (jump > 0) if nights else 1
    after = sorted(results.glob(f"{night.PREFIX}*/{night.STATE}"))
    if len(after) != expected:
        trouble += (f"{jump:+} s: {len(after)} nights instead of {expected}",)
    last = json.loads(after[-1].read_text())["steps"] if after else []
    if any(step["exit"] != 0 for step in last) or not last:
        trouble += (f"{jump:+} s: the last night's steps ended with {[step['exit'] for step in last]}",)
    running = [path for path in results.glob("*/run.json") if json.loads(path.read_text())["status"] == "running"]
    trouble += tuple(f"{jump:+} s: still running: {path}" for path in running)
    return Point(0, orphans + processes.left(ground.mark, 10), (), trouble)


def _between(ground: Ground, clock: Clock, matrix: Path, jump: int) -> Point:
    """The later run is the later one, whatever the clock says; and what goes for its age stays in the history."""
    results = ground.fresh()
    log, words = results / ".log", ["run", "--matrix", str(matrix), *CELLS]
    trouble: tuple[str, ...] = ()
    for shift in (0, jump):
        clock.shift(shift)
        trouble += troubles(log, ended(ground.farm(words, results, log, **clock.environment)), (0,))
    made = sorted(results.glob("*/run.json"), key=lambda path: path.stat().st_mtime_ns)
    index.index(results)
    with store.reading(results) as db:
        runs, seen = store.runs(db), {run.id: store.verdicts(db, run.id) for run in store.runs(db)}
    if [run.id for run in runs] != [path.parent.name for path in made]:
        trouble += (f"{jump:+} s: the history has {[run.id for run in runs]}, they came as {made}",)
    for shift in (jump, 9 * jump):
        clock.shift(shift)
        status = ended(
            ground.start([*FARM, "clean", "--runs", "2", "--results", str(results)], log, **clock.environment)
        )
        trouble += troubles(log, status, (0,))
    clock.shift(0)
    index.index(results)
    with store.reading(results) as db:
        after = {run.id: store.verdicts(db, run.id) for run in store.runs(db)}
    missing = sum(after.get(run, {}) != cases for run, cases in seen.items())
    if not (results / runs[-1].id).is_dir():
        trouble += (f"{jump:+} s: the last run was removed",)
    return Point(missing, processes.left(ground.mark, 10), (), trouble)
