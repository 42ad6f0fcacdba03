# SPDX-License-Identifier: GPL-2.0
"""The site of a results directory: which pages there are, and which must be written."""

import hashlib
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files as resources
from pathlib import Path

from jinja2 import Environment

import farm
from farm.base.errors import UsageError
from farm.history import changes, query, reading, store
from farm.history.changes import WINDOW, Comparison, Side
from farm.history.model import Case, Mutation, Seen, Summary, Timeline, order
from farm.matrix import MATRIX
from farm.record.records import Run, VerdictRecord
from farm.record.verdict import MEANING, Verdict
from farm.report.site import cell, failure, files, index, runs, tests, trends
from farm.report.site.asked import tags
from farm.report.site.render import environment, gravity, in_words, look, symbol

#: Records which farm made the pages, and from what. So another farm makes them all again, and the same
#: one those of a run that has changed.
STAMP = ".made-by"


@dataclass(frozen=True)
class _Site:
    """How pages are made: the templates, the results directory, and the runs that have changed since the site
    was made."""

    pages: Environment
    results: Path
    due: frozenset[str]

    @property
    def place(self) -> Path:
        return self.results / files.NAME


@dataclass(frozen=True)
class _Past:
    """What pages are made from: the runs that are shown, the newest last; each case over them; and what
    is known about the newest."""

    over: Sequence[Summary]
    lines: Mapping[Case, Timeline]
    found: Comparison

    @property
    def today(self) -> Summary:
        return self.over[-1]


@dataclass(frozen=True)
class _Read:
    """The run of the suites, and the run of the kernel's own tests that belongs to it; all runs, those
    of the trends, and all hunts for mutants. `others` are runs that are not shown over time, with their
    failures. `stamps` change when the run's directory does."""

    past: _Past
    own: _Past | None
    runs: Sequence[Summary]
    line: Sequence[Summary]
    hunts: Sequence[Mutation]
    others: Sequence[tuple[Summary, Mapping[Case, Seen]]]
    stamps: Mapping[str, str]


def make(results: Path, run: str = "") -> Path:
    """Write the pages that are missing or have changed. The first page is about the newest run of the
    suites, or the one that is named. Returns its path.

    Raises UsageError if there is no such run, FarmError if a page cannot be written. The pages so far
    are then complete, and another call writes the others.
    """
    read = _read(results, run)
    site = _Site(environment(), results, frozenset(_due(results, read.stamps)))
    files.write(site.place / "style.css", resources("farm.report.site").joinpath("style.css").read_text())
    failures = _failures(site, read.past)
    by_test = _tests(site, read.past, failures)
    facts, of_own = _facts(results, read, read.past, failures), None
    if read.own:
        of_own_tests = _failures(site, read.own)
        by_test |= _tests(site, read.own, of_own_tests)
        of_own = _facts(results, read, read.own, of_own_tests)
    for summary, bad in read.others:
        _of_run(site, summary, bad)
    files.write(site.place / "tests.html", _list_of_tests(site.pages, by_test))
    _cells(site, read.past, failures)
    shown = [*trends.of_runs(read.line), trends.mutation(read.hunts)]
    files.write(site.place / "trends.html", trends.page(site.pages, shown))
    files.write(site.place / "runs.html", runs.listed(site.pages, results, read.runs))
    besides = index.Besides(
        reading.besides(results / read.past.today.place) if read.past.today.place else reading.Besides(),
        (read.own.found, of_own) if read.own and of_own else None,
        _hunt(read),
    )
    files.write(site.place / "index.html", index.page(site.pages, read.past.found, facts, besides))
    files.write(site.place / STAMP, json.dumps({"farm": _version(), "runs": read.stamps}))
    return site.place / "index.html"


def _read(results: Path, run: str) -> _Read:
    with store.reading(results) as db:
        everything, stamps = store.runs(db), store.stamps(db)
        today = next((one for one in everything if one.id == run), None) if run else query.latest(everything)
        if today is None:
            raise UsageError(f"{results}: the history has no run {run}".rstrip())
        own = query.own_tests(everything, today)
        line = [one for one in everything if one.line and one.line == today.clean_line and one.order <= today.order]
        past, of_own = _past(db, everything, today), _past(db, everything, own) if own else None
        shown = {one.id for one in (*past.over, *(of_own.over if of_own else ()))}
        due = _due(results, stamps)
        others = [
            one
            for one in everything
            if one.place and one.id not in shown
            if one.id in due or not (results / files.NAME / files.run_page(one.id)).exists()
        ]
        failed = list(_failed(db, others))
        return _Read(past, of_own, everything, line or [today], store.mutations(db), failed, stamps)


def _failed(db: sqlite3.Connection, runs: Sequence[Summary]) -> Iterator[tuple[Summary, Mapping[Case, Seen]]]:
    """What failed in these runs. They are read in portions, to need no more memory than the shown runs."""
    for first in range(0, len(runs), WINDOW):
        over = runs[first : first + WINDOW]
        bad = _bad(store.timelines(db, over))
        for position, run in enumerate(over):
            yield run, bad.get(position, {})


def _due(results: Path, stamps: Mapping[str, str]) -> set[str]:
    """The runs that have changed since the site was made; all of them if another farm made it."""
    try:
        made = json.loads((results / files.NAME / STAMP).read_text())
        if made["farm"] != _version():
            return set(stamps)
        return {run for run, stamp in stamps.items() if made["runs"].get(run) != stamp}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return set(stamps)


def _past(db: sqlite3.Connection, runs: Sequence[Summary], today: Summary) -> _Past:
    over = changes.past(runs, today)
    lines = store.timelines(db, over)
    old = query.before(db, runs, today)
    return _Past(over, lines, changes.compare(old, Side(today, store.verdicts(db, today.id)), over, lines))


def _hunt(read: _Read) -> Mutation | None:
    """The hunt for mutants that belongs to the run: the last one after it, but before the next of its line."""
    today = read.past.today
    if today.planted:
        return None
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
        asked=tags(results, today),
    )


def _tests(
    site: _Site, past: _Past, failures: Mapping[tuple[int, Case], str]
) -> dict[tuple[str, str], Mapping[Case, Timeline]]:
    """Write one page for each test, over its cases."""
    by_test: dict[tuple[str, str], dict[Case, Timeline]] = defaultdict(dict)
    for case, line in past.lines.items():
        by_test[case.suite, case.test][case] = line
    steps = {change.case: change.step.since for change in past.found.changes if change.step}
    for (suite, test), cases in by_test.items():
        page = site.place / files.test_page(suite, test)
        files.write(page, tests.page(site.pages, past.over, cases, failures, steps))
    return dict(by_test)


@cache
def _version() -> str:
    """A hash of everything that makes pages: the whole farm, because nearly every package matters, and the
    library that fills in the templates."""
    digest = hashlib.blake2s(f"{version('jinja2')} {version('markupsafe')}".encode())
    place = Path(farm.__file__).parent
    for file in sorted(one for kind in ("py", "html", "css") for one in place.rglob(f"*.{kind}")):
        digest.update(f"{file.relative_to(place)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _bad(lines: Mapping[Case, Timeline]) -> dict[int, dict[Case, Seen]]:
    """The failures of each run, by its position."""
    bad: dict[int, dict[Case, Seen]] = defaultdict(dict)
    for case, line in lines.items():
        if line.codes.translate(None, tests.GOOD):
            for position, code in enumerate(line.codes):
                if code not in tests.GOOD and (seen := line.seen(position)):
                    bad[position][case] = seen
    return bad


def _failures(site: _Site, past: _Past) -> dict[tuple[int, Case], str]:
    """The page of each failure in the shown runs."""
    bad = _bad(past.lines)
    return {
        (position, case): page
        for position, run in enumerate(past.over)
        for case, page in _of_run(site, run, bad.get(position, {})).items()
    }


def _of_run(site: _Site, summary: Summary, bad: Mapping[Case, Seen]) -> dict[Case, str]:
    """The page of each failure of a run, by its case, and that of the run. An existing page stays, unless the
    run or the farm has changed: a verdict does not change, and its run directory may be gone by now."""
    shown: dict[tuple[str, Verdict, str], Case] = {}
    stands_for: dict[Case, int] = defaultdict(int)
    found = {}
    for case in sorted(bad):
        seen, first = bad[case], case
        if not MEANING[seen.verdict].of_test:  # one page for all tests of the cell
            first = shown.setdefault((case.cell, seen.verdict, seen.reason), case)
        stands_for[first] += 1
        found[case] = files.failure_page(summary.id, first.cell, first.suite, first.test)
    due, page = summary.id in site.due, site.place / files.run_page(summary.id)
    wanted = [case for case in stands_for if due or not (site.place / found[case]).exists()]
    wants_page = bool(summary.place) and (due or not page.exists())
    if not wanted and not wants_page:
        return found
    run, told = _run(site.results, summary), failure.bad_records(site.results / summary.place) if summary.place else {}
    told = {case: told.get(case) or failure.from_history(case, seen) for case, seen in bad.items()}
    for case in wanted:
        where = site.place / found[case]
        if not summary.place and where.exists():
            continue  # it was made while the run directory existed, and has more in it
        others = stands_for[case] - 1
        files.write(where, failure.page(site.pages, site.results, summary, run, told[case], bad[case], others))
    if wants_page:
        files.write(page, runs.page(site.pages, site.results, summary, run, told, found))
    return found


def _run(results: Path, summary: Summary) -> Run:
    """The record of a run. If its directory is gone or lacks it, what the history knows."""
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
        patches=list(summary.planted.patches),
        pokes=list(summary.planted.pokes),
        partial=summary.planted.partial,
    )


def _cells(site: _Site, past: _Past, failures: Mapping[tuple[int, Case], str]) -> None:
    """Write one page for each cell, about the last run that had it, and the list of cells."""
    told: dict[int, Mapping[Case, VerdictRecord]] = {}
    seen: dict[str, dict[int, dict[Case, Seen]]] = defaultdict(lambda: defaultdict(dict))
    newest = {name: position for position, run in enumerate(past.over) for name in run.cells}
    for case, line in past.lines.items():
        # there may be verdicts for a cell that no run names
        newest.setdefault(case.cell, len(line.codes.rstrip(b"\0")) - 1)
        position = newest[case.cell]
        if one := line.seen(position):
            seen[case.cell][position][case] = one
    listed = []
    for name, position in sorted(newest.items()):
        run, mine = past.over[position], seen[name][position]
        linked = {case: failures[position, case] for case in mine if (position, case) in failures}
        if position not in told:
            told[position] = failure.bad_records(site.results / run.place) if run.place else {}
        records = {
            case: told[position].get(case) or failure.from_history(case, one)
            for case, one in mine.items()
            if one.is_bad
        }
        text = cell.page(site.pages, site.results, run, _run(site.results, run), name, mine, records, linked)
        files.write(site.place / files.cell_page(name), text)
        verdicts = {one.verdict for one in mine.values()}
        listed.append(
            {
                "name": name,
                "page": files.cell_page(name),
                "started": run.started,
                "asked": tags(site.results, run),
                "look": look(min(verdicts, key=gravity)) if verdicts else "none",
                "summary": in_words(cell.tally(mine)),
            }
        )
    text = site.pages.get_template("cells.html").render(root="", here="cells.html", cells=listed)
    files.write(site.place / "cells.html", text)


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
