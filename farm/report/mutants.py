# SPDX-License-Identifier: GPL-2.0
"""A hunt for mutants on the screen: a line for each one when it is decided, and a table
at the end, with the survivors last and loudest."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from farm.hunt.mutant import Mutant
from farm.hunt.mutants import Outcome, Score, Scores
from farm.record.records import Run, VerdictRecord

STYLES = {
    Outcome.CAUGHT: "green",
    Outcome.OTHERWISE: "yellow",
    Outcome.EQUIVALENT: "dim",
    Outcome.LEFT: "dim",
    Outcome.ERROR: "bold magenta",
    Outcome.SURVIVED: "bold red",
}

#: The longest reason in a table or a line.
WIDTH = 100

#: The width of a terminal, in columns, from which the table has the cells.
WIDE = 120


class Progress:
    """The progress of a hunt on the screen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = Status("", console=console)
        self._mutants = self._done = self._verdicts = 0
        self._began = 0.0
        self._title = ""

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def hunt(self, directory: Path, mutants: int, seconds: float) -> None:
        self._mutants, self._began = mutants, time.monotonic()
        said = f"{mutants} mutants to {directory}; that takes about {duration(seconds)}"
        self._console.print(said, highlight=False, soft_wrap=True)

    def trying(self, mutant: Mutant, cell: str) -> None:
        self._title, self._verdicts = f"[{self._done + 1}/{self._mutants}] {mutant.name} in {cell}", 0
        self._status.update(Text(f"{self._title}: {mutant.title}"))

    def began(self, directory: Path, run: Run) -> None: ...

    def building(self, cell: str, step: str) -> None:
        self._status.update(Text(f"{self._title}: {step}"))

    def built(self, cell: str, outcome: str) -> None: ...

    def plan(self, cells: list[str]) -> None: ...

    def verdict(self, record: VerdictRecord) -> None:
        self._verdicts += 1
        self._status.update(Text(f"{self._title}: {self._verdicts} tests, now {record.suite}"))

    def notice(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def scored(self, score: Score) -> None:
        self._done += 1
        left = (time.monotonic() - self._began) / self._done * (self._mutants - self._done)
        line = Text(f"[{self._done}/{self._mutants}] {score.mutant} ")
        line.append(f"{score.outcome}", STYLES[score.outcome])
        line.append(f" {where(score)} after {score.build:.0f} + {score.test_seconds:.0f} s")
        line.append(f"; {duration(left)} left" if left else "")
        self._console.print(line, soft_wrap=True)


def where(score: Score) -> str:
    """Which test noticed a mutant, or where none did."""
    if score.outcome is Outcome.SURVIVED:
        return f"in {score.cell}"
    if not score.test:
        return first_line(score.reason)
    return f"by {score.suite} {score.test} in {score.cell}"


def show(console: Console, directory: Path, scores: Scores, mutants: Sequence[Mutant]) -> None:
    """Print the whole report of a hunt."""
    titles = {mutant.name: mutant.title for mutant in mutants}
    order = list(Outcome)
    ordered = sorted(scores.scores, key=lambda score: order.index(score.outcome))
    wide = console.width >= WIDE
    table = Table(title=directory.name, title_justify="left", box=SIMPLE, pad_edge=False)
    table.add_column("mutant", no_wrap=True)
    table.add_column("seen by")
    if wide:
        table.add_column("cell", no_wrap=True)
    table.add_column("build + test", justify="right", no_wrap=True)
    for score in ordered:
        if scores.status == "interrupted" and score.outcome is Outcome.LEFT:
            continue  # not run; these are counted below
        table.add_row(
            Text(score.mutant, STYLES[score.outcome]),
            _seen(score),
            *([score.cell] if wide else []),
            f"{score.build:.0f} + {score.test_seconds:.0f} s" if score.seconds else "",
        )
    console.print(table)
    for score in ordered:
        if score.outcome in (Outcome.ERROR, Outcome.SURVIVED):
            _loudly(console, directory, score, titles[score.mutant])
    console.print(summary(scores), highlight=False, soft_wrap=True)


def _seen(score: Score) -> Text:
    if score.outcome is Outcome.CAUGHT:
        return Text(f"{score.suite} {score.test}")
    told = Text(f"{score.outcome}".upper() if score.outcome is Outcome.SURVIVED else f"{score.outcome}")
    told.stylize(STYLES[score.outcome])
    if score.outcome is Outcome.OTHERWISE:
        told.append(f": {score.suite} {score.test}: {score.verdict} {first_line(score.reason)}", "default")
    elif score.outcome is not Outcome.SURVIVED:
        told.append(f": {first_line(score.reason)}", "default")
    return told


def _loudly(console: Console, directory: Path, score: Score, title: str) -> None:
    console.print(Text(f"{score.mutant} {score.outcome}: {title}", STYLES[score.outcome]), soft_wrap=True)
    if score.outcome is Outcome.ERROR:
        console.print(score.reason, markup=False, highlight=False, soft_wrap=True)
    if score.run:
        console.print(f"  run:   {directory / score.run}", highlight=False, soft_wrap=True)
    console.print(f"  again: farm mutants {score.mutant}", highlight=False, soft_wrap=True)


def summary(scores: Scores) -> Text:
    """Counts, and the pace."""
    tally = Counter(score.outcome for score in scores.scores)
    line = Text("interrupted: " if scores.status == "interrupted" else "")
    for outcome in Outcome:
        if tally[outcome]:
            line.append(f"{tally[outcome]} {outcome}", STYLES[outcome]).append(", ")
    tested = scores.tested
    average = sum(score.seconds for score in tested) / len(tested) if tested else 0.0
    line.append(f"in {duration(scores.seconds)}")
    return line.append(f", {average:.0f} s from patch to verdict on average" if tested else "")


def first_line(reason: str) -> str:
    line = reason.partition("\n")[0]
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
