# SPDX-License-Identifier: GPL-2.0
"""Commands for nights, and for what is made from many runs."""

import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from farm import timer
from farm.base.deadline import Deadline
from farm.base.errors import Exit, UsageError
from farm.cli.options import (
    MatrixOption,
    RestartOption,
    ResultsOption,
    SeriesOption,
    TreeOption,
    Verbose,
    err,
    out,
    was_typed,
)
from farm.history import index, query
from farm.kernel import series as patches
from farm.matrix import MATRIX, RESULTS, load
from farm.nightly import evening, morning, night
from farm.report import changes as change_report
from farm.report.site.make import make as make_site

app = typer.Typer()


@app.command()
def nightly(
    ctx: typer.Context,
    budget: Annotated[
        str, typer.Option("--budget", metavar="TIME", help="How long the night may take: 6h, 90m.")
    ] = "6h",
    tree: TreeOption = None,
    series: SeriesOption = None,
    install: Annotated[bool, typer.Option("--install", help="Run every night from now on, but not now.")] = False,
    at: Annotated[str, typer.Option("--at", metavar="HH:MM", help="When the night starts, with --install.")] = "02:00",
    restart: RestartOption = False,
    results: ResultsOption = RESULTS,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Test all cells and suites, run the kernel's own tests, and try a sample of the
    mutants, a different one each night: as much as fits into the budget. Then report
    what changed since the last night, make the site of `farm report`, and run `farm tell`
    if there is a tell.yaml.

    If a night was killed, the same command continues it within 20 hours. `--install`
    makes a timer in your own systemd, or prints a line for cron if there is no systemd.
    Exit status: the highest of the steps, 3 if a step did not finish.

    Examples:

    ```
    farm nightly --budget 6h
    farm nightly --tree ~/linux@next
    farm nightly --install --at 01:30
    ```
    """
    if was_typed(ctx, "at") and not install:
        raise UsageError("--at is the time for --install; without --install the night begins now")
    known = load(matrix)
    tree = os.path.abspath(os.path.expanduser(tree)) if tree and tree not in known.trees else tree
    series = os.path.abspath(os.path.expanduser(series)) if series and series != "none" else series
    asked = night.Asked(results, matrix.resolve(), tree, series)
    limit = night.seconds(budget)
    if install:
        where, said = timer.install([sys.executable, "-m", "farm", "nightly", "--budget", budget, *asked.words], at)
        out.print(f"installed in {where}{said}", markup=False, highlight=False, soft_wrap=True)
        return
    patches.check(patches.for_tree(known, tree), known.trees, tree, series)
    with night.alone(results), morning.told_of_failure(results):
        found = None if restart else night.left_open(asked, datetime.now(UTC))
        directory, planned = found or evening.begin(asked, limit)
        for line in night.told(planned, goes_on=found is not None):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
        ended = night.go_on(directory, planned, Deadline(limit))
        status = morning.show(out, results, directory, ended)
        night.save(directory, replace(ended, reported=True))
    raise typer.Exit(status)


@app.command()
def report(
    run: Annotated[
        str,
        typer.Argument(help="The run on the first page; default: the newest one, patched or not.", metavar="[RUN]"),
    ] = "",
    reindex: Annotated[bool, typer.Option("--reindex", help="Rebuild the history from the run directories.")] = False,
    results: ResultsOption = RESULTS,
) -> None:
    """Make the site of the results: how the newest run differs from the last clean one, all
    runs, each test, each failure, each cell, and trends. The pages are static and lie in
    `results/site`; only pages that changed are written.

    Examples:

    ```
    farm report
    farm report 20260301-020000
    farm report --reindex
    ```
    """
    indexed = index.reindex(results) if reindex else index.index(results)
    for said in indexed.skipped:
        err.print(f"not taken: {said}", markup=False, highlight=False, soft_wrap=True)
    out.print(make_site(results, Path(run).name), markup=False, highlight=False, soft_wrap=True)


@app.command()
def compare(
    before: Annotated[str, typer.Argument(help="A run, by id or directory, or one cell of it: RUN:CELL.")],
    after: Annotated[str, typer.Argument(help="A later run, or one cell of it.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a mail or a pull request.")] = False,
    results: ResultsOption = RESULTS,
) -> None:
    """Compare two runs, test by test: two nights, trees, series or cells. Exit
    status: 0 nothing is worse, 1 something is, 2 wrong usage.

    Examples:

    ```
    farm compare 20260101-020000 20260102-020000 --markdown
    farm compare 20260101-020000:x86_64-regs 20260101-020000:x86_64-kasan
    ```
    """
    comparison = query.named(results, before, after)
    if markdown:
        print(change_report.markdown(comparison), end="")
    else:
        change_report.show(out, comparison)
    raise typer.Exit(Exit.KERNEL if comparison.worse else Exit.PASSED)
