# SPDX-License-Identifier: GPL-2.0
"""What a person sees while a run goes on: one line for each cell."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.live import Live as RichLive
from rich.table import Table
from rich.text import Text

from farm.base.locks import WAITING
from farm.run.records import Run, Verdict, VerdictRecord

STYLES = {
    Verdict.PASS: "green",
    Verdict.SKIP: "dim",
    Verdict.FAIL: "bold red",
    Verdict.CRASH: "bold red",
    Verdict.HANG: "bold red",
    Verdict.BOOT: "bold red",
    Verdict.BUILD: "bold red",
    Verdict.INFRA: "bold magenta",
    Verdict.LOST: "bold magenta",
}

#: Between two lines of a cell where there is no terminal to redraw.
QUIET_SECONDS = 25.0


@dataclass
class _Row:
    """What is known of a cell so far."""

    step: str = "waiting"
    kernel: str = ""
    started: float = 0.0
    steps: int = 0
    told: float = 0.0
    planned: int = 0
    verdicts: list[VerdictRecord] = field(default_factory=list)


class Live:
    """The progress of a run, redrawn on a terminal, as single lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[str, _Row] = {}
        self._live = RichLive(get_renderable=self._table, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def cells(self, names: list[str]) -> None:
        """What there will be a line for."""
        self._rows = {cell: _Row() for cell in names}

    def began(self, directory: Path, run: Run) -> None:
        """The run has a directory; nothing is built yet."""
        self.cells(run.cells)
        self._console.print(f"run {directory}", highlight=False, soft_wrap=True)
        said = f"accelerator: {run.accel} ({run.accel_reason}); guests at once: {run.workers}"
        self._console.print(said, highlight=False, markup=False, soft_wrap=True)

    def building(self, cell: str, step: str) -> None:
        """The build of a cell got further; `step` is what it does now."""
        row, now = self._rows[cell], time.monotonic()
        if not row.started:
            row.started = row.told = now
        row.steps += 1
        row.step = step
        if step.startswith(WAITING):
            row.step = WAITING
            self._console.print(f"{cell}: {step}", highlight=False, markup=False, soft_wrap=True)
            return
        if not self._console.is_terminal and now - row.told > QUIET_SECONDS:
            row.told = now
            self._console.print(f"{cell}: building for {now - row.started:.0f} s, {row.steps} steps, now: {step}")

    def built(self, cell: str, outcome: str) -> None:
        row = self._rows[cell]
        seconds = time.monotonic() - row.started if row.started else 0.0
        row.step, row.kernel = "", f"{outcome} ({seconds:.0f} s)" if seconds >= 1 else outcome
        self._console.print(f"{cell}: kernel {row.kernel}", highlight=False, markup=False, soft_wrap=True)

    def plan(self, cells: list[str]) -> None:
        """The cell of each planned test."""
        for row in self._rows.values():
            row.planned, row.told = 0, time.monotonic()
        for cell in cells:
            self._rows[cell].planned += 1

    def verdict(self, record: VerdictRecord) -> None:
        row = self._rows.get(record.cell)
        if row is None:
            return
        row.verdicts.append(record)
        if record.bad and record.verdict is not Verdict.LOST:  # of an interrupted run those are thousands
            line = Text.assemble(
                (f"{record.verdict:5} ", STYLES[record.verdict]),
                f"{record.cell} {record.suite} {record.test} ({record.seconds:.1f} s)",
            )
            self._console.print(line)
        now, done = time.monotonic(), len(row.verdicts)
        if self._console.is_terminal or not row.planned:
            return
        if done == row.planned or now - row.told > QUIET_SECONDS:
            row.told = now
            self._console.print(f"{record.cell}: {done} of {row.planned} tests done", highlight=False)

    def notice(self, text: str) -> None:
        """Something of the whole run that its reader must know."""
        self._console.print(text, style="bold yellow", highlight=False, markup=False, soft_wrap=True)

    def comparing(self, cell: str, done: Mapping[str, int]) -> None:
        """So many tests of a cell have run on each of its kernels."""
        row, now = self._rows[cell], time.monotonic()
        if not self._console.is_terminal and now - row.told > QUIET_SECONDS:
            row.told = now
            ran = ", ".join(f"{number} on the {kernel} kernel" for kernel, number in done.items())
            self._console.print(f"{cell}: of {row.planned} tests {ran}", highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for cell, row in self._rows.items():
            bad = sum(record.bad for record in row.verdicts)
            tests = f"{len(row.verdicts)}/{row.planned} tests" if row.planned else ""
            build = row.kernel
            if row.step and row.started:
                build = f"building {time.monotonic() - row.started:.0f} s, {row.steps} steps: {row.step[-48:]}"
            elif row.step:
                build = row.step
            table.add_row(cell, Text(build, "dim"), tests, Text(f"{bad} bad" if bad else "", "bold red"))
        return table
