# SPDX-License-Identifier: GPL-2.0
"""Removing what is not needed any more."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

from farm import cleaning
from farm.base import cache, removal
from farm.base.errors import UsageError
from farm.cleaning import Removal
from farm.cli.options import ResultsOption, out
from farm.history import retention
from farm.matrix import RESULTS

app = typer.Typer()


@app.command()
def clean(
    everything: Annotated[
        bool, typer.Option("--all", help="Also remove sources, ccache and finished kernels.")
    ] = False,
    runs: Annotated[
        float | None,
        typer.Option("--runs", metavar="DAYS", min=0, help="Instead: remove run directories that are older."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Remove nothing, only list what would be removed.")
    ] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="With --all: do not ask.")] = False,
    results: ResultsOption = RESULTS,
) -> None:
    """Remove build directories and what interrupted builds left. Kernels stay.

    The next build of a cell starts from scratch, with ccache. `--all` empties the
    cache, unless a farm is using it; the next run then takes as long as the first one.
    `--runs` removes old run directories, but keeps the last good and the first bad run
    of each failure. The history keeps the verdicts of all runs.

    Examples: `farm clean`, `farm clean --all --dry-run`, `farm clean --runs 90 --dry-run`
    """
    if everything and runs is not None:
        raise UsageError("--all and --runs: give one of them, the cache and the run directories are cleaned separately")
    if runs is not None:
        _prune(results, runs, dry_run)
    elif everything:
        _empty(dry_run, yes)
    else:
        _print(cleaning.leftovers(dry_run), dry_run)


def _empty(dry_run: bool, yes: bool) -> None:
    if not (dry_run or yes or sys.stdin.isatty()):
        raise UsageError("--all: give --yes as well, there is no terminal to ask on")
    found = cleaning.everything()
    if dry_run:
        _print(found, dry_run)
        if users := cleaning.users():
            _say(f"but not now: {cache.root()} is {cleaning.in_use_by(users)}")
        return
    if not yes and any(not one.kept for one in found):
        _print(found, dry_run=True)
        if not _confirmed():
            _say("nothing is removed")
            return
    cleaning.empty()
    _print(found, dry_run)


def _confirmed() -> bool:
    try:
        return typer.confirm(f"Empty {cache.root()}?")
    except typer.Abort:
        return False


def _prune(results: Path, days: float, dry_run: bool) -> None:
    planned = retention.ready(results, days)
    sizes = {run.id: removal.size(results / run.place) for run in planned.prunable}
    for run, why in planned.kept:
        _say(f"keeping {run.id}: {why}")
    for run in planned.prunable if dry_run else retention.prune(results, days):
        _say(f"{'would remove' if dry_run else 'removed'} {run.id} ({decimal(sizes.get(run.id, 0))})")


def _print(removals: Iterable[Removal], dry_run: bool) -> None:
    total = 0
    for one in removals:
        if one.kept:
            _say(f"keeping {one.path}: {one.kept}")
            continue
        total += one.bytes
        _say(f"{'would remove' if dry_run else 'removed'} {one.path} ({decimal(one.bytes)})")
    _say(f"{'would free' if dry_run else 'freed'} {decimal(total)}")


def _say(line: str) -> None:
    out.print(line, highlight=False, markup=False, soft_wrap=True)
