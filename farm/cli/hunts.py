# SPDX-License-Identifier: GPL-2.0
"""Commands that search: series, bisections, mutants."""

from dataclasses import replace
from typing import Annotated

import typer

from farm.base.errors import UsageError
from farm.cli.options import (
    AccelOption,
    ConfidenceOption,
    FailureOption,
    GuestsOption,
    MatrixOption,
    PatchOption,
    RestartOption,
    ResultsOption,
    SelectOption,
    SeriesOption,
    TreeOption,
    TriesOption,
    Verbose,
    out,
    paths,
)
from farm.cli.runs import carry_out
from farm.hunt import bisect as bisect_hunt
from farm.hunt import configs as config_hunt
from farm.hunt import mutant as mutant_files
from farm.hunt import mutants as mutant_hunt
from farm.hunt import series as series_hunt
from farm.kernel.series import check_files
from farm.matrix import MATRIX, RESULTS, choose, load
from farm.record import records
from farm.report import bisection as bisect_report
from farm.report import configs as config_report
from farm.report import mutants as mutant_report
from farm.report import series as series_report
from farm.report.live import Live
from farm.run import selection, session

app = typer.Typer()


@app.command(name="series")
def check_series(
    cell: Annotated[
        list[str] | None,
        typer.Argument(
            help="Cells with the feature and without it; default: x86_64-off x86_64-regs.", metavar="[CELL]…"
        ),
    ] = None,
    select: SelectOption = "",
    tree: TreeOption = None,
    series: Annotated[str | None, typer.Option("--series", metavar="DIR", help="Patches; default: the farm's.")] = None,
    first: Annotated[int, typer.Option("--from", metavar="N", min=1, help="Start with the Nth patch.")] = 1,
    goon: Annotated[bool, typer.Option("--all", help="Continue after a patch that fails.")] = False,
    accelerator: AccelOption = "auto",
    results: ResultsOption = RESULTS,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Check each patch of a series by itself: checkpatch, the ABI, the build with the
    feature off and on, and the suites that apply so far. Names the first patch that
    fails. Takes a few minutes for each patch.

    Examples:

    ```
    farm series
    farm series --series ~/v2 -k "abi or build"
    farm series --tree ~/linux@v6.12.100 --from 4
    ```
    """
    known = load(matrix)
    chosen = choose(known, cell or ["x86_64-off", "x86_64-regs"])
    selection.check(chosen, select, matrix=matrix)
    request = session.RunRequest(
        cells=[one.name for one in chosen],
        tree=tree,
        series=series,
        select=select,
        accel=accelerator,
        matrix=matrix,
    )
    steps = series_hunt.steps(request)
    wanted = steps[first - 1 :]
    if not wanted:
        raise UsageError(f"--from {first}: the series has {len(steps)} patches")
    directory = records.new_directory(results, "series-")
    checked = []
    with Live(out) as live:

        def tell(step: series_hunt.Step) -> None:
            out.print(f"patch {step.number} of {len(steps)}: {step.patch.name}", highlight=False)

        for one in series_hunt.check(request, wanted, directory, live, tell):
            checked.append(one)
            if not one.good and not goon:
                break
    series_report.show(out, checked, len(steps))
    raise typer.Exit(series_hunt.status(checked))


@app.command()
def bisect(
    good: Annotated[str, typer.Option("--good", metavar="REV", help="A revision that passes.")],
    bad: Annotated[
        str,
        typer.Option("--bad", metavar="REV", help="A later revision that fails; default: the REV of --tree PATH@REV."),
    ] = "",
    tree: Annotated[str, typer.Option("--tree", metavar="PATH[@REV]", help="A git tree of yours.")] = ".",
    cell: Annotated[str, typer.Option("--cell", metavar="CELL", help="A cell of the matrix.")] = "x86_64-regs",
    select: SelectOption = "",
    failure: FailureOption = "",
    confidence: ConfidenceOption = 0.99,
    tries: TriesOption = 50,
    series: SeriesOption = None,
    patch: PatchOption = None,
    restart: RestartOption = False,
    accelerator: AccelOption = "auto",
    guests: GuestsOption = 0,
    results: ResultsOption = RESULTS,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Find the commit that broke a test, by `git bisect`. Your tree is only read.

    Tests both ends first. A commit is bad only if it fails as the bad end does. A
    commit that does not build, does not boot or fails in another way is skipped. If
    the failure comes and goes, each commit is tested until the confidence is reached.
    A `--patch` is applied on top of the series at every commit. If the hunt was
    stopped or killed, the same command continues it. Exit status: 0 found, 1 only
    skipped commits are left, 2 wrong ends or wrong usage, 3 the farm failed.

    Examples:

    ```
    farm bisect --good v6.12.100 --bad HEAD -k slots
    farm bisect --tree ~/linux@mine --good v6.12.100 -k filter
    farm bisect --good good --bad mine --cell x86_64-static --series none
    farm bisect --good a1 --bad b2 -k routes --confidence 0.999 --tries 500
    ```
    """
    tree, bad = bisect_hunt.bad_end(tree, bad)
    check_files(series, patch or [])
    selection.check(choose(load(matrix), [cell]), select, matrix=matrix)
    request = bisect_hunt.BisectRequest(
        good=good,
        bad=bad,
        tree=tree,
        cell=cell,
        series=series,
        patches=paths(patch),
        select=select,
        failure=failure,
        confidence=confidence,
        tries=tries,
        accel=accelerator,
        workers=guests,
        restart=restart,
        results=results,
        matrix=matrix,
    )
    with bisect_report.Progress(out) as progress:
        directory, hunt = bisect_hunt.bisect(request, progress, progress.tell)
    bisect_report.show(out, directory, hunt)
    raise typer.Exit(bisect_report.exit_status(hunt))


@app.command()
def config_bisect(
    good: Annotated[str, typer.Option("--good", metavar="CELL", help="A cell that passes.")] = "",
    bad: Annotated[str, typer.Option("--bad", metavar="CELL", help="A cell that fails.")] = "",
    minimise: Annotated[
        str,
        typer.Option("--minimise", metavar="CELL", help="Instead: find the fewest options with which this cell fails."),
    ] = "",
    select: SelectOption = "",
    failure: FailureOption = "",
    confidence: ConfidenceOption = 0.99,
    tries: TriesOption = 50,
    tree: TreeOption = None,
    series: SeriesOption = None,
    restart: RestartOption = False,
    accelerator: AccelOption = "auto",
    guests: GuestsOption = 0,
    results: ResultsOption = RESULTS,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Find the options that make a test fail, or the fewest options with which it fails.

    Tests both ends first. Then it leaves out options, step by step; each step builds
    one kernel and takes a few minutes. Only the failure of the bad end counts. Tree,
    toolchain, patches and guest are always those of the bad cell. `--minimise` never
    leaves out the fragment `base`, which a guest needs to boot. If the hunt was stopped
    or killed, the same command continues it. Exit status: 0 found, 2 wrong cells or
    wrong usage, 3 the farm failed.

    Examples:

    ```
    farm config-bisect --good x86_64-regs --bad x86_64-kasan -k test_value
    farm config-bisect --minimise x86_64-lockdep --tree ~/linux@mine -k load
    ```
    """
    if bool(minimise) == bool(good or bad) or bool(good) != bool(bad):
        raise UsageError("give --good CELL and --bad CELL, or --minimise CELL")
    check_files(series, [])
    selection.check(choose(load(matrix), [bad or minimise]), select, matrix=matrix)
    request = config_hunt.ConfigBisectRequest(
        good=good,
        bad=bad or minimise,
        tree=tree,
        series=series,
        select=select,
        failure=failure,
        confidence=confidence,
        tries=tries,
        accel=accelerator,
        workers=guests,
        restart=restart,
        results=results,
        matrix=matrix,
    )
    with bisect_report.Progress(out) as progress:
        directory, hunt = config_hunt.bisect(request, progress, progress.tell)
    config_report.show(out, directory, hunt)


@app.command()
def mutants(
    name: Annotated[
        list[str] | None,
        typer.Argument(help="Mutants, folders of mutants, or patterns; default: all.", metavar="[NAME]…"),
    ] = None,
    cell: Annotated[
        list[str] | None, typer.Option("--cell", metavar="CELL", help="Try them only in this cell; may be repeated.")
    ] = None,
    clean: Annotated[
        int,
        typer.Option(
            "--clean", metavar="N", min=0, help="Test the clean kernel N times instead, and count false alarms."
        ),
    ] = 0,
    listed: Annotated[bool, typer.Option("--list", help="Only list the mutants, with what each changes.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build nothing; list where each mutant would be tried.")
    ] = False,
    accelerator: AccelOption = "auto",
    guests: GuestsOption = 0,
    results: ResultsOption = RESULTS,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Put bugs into the kernel, one by one, and check that a test fails. Exit
    status: 0 all were caught, 1 some survived, 2 wrong usage or a patch that does
    not apply, 3 the farm failed.

    Examples:

    ```
    farm mutants
    farm mutants trampoline --list
    farm mutants 'S-*' --cell x86_64-regs --dry-run
    farm mutants --clean 20 --cell x86_64-regs
    ```
    """
    known = load(matrix)
    only = [chosen.name for chosen in choose(known, cell)] if cell else []
    if clean and (listed or dry_run):
        raise UsageError("--clean tries no mutant: leave out --list and --dry-run")
    chosen = mutant_files.choose(mutant_files.load(known), name or [])
    request = mutant_hunt.MutantsRequest(chosen, only, bool(name), accelerator, guests, results, matrix)
    if listed or dry_run:
        for line in mutant_hunt.listed(chosen) if listed else mutant_hunt.planned(request):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
        return
    if clean:
        asked = mutant_hunt.clean(chosen, only, clean)
        carry_out(replace(asked, accel=accelerator, workers=guests, results=results, matrix=matrix))
    with mutant_report.Progress(out) as progress:
        directory, scores = mutant_hunt.hunt(request, progress)
    mutant_report.show(out, directory, scores, chosen)
    raise typer.Exit(scores.exit)
