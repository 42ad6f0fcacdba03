# SPDX-License-Identifier: GPL-2.0
"""The page of one failure: the frame, the console, the kernel, the command."""

from pathlib import Path

from jinja2 import Environment

from farm.base.errors import Exit
from farm.history import reading
from farm.history.model import Case, Seen, Summary
from farm.record.records import Run, VerdictRecord
from farm.record.verdict import MEANING
from farm.report import again
from farm.report.frame import WITNESSES, witnesses
from farm.report.site import files
from farm.report.site.asked import tags
from farm.report.site.excerpt import compiler, excerpt
from farm.report.site.kernel import kernel
from farm.run.causes import headline

#: How much of the end of a test's traceback is shown: the place where it stopped is there.
DETAIL_LENGTH = 60_000

#: The way from the page to the site's directory.
ROOT = "../../"


#: How to recognise a line of verdicts.jsonl that is no failure.
_GOOD = (b'"verdict": "PASS"', b'"verdict": "SKIP"')


def bad_records(directory: Path) -> dict[Case, VerdictRecord]:
    """The first bad verdict of each case of a run. An attempt in which the farm failed counts only if there
    is no other. Lines that cannot be read are skipped: the history reports them."""
    try:
        data = (directory / "verdicts.jsonl").read_bytes()
    except OSError:
        return {}
    found: dict[Case, VerdictRecord] = {}
    for line in data.split(b"\n")[:-1]:
        if any(good in line for good in _GOOD):
            continue
        try:
            record = reading.verdict(line)
        except ValueError:
            continue
        case = Case(record.cell, record.suite, record.test)
        # a verdict on the kernel says more than an earlier failure of the farm
        if record.bad and (case not in found or (_of_farm(found[case]) and not _of_farm(record))):
            found[case] = record
    return found


def _of_farm(record: VerdictRecord) -> bool:
    return MEANING[record.verdict].blame == Exit.FARM


def from_history(case: Case, seen: Seen) -> VerdictRecord:
    """A failure from the history, if its run directory does not have it."""
    return VerdictRecord(case.test, case.suite, case.cell, seen.verdict, seen.seconds, seen.reason)


def page(
    pages: Environment, results: Path, summary: Summary, run: Run, record: VerdictRecord, seen: Seen, others: int = 0
) -> str:
    """The page of a failure, which also stands for `others` with the same reason."""
    place = summary.place
    built = kernel(results, place, run, record.cell)
    detail = record.detail.strip("\n")
    return pages.get_template("failure.html").render(
        root=ROOT,
        here="",
        run=run,
        record=record,
        others=others,
        asked=tags(results, summary),
        run_page=files.run_page(run.id) if place else "",
        headline=headline(record),
        again=again.see(run, record),
        witnesses=[(name, WITNESSES[name]) for name in witnesses(record.slots)],
        compiler=compiler(results / place, record),
        excerpt=excerpt(results / place, record),
        seen=seen,
        detail=detail[-DETAIL_LENGTH:],
        cut=max(0, len(detail) - DETAIL_LENGTH),
        facts=built.facts,
        # of the consoles of all guests, which may be hundreds, the one it was seen on
        files=[
            (name, ROOT + link)
            for name, link in built.files
            if name == record.console or not name.startswith("console-")
        ],
        lacks=built.lacks,
        cell_page=files.cell_page(record.cell),
        test_page=files.test_page(record.suite, record.test),
    )
