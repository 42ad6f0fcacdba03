# SPDX-License-Identifier: GPL-2.0
"""Two runs compared: on the screen, and as Markdown for a mail or a pull request."""

import re
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from farm.base.errors import Exit
from farm.history.changes import WORSE, Change, Comparison, Group, Kind, grouped
from farm.history.model import Seen, Summary
from farm.record.verdict import MEANING
from farm.report.text import plain

STYLES = {
    Kind.NEW_FAILURE: "bold red",
    Kind.OTHERWISE: "red",
    Kind.FLAKY: "yellow",
    Kind.STILL: "dim red",
    Kind.SLOWER: "yellow",
    Kind.GONE: "magenta",
    Kind.FIXED: "green",
    Kind.NEW: "cyan",
}

#: How many tests of one group are named, and how many groups are shown; the rest is counted.
NAMED = 3
MOST = 40


def broken(comparison: Comparison) -> bool:
    """Whether the newer run did not finish, or has no verdicts."""
    after = comparison.after
    return after.status not in ("finished", "stopped") or not after.totals


def of_farm(change: Change) -> bool:
    """Whether the farm itself is to blame for what is bad."""
    return change.after is not None and MEANING[change.after.verdict].blame == Exit.FARM


def state(comparison: Comparison, besides: Sequence[str] = ()) -> str:
    """The newer run in a word: broken, worse, better, changed or same. `besides` is other bad news."""
    if broken(comparison):
        return "broken"
    if comparison.worse or besides:
        return "worse"
    kinds = {change.kind for change in comparison.news}
    return "better" if Kind.FIXED in kinds else "changed" if kinds else "same"


def said(comparison: Comparison, besides: Sequence[str] = ()) -> str:
    """The news in short, the worse first, and how many failures are unchanged; empty if there is neither."""
    told = [one for kind in WORSE for one in _counted(comparison, kind)]
    told += [*besides[:1], *([f"{len(besides) - 1} more of the night"] if besides[1:] else [])]
    told += [one for kind in Kind if kind not in WORSE for one in _counted(comparison, kind)]
    still = len(comparison.of(Kind.STILL))
    return ", ".join([*told, *([f"{still} still failing"] if still else [])])


def _counted(comparison: Comparison, kind: Kind) -> Iterator[str]:
    """How much news of a kind there is, and for how much of it the farm is to blame."""
    mine = [change for change in comparison.news if change.kind is kind]
    farm = sum(map(of_farm, mine)) if kind in (Kind.NEW_FAILURE, Kind.OTHERWISE) else 0
    if len(mine) > farm:
        yield f"{len(mine) - farm} {kind}{'s' if kind is Kind.NEW_FAILURE and len(mine) - farm > 1 else ''}"
    if farm:
        yield f"the farm failed in {farm}"


def verdict_line(comparison: Comparison) -> str:
    """The comparison in one line: worse, better or the same, and the counts."""
    counts = comparison.counts
    told = [f"{counts[kind]} {kind}" for kind in Kind if counts[kind]]
    return ", ".join([*told, f"{comparison.same} as before"])


def title(comparison: Comparison) -> str:
    before = comparison.before.id if comparison.before else "nothing"
    return f"{comparison.after.id} against {before}"


def show(console: Console, comparison: Comparison) -> None:
    """Print the comparison."""
    console.print(Text(plain(title(comparison)), "bold"), soft_wrap=True)
    groups = grouped(comparison.changes)
    for group in groups[:MOST]:
        heading = f"  {plain(', '.join(group.cells))}"
        console.print(Text.assemble("\n", (group.kind, STYLES[group.kind]), heading), soft_wrap=True)
        for line in (tests(group), told_both(group), known(group)):
            if line:
                console.print(Text(f"  {plain(line)}"), soft_wrap=True)
    if len(groups) > MOST:
        console.print(f"… and {len(groups) - MOST} more groups of changes; --markdown has them all", highlight=False)
    console.print()
    for side, run in (("was", comparison.before), ("is", comparison.after)):
        if run:
            console.print(Text(plain(f"{side + ':':5}{run.id}: {identity(run)}")), soft_wrap=True)
    for note in comparison.notes:
        console.print(Text(plain(f"note: {note}")), soft_wrap=True)
    console.print(Text(verdict_line(comparison)), soft_wrap=True)


def markdown(comparison: Comparison) -> str:
    """The comparison as a table that GitHub, GitLab and mail readers show."""
    lines = [f"**{escaped(title(comparison))}**: {escaped(verdict_line(comparison))}", ""]
    groups = grouped(comparison.changes)
    if groups:
        lines += ["| | cell | tests | was | is | what is known |", "|---|---|---|---|---|---|"]
    for group in groups:
        first = group.changes[0]
        fields = [group.kind, ", ".join(group.cells), tests(group), told(first.before), told(first.after), known(group)]
        lines.append(f"| {' | '.join(escaped(field) for field in fields)} |")
    lines.append("")
    for run in (comparison.before, comparison.after):
        if run:
            lines.append(f"- {escaped(run.id)}: {escaped(identity(run))}")
    lines += [f"- {escaped(note)}" for note in comparison.notes]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text that Markdown shows unchanged: no markup, no HTML, on one line."""
    line = plain(" ".join(text.split()))
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", line)


def tests(group: Group) -> str:
    """The tests of a group by name, or how many there are."""
    names = list(dict.fromkeys(f"{change.case.suite} {change.case.test}" for change in group.changes))
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def told(seen: Seen | None) -> str:
    """The verdict and reason of a case."""
    if seen is None:
        return "-"
    return f"{seen.verdict}: {seen.shown}" if seen.shown else str(seen.verdict)


def told_both(group: Group) -> str:
    """The results of a group's first case in both runs; only one if they are the same."""
    was, now = told(group.changes[0].before), told(group.changes[0].after)
    return now if was == now else f"{was} → {now}"


def known(group: Group) -> str:
    """What the earlier runs show about a group's first case."""
    change = group.changes[0]
    said = []
    if change.rate:
        said.append(f"fails {change.rate} over {change.rate.runs} runs")
    if change.step:
        step = change.step
        said.append(f"{step.before:.3g} s to {step.after:.3g} s since {step.since}, by chance {step.chance:.1g}")
    if change.first_bad:
        said.append(f"passed in {change.last_good}, fails since {change.first_bad}")
    return "; ".join(said)


def identity(run: Summary) -> str:
    """The kernels of a run, in short."""
    sources: Sequence[str] = sorted({_source(run, cell) for cell in run.cells})
    shown = ", ".join(sources[:2]) + (f" and {len(sources) - 2} more" if len(sources) > 2 else "")
    cells = run.cells[0] if len(run.cells) == 1 else f"{len(run.cells)} cells"
    return f"{cells}, {shown}, {run.accel}, {run.status}"


def _source(run: Summary, cell: str) -> str:
    kernel = run.kernels.get(cell)
    if not kernel or not kernel.source:
        return "no kernel"
    return f"{kernel.source} ({kernel.commit[:12]})" if kernel.commit else kernel.source
