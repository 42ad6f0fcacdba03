# SPDX-License-Identifier: GPL-2.0
"""The first page: is it worse than before, where, since when, what to type; and
the matrix at a glance."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from jinja2 import Environment

from farm.base.errors import Exit
from farm.history import reading
from farm.history.changes import WORSE, Change, Comparison, Kind
from farm.history.model import Case, Mutation, Summary
from farm.report import changes as told
from farm.report.again import find, see
from farm.report.site import files
from farm.report.site.render import first_line, in_words, seconds, when
from farm.run.records import EXIT, Run, Verdict, VerdictRecord


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


def matrix(found: Comparison) -> tuple[list[str], list[Row]]:
    """The suites, and a row a cell with a field for each of them."""
    today, then = found.after, found.before.counts if found.before else {}
    suites = sorted({suite for _, suite in today.counts})
    news: dict[tuple[str, str], set[Kind]] = {}
    for change in found.news:
        news.setdefault((change.case.cell, change.case.suite), set()).add(change.kind)
    rows = [
        Row(
            cell,
            files.cell_page(cell),
            tuple(
                _field(suite, today.counts.get((cell, suite)), then.get((cell, suite)), news.get((cell, suite), set()))
                for suite in suites
            ),
        )
        for cell in today.cells
    ]
    return suites, rows


def _field(suite: str, now: Counter[Verdict] | None, then: Counter[Verdict] | None, news: Set[Kind]) -> Field | None:
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
    if then is not None and (Kind.FIXED in news or not news.isdisjoint(WORSE)):
        # also where as many are bad as before, and not the same
        was, change = ("▲", "better") if news.isdisjoint(WORSE) else ("▼", "worse")
        bad = _blamed(then, Exit.KERNEL) + _blamed(then, Exit.FARM)
        words += f", {change} than before: {bad or 'none'} bad then"
    return Field(look, text, was, f"{suite}: {words}", files.safe(suite))


def _blamed(tally: Counter[Verdict], status: Exit) -> int:
    return sum(number for verdict, number in tally.items() if EXIT[verdict] == status)


#: Items that are shown of what is told of one kind; the rest is counted.
MOST_ITEMS = 12


@dataclass(frozen=True)
class _Told:
    """How the changes of one kind are told; `fresh` is the title where they are news."""

    title: str
    look: str
    about: str = ""
    again: bool = False
    folded: bool = False
    fresh: str = ""


_KINDS = {
    Kind.NEW_FAILURE: _Told("New failures", "bad", again=True),
    Kind.OTHERWISE: _Told("Failing otherwise than before", "bad", again=True),
    Kind.FLAKY: _Told(
        "Flaky",
        "odd",
        "They come and go: how often they failed, and where the true rate lies.",
        again=True,
        fresh="Newly flaky",
    ),
    Kind.SLOWER: _Told(
        "Slower", "odd", "A lasting step, larger than the noise of the test itself.", fresh="Newly slower"
    ),
    Kind.GONE: _Told("Gone", "odd", "Were tested, and are not any more."),
    Kind.FIXED: _Told("Fixed", "good"),
    Kind.STILL: _Told("Still failing", "bad", again=True),
    Kind.NEW: _Told("New tests", "none", folded=True),
}

#: What befalls a cell as a whole is told once for the cell.
OF_A_CELL = (Verdict.BUILD, Verdict.BOOT, Verdict.LOST, Verdict.INFRA)


@dataclass(frozen=True)
class Facts:
    """What a run is told by, beside its comparison. So many runs are `shown`, `started` has when
    each run of the history did, `records` the run's failures, `failures` their pages."""

    run: Run
    shown: int
    started: Mapping[str, str]
    commits: Mapping[tuple[str, str], str]
    records: Mapping[Case, VerdictRecord]
    failures: Mapping[Case, str]


#: Of a run that was no part of a night.
NO_NIGHT = reading.Besides()


@dataclass(frozen=True)
class Besides:
    """What goes with the run of the suites: lines of its night, the kernel's own tests, mutants."""

    night: reading.Besides = NO_NIGHT
    own: tuple[Comparison, Facts] | None = None
    hunt: Mutation | None = None


def page(pages: Environment, found: Comparison, facts: Facts, besides: Besides) -> str:
    suites, rows = matrix(found)
    own = besides.own
    news = [*besides.night.news, *([f"the kernel's own tests: {told.said(own[0])}"] if own and own[0].worse else [])]
    mood, sign, headline = verdict(found, news)
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
        kernels=kernels(found.after, found.before),
        news_of_night=besides.night.news,
        notes_of_night=besides.night.notes,
        notes=found.notes if found.before else [*_ended(found.after), *found.after.troubles],
        news=_sections(found.changes, facts, NEWS),
        others=_sections(found.changes, facts, REST),
        suites=suites,
        rows=rows,
        own=own and _own(*own),
        hunt=besides.hunt and _hunt(besides.hunt),
    )


def verdict(found: Comparison, besides: Sequence[str] = ()) -> tuple[str, str, str]:
    """The day in a line: its look, its symbol, its words. `besides` is what else is bad news."""
    # what else is bad news stands below as well: in the headline only where there is nothing worse
    said, after = told.said(found, () if found.worse else besides), found.after
    bad = sum(number for one, number in after.totals.items() if EXIT[one] != Exit.PASSED)
    worse = [change for change in found.news if change.kind in WORSE]
    match told.state(found, besides):
        case "broken":
            have = after.totals.total() - after.totals[Verdict.LOST]
            ended = (
                f"Not to its end: {have} of {after.planned} tests have a verdict" if have else "There are no verdicts"
            )
            return "farm", "!", f"{ended}; {said}" if said and have else ended
        case _ if found.before is None and not besides:
            return ("bad", "✗", f"{_number(bad, 'failure')} in the first run") if bad else ("good", "✓", "All is well")
        case "worse" if worse and all(map(told.of_farm, worse)) and not besides:
            return "farm", "!", f"Of the kernel that says nothing: {said}"
        case "worse":
            return "bad", "▼", f"Worse than before: {said}"
        case "better":
            return "good", "▲", f"Better than before: {said}"
        case "changed":
            return ("odd" if bad else "good"), "=", f"As before, and more: {said}"
    if not said:
        flaky = f"As before, but for {_number(bad, 'flaky failure')}"
        return ("odd", "=", flaky) if bad else ("good", "✓", "As before: all is well")
    return "odd", "=", f"As before: {said}"


def where(found: Comparison) -> str:
    """The cells that are worse."""
    cells = list(dict.fromkeys(change.case.cell for change in found.news if change.kind in WORSE))
    more = f" and {len(cells) - 4} more cells" if len(cells) > 4 else ""
    return ", ".join(cells[:4]) + more


def kernels(after: Summary, before: Summary | None) -> str:
    """What was tested, and whether that is what was tested before."""
    now, then = _sources(after), _sources(before) if before else []
    if not now:
        return "no kernel was built"
    shown = ", ".join(now[:2]) + (f" and {len(now) - 2} more" if now[2:] else "")
    if not then:
        return shown
    return f"{shown}, as before" if now == then else f"{shown}; before: {', '.join(then[:2])}"


def _sources(run: Summary) -> list[str]:
    return sorted({f"{one.source} at {one.commit[:12]}" for one in run.kernels.values() if one.source})


def _own(found: Comparison, facts: Facts) -> dict[str, object]:
    """The kernel's own tests, as a part of the page."""
    bad = sum(number for one, number in found.after.totals.items() if EXIT[one] != Exit.PASSED)
    ended = {"broken": f"not to its end, the run is {found.after.status}", "same": "as before"}
    quiet = ended.get(told.state(found)) or f"{_number(bad, 'failure')} in the first run"
    return {
        "run": found.after,
        "before": found.before,
        "look": "bad" if found.worse else "farm" if told.broken(found) else "odd" if bad else "good",
        "said": (told.said(found) if found.before else "") or quiet,
        "summary": in_words(found.after.totals),
        "sections": [*_sections(found.changes, facts, NEWS, "own"), *_sections(found.changes, facts, REST, "own")],
    }


def _hunt(hunt: Mutation) -> dict[str, object]:
    """The mutants of the night, as a part of the page."""
    counts = hunt.counts
    caught = counts["caught"] + counts["caught otherwise"]
    survived = sorted(name for name, end in hunt.outcomes.items() if end == "survived")
    undecided = f", {counts['error']} undecided" if counts["error"] else ""
    return {
        "started": hunt.started,
        "look": "bad" if survived else "good",
        "said": f"{caught} of {caught + len(survived)} caught{undecided}",
        "survived": [{"name": name, "again": f"farm mutants {shlex.quote(name)}"} for name in survived],
    }


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


#: What stands above the matrix: news that make a run worse; and what stands below.
NEWS, REST = True, False


def _sections(changes: Sequence[Change], facts: Facts, part: bool, of: str = "") -> list[dict[str, object]]:
    """A part of the changes by their kinds; `of` tells its names on the page from those of another run."""
    found = []
    for kind, how in _KINDS.items():
        mine = [one for one in changes if one.kind is kind and (one.news and kind in WORSE) is part]
        if not mine:
            continue
        groups = _together(mine, facts)
        found.append(
            {
                "id": files.safe(kind, of, str(part)),
                "title": (part is NEWS and how.fresh) or how.title,
                "look": how.look,
                "about": how.about,
                "number": len(mine),
                "folded": how.folded,
                "told": [_item(group, facts, how.again) for group in groups[:MOST_ITEMS]],
                "more": sum(len(group) for group in groups[MOST_ITEMS:]),
            }
        )
    return found


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
        "find": again and record and _find(first, record, facts),
        "again": see(facts.run, record) if again and record else "",
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


def _find(change: Change, record: VerdictRecord, facts: Facts) -> str:
    good, bad = (facts.commits.get((run, record.cell), "") for run in (change.last_good, change.first_bad))
    return find(facts.run, record, good, bad)


def _when(run: str, facts: Facts) -> str:
    return when(facts.started[run]) if run in facts.started else run
