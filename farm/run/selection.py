# SPDX-License-Identifier: GPL-2.0
"""Finds the tests, and those that `-k` selects. They are collected as in a run, which takes a second
or two and builds nothing."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression  # pytest reads -k with this

from farm.base.errors import FarmError, UsageError
from farm.kernel.builder import Order
from farm.matrix import CHECKOUT, MATRIX, Cell
from farm.worker import suites as pytest_suites
from farm.worker import unit
from farm.worker.plugin import planned
from farm.worker.unit import Unit

EXAMPLE = "'slots and not arg6', 'test_filter or leftovers'"


@dataclass(frozen=True)
class Test:
    """One test function of a suite. `about` is one line. The cell must declare the facts in `needs`,
    and none of those in `absent`. `cases` counts its parameters times the cells."""

    suite: str
    name: str
    about: str
    needs: tuple[str, ...]
    absent: tuple[str, ...]
    cases: int


def check_expression(select: str) -> None:
    """Raise UsageError, with pytest's reason, if this is not an expression for `-k`."""
    try:
        Expression.compile(select)
    except SyntaxError as error:
        place = f", column {error.offset}" if error.offset else ""
        raise UsageError(f"-k {select!r}: {error.msg}{place}; write names with and, or, not, as {EXAMPLE}") from error


def check(cells: Sequence[Cell], select: str, suites: Path = CHECKOUT / "suites", matrix: Path = MATRIX) -> None:
    """Raise UsageError if the expression selects no test of these cells."""
    if select and not find(cells, select, suites, matrix):
        raise UsageError(f"-k {select!r} selects no test in {_named(cells)}; `farm tests` lists what there is")


def find(
    cells: Sequence[Cell], select: str = "", suites: Path = CHECKOUT / "suites", matrix: Path = MATRIX
) -> list[Test]:
    """The tests of these cells that an expression selects, grouped by suite. Raises UsageError for a
    wrong expression, FarmError if the suites cannot be loaded."""
    check_expression(select)
    names = [cell.name for cell in cells]
    collected = _Collected()
    with tempfile.TemporaryDirectory(prefix="farm-tests-") as directory:
        orders = [Order([name], None, None, str(matrix)) for name in names]
        unit.save(Path(directory), [Unit(order, str(suites), select) for order in orders])
        arguments = pytest_suites.collecting(suites, Path(directory), select)
        status = pytest_suites.run([*arguments, "--collect-only"], collected)
    if status == pytest.ExitCode.USAGE_ERROR:
        raise UsageError(f"-k {select!r}: not an expression of pytest's -k; write it as {EXAMPLE}")
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise FarmError(f"{suites}: the suites cannot be loaded\n{collected.trouble}".rstrip())
    found: dict[tuple[str, str], Test] = {}
    for item in collected.items:
        suite, name = planned(item.nodeid, names).suite, item.originalname
        cases = found[suite, name].cases + 1 if (suite, name) in found else 1
        found[suite, name] = Test(
            suite, name, _sentence(item.obj), _facts(item, "needs"), _facts(item, "absent"), cases
        )
    return sorted(found.values(), key=lambda test: test.suite)


class _Collected:
    """A pytest plugin that keeps the collected tests."""

    def __init__(self) -> None:
        self.items: list[pytest.Function] = []
        self.trouble = ""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = [item for item in session.items if isinstance(item, pytest.Function)]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.trouble = f"{report.nodeid}:\n" + "\n".join(report.longreprtext.splitlines()[-12:])


def _named(cells: Sequence[Cell]) -> str:
    names = [cell.name for cell in cells]
    return ", ".join(names) if len(names) <= 4 else f"{len(names)} cells"


def _sentence(thing: object) -> str:
    """The first sentence of a docstring."""
    text = " ".join((thing.__doc__ or "").partition("\n\n")[0].split())
    found = re.match(r".+?[.:;](?= |$)", text)
    return found[0].rstrip(":;") if found else text


def _facts(item: pytest.Function, mark: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(fact for one in item.iter_markers(mark) for fact in one.args))
