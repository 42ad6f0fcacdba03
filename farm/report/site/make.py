# SPDX-License-Identifier: GPL-2.0
"""The site over a results directory: which pages there are, and which are due."""

import hashlib
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path

from jinja2 import Environment

from farm.base.errors import UsageError
from farm.history import changes, query, reading, store
from farm.history.changes import Comparison, Side
from farm.history.model import Case, Mutation, Seen, Summary, Timeline, order
from farm.matrix import MATRIX
from farm.report.site import cell, failure, files, index, tests, trends
from farm.report.site.render import environment, gravity, in_words, look, symbol
from farm.run.records import Run, Verdict

#: Of the results directory, the site's.
NAME = "site"

#: What the pages were made by, so that another farm makes them anew.
STAMP = ".made-by"


@dataclass(frozen=True)
class _Past:
    """What pages are made from: the runs that are shown, the newest last, each case over them, and what
    is to be said of the newest."""

    over: Sequence[Summary]
    lines: Mapping[Case, Timeline]
    found: Comparison

    @property
    def today(self) -> Summary:
        return self.over[-1]


@dataclass(frozen=True)
class _Read:
    """The run of the suites, and that of the kernel's own tests which goes with it; all runs that it is
    comparable with; all hunts for mutants."""

    past: _Past
    own: _Past | None
    runs: Sequence[Summary]
    line: Sequence[Summary]
    hunts: Sequence[Mutation]


def make(results: Path, run: str = "") -> Path:
    """Write the pages that are not there yet or have changed. On the first of them is the newest run of
    the suites that may be compared, or the one that is named. Its path.

    Raises UsageError where there is no such run, FarmError if the pages cannot be
    written; those that were are whole then, and the same again writes the others.
    """
    read = _read(results, run)
    site = results / NAME
    pages = environment()
    fresh = _restyle(site)
    failures = _failures(pages, results, read.past, fresh)
    by_test = _tests(pages, site, read.past, failures)
    facts, of_own = _facts(results, read, read.past, failures), None
    if read.own:
        of_own_tests = _failures(pages, results, read.own, fresh)
        by_test |= _tests(pages, site, read.own, of_own_tests)
        of_own = _facts(results, read, read.own, of_own_tests)
    files.write(site / "tests.html", _list_of_tests(pages, by_test))
    _cells(pages, results, read.past, failures)
    shown = [*trends.of_runs(read.line), trends.mutation(read.hunts)]
    files.write(site / "trends.html", trends.page(pages, shown))
    besides = index.Besides(
        reading.besides(results / read.past.today.place) if read.past.today.place else reading.Besides(),
        (read.own.found, of_own) if read.own and of_own else None,
        _hunt(read),
    )
    files.write(site / "index.html", index.page(pages, read.past.found, facts, besides))
    files.write(site / STAMP, _version())
    return site / "index.html"


def _read(results: Path, run: str) -> _Read:
    with store.reading(results) as db:
        runs = store.runs(db)
        today = next((one for one in runs if one.id == run), None) if run else query.latest(runs)
        if today is None:
            raise UsageError(f"{results}: the history has no run {run}".rstrip())
        own = query.own_tests(runs, today)
        line = [one for one in runs if one.line and one.line == today.line and one.order <= today.order]
        return _Read(
            _past(db, runs, today), _past(db, runs, own) if own else None, runs, line or [today], store.mutations(db)
        )


def _past(db: sqlite3.Connection, runs: Sequence[Summary], today: Summary) -> _Past:
    over = changes.past(runs, today)
    lines = store.timelines(db, over)
    old = query.before(db, runs, today)
    return _Past(over, lines, changes.compare(old, Side(today, store.verdicts(db, today.id)), over, lines))


def _hunt(read: _Read) -> Mutation | None:
    """The hunt for mutants that goes with the run: the last behind it, and before the next of its line."""
    today = read.past.today
    following = [run.order for run in read.runs if run.line == today.line and run.order > today.order]
    found = [
        hunt
        for hunt in read.hunts
        if order(hunt.id, hunt.started) > today.order
        and all(order(hunt.id, hunt.started) < one for one in following)
        and hunt.score is not None
    ]
    return found[-1] if found else None


def _facts(results: Path, read: _Read, past: _Past, failures: Mapping[tuple[int, Case], str]) -> index.Facts:
    today, last = past.today, len(past.over) - 1
    return index.Facts(
        run=_run(results, today),
        shown=len(past.over),
        started={one.id: one.started for one in read.runs},
        commits={(one.id, name): kernel.commit for one in past.over for name, kernel in one.kernels.items()},
        records=failure.bad_records(results / today.place) if today.place else {},
        failures={case: page for (position, case), page in failures.items() if position == last},
    )


def _tests(
    pages: Environment, site: Path, past: _Past, failures: Mapping[tuple[int, Case], str]
) -> dict[tuple[str, str], Mapping[Case, Timeline]]:
    """A page a test; the cases of each."""
    by_test: dict[tuple[str, str], dict[Case, Timeline]] = defaultdict(dict)
    for case, line in past.lines.items():
        by_test[case.suite, case.test][case] = line
    steps = {change.case: change.step.since for change in past.found.changes if change.step}
    for (suite, test), cases in by_test.items():
        files.write(site / files.test_page(suite, test), tests.page(pages, past.over, cases, failures, steps))
    return dict(by_test)


def _restyle(site: Path) -> bool:
    """Put the style sheet there. Whether what pages there are were made by another farm."""
    files.write(site / "style.css", resources("farm.report.site").joinpath("style.css").read_text())
    stamp = site / STAMP
    return not stamp.is_file() or stamp.read_text() != _version()


def _version() -> str:
    """A hash of all that makes pages."""
    digest = hashlib.blake2s()
    own = resources("farm.report.site")
    for place in (own, own.joinpath("templates")):
        for file in sorted(place.iterdir(), key=lambda file: file.name):
            if file.is_file():
                digest.update(file.read_bytes())
    return digest.hexdigest()


def _failures(pages: Environment, results: Path, past: _Past, fresh: bool) -> dict[tuple[int, Case], str]:
    """The page of each failure in the runs that are shown. A page that is there
    stays: a verdict does not change, and its run directory may be gone by now."""
    bad: dict[int, list[Case]] = defaultdict(list)
    for case, line in past.lines.items():
        if line.codes.translate(None, tests.GOOD):
            for position, code in enumerate(line.codes):
                if code not in tests.GOOD:
                    bad[position].append(case)
    found = {}
    for position, cases in bad.items():
        run = past.over[position]
        shown: dict[tuple[str, Verdict, str], Case] = {}
        stands_for: dict[Case, int] = defaultdict(int)
        for case in sorted(cases):
            seen = past.lines[case].seen(position)
            assert seen
            first = case
            if seen.verdict in index.OF_A_CELL:
                first = shown.setdefault((case.cell, seen.verdict, seen.reason), case)
            stands_for[first] += 1
            found[position, case] = files.failure_page(run.id, first.cell, first.suite, first.test)
        wanted = [case for case in stands_for if fresh or not (results / NAME / found[position, case]).exists()]
        if wanted:
            _write_failures(pages, results, past, position, {case: stands_for[case] - 1 for case in wanted})
    return found


def _write_failures(pages: Environment, results: Path, past: _Past, position: int, wanted: Mapping[Case, int]) -> None:
    summary = past.over[position]
    told = failure.bad_records(results / summary.place) if summary.place else {}
    run = _run(results, summary)
    for case, others in wanted.items():
        page = results / NAME / files.failure_page(run.id, case.cell, case.suite, case.test)
        if not summary.place and page.exists():
            continue  # it was made while there was a run directory, and says more
        seen = past.lines[case].seen(position)
        assert seen
        record = told.get(case) or failure.from_history(case, seen)
        files.write(page, failure.page(pages, results, summary.place, run, record, seen, others))


def _run(results: Path, summary: Summary) -> Run:
    """The record of a run; what the history knows, where its directory is gone or lacks it."""
    if summary.place:
        try:
            return reading.read_run(results / summary.place)[0]
        except reading.Unreadable:
            pass
    return Run(
        id=summary.id,
        command=list(summary.command),
        tree=summary.tree,
        series=summary.series,
        select=summary.select,
        cells=list(summary.cells),
        accel=summary.accel,
        accel_reason="",
        workers=summary.workers,
        host={},
        versions={},
        matrix=str(MATRIX),
        started=summary.started,
        status=summary.status,
    )


def _cells(pages: Environment, results: Path, past: _Past, failures: Mapping[tuple[int, Case], str]) -> None:
    """A page a cell, of the last run that had it, and the list of them."""
    site = results / NAME
    seen: dict[str, dict[int, dict[Case, Seen]]] = defaultdict(lambda: defaultdict(dict))
    newest = {name: position for position, run in enumerate(past.over) for name in run.cells}
    for case, line in past.lines.items():
        # of a cell that no run names there may be verdicts all the same
        newest.setdefault(case.cell, len(line.codes.rstrip(b"\0")) - 1)
        position = newest[case.cell]
        if one := line.seen(position):
            seen[case.cell][position][case] = one
    listed = []
    for name, position in sorted(newest.items()):
        run, mine = past.over[position], seen[name][position]
        linked = {case: failures[position, case] for case in mine if (position, case) in failures}
        text = cell.page(pages, results, run.place, _run(results, run), name, mine, linked)
        files.write(site / files.cell_page(name), text)
        verdicts = {one.verdict for one in mine.values()}
        listed.append(
            {
                "name": name,
                "page": files.cell_page(name),
                "started": run.started,
                "look": look(min(verdicts, key=gravity)) if verdicts else "none",
                "summary": in_words(cell.tally(mine)),
            }
        )
    files.write(site / "cells.html", pages.get_template("cells.html").render(root="", here="cells.html", cells=listed))


def _list_of_tests(pages: Environment, by_test: Mapping[tuple[str, str], Mapping[Case, Timeline]]) -> str:
    suites: dict[str, list[dict[str, str]]] = defaultdict(list)
    for (suite, test), cases in sorted(by_test.items()):
        ends = [tests.latest(line) for line in cases.values()]
        worst = min(ends, key=gravity)
        number = f" {ends.count(worst)}/{len(ends)}" if look(worst) in ("bad", "farm") else ""
        suites[suite].append(
            {
                "name": test,
                "page": files.test_page(suite, test),
                "look": look(worst),
                "said": f"{symbol(worst)} {worst}{number}",
            }
        )
    return pages.get_template("tests.html").render(
        root="",
        here="tests.html",
        number=len(by_test),
        suites=[{"name": suite, "anchor": files.safe(suite), "tests": rows} for suite, rows in suites.items()],
    )
