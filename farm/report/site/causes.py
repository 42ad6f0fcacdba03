# SPDX-License-Identifier: GPL-2.0
"""All failures of one cause as one item of a page, with its tests below it."""

from collections.abc import Mapping
from dataclasses import dataclass

from farm.history.model import Case
from farm.record.records import Run, VerdictRecord
from farm.record.verdict import MEANING
from farm.report.again import see
from farm.report.site import files
from farm.report.site.render import first_line
from farm.run.causes import Cause, by_cause

#: How many tests of a cause are listed; the rest is counted.
MOST_MEMBERS = 200


@dataclass(frozen=True)
class Member:
    """A test of a cause in a cell; `page` is the page of its failure, relative to the site's directory."""

    case: Case
    page: str


@dataclass(frozen=True)
class Item:
    """A cause on a page: its example with the command that shows it again; `number` verdicts in `cells`
    (names, with the page of their first failure); and all `members` by cell, except for `more` that are
    not listed. There are no members if they would say no more than the cells. `of_cell` means that the
    cause concerns each cell as a whole."""

    verdict: str
    headline: str
    reason: str
    page: str
    suite: str
    test: str
    test_page: str
    of_cell: bool
    tests: int
    number: int
    cells: tuple[tuple[str, str], ...]
    members: tuple[tuple[str, tuple[Member, ...]], ...]
    more: int
    again: str


def item(run: Run, cause: Cause, pages: Mapping[Case, str]) -> Item:
    """A cause of a run; `pages` are those of its failures, relative to the site's directory."""
    record, cells = cause.example, _by_cell(cause, pages)
    tests = {(one.suite, one.test) for one in cause.members}
    entries = [one for members in cells.values() for one in members]
    of_cell = not MEANING[record.verdict].of_test
    worth = len(entries) > len(cells) or (not of_cell and len(tests) > 1)
    listed = {one.case for one in entries[:MOST_MEMBERS]} if worth else set()
    members = ((cell, tuple(one for one in mine if one.case in listed)) for cell, mine in cells.items())
    headline, reason = first_line(cause.headline), first_line(record.reason)
    return Item(
        verdict=cause.verdict,
        headline=headline,
        reason="" if reason == headline else reason,
        page=pages.get(case(record), ""),
        suite=record.suite,
        test=record.test,
        test_page=files.test_page(record.suite, record.test),
        of_cell=of_cell,
        tests=len(tests),
        number=len(cause.members),
        cells=tuple((cell, mine[0].page) for cell, mine in cells.items()),
        members=tuple((cell, mine) for cell, mine in members if mine),
        more=len(entries) - len(listed) if worth else 0,
        again=see(run, record),
    )


def items(run: Run, records: Mapping[Case, VerdictRecord], pages: Mapping[Case, str]) -> list[Item]:
    """All failures of a run by their causes, gravest first."""
    return [item(run, cause, pages) for cause in by_cause(records.values())]


def case(record: VerdictRecord) -> Case:
    return Case(record.cell, record.suite, record.test)


def _by_cell(cause: Cause, pages: Mapping[Case, str]) -> dict[str, list[Member]]:
    """The members of a cause. Those that share a page, as all tests of a cell without a kernel do, are one."""
    cells: dict[str, dict[str, Member]] = {}
    for record in cause.members:
        one = Member(case(record), pages.get(case(record), ""))
        cells.setdefault(record.cell, {}).setdefault(one.page or f"{record.suite} {record.test}", one)
    return {cell: list(members.values()) for cell, members in cells.items()}
