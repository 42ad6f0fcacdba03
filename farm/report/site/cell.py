# SPDX-License-Identifier: GPL-2.0
"""The page of one cell: its verdicts, its kernel, its options."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment

from farm.history.model import Case, Seen, Summary
from farm.record.records import Run, VerdictRecord, repeat_command
from farm.record.verdict import Verdict
from farm.report.site import causes, files
from farm.report.site.asked import tags
from farm.report.site.kernel import kernel
from farm.report.site.render import in_words, look

#: How many options of a config, and causes of failures, are shown: a page must load on a phone.
MOST_OPTIONS = 4000
MOST_BAD = 100

ROOT = "../"


def page(
    pages: Environment,
    results: Path,
    summary: Summary,
    run: Run,
    cell: str,
    seen: Mapping[Case, Seen],
    records: Mapping[Case, VerdictRecord],
    failures: Mapping[Case, str],
) -> str:
    """The page of a cell, from the results of a run in it, and the records and pages of its failures there."""
    built = kernel(results, summary.place, run, cell)
    options = None
    if built.config is not None:
        options = [line for line in built.config.splitlines() if line and not line.startswith("#")]
    bad = causes.items(run, records, failures)
    return pages.get_template("cell.html").render(
        root=ROOT,
        here="cells.html",
        cell=cell,
        run=run,
        asked=tags(results, summary),
        run_page=files.run_page(run.id) if summary.place else "",
        summary=in_words(tally(seen)),
        suites=_suites(seen),
        bad=bad[:MOST_BAD],
        more=len(bad[MOST_BAD:]),
        failed=built.failed,
        facts=built.facts,
        files=[(name, ROOT + link) for name, link in built.files],
        again=repeat_command(run, cell),
        dropped=built.dropped,
        config=options and options[:MOST_OPTIONS],
        unshown=max(0, len(options or ()) - MOST_OPTIONS),
        lacks=built.lacks,
    )


def tally(seen: Mapping[Case, Seen]) -> Counter[Verdict]:
    return Counter(one.verdict for one in seen.values())


def _suites(seen: Mapping[Case, Seen]) -> list[dict[str, object]]:
    tallies: dict[str, Counter[Verdict]] = defaultdict(Counter)
    took: Counter[str] = Counter()
    for case, one in seen.items():
        tallies[case.suite][one.verdict] += 1
        took[case.suite] += round(one.seconds * 1000)
    return [
        {
            "name": suite,
            "anchor": files.safe(suite),
            "passed": mine[Verdict.PASS],
            "skipped": mine[Verdict.SKIP],
            "bad": sum(number for verdict, number in mine.items() if look(verdict) in ("bad", "farm")),
            "seconds": took[suite] / 1000,
        }
        for suite, mine in sorted(tallies.items())
    ]
