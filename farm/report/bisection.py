# SPDX-License-Identifier: GPL-2.0
"""A bisection on the screen: its progress, and at the end the commit, the evidence,
git's log and the command that shows the failure."""

import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from farm.base.errors import Exit
from farm.hunt.evidence import LOG, REPORT, Answer, Evidence, Hunt, Status
from farm.hunt.sequential import attempts_to_see
from farm.record.records import Run, VerdictRecord
from farm.report.live import Live

#: The chance with which the command must show the failure.
SHOWN = 0.99

#: The width of a terminal, in columns, from which the table has the times.
WIDE = 120

#: The longest reason in the table; state.json has all of it.
WHY_WIDTH = 100

STYLES = {Answer.GOOD: "green", Answer.BAD: "bold red", Answer.SKIP: "yellow", Answer.TESTING: "dim"}


class Progress(Live):
    """Shows only the slow parts of each trial: the hunt itself reports the verdicts."""

    def tell(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def began(self, directory: Path, run: Run) -> None:
        self.cells(run.cells)

    def building(self, cell: str, step: str) -> None:
        if cell not in self._rows:
            self.cells([cell])
        super().building(cell, step)

    def built(self, cell: str, outcome: str) -> None:
        self.cells([cell])

    def verdict(self, record: VerdictRecord) -> None:
        self._rows[record.cell].verdicts.append(record)


def exit_status(hunt: Hunt) -> Exit:
    return Exit.PASSED if hunt.status is Status.FOUND else Exit.KERNEL


def show(console: Console, directory: Path, hunt: Hunt) -> None:
    """Print the report of a finished bisection, and keep it in its directory."""
    keep(console, directory, hunt, verdict(hunt), show_command(hunt))


def keep(console: Console, directory: Path, hunt: Hunt, found: Sequence[str], again: str) -> None:
    """Print and keep the result of a hunt: its evidence, what it found, in lines,
    and the command that shows the failure again."""
    _print(console, directory, hunt, found, again)
    with (directory / REPORT).open("w") as file:
        _print(Console(file=file, width=240), directory, hunt, found, again)


def _print(console: Console, directory: Path, hunt: Hunt, found: Sequence[str], again: str) -> None:
    def line(text: str = "", style: str = "") -> None:
        console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)

    console.print(_table(hunt, console.width >= WIDE))
    if (directory / LOG).exists():
        line((directory / LOG).read_text().rstrip())
        line()
    if hunt.failure:
        line(f"failure: {hunt.failure.mark}")
        line(f"         {hunt.failure.reason}")
        for other in hunt.failure.others[:MOST_OTHERS]:
            line(f"  not hunted: {other}", "dim")
        if len(hunt.failure.others) > MOST_OTHERS:
            line(f"  and {len(hunt.failure.others) - MOST_OTHERS} more, in {directory}/state.json", "dim")
    for text in method(hunt):
        line(text)
    line()
    for text in found:
        line(text, "bold")
    line(f"again: {again}")


#: How many failures of the bad end are listed that were not hunted.
MOST_OTHERS = 5


def _table(hunt: Hunt, wide: bool) -> Table:
    """What is known about each tested revision, in the order of the tests. On a narrow
    terminal only the report has the times, and long subjects are wrapped."""
    grid = Table(title=f"hunt {hunt.id}", title_justify="left", box=SIMPLE, pad_edge=False)
    numbers = ("failed", "passed", "build", "tests") if wide else ("failed", "passed")
    for heading in ("kernel", "what", "answer", *numbers, "subject"):
        grid.add_column(heading, justify="right" if heading in numbers else "left", no_wrap=heading != "subject")
    for one in hunt.evidence:
        times = [f"{seconds:.0f} s" if seconds else "" for seconds in (one.build_seconds, one.test_seconds)]
        grid.add_row(
            one.commit[:12],
            str(one.role),
            Text(str(one.answer), STYLES[one.answer]),
            str(one.failures or ""),
            f"{one.passes} of {one.needed}" if one.needed else str(one.passes or ""),
            *(times if wide else []),
            Text(": ".join(filter(None, (one.subject[:40], why(one))))),
        )
    return grid


def why(one: Evidence) -> str:
    if one.same_as:
        return f"the same binary as {one.same_as[:12]}"
    return one.reason[:WHY_WIDTH] if one.answer is not Answer.BAD else ""


def method(hunt: Hunt) -> list[str]:
    """What was done, and how sure the result is."""
    bad = next((one for one in hunt.evidence if one.failures), None)
    if bad is None:
        return []
    needed = [one.needed for one in hunt.evidence if one.needed]
    often = "each time" if not bad.passes else f"once in {bad.attempts / bad.failures:.0f}"
    lines = [f"method: the bad end failed {often} ({bad.failures} of {bad.attempts} attempts);"]
    if needed:
        span = f"{min(needed)}" if min(needed) == max(needed) else f"{min(needed)} to {max(needed)}"
        lines[0] += f" after {span} passes one was good, after one such failure bad."
    lines.append(f"        The chance that a bad one was called good is at most {1 - hunt.confidence:.2g} in all.")
    same = sum(bool(one.same_as) for one in hunt.evidence)
    if same:
        lines.append(f"        {same} verdicts were those of another kernel with the same binary.")
    if hunt.finished:
        seconds = datetime.fromisoformat(hunt.finished) - datetime.fromisoformat(hunt.started)
        lines.append(f"        {seconds.total_seconds() / 60:.1f} minutes from {hunt.started}.")
    return lines


def verdict(hunt: Hunt) -> list[str]:
    """The commit, or the range that it is in."""
    if hunt.status is Status.FOUND:
        (culprit,) = hunt.candidates
        return [f"first bad commit: {culprit} {hunt.subjects[culprit]}", hunt.confirmed]
    lines = [f"not decided: only skipped commits are left; the first bad one is one of these {len(hunt.candidates)}:"]
    return lines + [f"  {commit} {hunt.subjects[commit]}" for commit in hunt.candidates]


def show_command(hunt: Hunt) -> str:
    """The command that shows the failure, at the culprit, or else at the bad end."""
    commit = hunt.candidates[0] if len(hunt.candidates) == 1 else hunt.bad
    words = ["farm", "run", hunt.cell, "--tree", f"{hunt.tree}@{commit}"]
    if hunt.series:
        words += ["--series", hunt.series]
    if hunt.failure and hunt.failure.select:
        words += ["-k", hunt.failure.select]
    return shlex.join(words + often_enough(hunt))


def often_enough(hunt: Hunt) -> list[str]:
    """The options that make `farm run` repeat a test until it fails."""
    bad = next((one for one in hunt.evidence if one.failures), None)
    often = attempts_to_see(bad.failures, bad.attempts, SHOWN) if bad else 1
    return ["--repeat", str(often), "-x"] if often > 1 else []
