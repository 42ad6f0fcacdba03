# SPDX-License-Identifier: GPL-2.0
"""The progress of a run on the screen: one line for each cell."""

import math
import threading
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
from farm.record.records import Run, VerdictRecord
from farm.record.verdict import MEANING, Verdict
from farm.report.text import plain

#: The longest silence if there is no terminal to redraw.
QUIET_SECONDS = 25.0

#: The width of a cell's state on a terminal.
_STATE_WIDTH = 60

#: How many verdicts and seconds it takes before the remaining time is estimated.
ENOUGH, ENOUGH_SECONDS = 10, 10.0


@dataclass
class _Row:
    """What is known about a cell so far."""

    step: str = "waiting"
    kernel: str = ""
    started: float = 0.0
    steps: int = 0
    planned: int = 0
    verdicts: list[VerdictRecord] = field(default_factory=list)
    ran: dict[str, int] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """How many tests have a verdict; LOST tests have none."""
        return sum(record.verdict is not Verdict.LOST for record in self.verdicts)

    @property
    def ended(self) -> bool:
        return bool(self.planned) and len(self.verdicts) >= self.planned


class Live:
    """The progress of a run: redrawn on a terminal, single lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[str, _Row] = {}
        self._directory: Path | None = None
        self._testing = 0.0
        self._said = time.monotonic()
        self._left = threading.Event()
        self._live = RichLive(get_renderable=self._table, console=console, refresh_per_second=4, transient=True)
        self._ticking = threading.Thread(target=self._tick, name="progress", daemon=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        else:
            self._ticking.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()
        else:
            self._left.set()
            self._ticking.join()

    def _tick(self) -> None:
        while not self._left.wait(1):
            self.remind()

    def remind(self) -> None:
        """Without a terminal: print the state of each cell if nothing was printed for long."""
        open_cells = {cell: row for cell, row in self._rows.items() if not row.ended}
        if self._console.is_terminal or not open_cells or time.monotonic() - self._said <= QUIET_SECONDS:
            return
        busy = [
            f"{cell}: {state}" for cell, row in open_cells.items() if (state := self._state(cell, row)) != "waiting"
        ]
        self._print("; ".join([*busy, *filter(None, [self._remaining()])]) or "waiting for a kernel")

    def _print(self, line: str | Text) -> None:
        self._said = time.monotonic()
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def cells(self, names: list[str]) -> None:
        """The cells that will have a line."""
        self._rows = {cell: _Row() for cell in names}

    def began(self, directory: Path, run: Run) -> None:
        """The run has a directory, and nothing is built yet."""
        self.cells(run.cells)
        self._directory = directory
        self._print(f"run {directory}")
        self._print(f"accelerator: {run.accel} ({run.accel_reason}); guests at once: {run.workers}")

    def building(self, cell: str, step: str) -> None:
        """The build of a cell made progress; `step` is what it does now."""
        row, now = self._rows[cell], time.monotonic()
        if not row.started:
            row.started = self._said = now
        row.steps += 1
        row.step = step
        if step.startswith(WAITING):
            row.step = WAITING
            self._print(f"{cell}: {step}")
        else:
            self.remind()

    def built(self, cell: str, outcome: str) -> None:
        row = self._rows[cell]
        seconds = time.monotonic() - row.started if row.started else 0.0
        row.step, row.kernel = "", f"{outcome} ({seconds:.0f} s)" if seconds >= 1 else outcome
        self._print(f"{cell}: kernel {row.kernel}")

    def plan(self, cells: list[str]) -> None:
        """The cell of each planned test."""
        self._said, self._testing = time.monotonic(), 0.0
        for row in self._rows.values():
            row.planned = 0
        for cell in cells:
            self._rows[cell].planned += 1

    def verdict(self, record: VerdictRecord) -> None:
        row = self._rows.get(record.cell)
        if row is None:
            return
        row.verdicts.append(record)
        self._testing = self._testing or time.monotonic() - record.seconds
        if record.bad and record.verdict is not Verdict.LOST:  # an interrupted run has thousands of those
            told = f"{record.cell} {record.suite} {plain(record.test)} ({record.seconds:.1f} s)"
            self._print(Text.assemble((f"{record.verdict:5} ", MEANING[record.verdict].style), told))
        if self._console.is_terminal or not row.planned:
            return
        if len(row.verdicts) == row.planned:
            self._print(f"{record.cell}: {self._tests(row)}")
        else:
            self.remind()

    def _state(self, cell: str, row: _Row) -> str:
        """What happens for a cell now."""
        if row.step and row.started:
            seconds = time.monotonic() - row.started
            return f"building for {seconds:.0f} s, {row.steps} steps, now: {row.step}"
        if row.ran:
            ran = ", ".join(f"{number} on the {kernel} kernel" for kernel, number in row.ran.items())
            return f"of {row.planned} tests {ran}"
        if row.verdicts:
            return self._tests(row)
        if row.step:
            return row.step
        where = self._directory / "cells" / cell if self._directory else None
        if row.planned and where and any(where.glob("console-*.log")) and not (where / "booted").exists():
            return "booting"
        return self._tests(row) if row.planned else "waiting"

    @staticmethod
    def _tests(row: _Row) -> str:
        lost = len(row.verdicts) - row.done
        return f"{row.done} of {row.planned} tests done" + (f", {lost} without a verdict" if lost else "")

    def _remaining(self) -> str:
        """How long the remaining tests will take, at the pace so far. Empty while kernels are being
        built, because that time is unknown."""
        rows = [row for row in self._rows.values() if row.planned]
        done, planned = sum(len(row.verdicts) for row in rows), sum(row.planned for row in rows)
        elapsed = time.monotonic() - self._testing
        if (
            any(row.step and not row.verdicts for row in rows)
            or done < ENOUGH
            or elapsed < ENOUGH_SECONDS
            or done >= planned
        ):
            return ""
        minutes = math.ceil(elapsed / done * (planned - done) / 60)
        return f"about {minutes} min left" if minutes > 1 else "about a minute left"

    def notice(self, text: str) -> None:
        """Print something about the whole run that the user must know."""
        self._print(Text(text, "bold yellow"))

    def comparing(self, cell: str, done: Mapping[str, int]) -> None:
        """How many tests of a cell have run on each of its kernels."""
        self._rows[cell].ran = dict(done)
        self.remind()

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for cell, row in self._rows.items():
            bad = sum(record.bad for record in row.verdicts)
            state = self._state(cell, row)
            shown = state if len(state) <= _STATE_WIDTH else f"{state[: _STATE_WIDTH - 1]}…"
            table.add_row(cell, Text(shown), Text(f"{bad} bad" if bad else "", "bold red"))
        if left := self._remaining():
            table.add_row("", Text(left, "dim"), "")
        return table
