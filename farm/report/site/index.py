# SPDX-License-Identifier: GPL-2.0
"""The first page: whether the run is worse than before, where, since when, and what to
type; and the matrix at a glance."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment

from farm.history import reading
from farm.history.changes import WORSE, Change, Comparison, Kind
from farm.history.model import Case, Mutation
from farm.record.records import Run, VerdictRecord
from farm.record.verdict import is_bad
from farm.report import changes as told
from farm.report.again import find
from farm.report.site import causes, failure, files, matrix
from farm.report.site.asked import Tag
from farm.report.site.headline import kernels, number, verdict, where
from farm.report.site.render import in_words, seconds, when
from farm.run.causes import Cause, by_cause

#: How many items of one kind are shown; the rest is counted.
MOST_ITEMS = 12


@dataclass(frozen=True)
class _Told:
    """How the changes of one kind are shown. `fresh` is the title if they are news, and `mine` the
    word for one of them among others of its cause."""

    title: str
    look: str
    about: str = ""
    folded: bool = False
    fresh: str = ""
    mine: str = ""


_KINDS = {
    Kind.NEW_FAILURE: _Told("New failures", "bad", mine="new"),
    Kind.OTHERWISE: _Told("Failing in another way than before", "bad", mine="in another way than before"),
    Kind.FLAKY: _Told(
        "Flaky",
        "odd",
        "They come and go: how often they failed, and the range of the true rate.",
        fresh="Newly flaky",
        mine="flaky",
    ),
    Kind.SLOWER: _Told(
        "Slower", "odd", "A lasting step, larger than the noise of the test itself.", fresh="Newly slower"
    ),
    Kind.GONE: _Told("Gone", "odd", "Were tested before, but not now."),
    Kind.FIXED: _Told("Fixed", "good"),
    Kind.STILL: _Told("Still failing", "bad", mine="as before"),
    Kind.NEW: _Told("New tests", "none", folded=True),
}


@dataclass(frozen=True)
class Facts:
    """What is known about a run besides its comparison: how many runs are `shown`, when each run of
    the history `started`, the `records` of the run's `failures`, the pages of these, and what was
    `asked` for."""

    run: Run
    shown: int
    started: Mapping[str, str]
    commits: Mapping[tuple[str, str], str]
    records: Mapping[Case, VerdictRecord]
    failures: Mapping[Case, str]
    asked: Sequence[Tag]

    @property
    def planted(self) -> bool:
        """Whether the run has something planted: then nobody has to search for the culprit."""
        return bool(self.run.patches or self.run.pokes or self.run.partial)


#: For a run that was not part of a night.
NO_NIGHT = reading.Besides()


@dataclass(frozen=True)
class Besides:
    """What belongs to the run of the suites: lines about its night, the kernel's own tests, mutants."""

    night: reading.Besides = NO_NIGHT
    own: tuple[Comparison, Facts] | None = None
    hunt: Mutation | None = None


def page(pages: Environment, found: Comparison, facts: Facts, besides: Besides) -> str:
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
        asked=facts.asked,
        run=found.after,
        run_page=files.run_page(found.after.id) if found.after.place else "",
        before=found.before,
        summary=in_words(found.after.totals),
        kernels=kernels(found.after, found.before),
        news_of_night=besides.night.news,
        notes_of_night=besides.night.notes,
        notes=found.notes if found.before else [*_ended(found), *found.after.troubles],
        matrix=matrix.compared(found),
        sections=_sections(found.changes, facts),
        own=own and _own(*own),
        hunt=besides.hunt and _hunt(besides.hunt),
    )


def _own(found: Comparison, facts: Facts) -> dict[str, object]:
    """The kernel's own tests, as a part of the page."""
    bad = sum(number for one, number in found.after.totals.items() if is_bad(one))
    ended = {"broken": f"not finished, the run is {found.after.status}", "same": "as before"}
    quiet = ended.get(told.state(found)) or f"{number(bad, 'failure')} in the first run"
    return {
        "run": found.after,
        "before": found.before,
        "look": "bad" if found.worse else "farm" if told.broken(found) else "odd" if bad else "good",
        "said": (told.said(found) if found.before else "") or quiet,
        "summary": in_words(found.after.totals),
        "sections": _sections(found.changes, facts, "own"),
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


def _ended(found: Comparison) -> list[str]:
    run = found.after
    none = "There is no clean run to compare it with: `farm run` with the same cells, and no patch or poke, makes one."
    said = {
        "running": "The run has not ended: it is still running, or it was killed.",
        "interrupted": "The run was interrupted: not all of it was tested.",
        "stopped": "The run was to stop at the first failure: not all of it was tested.",
        "refused": "The run was refused, because its command or its input is wrong.",
    }
    return [*([said[run.status]] if run.status in said else []), *([none] if run.planted else [])]


def _sections(changes: Sequence[Change], facts: Facts, of: str = "") -> list[dict[str, object]]:
    """The changes of a run by kind: first the news that make it worse, then the rest. `of` makes the names
    on the page different from those of another run."""
    failing = {change.case: change for change in changes if change.after and change.after.is_bad}
    by_kind: dict[tuple[bool, Kind], list[dict[str, object]]] = {}
    count: Counter[tuple[bool, Kind]] = Counter()
    records = [
        facts.records.get(case) or failure.from_history(case, one.after) for case, one in failing.items() if one.after
    ]
    for cause in by_cause(records):
        mine = sorted((failing[causes.case(one)] for one in cause.members), key=_gravity)
        key = _gravity(mine[0])[0] == 0, mine[0].kind
        by_kind.setdefault(key, []).append(_of_cause(cause, mine, facts))
        count[key] += len(mine)
    for group in _together([change for change in changes if change.case not in failing]):
        key = _gravity(group[0])[0] == 0, group[0].kind
        by_kind.setdefault(key, []).append(_of_test(group, facts))
        count[key] += len(group)
    return [
        {
            "id": files.safe(kind, of, str(fresh)),
            "title": (fresh and how.fresh) or how.title,
            "look": how.look,
            "about": how.about,
            "number": _count(count[fresh, kind], by_kind[fresh, kind]),
            "folded": how.folded,
            "told": by_kind[fresh, kind][:MOST_ITEMS],
            "more": len(by_kind[fresh, kind][MOST_ITEMS:]),
        }
        for fresh in (True, False)
        for kind, how in _KINDS.items()
        if (fresh, kind) in by_kind
    ]


def _count(tests: int, told: Sequence[Mapping[str, object]]) -> str:
    """How many tests, and how many causes if these are fewer."""
    causes = sum(bool(one["cause"]) for one in told)
    return f"{tests} of {number(causes, 'cause')}" if 0 < causes < tests else str(tests)


def _gravity(change: Change) -> tuple[int, int, Case]:
    """The sort key of changes: first the news that make a run worse."""
    return 0 if change.news and change.kind in WORSE else 1, list(Kind).index(change.kind), change.case


def _of_cause(cause: Cause, mine: Sequence[Change], facts: Facts) -> dict[str, object]:
    """Failures of one cause; `mine` are its changes, the gravest first."""
    kinds = Counter(change.kind for change in mine)
    mixed = [f"{kinds[kind]} {how.mine}" for kind, how in _KINDS.items() if kinds[kind]] if len(kinds) > 1 else []
    first = next((change for change in mine if change.case == causes.case(cause.example)), mine[0])
    return {
        "cause": causes.item(facts.run, cause, facts.failures),
        "said": "; ".join([*mixed, *_said(mine[0], facts)]),
        "find": _find(first, cause.example, facts),
    }


def _together(changes: Sequence[Change]) -> list[list[Change]]:
    """The changes grouped by kind and test."""
    groups: dict[tuple[Kind, bool, str, str], list[Change]] = {}
    for change in changes:
        groups.setdefault((change.kind, change.news, change.case.suite, change.case.test), []).append(change)
    return list(groups.values())


def _of_test(group: Sequence[Change], facts: Facts) -> dict[str, object]:
    """A test that does not fail, in the cells where it changed."""
    first, verdicts = (
        group[0],
        dict.fromkeys(seen.verdict for change in group if (seen := change.after or change.before)),
    )
    return {
        "cause": None,
        "verdicts": list(verdicts),
        "suite": first.case.suite,
        "test": first.case.test,
        "page": files.test_page(first.case.suite, first.case.test),
        "cells": [change.case.cell for change in group],
        "said": "; ".join(_said(first, facts)),
    }


def _said(change: Change, facts: Facts) -> list[str]:
    """Since when, how often, how much."""
    parts = []
    if change.rate and change.kind is Kind.FLAKY:
        parts.append(f"failed {change.rate} in {change.rate.runs} runs")
    if change.step:
        took = f"{seconds(change.step.before)} before, {seconds(change.step.after)}"
        parts.append(f"{took} since {_when(change.step.since, facts)}")
    if change.kind in (Kind.NEW_FAILURE, Kind.OTHERWISE, Kind.STILL):
        if change.first_bad and not facts.planted:
            parts.append(f"since {_when(change.first_bad, facts)}")
        parts.append(
            f"passed last {_when(change.last_good, facts)}"
            if change.last_good
            else f"did not pass in {facts.shown} runs"
        )
        good, bad = (facts.commits.get((run, change.case.cell), "") for run in (change.last_good, change.first_bad))
        if good and bad and not facts.planted:
            parts.append(f"commit {good[:12]} to {bad[:12]}" if good != bad else f"both of commit {bad[:12]}")
    return parts


def _find(change: Change, record: VerdictRecord, facts: Facts) -> str:
    if facts.planted:
        return ""  # the culprit is known
    good, bad = (facts.commits.get((run, record.cell), "") for run in (change.last_good, change.first_bad))
    return find(facts.run, record, good, bad)


def _when(run: str, facts: Facts) -> str:
    return when(facts.started[run]) if run in facts.started else run
