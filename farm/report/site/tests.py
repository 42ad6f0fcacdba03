# SPDX-License-Identifier: GPL-2.0
"""The page of one test: its result in each cell, now and before."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from statistics import median

from jinja2 import Environment
from markupsafe import Markup

from farm.base.errors import Exit
from farm.history.model import Case, Summary, Timeline
from farm.record.verdict import BY_CODE, MEANING, Verdict
from farm.report.site import files, plots
from farm.report.site.asked import manner
from farm.report.site.render import day, gravity

ROOT = "../"

#: How many changes are listed, the newest first.
MOST_CHANGES = 60

#: The page of a failure, relative to the site's directory, by the position of its run.
Failures = Mapping[tuple[int, Case], str]

#: The codes of verdicts without a page.
GOOD = bytes([0, *(meaning.code for meaning in MEANING.values() if meaning.blame == Exit.PASSED)])

_PASSED = MEANING[Verdict.PASS].code
_MARKS = {meaning.code: plots.Mark(meaning.look, str(verdict)) for verdict, meaning in MEANING.items()} | {
    0: plots.Mark("none", "not run")
}


def page(
    pages: Environment,
    over: Sequence[Summary],
    cases: Mapping[Case, Timeline],
    failures: Failures,
    steps: Mapping[Case, str],
) -> str:
    """The page of a test. The cases are those of one test, over these runs, the newest last;
    `steps` has the run since which a case is slower."""
    first = next(iter(cases))
    slower = {steps[case] for case in cases if case in steps}
    days = [day(run.started) for run in over]
    return pages.get_template("test.html").render(
        root=ROOT,
        here="tests.html",
        suite=first.suite,
        test=first.test,
        summary=said(cases.values()),
        shown=len(over),
        rows=[_row(case, cases[case], days, failures) for case in sorted(cases)],
        changes=_changes(over, cases, failures),
        plot=_plot(days, list(cases.values()), [n for n, run in enumerate(over) if run.id in slower]),
    )


def latest(line: Timeline) -> Verdict:
    """The verdict of a case when it last ran."""
    verdict: Verdict | None = BY_CODE.get(line.codes.rstrip(b"\0")[-1])
    assert verdict  # a case that never ran has no timeline
    return verdict


def said(lines: Iterable[Timeline]) -> str:
    """How many cells have which verdict, bad ones first."""
    tally = Counter(map(latest, lines))
    order = sorted(tally, key=gravity)
    return ", ".join(f"{verdict} in {tally[verdict]} cell{'s' if tally[verdict] > 1 else ''}" for verdict in order)


def _row(case: Case, line: Timeline, days: Sequence[str], failures: Failures) -> dict[str, object]:
    codes = line.codes
    ran = [position for position, code in enumerate(codes) if code]
    now = codes[ran[-1]]
    since = next((after for before, after in pairwise(reversed(ran)) if codes[after] != now), None)
    first = ran[0] if since is None else ran[ran.index(since) + 1]
    return {
        "cell": case.cell,
        "page": files.cell_page(case.cell),
        "now": BY_CODE.get(now),
        "failure": failures.get((ran[-1], case), ""),
        "since": f"{days[first]} or before" if first == ran[0] == 0 else days[first],
        "bad": len(codes.translate(None, GOOD)),
        "runs": len(ran),
        "strip": _strip(codes),
    }


@cache
def _strip(codes: bytes) -> Markup:
    """The picture of a timeline. It is the same for most cases, which always passed."""
    said = ", ".join(f"{number} {_MARKS[code].word}" for code, number in Counter(codes).most_common())
    return plots.strip([_MARKS[code] for code in codes], said)


def _changes(over: Sequence[Summary], cases: Mapping[Case, Timeline], failures: Failures) -> list[dict[str, object]]:
    """The runs in which the verdict of a case changed, the newest first."""
    found = []
    for case, line in cases.items():
        if len(set(line.codes) - {0}) < 2:
            continue
        ran = [position for position, code in enumerate(line.codes) if code]
        found += [(after, case, before) for before, after in pairwise(ran) if line.codes[before] != line.codes[after]]
    found.sort(key=lambda item: (-item[0], item[1]))
    return [
        {
            "started": over[after].started,
            "manner": manner(over[after].planted),
            "cell": case.cell,
            "before": BY_CODE.get(cases[case].codes[before]),
            "after": BY_CODE.get(cases[case].codes[after]),
            "failure": failures.get((after, case), ""),
        }
        for after, case, before in found[:MOST_CHANGES]
    ]


def _plot(days: Sequence[str], lines: Sequence[Timeline], shifts: Sequence[int]) -> object:
    """The median over the cells, if there is a line to draw."""
    points = []
    for position, label in enumerate(days):
        took = [line.milliseconds[position] for line in lines if line.codes[position] == _PASSED]
        points.append(plots.Point(label, median(took) / 1000 if took else None))
    if sum(point.value is not None for point in points) < 2:
        return ""
    return plots.plot("Seconds where it passed, the median of the cells", points, "s", shifts)
