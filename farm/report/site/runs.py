# SPDX-License-Identifier: GPL-2.0
"""The list of all runs, and the page of one by itself: what was asked, how it ended, what failed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import join
from urllib.parse import quote

from jinja2 import Environment

from farm.history.model import Case, Summary
from farm.history.reading import own_tests
from farm.record.records import Run, VerdictRecord
from farm.report.site import causes, files, headline, matrix
from farm.report.site.asked import tags
from farm.report.site.render import in_words, when

#: How many causes the page of a run shows; the rest is counted.
MOST_CAUSES = 60

#: How many cells of a run the list names.
MOST_CELLS = 4

#: The files of a run directory that its page links to.
FILES = ("run.json", "verdicts.jsonl", "junit.xml", "results.ktap", "night.json")

ROOT = "../"


def page(
    pages: Environment,
    results: Path,
    summary: Summary,
    run: Run,
    records: Mapping[Case, VerdictRecord],
    failures: Mapping[Case, str],
) -> str:
    """A run by itself: `records` are its failures, `failures` their pages, relative to the site's directory."""
    look, sign, words = headline.ended(summary)
    found = causes.items(run, records, failures)
    links: dict[tuple[str, str], str] = {}
    for case in sorted(records):
        links.setdefault((case.cell, case.suite), failures.get(case, ""))
    have = [name for name in FILES if (results / summary.place / name).is_file()]
    return pages.get_template("run.html").render(
        root=ROOT,
        here="runs.html",
        run=run,
        mood=look,
        sign=sign,
        headline=words,
        asked=tags(results, summary),
        kind=_kind(summary),
        summary=in_words(summary.totals),
        kernels=headline.kernels(summary),
        command=join(run.command),
        matrix=matrix.alone(summary, links),
        facts=_facts(run),
        causes=found[:MOST_CAUSES],
        more=len(found[MOST_CAUSES:]),
        files=[(name, f"../../{quote(f'{summary.place}/{name}')}") for name in have],
        troubles=summary.troubles,
    )


def _facts(run: Run) -> list[tuple[str, str]]:
    """Where it ran, and how it ended."""
    ended = f"{run.status}, {when(run.finished)}" if run.finished else run.status
    facts = [
        ("status", ended),
        ("exit status", "" if run.exit is None else str(run.exit)),
        ("cells", " ".join(run.cells)),
        ("guests", f"{run.accel}, {run.workers} at once" + (f"; {run.accel_reason}" if run.accel_reason else "")),
        ("host", ", ".join(run.host.values())),
    ]
    return [(name, fact) for name, fact in facts if fact]


def listed(pages: Environment, results: Path, runs: Sequence[Summary]) -> str:
    """All runs, the newest first."""
    site = results / files.NAME
    rows = []
    for run in reversed(runs):
        look, sign, words = headline.ended(run)
        there = files.run_page(run.id)
        rows.append(
            {
                "id": run.id,
                "page": there if (site / there).is_file() else "",
                "started": run.started,
                "kind": _kind(run),
                "asked": tags(results, run),
                "cells": run.cells[:MOST_CELLS],
                "more": len(run.cells[MOST_CELLS:]),
                "look": look,
                "ended": f"{sign} {words}",
                "summary": in_words(run.totals),
            }
        )
    return pages.get_template("runs.html").render(root="", here="runs.html", runs=rows)


def _kind(run: Summary) -> str:
    """The kind of a run, empty for one of the suites."""
    return "the kernel's own tests" if run.line and not own_tests(run.line) else ""
