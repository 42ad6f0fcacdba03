# SPDX-License-Identifier: GPL-2.0
"""The first page: is it worse than before, where, since when, what to type; and
the matrix at a glance."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment

from farm.base.errors import Exit
from farm.history.changes import Change, Comparison, Kind
from farm.history.model import Case, Summary
from farm.report.site import files
from farm.report.site.render import first_line, in_words, seconds, when
from farm.run.records import EXIT, Run, Verdict, VerdictRecord, k_expression, repeat_command


@dataclass(frozen=True)
class Field:
    """Of one suite in one cell: what stands in the matrix. `text` is short,
    `words` say the same to who does not see it, `was` marks a change."""

    look: str
    text: str
    was: str
    words: str
    anchor: str


@dataclass(frozen=True)
class Row:
    name: str
    page: str
    fields: tuple[Field | None, ...]


def matrix(today: Summary, before: Summary | None) -> tuple[list[str], list[Row]]:
    """The suites, and a row a cell with a field for each of them."""
    suites = sorted({suite for _, suite in today.counts})
    then = before.counts if before else {}
    rows = [
        Row(
            cell,
            files.cell_page(cell),
            tuple(_field(suite, today.counts.get((cell, suite)), then.get((cell, suite))) for suite in suites),
        )
        for cell in today.cells
    ]
    return suites, rows


def _field(suite: str, now: Counter[Verdict] | None, then: Counter[Verdict] | None) -> Field | None:
    if not now:
        return None
    kernel, farm = _blamed(now, Exit.KERNEL), _blamed(now, Exit.FARM)
    passed, total = now[Verdict.PASS], now.total()
    if kernel:
        look, text, words = "bad", f"✗ {kernel}", f"{kernel} of {total} failed"
    elif farm:
        look, text, words = "farm", f"! {farm}", f"the farm failed in {farm} of {total}"
    elif passed:
        look, text, words = "good", f"✓ {passed}", f"{passed} passed"
    else:
        look, text, words = "none", "○", f"all {total} skipped"
    if kernel and farm:
        words += f", and the farm failed in {farm}"
    was, change = "", ""
    if then is not None:
        bad, bad_then = kernel + farm, _blamed(then, Exit.KERNEL) + _blamed(then, Exit.FARM)
        if bad != bad_then:
            was, change = ("▼", "worse") if bad > bad_then else ("▲", "better")
            words += f", {change} than before: {bad_then or 'none'} bad then"
    return Field(look, text, was, f"{suite}: {words}", files.safe(suite))


def _blamed(tally: Counter[Verdict], status: Exit) -> int:
    return sum(number for verdict, number in tally.items() if EXIT[verdict] == status)


#: Items that are shown of what is told of one kind; the rest is counted.
MOST_ITEMS = 12


@dataclass(frozen=True)
class _Told:
    """How the changes of one kind are told."""

    title: str
    look: str
    about: str = ""
    again: bool = False
    folded: bool = False


_KINDS = {
    Kind.NEW_FAILURE: _Told("New failures", "bad", again=True),
    Kind.OTHERWISE: _Told("Failing otherwise than before", "bad", again=True),
    Kind.FLAKY: _Told(
        "Flaky", "odd", "They come and go: how often they failed, and where the true rate lies.", again=True
    ),
    Kind.SLOWER: _Told("Slower", "odd", "A lasting step, larger than the noise of the test itself."),
    Kind.GONE: _Told("Gone", "odd", "Were tested, and are not any more."),
    Kind.FIXED: _Told("Fixed", "good"),
    Kind.STILL: _Told("Still failing", "bad", again=True),
    Kind.NEW: _Told("New tests", "none", folded=True),
}

#: What is told above the matrix, the others are below it.
_NEWS = (Kind.NEW_FAILURE, Kind.OTHERWISE)

#: What befalls a cell as a whole is told once for the cell.
OF_A_CELL = (Verdict.BUILD, Verdict.BOOT, Verdict.LOST, Verdict.INFRA)


@dataclass(frozen=True)
class Facts:
    """What the first page is made from, beside the comparison. So
    many runs are `shown`, `started` has when
    each run of the history did, `records` today's failures, `failures` their pages."""

    run: Run
    shown: int
    started: Mapping[str, str]
    commits: Mapping[tuple[str, str], str]
    records: Mapping[Case, VerdictRecord]
    failures: Mapping[Case, str]


def page(pages: Environment, found: Comparison, facts: Facts) -> str:
    suites, rows = matrix(found.after, found.before)
    mood, sign, headline = verdict(found)
    return pages.get_template("index.html").render(
        root="",
        here="index.html",
        mood=mood,
        sign=sign,
        headline=headline,
        where=where(found),
        run=found.after,
        before=found.before,
        summary=in_words(found.after.totals),
        notes=found.notes if found.before else [*_ended(found.after), *found.after.troubles],
        news=[_section(kind, found.of(kind), facts) for kind in _KINDS if kind in _NEWS and found.of(kind)],
        others=[_section(kind, found.of(kind), facts) for kind in _KINDS if kind not in _NEWS and found.of(kind)],
        suites=suites,
        rows=rows,
    )


def verdict(found: Comparison) -> tuple[str, str, str]:
    """The day in a line: its look, its symbol, its words."""
    worse = [change for change in found.news if change.kind in (Kind.NEW_FAILURE, Kind.OTHERWISE)]
    of_kernel = [change for change in worse if change.after and EXIT[change.after.verdict] == Exit.KERNEL]
    fixed, still = len(found.of(Kind.FIXED)), len(found.of(Kind.STILL))
    bad = sum(number for one, number in found.after.totals.items() if EXIT[one] != Exit.PASSED)
    if not found.after.totals:
        return "farm", "!", "There are no verdicts"
    if found.before is None:
        return ("bad", "✗", f"{_number(bad, 'failure')} in the first run") if bad else ("good", "✓", "All is well")
    if of_kernel:
        return "bad", "▼", f"Worse than before: {_number(len(of_kernel), 'new failure')}"
    if worse:
        return "farm", "!", f"The farm failed in {_number(len(worse), 'case')}; of the kernel that says nothing"
    if fixed:
        left = f", {still} still failing" if still else ""
        return "good", "▲", f"Better than before: {fixed} fixed{left}"
    if still:
        return "odd", "=", f"As before: {still} still failing"
    if bad:
        return "odd", "=", f"As before, but for {_number(bad, 'flaky failure')}"
    return "good", "✓", "As before: all is well"


def where(found: Comparison) -> str:
    """The cells that are worse."""
    worse = [change for change in found.news if change.kind in (Kind.NEW_FAILURE, Kind.OTHERWISE)]
    cells = list(dict.fromkeys(change.case.cell for change in worse))
    more = f" and {len(cells) - 4} more cells" if len(cells) > 4 else ""
    return ", ".join(cells[:4]) + more


def _ended(run: Summary) -> list[str]:
    said = {
        "running": "The run has not ended: it still goes on, or it was killed.",
        "interrupted": "The run was interrupted: not all of it was tested.",
        "stopped": "The run was to stop at the first failure: not all of it was tested.",
        "refused": "The run was refused, for what is wrong in its command or its input.",
    }
    return [said[run.status]] if run.status in said else []


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _section(kind: Kind, changes: Sequence[Change], facts: Facts) -> dict[str, object]:
    told = _KINDS[kind]
    groups = _together(changes, facts)
    return {
        "id": files.safe(kind),
        "title": told.title,
        "look": told.look,
        "about": told.about,
        "number": len(changes),
        "folded": told.folded,
        "told": [_item(group, facts, told.again) for group in groups[:MOST_ITEMS]],
        "more": sum(len(group) for group in groups[MOST_ITEMS:]),
    }


def _together(changes: Sequence[Change], facts: Facts) -> list[list[Change]]:
    """Changes of one test stand together, and those of a cell that befell it as a whole."""
    groups: dict[tuple[str, ...], list[Change]] = {}
    for change in changes:
        seen = change.after or change.before
        if seen and seen.verdict in OF_A_CELL:
            key: tuple[str, ...] = (seen.verdict, change.case.cell, seen.reason)
        else:
            key = (change.case.suite, change.case.test)
        groups.setdefault(key, []).append(change)
    return list(groups.values())


def _item(group: Sequence[Change], facts: Facts, again: bool) -> dict[str, object]:
    first = group[0]
    case, record = first.case, facts.records.get(first.case)
    tests = {(change.case.suite, change.case.test) for change in group}
    cells = {change.case.cell: facts.failures.get(change.case, "") for change in reversed(group)}
    verdicts = dict.fromkeys(seen.verdict for change in group if (seen := change.after or change.before))
    reason = record.reason if record else first.after.reason if first.after and first.after.is_bad else ""
    return {
        "verdicts": list(verdicts),
        "suite": case.suite,
        "test": case.test,
        "others": len(tests) - 1,
        "page": files.test_page(case.suite, case.test),
        "cells": [{"name": cell, "page": cells[cell]} for cell in sorted(cells)],
        "said": _said(first, facts),
        "reason": first_line(reason),
        "again": repeat_command(facts.run, case.cell, k_expression(record)) if again and record else "",
    }


def _said(change: Change, facts: Facts) -> str:
    """Since when, how often, how much."""
    parts = []
    if change.rate and change.kind is Kind.FLAKY:
        parts.append(f"failed {change.rate} in {change.rate.runs} runs")
    if change.step:
        took = f"{seconds(change.step.before)} before, {seconds(change.step.after)}"
        parts.append(f"{took} since {_when(change.step.since, facts)}")
    if change.kind in (Kind.NEW_FAILURE, Kind.OTHERWISE, Kind.STILL):
        if change.first_bad:
            parts.append(f"since {_when(change.first_bad, facts)}")
        parts.append(
            f"passed last {_when(change.last_good, facts)}"
            if change.last_good
            else f"did not pass in {facts.shown} runs"
        )
        good, bad = (facts.commits.get((run, change.case.cell), "") for run in (change.last_good, change.first_bad))
        if good and bad:
            parts.append(f"commit {good[:12]} to {bad[:12]}" if good != bad else f"both of commit {bad[:12]}")
    return "; ".join(parts)


def _when(run: str, facts: Facts) -> str:
    return when(facts.started[run]) if run in facts.started else run
