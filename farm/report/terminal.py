# SPDX-License-Identifier: GPL-2.0
"""The report of a run on the screen: cells x suites, then each cause of failures with
an example, its slots and the command that repeats it."""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from farm.guest import complaints
from farm.guest.splat import strip
from farm.record.records import Run, VerdictRecord, counts
from farm.record.verdict import MEANING, Verdict, is_bad
from farm.report import again
from farm.report.frame import frame
from farm.report.text import plain, shortened
from farm.run.causes import Cause, by_cause
from farm.worker.diagnosis import diagnose

#: How many causes are shown with an example, and how many more get a line; the rest is counted.
MOST, MOST_LINES = 6, 20

#: For one example: how many lines of its reason and of what belongs to it are shown, and how many tests are named.
REASON_LINES, BESIDES_LINES, NAMED = 8, 14, 6

#: How many lines are shown of the end of a log that has no complaint.
CONSOLE_LINES = 6


def show(console: Console, directory: Path, run: Run, verdicts: Sequence[VerdictRecord]) -> None:
    """Print the whole report of a run."""
    console.print(Text(f"run {run.id}, {run.accel}", "italic"))
    table = matrix(run, verdicts)
    wide = Measurement.get(console, console.options.update(max_width=10_000), table).maximum > console.width
    console.print(by_cell(run, verdicts) if wide else table)
    causes = [cause for cause in by_cause(verdicts) if cause.verdict is not Verdict.LOST]
    for cause in causes[:MOST]:
        show_cause(console, directory, run, cause)
    for cause in causes[MOST : MOST + MOST_LINES]:
        console.print(
            Text.assemble((f"{cause.verdict} ", MEANING[cause.verdict].style), plain(cause.headline)), soft_wrap=True
        )
        _line(console, f"  {spread(cause)}; again: {again.see(run, cause.example)}")
    if len(causes) > MOST + MOST_LINES:
        _line(console, f"… and {len(causes) - MOST - MOST_LINES} more causes, in {directory}/verdicts.jsonl")
    if missing := next((record for record in verdicts if lost(record)), None):
        _line(console, f"without a verdict: {counts(verdicts)[Verdict.LOST]} tests; {missing.reason}")
    if run.status == "interrupted":
        _line(console, f"go on: farm run --resume {directory}")
    _last_line(console, run, verdicts)


def lost(record: VerdictRecord) -> bool:
    """Whether a test was not run at all: such tests are only counted."""
    return record.verdict is Verdict.LOST


def _line(console: Console, text: str, style: str = "") -> None:
    """Print a line that can be copied: no markup, no colours from rich, not wrapped."""
    console.print(plain(text), style=style, markup=False, highlight=False, soft_wrap=True)


def _table(*columns: str) -> Table:
    table = Table(*columns, box=SIMPLE, pad_edge=False)
    table.columns[0].no_wrap = True
    return table


def by_cell(run: Run, verdicts: Sequence[VerdictRecord]) -> Table:
    """One row for each cell, if not all cells fit side by side: the whole cell, and its bad suites."""
    table = _table("cell", "all", "bad")
    table.columns[1].justify = "right"
    for cell in run.cells:
        mine = [record for record in verdicts if record.cell == cell]
        bad = [record for record in mine if record.bad and not lost(record)]
        suites = sorted({record.suite for record in bad})
        told = [Text(f"{suite} ").append(field([r for r in bad if r.suite == suite])) for suite in suites]
        table.add_row(cell, field(mine), Text(", ").join(told))
    return table


def matrix(run: Run, verdicts: Sequence[VerdictRecord]) -> Table:
    """Suites x cells. A number alone counts the tests that passed; other verdicts are
    named."""
    table = _table("suite")
    prefix = _common(run.cells)
    for cell in run.cells:
        table.add_column(cell.removeprefix(prefix), justify="right")
    for suite in sorted({record.suite for record in verdicts}):
        fields = [field([r for r in verdicts if r.cell == cell and r.suite == suite]) for cell in run.cells]
        table.add_row(Text(suite), *fields)
    table.add_section()
    table.add_row("all", *(field([r for r in verdicts if r.cell == cell]) for cell in run.cells))
    return table


def _common(cells: Sequence[str]) -> str:
    """The architecture with which the names of all cells begin, if there are several."""
    arch, dash, _ = cells[0].partition("-")
    return arch + dash if len(cells) > 1 and all(cell.startswith(arch + dash) for cell in cells) else ""


def field(records: Sequence[VerdictRecord]) -> Text:
    """The results of some tests. A number alone counts those that passed; otherwise each verdict is
    named, passes first: `4 ok, 20 FAIL`. Skipped tests are counted only if there are no others."""
    tally = counts(records)
    bad = sorted((verdict for verdict in tally if is_bad(verdict)), key=lambda verdict: -MEANING[verdict].blame)
    parts = [Text(f"{tally[verdict]} {verdict}", MEANING[verdict].style) for verdict in bad]
    if passed := tally[Verdict.PASS]:
        parts.insert(0, Text(f"{passed} ok" if bad else str(passed), MEANING[Verdict.PASS].style))
    if not parts and tally[Verdict.SKIP]:
        parts = [Text(f"{tally[Verdict.SKIP]} {Verdict.SKIP}", MEANING[Verdict.SKIP].style)]
    return Text(", ").join(parts) if parts else Text("-", "dim")


def show_cause(console: Console, directory: Path, run: Run, cause: Cause) -> None:
    """Print a cause: what it is, which tests have it, one of them in full, the names of the others."""
    record = cause.example
    console.print(Text.assemble((f"{cause.verdict}  ", MEANING[cause.verdict].style), (plain(cause.headline), "bold")))
    console.print(f"{spread(cause)}", highlight=False)
    if not MEANING[cause.verdict].of_cell:
        _line(
            console,
            f"{'test' if len(cause.members) == 1 else 'one of them'}: {record.cell} {record.suite} {record.test}",
        )
    for line in shortened(reason(cause), REASON_LINES):
        console.print(Padding(Text(plain(line)), (0, 0, 0, 2), expand=False))
    if record.slots:
        console.print(Padding(frame(record.slots, console.width - 2), (0, 0, 0, 2), expand=False))
    for line in shortened(told_besides(directory, record), BESIDES_LINES):
        _line(console, line, "dim")
    _line(console, f"again: {again.see(run, record)}")
    log = f"cells/{record.cell}/{record.console or 'build.log'}"
    if (record.console or cause.verdict is Verdict.BUILD) and (directory / log).exists():
        _line(console, f"log:   {directory / log}")
    if not MEANING[cause.verdict].of_cell and (others := _others(cause)):
        console.print(Text(f"also:  {others}", "dim"))
    console.print()


def _others(cause: Cause) -> str:
    """The tests of a cause except its example: some names, by suite, and how many more there are."""
    record = cause.example
    names = dict.fromkeys((one.suite, one.test) for one in cause.members)
    names.pop((record.suite, record.test))
    named: dict[str, list[str]] = {}
    for suite, test in list(names)[:NAMED]:
        named.setdefault(suite, []).append(plain(test))
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return "; ".join(f"{suite} {', '.join(tests)}" for suite, tests in named.items()) + more


def spread(cause: Cause) -> str:
    """How many tests have the cause, in which cells and suites."""
    tests = "1 test" if len(cause.members) == 1 else f"{len(cause.members)} tests"
    cells = Counter(record.cell for record in cause.members)
    suites = Counter(record.suite for record in cause.members)
    in_cells = next(iter(cells)) if len(cells) == 1 else ", ".join(f"{cell} ({n})" for cell, n in cells.items())
    if len(cause.members) == 1 or MEANING[cause.verdict].of_cell:
        return f"{tests} in {in_cells}"
    return f"{tests} in {in_cells}: {', '.join(f'{suite} {n}' for suite, n in suites.items())}"


def reason(cause: Cause) -> list[str]:
    """The reason of the example, without the part that is in the headline, and without pytest's text
    about a failed assertion that has a message. Other wrong slots come first."""
    record = cause.example
    first, *rest = [line for line in record.reason.splitlines() if line.strip()] or ["no reason was given"]
    if record.verdict is Verdict.FAIL:
        rest = list(itertools.takewhile(lambda line: not line.startswith("assert "), rest))
    return [*diagnose(record.slots)[1:], *([] if cause.headline == first.strip() else [first]), *rest]


def told_besides(directory: Path, record: VerdictRecord) -> list[str]:
    """What belongs to the reason: the console, or where the farm itself failed."""
    if record.verdict in (Verdict.CRASH, Verdict.HANG, Verdict.BOOT):
        return [f"  {line}" for line in console_excerpt(directory, record)]
    return record.detail.splitlines()[-BESIDES_LINES:] if record.verdict is Verdict.INFRA else []


def console_excerpt(directory: Path, record: VerdictRecord) -> list[str]:
    """The lines worth reading from the kernel's log within the span of a record: those of its first
    complaint, or else the last ones."""
    path = directory / "cells" / record.cell / record.console
    if not record.console or not path.is_file():
        return []
    start, end = record.span
    with path.open("rb") as handle:
        handle.seek(start)
        text = handle.read(end - start if end > start else -1).decode(errors="replace").replace("\r\n", "\n")
    if lines := complaints.essence(text):
        return lines
    lines = [strip(line) for line in text.splitlines() if line.strip()]
    return [line for line in lines if not line.startswith("farm: mark")][-CONSOLE_LINES:]


def _last_line(console: Console, run: Run, verdicts: Sequence[VerdictRecord]) -> None:
    tally = counts(verdicts)
    said = ", ".join(f"{tally[verdict]} {verdict}" for verdict in Verdict if tally[verdict]) or "no verdicts"
    state = {"interrupted": "interrupted: ", "stopped": "stopped at the first failure: "}.get(run.status, "")
    console.print(f"{state}{said}", highlight=False)
