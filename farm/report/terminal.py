# SPDX-License-Identifier: GPL-2.0
"""The end of a run on the screen: cells x suites, then each failure with its
reason, its slots and the command that repeats it."""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from textwrap import dedent

from rich.box import SIMPLE
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from farm.guest.splat import strip
from farm.report.frame import WITNESSES, halves, witnesses
from farm.report.live import STYLES
from farm.report.text import plain
from farm.run.records import EXIT, Run, Slot, Verdict, VerdictRecord, counts, k_expression, repeat_command

#: Failures that are told in full; of more than these the rest is counted.
MOST = 12
CONSOLE_LINES = 6


def show(console: Console, directory: Path, run: Run, verdicts: Sequence[VerdictRecord]) -> None:
    """Print the whole report of a run."""
    bad = [record for record in verdicts if record.bad and not (lost(record) and run.status == "interrupted")]
    for record in bad[:MOST]:
        failure(console, directory, run, record)
    if len(bad) > MOST:
        console.print(f"… and {len(bad) - MOST} more, in {directory}/verdicts.jsonl", markup=False, highlight=False)
    table = matrix(run, verdicts)
    wide = Measurement.get(console, console.options.update(max_width=10_000), table).maximum > console.width
    console.print(by_cell(run, verdicts) if wide else table)
    if run.status == "interrupted":
        console.print(f"go on: farm run --resume {directory}", markup=False, highlight=False, soft_wrap=True)
    _last_line(console, run, verdicts)


def lost(record: VerdictRecord) -> bool:
    """Whether a test was not run at all: of such it is enough to know how many there are."""
    return record.verdict is Verdict.LOST


def _table(run: Run, *columns: str) -> Table:
    table = Table(*columns, title=f"run {run.id}, {run.accel}", title_justify="left", box=SIMPLE, pad_edge=False)
    table.columns[0].no_wrap = True
    return table


def by_cell(run: Run, verdicts: Sequence[VerdictRecord]) -> Table:
    """A row a cell, for more cells than fit side by side: all of it, and the suites that are bad."""
    table = _table(run, "cell", "all", "bad")
    table.columns[1].justify = "right"
    for cell in run.cells:
        mine = [record for record in verdicts if record.cell == cell]
        bad = [record for record in mine if record.bad and not lost(record)]
        suites = sorted({record.suite for record in bad})
        told = [Text(f"{suite} ").append(field([r for r in bad if r.suite == suite])) for suite in suites]
        table.add_row(cell, field(mine), Text(", ").join(told))
    return table


def matrix(run: Run, verdicts: Sequence[VerdictRecord]) -> Table:
    """Suites x cells. What is bad in a field is named before what passed; a
    number alone has passed."""
    table = _table(run, "suite")
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
    """The architecture that the names of several cells begin with."""
    arch, dash, _ = cells[0].partition("-")
    return arch + dash if len(cells) > 1 and all(cell.startswith(arch + dash) for cell in cells) else ""


def field(records: Sequence[VerdictRecord]) -> Text:
    tally = counts(records)
    order = sorted(tally, key=lambda verdict: (-EXIT[verdict], verdict != Verdict.PASS))
    parts = []
    for verdict in order:
        if verdict is Verdict.PASS:
            parts.append(Text(str(tally[verdict]), STYLES[verdict]))
        elif verdict is not Verdict.SKIP or len(tally) == 1:
            parts.append(Text(f"{tally[verdict]} {verdict}", STYLES[verdict]))
    return Text(" ").join(parts) if parts else Text("-", "dim")


def failure(console: Console, directory: Path, run: Run, record: VerdictRecord) -> None:
    console.rule(
        Text(f"{record.verdict} {record.cell} {record.suite} {record.test}", STYLES[record.verdict]), align="left"
    )
    for line in (record.reason or "no reason was given").splitlines():
        console.print(plain(line), markup=False, highlight=False, soft_wrap=True)
    if record.slots:
        console.print(frame(record.slots))
    for line in told_besides(directory, record):
        console.print(plain(line), style="dim", markup=False, highlight=False)
    again = repeat_command(run, record.cell, k_expression(record))
    console.print(f"again: {again}", markup=False, highlight=False, soft_wrap=True)
    if record.console:
        log = directory / "cells" / record.cell / record.console
        console.print(f"log:   {log}", markup=False, highlight=False, soft_wrap=True)
    console.print()


def frame(slots: Sequence[Slot]) -> Table:
    """The picture of the frame: what should be in each slot and what each
    witness saw there, wrong ones red. A witness who saw nothing has no column."""
    present = witnesses(slots)
    table = Table(box=SIMPLE, pad_edge=False)
    for heading in ("slot", "register", "%rsp+"):
        table.add_column(heading, no_wrap=True)
    for heading in ("expected", *(WITNESSES[name] for name in present)):
        table.add_column(heading, justify="right")
    for slot in slots:
        table.add_row(
            slot.name,
            slot.register,
            str(slot.offset) if slot.offset is not None else "none",
            _hex(slot.passed),
            *(_value(getattr(slot, name), slot.passed) for name in present),
            style="bold red" if slot.wrong else "",
        )
    return table


def picture(slots: Sequence[Slot], width: int = 120) -> list[str]:
    """The picture of the frame as lines of plain text; none if there are no slots."""
    if not slots:
        return []
    console = Console(file=StringIO(), width=width, no_color=True, force_terminal=False)
    with console.capture() as captured:
        console.print(frame(slots))
    return dedent("\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip())).splitlines()


def told_besides(directory: Path, record: VerdictRecord) -> list[str]:
    """What goes with the reason: the console's end, or where the farm itself failed."""
    if record.verdict in (Verdict.CRASH, Verdict.HANG, Verdict.BOOT):
        return [f"  {line}" for line in console_excerpt(directory, record)]
    return record.detail.splitlines() if record.verdict is Verdict.INFRA else []


def _value(value: int | None, expected: int) -> str:
    if value is None:
        return "-"
    return _hex(value) + ("" if value == expected else "!")


def _hex(value: int) -> str:
    return " ".join(halves(value))


def console_excerpt(directory: Path, record: VerdictRecord) -> list[str]:
    """The last lines that the kernel said within the span of a record."""
    path = directory / "cells" / record.cell / record.console
    if not record.console or not path.is_file():
        return []
    start, end = record.span
    data = path.read_bytes()[start : end if end > start else None]
    lines = [strip(line) for line in data.decode(errors="replace").splitlines() if line.strip()]
    return [line for line in lines if not line.startswith("farm: mark")][-CONSOLE_LINES:]


def _last_line(console: Console, run: Run, verdicts: Sequence[VerdictRecord]) -> None:
    tally = counts(verdicts)
    said = ", ".join(f"{tally[verdict]} {verdict}" for verdict in Verdict if tally[verdict]) or "no verdicts"
    state = {"interrupted": "interrupted: ", "stopped": "stopped at the first failure: "}.get(run.status, "")
    console.print(f"{state}{said}", highlight=False)
