# SPDX-License-Identifier: GPL-2.0
"""The patches of a series, one line for each, and the first one that fails by itself."""

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from farm.hunt.series import Checked
from farm.record import records
from farm.report import terminal
from farm.run.causes import by_cause


def show(console: Console, checked: Sequence[Checked], of: int) -> None:
    """Print the table of the checked patches, out of `of`, and the first failure in full."""
    cells = list(dict.fromkeys(cell for one in checked for cell in (*one.step.off, *one.step.on)))
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("patch")
    for heading in ("style", "ABI", *cells):
        table.add_column(heading, justify="right")
    for one in checked:
        table.add_row(
            one.step.patch.stem,
            _complaints(one.style),
            _complaints(one.abi),
            *(terminal.field([r for r in one.trial.records if r.cell == cell]) for cell in cells),
        )
    console.print(table)
    bad = next((one for one in checked if not one.good), None)
    if bad is None:
        console.print(f"each of {len(checked)} patches stands by itself", highlight=False)
        return
    console.print(Text(f"{bad.step.number} of {of} does not stand by itself: {bad.step.patch.name}", "bold red"))
    for complaint in (*bad.style, *bad.abi):
        console.print(complaint, markup=False, highlight=False, soft_wrap=True)
    run = records.load_run(bad.trial.directory)
    for cause in by_cause(bad.trial.records)[:1]:
        terminal.show_cause(console, bad.trial.directory, run, cause)


def _complaints(lines: Sequence[str]) -> Text:
    return Text(f"{len(lines)} bad", "bold red") if lines else Text("good", "green")
