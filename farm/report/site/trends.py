# SPDX-License-Identifier: GPL-2.0
"""Trends over the nights: durations, verdicts, the mutation score."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median

from jinja2 import Environment

from farm.history.model import Mutation, Summary
from farm.record.verdict import Verdict, is_bad
from farm.report.site import plots
from farm.report.site.plots import Point
from farm.report.site.render import when

#: How many values are listed below a plot.
MOST_ROWS = 30


_BAD = frozenset(verdict for verdict in Verdict if is_bad(verdict))


@dataclass(frozen=True)
class Trend:
    title: str
    about: str
    unit: str
    points: Sequence[Point]


def mutation(hunts: Sequence[Mutation]) -> Trend:
    points = [Point(when(hunt.started), 100 * hunt.score) for hunt in hunts if hunt.score is not None]
    about = "How many of the bugs that were put into the kernel on purpose a suite noticed."
    return Trend("Mutation score", about, "%", points)


def of_runs(runs: Sequence[Summary]) -> list[Trend]:
    """Durations and results of comparable runs, the oldest first."""
    days = [when(run.started) for run in runs]

    def trend(title: str, about: str, unit: str, value: Callable[[Summary], float | None]) -> Trend:
        return Trend(title, about, unit, [Point(label, value(run)) for label, run in zip(days, runs, strict=True)])

    return [
        trend("Bad verdicts", "Cases of a run that ended badly.", "", _bad),
        _duration(trend("Duration of a run", "From its start to its end.", "s", _took)),
        _duration(trend("Builds", "Kernels of all cells; a run that built none has no value.", "s", _builds)),
        _duration(trend("Boots", "The median over the guests of a run.", "s", _boot)),
    ]


#: Units of durations, in seconds, and the value from which they are used.
_UNITS = (("h", 3600.0, 3 * 3600.0), ("min", 60.0, 180.0))


def _duration(trend: Trend) -> Trend:
    """A trend of seconds in the unit that suits its largest value."""
    largest = max((point.value for point in trend.points if point.value is not None), default=0.0)
    for unit, of_seconds, least in _UNITS:
        if largest >= least:
            points = [replace(one, value=one.value and one.value / of_seconds) for one in trend.points]
            return replace(trend, unit=unit, points=points)
    return trend


def _bad(run: Summary) -> float | None:
    if not run.counts:
        return None
    return float(sum(tally[verdict] for tally in run.counts.values() for verdict in tally.keys() & _BAD))


def _took(run: Summary) -> float | None:
    try:
        took = datetime.fromisoformat(run.finished) - datetime.fromisoformat(run.started)
    except (ValueError, TypeError):  # it never ended
        return None
    return took.total_seconds() if took.total_seconds() >= 0 else None  # the clock went back


def _builds(run: Summary) -> float | None:
    return sum(kernel.build_seconds for kernel in run.kernels.values()) or None


def _boot(run: Summary) -> float | None:
    boots = [seconds for kernel in run.kernels.values() for seconds in kernel.boot_seconds]
    return median(boots) if boots else None


def page(pages: Environment, trends: Sequence[Trend]) -> str:
    figures = [
        {
            "id": f"t{number}",
            "title": trend.title,
            "about": trend.about,
            "unit": trend.unit or "number",
            "plot": plots.plot(trend.title, trend.points, trend.unit, id=f"t{number}"),
            "rows": [
                (point.label, "–" if point.value is None else plots.number(point.value))
                for point in reversed(trend.points[-MOST_ROWS:])
                if any(one.value is not None for one in trend.points)
            ],
        }
        for number, trend in enumerate(trends)
    ]
    return pages.get_template("trends.html").render(root="", here="trends.html", figures=figures)
