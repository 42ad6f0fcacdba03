# SPDX-License-Identifier: GPL-2.0
"""Which tests there are, and which of them `-k` selects: collected as a run collects them,
in a second or two, with nothing built."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression  # what -k is read by

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
    """One function of a suite: what it is about in a line, the facts that a cell must declare for it,
    and those that it must not. `cases` counts it over its parameters and the cells."""

    suite: str
    name: str
    about: str
    needs: tuple[str, ...]
    absent: tuple[str, ...]
    cases: int


def check_expression(select: str) -> None:
    """Raise UsageError for what is no expression of `-k`, with pytest's own reason."""
    try:
        Expression.compile(select)
    except SyntaxError as error:
        place = f", column {error.offset}" if error.offset else ""
        raise UsageError(f"-k {select!r}: {error.msg}{place}; write names with and, or, not, as {EXAMPLE}") from error


def check(cells: Sequence[Cell], select: str, suites: Path = CHECKOUT / "suites", matrix: Path = MATRIX) -> None:
    """Raise UsageError for an expression that selects no test of these cells."""
    if select and not find(cells, select, suites, matrix):
        raise UsageError(f"-k {select!r} selects no test in {_named(cells)}; `farm tests` lists what there is")


def find(
    cells: Sequence[Cell], select: str = "", suites: Path = CHECKOUT / "suites", matrix: Path = MATRIX
) -> list[Test]:
    """The tests of the cells that an expression selects, those of a suite together. Raises UsageError for a wrong
    expression, FarmError for suites that cannot be loaded."""
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
    """A plugin of pytest's that keeps what was collected."""

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
    """The first one of what is written of a function."""
    text = " ".join((thing.__doc__ or "").partition("\n\n")[0].split())
    found = re.match(r".+?[.:;](?= |$)", text)
    return found[0].rstrip(":;") if found else text


def _facts(item: pytest.Function, mark: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(fact for one in item.iter_markers(mark) for fact in one.args))
