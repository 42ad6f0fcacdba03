# SPDX-License-Identifier: GPL-2.0
"""The end of a run on the screen: cells x suites, then each failure with its
reason, its slots and the command that repeats it."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from farm.guest.splat import strip
from farm.report.live import STYLES
from farm.run.records import EXIT, Run, Slot, Verdict, VerdictRecord, counts, repeat_command

#: Failures that are told in full; of more than these the rest is counted.
MOST = 12
CONSOLE_LINES = 6


def show(console: Console, directory: Path, run: Run, verdicts: Sequence[VerdictRecord]) -> None:
    """Print the whole report of a run."""
    bad = [record for record in verdicts if record.bad]
    for record in bad[:MOST]:
        _failure(console, directory, run, record)
    if len(bad) > MOST:
        console.print(f"… and {len(bad) - MOST} more, in {directory}/verdicts.jsonl", highlight=False)
    console.print(matrix(run, verdicts))
    _last_line(console, run, verdicts)


def matrix(run: Run, verdicts: Sequence[VerdictRecord]) -> Table:
    """Cells x suites; what is bad in a field is named before what passed."""
    suites = list(dict.fromkeys(record.suite for record in sorted(verdicts, key=lambda record: record.suite)))
    table = Table(title=f"run {run.id}, {run.accel}", title_justify="left")
    table.add_column("cell", no_wrap=True)
    for suite in suites:
        table.add_column(suite)
    for cell in run.cells:
        fields = [_field([r for r in verdicts if r.cell == cell and r.suite == suite]) for suite in suites]
        table.add_row(cell, *fields)
    return table


def _field(records: Sequence[VerdictRecord]) -> Text:
    tally = counts(records)
    order = sorted(tally, key=lambda verdict: (-EXIT[verdict], verdict != Verdict.PASS))
    text = Text()
    for verdict in order:
        text.append(f"{tally[verdict]} {verdict} ", STYLES[verdict])
    return text if order else Text("-", "dim")


def _failure(console: Console, directory: Path, run: Run, record: VerdictRecord) -> None:
    console.rule(
        Text(f"{record.verdict} {record.cell} {record.suite} {record.test}", STYLES[record.verdict]), align="left"
    )
    console.print(record.reason or "no reason was given", markup=False, highlight=False, soft_wrap=True)
    if record.slots:
        console.print(frame(record.slots))
    if record.verdict in (Verdict.CRASH, Verdict.HANG, Verdict.BOOT):
        for line in console_excerpt(directory, record):
            console.print(f"  {line}", style="dim", markup=False, highlight=False)
    if record.verdict is Verdict.INFRA and record.detail:
        console.print(record.detail, style="dim", markup=False, highlight=False)
    again = repeat_command(run, record.cell, k_expression(record))
    console.print(f"again: {again}", markup=False, highlight=False, soft_wrap=True)
    if record.console:
        console.print(f"log:   {directory / 'cells' / record.cell / record.console}", highlight=False, soft_wrap=True)
    console.print()


def frame(slots: Sequence[Slot]) -> Table:
    """The picture of the frame: what was passed and what each witness saw, wrong ones red."""
    table = Table()
    for heading in ("argument", "register", "slot", "passed", "program saw", "callee received"):
        table.add_column(heading, justify="right" if heading not in ("argument", "register") else "left")
    for slot in slots:
        style = "bold red" if slot.wrong else ""
        table.add_row(
            slot.name,
            slot.register,
            f"{slot.offset}(%rsp)" if slot.offset is not None else "none",
            f"{slot.passed:#018x}",
            _value(slot.program, slot.passed),
            _value(slot.callee, slot.passed),
            style=style,
        )
    return table


def _value(value: int | None, passed: int) -> str:
    if value is None:
        return "-"
    return f"{value:#018x}" + ("" if value == passed else " !")


def console_excerpt(directory: Path, record: VerdictRecord) -> list[str]:
    """The last lines that the kernel said within the span of a record."""
    path = directory / "cells" / record.cell / record.console
    if not record.console or not path.is_file():
        return []
    start, end = record.span
    data = path.read_bytes()[start : end if end > start else None]
    lines = [strip(line) for line in data.decode(errors="replace").splitlines() if line.strip()]
    return [line for line in lines if not line.startswith("farm: mark")][-CONSOLE_LINES:]


def k_expression(record: VerdictRecord) -> str:
    """What selects this test alone: as pytest names it, which is with the cell."""
    name, bracket, parameters = record.test.partition("[")
    return f"{name}[{record.cell}-{parameters}" if bracket else f"{name}[{record.cell}]"


def _last_line(console: Console, run: Run, verdicts: Sequence[VerdictRecord]) -> None:
    tally = counts(verdicts)
    said = ", ".join(f"{tally[verdict]} {verdict}" for verdict in Verdict if tally[verdict]) or "no verdicts"
    state = "interrupted: " if run.status == "interrupted" else ""
    console.print(f"{state}{said}", highlight=False)
