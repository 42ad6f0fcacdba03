# SPDX-License-Identifier: GPL-2.0
"""Nights, and what is made of many runs."""

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from farm import timer
from farm.base import cache
from farm.base.deadline import Deadline
from farm.base.errors import Exit
from farm.cli.options import (
    MatrixOption,
    RestartOption,
    ResultsOption,
    SeriesOption,
    TreeOption,
    Verbose,
    err,
    out,
)
from farm.history import index, query, retention, store
from farm.matrix import MATRIX, RESULTS
from farm.nightly import morning, night
from farm.report import changes as change_report
from farm.report.site.make import make as make_site

app = typer.Typer()


@app.command()
def nightly(
    budget: Annotated[str, typer.Option("--budget", metavar="TIME", help="How long it may take: 6h, 90m.")] = "6h",
    tree: TreeOption = None,
    series: SeriesOption = None,
    install: Annotated[bool, typer.Option("--install", help="Run nothing now, but every night from now on.")] = False,
    at: Annotated[str, typer.Option("--at", metavar="HH:MM", help="When, with --install.")] = "02:00",
    restart: RestartOption = False,
    results: ResultsOption = RESULTS,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """All cells and suites, the kernel's own tests and a sample of the mutants that
    changes every night, as much as fits; then what changed since the last night, the
    site of `farm report`, and `farm tell` if tell.yaml is there.

    Killed at any moment, the same command goes on within 20 hours. `--install` makes a
    timer of your systemd's, or prints a line for cron where there is none. Exit
    status: the highest of its steps', 3 if one has not ended.

    Examples: `farm nightly --budget 6h`, `farm nightly --tree ~/linux@next`,
    `farm nightly --install --at 01:30`
    """
    tree = str(Path(tree).expanduser().absolute()) if tree else None
    series = str(Path(series).expanduser().absolute()) if series and series != "none" else series
    asked = night.Asked(results, matrix.resolve(), tree, series)
    limit = night.seconds(budget)
    if install:
        where, said = timer.install([sys.executable, "-m", "farm", "nightly", "--budget", budget, *asked.words], at)
        out.print(f"installed in {where}{said}", markup=False, highlight=False, soft_wrap=True)
        return
    with night.alone(results), morning.told_of_failure(results):
        found = None if restart else night.left_open(asked, datetime.now(UTC))
        directory, planned = found or night.begin(asked, limit)
        for line in night.told(planned, goes_on=found is not None):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
        ended = night.go_on(directory, planned, Deadline(limit))
        status = morning.show(out, results, directory, ended)
    raise typer.Exit(status)


@app.command()
def report(
    run: Annotated[
        str,
        typer.Argument(help="The run of the first page; the newest if none is named, patched or not.", metavar="[RUN]"),
    ] = "",
    reindex: Annotated[bool, typer.Option("--reindex", help="Make the history anew from the run directories.")] = False,
    results: ResultsOption = RESULTS,
) -> None:
    """Make the site of the results: how the newest run differs from the last clean one, all
    runs, each test, each failure, each cell, trends. Static pages below `results/site`;
    only what changed is written.

    Examples: `farm report`, `farm report 20260301-020000`, `farm report --reindex`
    """
    indexed = index.reindex(results) if reindex else index.index(results)
    for said in indexed.skipped:
        err.print(f"not taken: {said}", markup=False, highlight=False, soft_wrap=True)
    out.print(make_site(results, Path(run).name), markup=False, highlight=False, soft_wrap=True)


@app.command()
def compare(
    before: Annotated[str, typer.Argument(help="A run: its id or its directory; RUN:CELL: one cell of it.")],
    after: Annotated[str, typer.Argument(help="Another one, the later.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="For a mail or a pull request.")] = False,
    results: ResultsOption = RESULTS,
) -> None:
    """What is different between two runs, test by test: of two nights, trees, series
    or cells. Exit status: 0 nothing is worse, 1 something is, 2 wrong usage.

    Examples: `farm compare 20260101-020000 20260102-020000 --markdown`,
    `farm compare results/20260101-020000:x86_64-regs results/20260101-020000:x86_64-kasan`
    """
    comparison = query.named(results, before, after)
    if markdown:
        print(change_report.markdown(comparison), end="")
    else:
        change_report.show(out, comparison)
    raise typer.Exit(Exit.KERNEL if comparison.worse else Exit.PASSED)


@app.command()
def clean(
    everything: Annotated[bool, typer.Option("--all", help="Sources, ccache and finished kernels as well.")] = False,
    runs: Annotated[
        float | None, typer.Option("--runs", metavar="DAYS", min=0, help="Instead: run directories that are older.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --runs: only say which would go.")] = False,
    results: ResultsOption = RESULTS,
) -> None:
    """Remove build directories and what interrupted builds left; kernels stay.

    The next build of a cell starts anew, from ccache. `--all` empties the
    cache and takes the time of a first run to fill again. `--runs` leaves of the
    run directories those that a failure is hunted from, the last good and the
    first bad one; the history keeps the verdicts of all.

    Examples: `farm clean`, `farm clean --runs 90 --dry-run`
    """
    if runs is not None:
        index.index(results)
        with store.reading(results) as db:
            planned = retention.plan(db, runs)
        for kept, why in planned.kept:
            out.print(f"keeping {kept.id}: {why}", highlight=False, markup=False, soft_wrap=True)
        for gone in planned.prunable if dry_run else retention.prune(results, runs):
            out.print(f"{'would remove' if dry_run else 'removed'} {gone.id}", highlight=False, markup=False)
        return
    root = cache.root()
    victims = [root] if everything else [*root.glob("worktrees/*/build-*"), *root.glob("*/.partial-*")]
    for victim in victims:
        if victim.exists():
            out.print(f"removing {victim}", highlight=False, soft_wrap=True)
            shutil.rmtree(victim)
