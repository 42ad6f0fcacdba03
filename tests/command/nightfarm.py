# SPDX-License-Identifier: GPL-2.0
"""The farm's own commands, for a night of tests/nights.py, whose executor builds and boots nothing.

Of the environment, NIGHT is the number of the night; with SLOW it stops behind the first two cells, and
says so by a file of that name.
"""

import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from farm import artifact, execute
from farm.cli import main
from farm.hunt import mutant
from farm.kernel.builder import Built, Event, Order
from farm.matrix import load
from farm.record import cellstate
from farm.record.records import Planned, VerdictRecord
from farm.run import comparison
from farm.worker import ftracetest
from farm.worker.ftracetest import Result, Suite
from farm.worker.selftests import BASE, PATCHED, Compared, Done, Job
from farm.worker.unit import Pair, Unit
from tests import nights
from tests.executors import Scripted, Test

NIGHT = int(os.environ["NIGHT"])


def events(order: Order) -> Iterator[Event]:
    for cell in order.cells:
        # what broke in the second night is of another kernel, what comes and goes is of the same
        key = f"{cell}-{min(NIGHT, 1) if 'regs' in cell else 0}"
        kernel, programs, module = (
            artifact.make(kind, key, partial(nights.fill_kernel, cell)) for kind in ("kernels", "programs", "modules")
        )
        yield Event("progress", cell, "at work")
        yield Event("built", cell, built=Built(cell, "debian-6.12", "c", "t", key, kernel, programs, module, False))


def tests(unit: Unit) -> list[Test]:
    if unit.order.patches:
        return [(Planned("test_x", "slots", unit.cell), partial(caught, unit))]
    if unit.cell not in nights.CELLS:
        return []
    return [
        (Planned(test, suite, unit.cell), partial(verdict, unit.cell, suite, test))
        for suite, names in nights.TESTS.items()
        for test in names
    ]


def caught(unit: Unit, _: Path) -> VerdictRecord:
    """A mutant is seen as its patch says."""
    (patch,) = map(Path, unit.order.patches)
    suites = [path.stem.removeprefix("test_") for path in mutant.SUITES.glob("test_*.py")]
    symptom = mutant.parse(patch, patch.read_text(), load(), suites).symptoms[0]
    return VerdictRecord("test_x", "slots", unit.cell, symptom.verdict, 0.1, symptom.reason.pattern)


def verdict(cell: str, suite: str, test: str, run: Path) -> VerdictRecord:
    where = cellstate.directory(run, cell)
    if not (where / "console-1.log").exists():
        if (slow := os.environ.get("SLOW")) and cell == nights.CELLS[2]:
            Path(slow).write_text(str(os.getpid()))
            time.sleep(60)
        nights.write_consoles(where)
    return nights.verdict(NIGHT, cell, suite, test)


def compared(pair: Pair, consoles: Path) -> Iterator[Compared]:
    for kernel in (BASE, PATCHED):
        (consoles / f"{kernel}-1.log").write_text(nights.CONSOLE)
    for number, name in enumerate(pair.tests.files):
        outcome = "FAIL" if number == nights.OWN_WORSE and NIGHT else "PASS"
        done = Done(PATCHED, Job(name), {name: Result(outcome)}, "patched-1.log", (0, 200), 1.0)
        yield name, ["PASS"], [outcome], done


def own_tests(*_: Any) -> Suite:
    return Suite(artifact.Ref("selftests", "x"), dict.fromkeys(nights.OWN_TESTS, False))


if __name__ == "__main__":
    execute.EXECUTORS["local"] = Scripted(events, tests, compared)
    # the source, which only says which tests there are
    comparison.resolve = own_tests  # type: ignore[attr-defined, assignment]
    ftracetest.suite = own_tests  # type: ignore[assignment]
    sys.argv = sys.argv[2:]  # behind `-m farm`
    main()
