# SPDX-License-Identifier: GPL-2.0
"""Commands that run tests, and that use one run."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.text import Text

from farm.base.errors import UsageError
from farm.cli.kernels import build_kernels, check
from farm.cli.options import (
    AccelOption,
    All,
    Cells,
    GuestsOption,
    MatrixOption,
    OneRun,
    PatchOption,
    PokeOption,
    ResultsOption,
    SelectOption,
    SeriesOption,
    TreeOption,
    Verbose,
    err,
    names,
    out,
    paths,
    was_typed,
)
from farm.guest import poke as pokes
from farm.matrix import MATRIX, RESULTS, choose, load
from farm.record import records
from farm.report import comparison as differences
from farm.report import export as exports
from farm.report import kcidb, terminal
from farm.report.live import Live
from farm.run import comparison, selection, session
from farm.tell import config as tell_config
from farm.tell import tell as telling

app = typer.Typer()


@app.command()
def run(
    ctx: typer.Context,
    cell: Cells = None,
    everything: All = False,
    select: SelectOption = "",
    tree: TreeOption = None,
    series: SeriesOption = None,
    accelerator: AccelOption = "auto",
    guests: GuestsOption = 0,
    patch: PatchOption = None,
    poke: PokeOption = None,
    partial: Annotated[
        bool,
        typer.Option("--partial", help="The tree has only part of the feature: test neither it nor its absence."),
    ] = False,
    repeat: Annotated[
        int, typer.Option("--repeat", metavar="N", min=1, max=100_000, help="Run each test N times.")
    ] = 1,
    stop: Annotated[bool, typer.Option("-x", "--stop", help="Stop at the first failure.")] = False,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="RUN", help="Continue this interrupted run, with its own options."),
    ] = None,
    results: ResultsOption = RESULTS,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Build, boot and test cells. Exit status: 0 all passed, 1 the kernel failed
    something, 2 wrong usage, 3 the farm failed.

    Examples:

    ```
    farm run
    farm run --all
    farm run x86_64-regs --tree ~/linux -k slots
    farm run --tree ~/linux@v6.12-mine --series none
    farm run -k test_filter --repeat 100 -x
    farm run --resume 20260101-000000
    ```
    """
    if resume is not None:
        _refuse_besides_resume(ctx)
    else:
        chosen = choose(load(matrix), names(matrix, cell, everything, tree))
        selection.check(chosen, select, matrix=matrix)
    request = session.RunRequest(
        cells=names(matrix, cell, everything, tree),
        tree=tree,
        series=series,
        select=select,
        accel=accelerator,
        workers=guests,
        patches=paths(patch),
        pokes=[str(pokes.parse(text)) for text in poke or []],
        partial=partial,
        repeat=repeat,
        stop=stop,
        resume=records.find(results, resume).resolve() if resume is not None else None,
        results=results,
        matrix=matrix,
    )
    carry_out(request)


#: What may be given with --resume: where the run is, and how this part of it runs.
BESIDE_RESUME = ("resume", "results", "stop", "verbose")


def _refuse_besides_resume(ctx: typer.Context) -> None:
    """Raise UsageError for options that the resumed run has already."""
    typed = [param for param in ctx.command.params if was_typed(ctx, param.name) and param.name not in BESIDE_RESUME]
    if typed:
        named = ", ".join(param.opts[0] if param.opts[0].startswith("-") else "CELL" for param in typed)
        raise UsageError(f"--resume continues a run with its own options: leave out {named}, or start a new run")


def carry_out(request: session.RunRequest) -> NoReturn:
    """Run, show the result, and exit with its status."""
    with Live(out) as live:
        directory, status = session.execute(request, live)
    finished, verdicts = records.load_run(directory), records.load_verdicts(directory)
    _leave_exports(directory, finished, verdicts)
    terminal.show(out, directory, finished, verdicts)
    raise typer.Exit(status)


def _leave_exports(directory: Path, finished: records.Run, verdicts: list[records.VerdictRecord]) -> None:
    for complaint in exports.leave(directory, finished, verdicts):
        err.print(complaint, markup=False, highlight=False, soft_wrap=True)


@app.command(name="tests")
def list_tests(
    cell: Cells = None,
    select: SelectOption = "",
    matrix: MatrixOption = MATRIX,
) -> None:
    """List the suites and their tests, by the names that `-k` takes: what each one checks,
    and the facts that a cell must declare for it (`farm cells -v`).

    Examples:

    ```
    farm tests
    farm tests -k 'slots or routes'
    ```
    """
    chosen = choose(load(matrix), cell or [])
    suite = ""
    for one in selection.find(chosen, select, matrix=matrix):
        if one.suite != suite:
            suite = one.suite
            out.print(f"{suite}:", style="bold", highlight=False)
        facts = " ".join([*one.needs, *(f"no {fact}" for fact in one.absent)])
        line = Text.assemble(f"  {one.name}", (f"  {one.about}", ""), (f"  [{facts}]" if facts else "", "dim"))
        out.print(line, soft_wrap=True)
    if not suite:
        raise UsageError(f"-k {select!r} selects no test; `farm tests` lists all")


@app.command()
def export(
    run: OneRun,
    format: Annotated[str, typer.Option("--format", metavar="|".join(exports.FORMATS), help="The format.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to this file instead of stdout.")
    ] = None,
    origin: Annotated[
        str,
        typer.Option(
            "--origin", metavar="NAME", envvar="FTRACE_FARM_ORIGIN", help="The origin of the report, for KCIDB."
        ),
    ] = kcidb.ORIGIN,
    results: ResultsOption = RESULTS,
) -> None:
    """Export a run for other programs: JUnit XML, KTAP, KCIDB or JSON lines.
    `docs/formats.md` describes each format.

    Examples:

    ```
    farm export 20260101-000000 --format ktap
    farm export ~/nightly/run --format kcidb -o r.json
    ```
    """
    text, troubles = exports.text(records.find(results, run), format, origin)
    for trouble in troubles:
        err.print(trouble, markup=False, highlight=False, soft_wrap=True)
    exports.write(output, text) if output else exports.say(text)


@app.command()
def tell(
    run: OneRun,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the mail, but send nothing.")] = False,
    always: Annotated[bool, typer.Option("--always", help="Send it even if nothing changed.")] = False,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Use this file instead of your tell.yaml.")
    ] = None,
    results: ResultsOption = RESULTS,
    verbose: Verbose = False,
) -> None:
    """Send the result of a run, and what changed, by mail or webhook, as tell.yaml says;
    `docs/telling.md` has an example. Exit status: 0 sent or nothing to send, 2 wrong
    configuration, 3 it could not be delivered.

    Examples:

    ```
    farm tell 20260101-000000 --dry-run
    farm tell 20260101-000000 --always
    ```
    """
    path = config or tell_config.default()
    told = telling.look(records.find(results, run))
    if dry_run:
        exports.say(telling.draft(told, tell_config.load(path) if path.exists() or config else None))
    else:
        done = telling.tell(told, tell_config.load(path), always)
        out.print(
            f"told {'; '.join(done)}" if done else "nothing changed, so nothing was sent",
            highlight=False,
            soft_wrap=True,
        )


@app.command()
def selftests(
    cell: Annotated[str, typer.Argument(help="A cell of the matrix.")] = "x86_64-regs",
    select: Annotated[str, typer.Option("-k", metavar="TEXT", help="Only tests whose names have this text.")] = "",
    tree: TreeOption = None,
    series: SeriesOption = None,
    patch: PatchOption = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base", metavar="PATH[@REV]", help="The kernel to compare with; default: the tree without the series."
        ),
    ] = None,
    accelerator: AccelOption = "auto",
    results: ResultsOption = RESULTS,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Run the kernel's own tests of ftrace (ftracetest) on a cell's kernel and on its
    base, and compare: no test may end worse than on the base. Takes about ten minutes.

    Examples:

    ```
    farm selftests
    farm selftests -k fgraph
    farm selftests --tree ~/linux@mine --base ~/linux@v6.12.100
    ```
    """

    request = comparison.SelftestsRequest(cell, select, tree, series, base, paths(patch), accelerator, results, matrix)
    orders = comparison.orders(request)
    for order in orders.values():
        check(order)
    built = {}
    for kernel, order in orders.items():
        err.print(f"{cell}: the {kernel} kernel", markup=False, highlight=False)
        (built[kernel],) = build_kernels(order)
    with Live(out) as live:
        directory, status = comparison.run(request, built, live)
    finished, verdicts = records.load_run(directory), records.load_verdicts(directory)
    _leave_exports(directory, finished, verdicts)
    differences.show(out, directory, finished, verdicts)
    raise typer.Exit(status)
