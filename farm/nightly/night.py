# SPDX-License-Identifier: GPL-2.0
"""One night: planned once, then step by step, each step on disk before and behind it.

Each step is a `farm` of its own. A night that was killed is gone on with by the next one
that starts within a day of it: the run of the cells with the next test, the others from
their beginning.
"""

import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from farm.base.command import leashed
from farm.base.errors import Exit, FarmError, UsageError
from farm.history import index, store
from farm.history.model import Summary
from farm.hunt import mutant as mutant_files
from farm.kernel.build import save_json
from farm.matrix import MATRIX, load
from farm.nightly import plan as planning
from farm.run import records

SCHEMA = 1
PREFIX = "nightly-"
STATE = "state.json"

#: A night that was left longer ago is not gone on with.
STALE = timedelta(hours=20)


@dataclass(frozen=True)
class Step:
    """A farm's command. `run` is its run directory once that is there; `exit` its status, None
    before it ended."""

    name: str
    words: tuple[str, ...]
    run: str = ""
    exit: int | None = None


@dataclass(frozen=True)
class Night:
    id: str
    started: str
    budget: float
    expected: float
    left: tuple[str, ...]
    steps: tuple[Step, ...]
    schema: int = SCHEMA

    @property
    def open(self) -> bool:
        return any(step.exit is None for step in self.steps)

    @property
    def exit(self) -> Exit:
        return Exit(max((step.exit or 0 for step in self.steps), default=0))


def seconds(budget: str) -> float:
    """A time as a person writes it: 6h, 90m. Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([hm])", budget)
    if not match:
        raise UsageError(f"--budget {budget!r}: give hours or minutes, as in 6h or 90m")
    return float(match[1]) * {"h": 3600, "m": 60}[match[2]]


@contextmanager
def alone(results: Path) -> Iterator[None]:
    """One night at a time in a results directory. Raises UsageError where there is one."""
    results.mkdir(parents=True, exist_ok=True)
    path = results / ".nightly.lock"
    with path.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise UsageError(f"{results}: another nightly is running, process {handle.read().strip()}") from None
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        yield


def begin(results: Path, budget: float, matrix: Path = MATRIX) -> tuple[Path, Night]:
    """A new night, planned by the history."""
    index.index(results)
    with store.reading(results) as db:
        runs, hunts = store.runs(db), store.mutations(db)
        costs = _costs(runs)
    known = load(matrix)
    main = [cell.name for cell in known.cells.values() if cell.main]
    names = list(known.cells)
    mutants = [mutant.name for mutant in mutant_files.load(known) if not mutant.equivalent]
    chosen = planning.plan(names, costs, planning.worth(names, main, runs), mutants, hunts, budget)
    if not chosen.cells:
        raise UsageError(f"--budget: no cell fits into {budget:.0f} s: {'; '.join(chosen.left)}")
    where = ("--results", str(results), *(() if matrix == MATRIX else ("--matrix", str(matrix))))
    steps = [Step("cells", ("run", *chosen.cells, *where))]
    steps += [Step("selftests", ("selftests", *where))] if chosen.selftests else []
    steps += [Step("mutants", ("mutants", *chosen.mutants, *where))] if chosen.mutants else []
    directory = records.new_directory(results, PREFIX)
    night = Night(directory.name, records.now(), budget, chosen.seconds, chosen.left, tuple(steps))
    return directory, _save(directory, night)


def _costs(runs: Sequence[Summary]) -> dict[str, float]:
    """Seconds that a cell took in its last run, as its part of the whole run's."""
    found: dict[str, float] = {}
    for run in runs:
        tests = {
            cell: sum(n for (of, _), tally in run.counts.items() if of == cell for n in tally.values())
            for cell in run.cells
        }
        whole = _seconds(run)
        if run.complete and run.line and not run.select and whole > 0:
            found |= {cell: whole * number / sum(tests.values()) for cell, number in tests.items() if number}
    return found


def _seconds(run: Summary) -> float:
    try:
        return (datetime.fromisoformat(run.finished) - datetime.fromisoformat(run.started)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def left_open(results: Path, now: datetime) -> tuple[Path, Night] | None:
    """The last night, if it was killed and is not stale."""
    for directory in sorted(results.glob(f"{PREFIX}*"), reverse=True)[:1]:
        try:
            raw = json.loads((directory / STATE).read_text())
        except (OSError, ValueError):
            return None
        if raw.get("schema") != SCHEMA:
            return None
        steps = tuple(Step(**{**step, "words": tuple(step["words"])}) for step in raw.pop("steps"))
        night = Night(**{**raw, "left": tuple(raw["left"])}, steps=steps)
        if night.open and now - datetime.fromisoformat(night.started) < STALE:
            return directory, night
    return None


Farm = Callable[[Sequence[str]], int]


def farm(words: Sequence[str]) -> int:
    """Run a farm's command, which ends with this one; its exit status."""
    with subprocess.Popen(leashed([sys.executable, "-m", "farm", *words])) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()  # it writes down what it has
            process.wait()
            raise


def go_on(directory: Path, night: Night, run: Farm = farm, say: Callable[[str], None] = print) -> Night:
    """All steps that have not ended, in their order. An interruption leaves the rest to the next call."""
    results = directory.parent
    for number, step in enumerate(night.steps):
        if step.exit is not None:
            continue
        words, resumed = step.words, ""
        before = {path.name for path in results.iterdir()}
        if step.name == "cells" and (left := _left(results, night)):
            words, resumed = ("run", "--resume", str(left)), left.name
            say(f"{night.id}: going on with {left.name}")
        status = run(words)
        if status not in list(Exit):
            raise FarmError(f"{night.id}: farm {' '.join(words)} ended with {status}; `farm nightly` goes on with it")
        made = sorted(path.parent.name for path in results.glob("*/run.json") if path.parent.name not in before)
        steps = list(night.steps)
        steps[number] = replace(step, exit=status, run=resumed or next(iter(made), ""))
        night = _save(directory, replace(night, steps=tuple(steps)))
    return night


def _left(results: Path, night: Night) -> Path | None:
    """The run of this night's cells that was not ended."""
    cells = list(next(step for step in night.steps if step.name == "cells").words)
    for path in sorted(results.glob("*/run.json"), reverse=True):
        try:
            run = records.load_run(path.parent)
        except (UsageError, ValueError, TypeError):
            continue
        if run.status in ("running", "interrupted") and run.started >= night.started and run.command[1:] == cells:
            return path.parent
    return None


def _save(directory: Path, night: Night) -> Night:
    save_json(directory / STATE, asdict(night))
    return night
