# SPDX-License-Identifier: GPL-2.0
"""The kernel's own tests on two kernels, on the screen: the differences, and counts of all."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from farm.record.records import Run, VerdictRecord
from farm.record.verdict import MEANING, Verdict
from farm.report.terminal import console_excerpt
from farm.report.text import shortened
from farm.run.comparison import load_comparison, tally, told
from farm.worker.selftests import BASE, PATCHED

#: How many lines of the log are shown for a test that ended worse.
LOG_LINES = 12


def show(console: Console, directory: Path, run: Run, verdicts: Sequence[VerdictRecord]) -> None:
    """Print the whole comparison."""
    comparison = load_comparison(directory)
    for record in verdicts:
        if record.bad:
            _worse(console, directory, run, record)
    table = Table(title=f"run {run.id}: tests that ended differently", title_justify="left")
    for heading in ("test", BASE, PATCHED, "verdict"):
        table.add_column(heading)
    for record in verdicts:
        outcomes = comparison[record.test]
        if set(outcomes[BASE]) != set(outcomes[PATCHED]):
            table.add_row(
                Text(record.test),
                told(outcomes[BASE]),
                told(outcomes[PATCHED]),
                Text(str(record.verdict), MEANING[record.verdict].style),
            )
    if table.row_count:
        console.print(table)
    counts = tally(comparison)
    for kernel in (BASE, PATCHED):
        said = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts[kernel].items()))
        console.print(f"{kernel + ':':8} {said}", highlight=False)
    console.print(_last_line(verdicts), highlight=False)


def _worse(console: Console, directory: Path, run: Run, record: VerdictRecord) -> None:
    console.rule(Text(f"{record.verdict} {record.cell} {record.test}", MEANING[record.verdict].style), align="left")
    console.print(record.reason, markup=False, highlight=False, soft_wrap=True)
    lines = record.detail.splitlines()[-LOG_LINES:]
    if record.verdict is not Verdict.FAIL:
        lines += shortened(console_excerpt(directory, record), LOG_LINES)
    for line in lines:
        console.print(f"  {line}", style="dim", markup=False, highlight=False)
    # the same command with fewer tests: the last -k counts
    again = shlex.join(["farm", *run.command[1:], "-k", record.test.partition("[")[0]])
    console.print(f"again: {again}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"log:   {directory / 'cells' / record.cell / record.console}", highlight=False, soft_wrap=True)
    console.print()


def _last_line(verdicts: Sequence[VerdictRecord]) -> str:
    bad = sum(record.bad for record in verdicts)
    return f"{len(verdicts)} tests, {bad or 'none'} worse than on the base"
