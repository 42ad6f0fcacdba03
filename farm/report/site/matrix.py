# SPDX-License-Identifier: GPL-2.0
"""The matrix of a run: its cells and suites at a glance, and what changed in each."""

from collections import Counter
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

from farm.base.errors import Exit
from farm.history.changes import WORSE, Comparison, Kind
from farm.history.model import Summary, total
from farm.record.verdict import MEANING, Verdict
from farm.report.site import files


@dataclass(frozen=True)
class Field:
    """One suite in one cell. `text` is short; `words` say the same for people who cannot see
    it; `was` marks a change; `link` leads to details, empty if there are none."""

    suite: str
    look: str
    text: str
    was: str
    words: str
    link: str


@dataclass(frozen=True)
class Row:
    """A cell: `summary` is its result in short, `page` its page, empty if it has none."""

    name: str
    page: str
    summary: str
    fields: tuple[Field | None, ...]


@dataclass(frozen=True)
class Matrix:
    suites: tuple[str, ...]
    rows: tuple[Row, ...]


Tallies = Mapping[tuple[str, str], Counter[Verdict]]


def compared(found: Comparison) -> Matrix:
    """The matrix of a run compared with the one before. Its fields lead to the pages of the cells."""
    then = found.before.counts if found.before else {}
    news: dict[tuple[str, str], set[Kind]] = {}
    for change in found.news:
        news.setdefault((change.case.cell, change.case.suite), set()).add(change.kind)

    def link(cell: str, suite: str) -> str:
        return f"{files.cell_page(cell)}#{files.safe(suite)}"

    return _matrix(found.after, then, news, files.cell_page, link)


def alone(run: Summary, links: Mapping[tuple[str, str], str]) -> Matrix:
    """The matrix of a run by itself; `links` are the targets for each cell and suite."""
    return _matrix(run, {}, {}, lambda cell: "", lambda cell, suite: links.get((cell, suite), ""))


def _matrix(
    run: Summary,
    then: Tallies,
    news: Mapping[tuple[str, str], Set[Kind]],
    page: Callable[[str], str],
    link: Callable[[str, str], str],
) -> Matrix:
    suites = sorted({suite for _, suite in run.counts})
    rows = []
    for cell in dict.fromkeys([*run.cells, *(cell for cell, _ in run.counts)]):
        fields = []
        for suite in suites:
            key = cell, suite
            fields.append(
                _field(suite, now, then.get(key), news.get(key, set()), link(cell, suite))
                if (now := run.counts.get(key))
                else None
            )
        of_cell = total(run.counts[cell, suite] for suite in suites if (cell, suite) in run.counts)
        rows.append(Row(cell, page(cell), short(of_cell), tuple(fields)))
    return Matrix(tuple(suites), tuple(rows))


def short(tally: Counter[Verdict]) -> str:
    """Counts by symbol: what the kernel failed, what the farm failed, what passed."""
    counts = {"✗": blamed(tally, Exit.KERNEL), "!": blamed(tally, Exit.FARM), "✓": tally[Verdict.PASS]}
    return " ".join(f"{sign} {number}" for sign, number in counts.items() if number) or ("○" if tally else "·")


def _field(suite: str, now: Counter[Verdict], then: Counter[Verdict] | None, news: Set[Kind], link: str) -> Field:
    kernel, farm = blamed(now, Exit.KERNEL), blamed(now, Exit.FARM)
    passed, number = now[Verdict.PASS], now.total()
    if kernel:
        look, text, words = "bad", f"✗ {kernel}", f"{kernel} of {number} failed"
    elif farm:
        look, text, words = "farm", f"! {farm}", f"the farm failed in {farm} of {number}"
    elif passed:
        look, text, words = "good", f"✓ {passed}", f"{passed} passed"
    else:
        look, text, words = "none", "○", f"all {number} skipped"
    if kernel and farm:
        words += f", and the farm failed in {farm}"
    was, change = "", ""
    if then is not None and (Kind.FIXED in news or not news.isdisjoint(WORSE)):
        # even if as many are bad as before, but different ones
        was, change = ("▲", "better") if news.isdisjoint(WORSE) else ("▼", "worse")
        bad = blamed(then, Exit.KERNEL) + blamed(then, Exit.FARM)
        words += f", {change} than before: {bad or 'none'} bad then"
    return Field(suite, look, text, was, f"{suite}: {words}", link)


def blamed(tally: Mapping[Verdict, int], status: Exit) -> int:
    """How many of these verdicts have the blame of that exit status."""
    return sum(number for verdict, number in tally.items() if MEANING[verdict].blame == status)
