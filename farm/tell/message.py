# SPDX-License-Identifier: GPL-2.0
"""The message about a run, as plain text and as JSON. Pure: nothing is sent here."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from textwrap import fill
from typing import Any

from farm.base.errors import Exit
from farm.history.changes import Change, Comparison, Group, Kind, grouped
from farm.history.model import Case
from farm.history.reading import Besides
from farm.record.records import Run, VerdictRecord, all_cells, counts
from farm.record.verdict import Verdict
from farm.report import again, changes, frame, terminal
from farm.report.text import plain
from farm.run.causes import explained, headline

#: The schema of the JSON. It is raised when readers of the old one would go wrong.
SCHEMA = 1

#: How many groups of changes, and tests of one group, are listed; the rest is counted.
MOST, MEMBERS = 12, 4

#: The width of a mail in columns, as far as names allow.
WIDTH = 78


#: For a run that was not part of a night.
NO_NIGHT = Besides()


@dataclass(frozen=True)
class Told:
    """A run, its results, its differences from the last comparable one, and the night that it was part of."""

    directory: Path
    run: Run
    verdicts: Sequence[VerdictRecord]
    comparison: Comparison
    besides: Besides = NO_NIGHT


def worth(told: Told) -> bool:
    """Whether there is news: something changed, or the run or its night went wrong."""
    return bool(told.comparison.news or told.besides.news) or changes.broken(told.comparison)


def state(told: Told) -> str:
    """The run in a word: broken, worse, better, changed or same."""
    return changes.state(told.comparison, told.besides.news)


def verdict(told: Told) -> str:
    """The run in one line."""
    news = changes.said(told.comparison, told.besides.news)
    match state(told):
        case "broken":
            ended = f"the run is {told.run.status}, {len(told.verdicts)} of {told.run.planned} tests have a verdict"
            return f"BROKEN: {ended}" + "".join(f", {one}" for one in told.besides.news[:1])
        case "same":
            bad = sum(record.bad for record in told.verdicts)
            quiet = f"{bad} bad" if bad else f"all {len(told.verdicts)} passed or rightly skipped"
            return f"no change, {news or quiet}"
        case "worse":
            return f"WORSE: {news}"
        case word:
            return f"{word}: {news}"


def subject(told: Told) -> str:
    return f"[farm] {verdict(told)} ({told.run.id})"


def mail(told: Told, sender: str, to: Sequence[str], now: datetime) -> EmailMessage:
    """The mail. Its id is made from the run's, so two copies count as one. Each mail answers the one before."""
    made = EmailMessage()
    made["From"] = Address("ftrace farm", addr_spec=sender)
    made["To"] = ", ".join(to)
    made["Subject"] = plain(subject(told))
    made["Date"] = format_datetime(now)
    made["Message-ID"] = _message_id(told.run.id, sender)
    if before := told.comparison.before:
        made["In-Reply-To"] = made["References"] = _message_id(before.id, sender)
    made["Auto-Submitted"] = "auto-generated"
    made["X-Farm-State"] = state(told)
    made.set_content(body(told), cte="quoted-printable")
    return made


def _message_id(run: str, sender: str) -> str:
    return f"<farm-{re.sub(r'[^A-Za-z0-9._-]', '_', run)}@{sender.rpartition('@')[2]}>"


def body(told: Told) -> str:
    """The mail's text."""
    parts = [[verdict(told)], _facts(told), table(told), _changes(told), _first(told), _again(told)]
    text = "\n\n".join("\n".join(part) for part in parts if part)
    return "\n".join(plain(line) for line in text.split("\n")) + "\n"


def _facts(told: Told) -> list[str]:
    run, comparison = told.run, told.comparison
    tally = counts(told.verdicts)
    sources = list(dict.fromkeys(f"{k.source}, {k.commit[:12]}" for k in comparison.after.kernels.values() if k.source))
    before = comparison.before
    # the kernel's own tests leave no record of their kernels
    nothing = "with the series and without" if run.command[1:2] == ["selftests"] else "nothing was built"
    facts = {
        "run": f"{run.id}, {run.status}{_duration(run)}, {run.accel}",
        "before": f"{before.id}, {before.status}" if before else "nothing to compare with",
        "source": sources[0] if sources else nothing,
        "verdicts": ", ".join(f"{tally[each]} {each}" for each in Verdict if tally[each]) or "none",
        "results": str(told.directory),
    }
    lines = [f"{name + ':':10}{value}" for name, value in facts.items()]
    lines[3:3] = [f"{'':10}{source}" for source in sources[1:]]
    lines += [f"{'note:':10}{note}" for note in comparison.notes]
    return lines + [f"{'night:':10}{one}" for one in (*told.besides.news, *told.besides.notes)]


def _duration(run: Run) -> str:
    try:
        seconds = (datetime.fromisoformat(run.finished) - datetime.fromisoformat(run.started)).total_seconds()
    except (ValueError, TypeError):
        return ""
    return f" after {seconds / 60:.0f} min" if seconds >= 0 else ""


def table(told: Told) -> list[str]:
    """Cells x suites. The suites without bad verdicts share a column."""
    bad = list(dict.fromkeys(record.suite for record in told.verdicts if record.bad))
    heads = ["cell", *bad, "other suites" if bad else "all suites"]
    rows = [heads]
    for cell in all_cells(told.run, told.verdicts):
        mine = [record for record in told.verdicts if record.cell == cell]
        groups = [[record for record in mine if record.suite == suite] for suite in bad]
        groups.append([record for record in mine if record.suite not in bad])
        rows.append([plain(cell), *(terminal.field(group).plain for group in groups)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = []
    for first, *rest in rows:
        lines.append("  ".join([first.ljust(widths[0]), *(f.rjust(w) for f, w in zip(rest, widths[1:], strict=True))]))
    return [line.rstrip() for line in lines]


def _changes(told: Told) -> list[str]:
    """The differences, the most important first; then the failures that are unchanged."""
    groups = grouped(told.comparison.news)
    lines = [f"Changes since {told.comparison.before.id}:" if told.comparison.before else "Failures:"] if groups else []
    lines_of = _reasons(told)
    for group in groups[:MOST]:
        many = f", {len(group.changes)} tests" if group.changes[1:] else ""
        lines += ["", f"  {group.kind}: {', '.join(group.cells)}{many}"]
        lines += [f"    {_named(change, group)}{_besides(change)}" for change in group.changes[:MEMBERS]]
        if len(group.changes) > MEMBERS:
            lines.append(f"    and {len(group.changes) - MEMBERS} more")
        if reason := lines_of.get(group.changes[0].case, group.reason):
            said = fill(f"{group.verdict}: {plain(reason)}", WIDTH - 6, break_long_words=False)
            lines += [f"      {line}" for line in said.split("\n")]
    if len(groups) > MOST:
        lines += ["", f"  and {sum(len(group.changes) for group in groups[MOST:])} tests more"]
    return lines


def _reasons(told: Told) -> dict[Case, str]:
    """The reason of each bad case in one line, with its values. The history has it without them."""
    bad = [record for record in reversed(told.verdicts) if record.bad]
    return {Case(record.cell, record.suite, record.test): headline(record) for record in bad}


def _named(change: Change, group: Group) -> str:
    """A test of a group, with its cell if the group has several."""
    cell = f"{change.case.cell} " if len(group.cells) > 1 else ""
    return f"{cell}{change.case.suite} {change.case.test}"


def _besides(change: Change) -> str:
    """What is known about a change: how often, since when, how much."""
    if change.kind is Kind.FLAKY and change.rate:
        return f": failed {change.rate} times"
    if change.kind is Kind.SLOWER and change.step:
        step = change.step
        return f": {step.before:.2f} s, since {step.since} {step.after:.2f} s"
    if change.first_bad:
        return f": since {change.first_bad}, passed in {change.last_good}"
    return ""


def first_failure(told: Told) -> VerdictRecord | None:
    """The failure that a mail shows in full: the first new one, else the first."""
    bad = {Case(record.cell, record.suite, record.test): record for record in reversed(told.verdicts) if record.bad}
    new = [bad[change.case] for change in told.comparison.news if change.case in bad]
    return next(iter([*new, *reversed(bad.values())]), None)


def _first(told: Told) -> list[str]:
    record = first_failure(told)
    if record is None:
        return []
    lines = [f"{record.verdict} {record.cell} {record.suite} {record.test}"]
    lines += [f"  {line}" for line in explained(record).splitlines()]
    picture = frame.picture(record.slots, WIDTH)
    besides = terminal.told_besides(told.directory, record)
    return [*lines, *([""] if picture else []), *picture, *([""] if besides else []), *besides]


def _again(told: Told) -> list[str]:
    """The commands that show the first failure, and all of the run, and that find the commit."""
    record, before = first_failure(told), told.comparison.before
    if record is None:
        return []
    lines = ["To see it again:", "", f"  {again.see(told.run, record)}"]
    case = Case(record.cell, record.suite, record.test)
    new = any(change.case == case and change.kind is Kind.NEW_FAILURE for change in told.comparison.news)
    old = before.kernels.get(record.cell) if before else None
    now = told.comparison.after.kernels.get(record.cell)
    if new and old and now and (command := again.find(told.run, record, old.commit, now.commit)):
        lines += ["", "To find the commit:", "", f"  {command}"]
    return lines


def document(told: Told) -> dict[str, Any]:
    """The document for a webhook. Chat programs show its `text`."""
    return {
        "schema": SCHEMA,
        "text": f"{plain(subject(told))}\n\n{body(told)}",
        "subject": plain(subject(told)),
        "state": state(told),
        "run": told.run.id,
        "before": told.comparison.before.id if told.comparison.before else None,
        "status": told.run.status,
        "exit": told.run.exit,
        "passed": told.run.exit == Exit.PASSED,
        "verdicts": {str(each): number for each, number in counts(told.verdicts).items()},
        "changes": list(_news(told)),
        "night": {"news": list(told.besides.news), "notes": list(told.besides.notes)},
    }


def _news(told: Told) -> Iterator[dict[str, Any]]:
    reasons = _reasons(told)
    for change in told.comparison.news:
        seen = change.after or change.before
        yield {
            "kind": str(change.kind),
            **asdict(change.case),
            "verdict": str(seen.verdict) if seen else None,
            "reason": reasons.get(change.case, seen.shown if seen else ""),
            "last_good": change.last_good or None,
            "first_bad": change.first_bad or None,
        }
