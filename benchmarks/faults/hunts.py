# SPDX-License-Identifier: GPL-2.0
"""SIGKILL of a night and of a bisection, which the same command goes on with.

The night is real, of two cells that are built and not booted, and take seconds so. The
bisection is real but for its kernels: what they would do stands in their commits, as in
tests/command/test_bisect.py; processes, git and files are as always.
"""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults import processes
from benchmarks.faults.ground import FARM, Ground, run_directory, small_matrix, troubles
from benchmarks.faults.kills import ended
from benchmarks.faults.outcome import Point, Row, lost, repeat, say, verdicts
from farm.hunt import evidence, judge
from farm.hunt.bisect import BisectRequest, bisect
from farm.nightly import night
from farm.record import records
from tests.command import test_bisect

#: The kernel of x86_64-regs, which the cache has, under names for which there is no guest.
CELLS = {
    f"x86_64-fault-{number}": (
        "    about: built and not booted\n"
        "    fragments: [base, smp, preempt, tracing, pstore, regs, graph, livepatch, unwinder-orc]\n"
        "    feature: [bpf-ftrace]\n    guest: null\n"
    )
    for number in range(2)
}

#: Commits of the made-up history, and which of them has the bug.
COMMITS, BUG = 32, 13


@dataclass(frozen=True)
class Command:
    """A command that can be killed and given again. `state` is what it leaves in a results directory, `missing`
    how many verdicts are lost there."""

    argv: Sequence[str]
    status: int
    state: Callable[[Path], object]
    missing: Callable[[Path], int]


def rows(ground: Ground, points: int) -> Iterator[Row]:
    """Half of the points each."""
    matrix = small_matrix(ground.place / "night", CELLS)
    of_night = Command(nightly(matrix), 0, _night, _lost_of_night)
    made = test_bisect.history(ground.fresh(), *test_bisect.planted(COMMITS, BUG))
    argv = [
        sys.executable,
        "-m",
        "benchmarks.faults.hunts",
        str(made.repository.path),
        made.commits[0],
        made.commits[-1],
    ]
    of_hunt = Command(argv, 0, _hunt, lambda results: 0)
    yield _row(ground, "SIGKILL of the night", "farm nightly, cells without a guest", of_night, (points + 1) // 2)
    yield _row(ground, "SIGKILL of the bisection", "git and state; kernels are made up", of_hunt, points // 2)


def nightly(matrix: Path) -> list[str]:
    return [*FARM, "nightly", "--budget", "2h", "--matrix", str(matrix)]


def _row(ground: Ground, what: str, how: str, command: Command, points: int) -> Row:
    results, started = ground.fresh(), time.monotonic()
    status = ended(ground.start([*command.argv, "--results", str(results)], results / ".log"))
    seconds, expected = time.monotonic() - started, command.state(results)
    if status != command.status:
        raise RuntimeError(f"{what}: fails though nothing is done to it:\n{(results / '.log').read_text()}")
    say(f"{what}: undisturbed in {seconds:.1f} s")

    def point(number: int) -> Point | None:
        moment = random.Random(f"{ground.seed} {what} {number}").uniform(0, seconds)
        return _killed(ground, command, moment, expected)

    return repeat(Row(what, how), points, point)


def _killed(ground: Ground, command: Command, moment: float, expected: object) -> Point | None:
    results = ground.fresh()
    argv, log = [*command.argv, "--results", str(results)], results / ".log"
    process = ground.start(argv, log)
    with suppress(subprocess.TimeoutExpired):
        process.wait(moment)
        return None
    processes.kill(process.pid)
    process.wait()
    orphans = processes.left(ground.mark, 10)
    status = ended(ground.start(argv, log))
    trouble = troubles(log, status, (command.status,))
    orphans += processes.left(ground.mark, 10)
    try:
        found = command.state(results)
    except (OSError, ValueError, StopIteration) as error:
        return Point(1, orphans, (), (*trouble, f"nothing can be read: {error!r}"))
    unequal = () if found == expected else (f"killed after {moment:.1f} s: {found} instead of {expected}",)
    return Point(command.missing(results), orphans, unequal, trouble)


def _night(results: Path) -> object:
    """Of the only night how its steps ended, and the verdicts of its cells, as text."""
    (state,) = results.glob(f"{night.PREFIX}*/{night.STATE}")
    steps = json.loads(state.read_text())["steps"]
    (run,) = [step["run"] for step in steps if step["name"] == "cells"]
    assert isinstance(run, str)
    found = {str(test): str(verdict) for test, verdict in verdicts(results / run).items()}
    return [(step["name"], step["exit"]) for step in steps], found


def _lost_of_night(results: Path) -> int:
    run = run_directory(results)
    if run is None:
        return 1
    return abs(records.load_run(run).planned - len(verdicts(run))) + lost(run, verdicts(run))


def _hunt(results: Path) -> object:
    (state,) = results.glob(f"bisect-*/{evidence.STATE}")
    hunt = evidence.load(state.parent)
    answers = sorted((one.role, one.commit, one.answer, one.failures) for one in hunt.evidence)
    return hunt.status, hunt.candidates, hunt.confirmed, answers


def main(tree: str, good: str, bad: str, option: str, results: str) -> None:
    """The bisection that is killed: `python -m benchmarks.faults.hunts TREE GOOD BAD --results DIR`."""
    assert option == "--results"
    lab = test_bisect.Lab(Path(results))
    asked = BisectRequest(good, bad, tree=tree, series="none", results=Path(results))
    bisect(asked, test_bisect.Nothing(), print, judge.Bench(lab.build, lab.attempt))


if __name__ == "__main__":
    main(*sys.argv[1:])
