# SPDX-License-Identifier: GPL-2.0
"""A run in one line: how it ended, and whether that is worse than before. A run that did not finish is
never called well."""

from collections.abc import Sequence

from farm.base.errors import Exit
from farm.history.changes import WORSE, Comparison
from farm.history.model import Summary
from farm.record.verdict import Verdict
from farm.report import changes as told
from farm.report.site.asked import manner
from farm.report.site.matrix import blamed

#: Look, symbol and words of a line.
Line = tuple[str, str, str]

_NOT_ENDED = {"running": "Running, or killed", "interrupted": "Interrupted", "refused": "Refused"}


def ended(run: Summary) -> Line:
    """How a run ended, by itself."""
    totals = run.totals
    kernel, farm = blamed(totals, Exit.KERNEL), blamed(totals, Exit.FARM)
    if run.status not in ("finished", "stopped"):
        words = _not_ended(run)
        return "farm", "!", f"{words}, {number(kernel, 'failure')} so far" if kernel else words
    if kernel:
        also = f", and the farm failed in {farm}" if farm else ""
        return "bad", "✗", f"{number(kernel, 'failure')} in {totals.total()} tests{also}"
    if farm:
        return "farm", "!", f"The farm failed in {farm} of {number(totals.total(), 'test')}"
    if not totals:
        return "farm", "!", "Nothing was tested: no test has a verdict"
    if set(totals) == {Verdict.SKIP}:
        return "odd", "○", f"Nothing was tested: {number(totals.total(), 'test')} skipped"
    words = f"{number(totals[Verdict.PASS], 'test')} passed"
    return ("odd", "=", f"{words}, as far as its records can be read") if run.troubles else ("good", "✓", words)


def _not_ended(run: Summary) -> str:
    """Says that a run did not finish, and how far it got."""
    words = _NOT_ENDED.get(run.status, f"Not finished, {run.status}")
    have = run.totals.total() - run.totals[Verdict.LOST]
    if not have:
        return f"{words}: no test has a verdict"
    return f"{words}: {have} {f'of {run.planned} ' if run.planned else ''}tests have a verdict"


def verdict(found: Comparison, besides: Sequence[str] = ()) -> Line:
    """The result in a line. `besides` is other bad news."""
    look, sign, words = _verdict(found, besides)
    how = manner(found.after.planted)
    return look, sign, f"{how}: {words[0].lower()}{words[1:]}" if how else words


def _verdict(found: Comparison, besides: Sequence[str]) -> Line:
    # other bad news is below as well: in the headline only if there is nothing worse
    said, after = told.said(found, () if found.worse else besides), found.after
    than = "the clean run" if after.planted else "before"
    look, sign, words = ended(after)
    bad = blamed(after.totals, Exit.KERNEL) + blamed(after.totals, Exit.FARM)
    if told.broken(found):
        return look, sign, f"{_not_ended(after)}; {said}" if said and after.tested else words
    if found.before is None and not besides:
        if not bad:
            return (look, sign, "All is well") if look == "good" and not after.planted else (look, sign, words)
        return look, sign, words if after.planted else f"{number(bad, 'failure')} in the first run"
    worse = [change for change in found.news if change.kind in WORSE]
    match told.state(found, besides):
        case "worse" if worse and all(map(told.of_farm, worse)) and not besides:
            return "farm", "!", f"This says nothing about the kernel: {said}"
        case "worse":
            return "bad", "▼", f"Worse than {than}: {said}"
        case _ if not bad and look != "good":
            return look, sign, words  # nothing was tested, or not all can be read
        case "better":
            return "good", "▲", f"Better than {than}: {said}"
        case "changed":
            return ("odd" if bad else "good"), "=", f"Same as {than}, and more: {said}"
    if said:
        return "odd", "=", f"Same as {than}: {said}"
    flaky = f"Same as {than}, except for {number(bad, 'flaky failure')}"
    return ("odd", "=", flaky) if bad else ("good", "✓", f"Same as {than}: all is well")


def where(found: Comparison) -> str:
    """The cells that are worse."""
    cells = list(dict.fromkeys(change.case.cell for change in found.news if change.kind in WORSE))
    more = f" and {len(cells) - 4} more cells" if len(cells) > 4 else ""
    return ", ".join(cells[:4]) + more


def kernels(after: Summary, before: Summary | None = None) -> str:
    """What was tested, and whether the run before tested the same."""
    now, then = _sources(after), _sources(before) if before else []
    if not now:
        return "no kernel was built"
    shown = ", ".join(now[:2]) + (f" and {len(now) - 2} more" if now[2:] else "")
    if not then:
        return shown
    return f"{shown}, as before" if now == then else f"{shown}; before: {', '.join(then[:2])}"


def _sources(run: Summary) -> list[str]:
    return sorted({f"{one.source} at {one.commit[:12]}" for one in run.kernels.values() if one.source})


def number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
