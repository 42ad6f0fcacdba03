# SPDX-License-Identifier: GPL-2.0
"""The command line: one command a phase, no logic."""

import os
import shutil
import sys
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from farm import doctor as requirements
from farm import timer
from farm.base import cache
from farm.base.command import VERBOSE
from farm.base.deadline import Deadline
from farm.base.errors import Blamed, Exit, FarmError, KernelError, UsageError
from farm.guest import accel, vm
from farm.guest import poke as pokes
from farm.guest.image import image
from farm.history import index, query, retention, store
from farm.hunt import bisect as bisect_hunt
from farm.hunt import configs as config_hunt
from farm.hunt import mutant as mutant_files
from farm.hunt import mutants as mutant_hunt
from farm.hunt import series as series_hunt
from farm.kernel import builder
from farm.matrix import CHECKOUT, MATRIX, choose, load
from farm.nightly import morning, night
from farm.report import bisection as bisect_report
from farm.report import changes as change_report
from farm.report import comparison as differences
from farm.report import configs as config_report
from farm.report import export as exports
from farm.report import kcidb, terminal
from farm.report import mutants as mutant_report
from farm.report import series as series_report
from farm.report.live import Live
from farm.report.site.make import make as make_site
from farm.run import comparison, records, session
from farm.tell import config as tell_config
from farm.tell import tell as telling

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="Boot patched kernels in QEMU and check the ftrace trampoline and the BPF filters on it.",
)
out = Console()
#: For what is told on the way to a result: `farm exec` leaves stdout to the guest.
err = Console(stderr=True)

#: What typer makes of a Ctrl-C that nobody took.
INTERRUPTED = 130

Cells = Annotated[
    list[str] | None,
    typer.Argument(help="Cells of the matrix; those of the main road if none is named.", metavar="[CELL]…"),
]
All = Annotated[bool, typer.Option("--all", help="Every cell of the matrix.")]
OneCell = Annotated[str, typer.Argument(help="A cell of the matrix.", metavar="CELL")]
TreeOption = Annotated[
    str | None,
    typer.Option(
        "--tree", metavar="PATH[@REV]", help="A git tree of yours; without @REV as it stands, changes included."
    ),
]
SeriesOption = Annotated[
    str | None,
    typer.Option(
        "--series", metavar="DIR|none", help="Patches to apply; default: the tree's own, unless they are in it."
    ),
]
PatchOption = Annotated[
    list[str] | None,
    typer.Option("--patch", metavar="FILE", help="One more patch, on top of the series; may be given again."),
]
PokeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--poke",
        metavar="SYMBOL[+OFFSET][:OLD]=NEW",
        help="Break the running kernel first: bytes of a symbol, in hex. To see a check fail.",
    ),
]
AccelOption = Annotated[str, typer.Option("--accel", metavar="auto|kvm|tcg", help="What runs the guests.")]
SelectOption = Annotated[str, typer.Option("-k", metavar="EXPR", help="Only tests that match, as with pytest.")]
GuestsOption = Annotated[int, typer.Option("-n", "--guests", min=0, help="Guests at once; 0: as many as fit.")]
ResultsOption = Annotated[Path | None, typer.Option("--results", help="Where run directories go.", metavar="DIR")]
OneRun = Annotated[str, typer.Argument(help="A run directory, or the name of one among the results.", metavar="RUN")]
FailureOption = Annotated[
    str, typer.Option("--failure", metavar="TEXT", help="Of several failures the one with this text in its name.")
]
ConfidenceOption = Annotated[
    float, typer.Option("--confidence", help="How sure the result must be, where the failure comes and goes.")
]
TriesOption = Annotated[
    int, typer.Option("--tries", metavar="N", min=1, help="The bad end may pass so often before it is called good.")
]
RestartOption = Annotated[bool, typer.Option("--restart", help="Begin anew what was left or has ended.")]
MatrixOption = Annotated[Path, typer.Option("--matrix", help="Another matrix.yaml.", metavar="FILE")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Print the external commands.")]


def _verbose(verbose: bool) -> None:
    if verbose:
        os.environ[VERBOSE] = "1"


def _accelerator(name: str) -> str:
    if name not in ("auto", "kvm", "tcg"):
        raise typer.BadParameter(f"{name!r} is none of auto, kvm, tcg", param_hint="--accel")
    return name


@app.command()
def doctor(verbose: Verbose = False) -> None:
    """What this host can and lacks, and how to get what is missing."""
    _verbose(verbose)
    table = Table("requirement", "state", "what to do")
    findings = requirements.check()
    for finding in findings:
        style = "green" if finding.good else "yellow" if finding.optional else "bold red"
        table.add_row(finding.name, f"[{style}]{finding.state}[/]", finding.remedy)
    out.print(table)
    raise typer.Exit(Exit.PASSED if all(f.good or f.optional for f in findings) else Exit.FARM)


@app.command()
def cells(matrix: MatrixOption = MATRIX) -> None:
    """The cells of the matrix: what each is, what it declares to support."""
    table = Table("cell", "what it is", "fragments", "supports")
    for cell in load(matrix).cells.values():
        fragments = " ".join(path.stem for path in cell.fragments + cell.feature)
        notes = (" [bold](main road)[/]" if cell.main else "") + ("" if cell.machine else " [bold](only built)[/]")
        table.add_row(cell.name, cell.about + notes, fragments, " ".join(sorted(cell.supports)) or "-")
    out.print(table)


@app.command()
def build(
    cell: Cells = None,
    everything: All = False,
    tree: TreeOption = None,
    series: SeriesOption = None,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Build the kernels of cells, and nothing that the cache has.

    Example: `farm build x86_64-regs --tree ~/linux`
    """
    _verbose(verbose)
    names = [chosen.name for chosen in choose(load(matrix), _names(matrix, cell, everything))]
    built = _build(names, tree, series, matrix)
    for one in built:
        out.print(f"{one.cell}: {one.kernel}/bzImage", highlight=False, soft_wrap=True)


def _names(matrix: Path, cell: list[str] | None, everything: bool) -> list[str]:
    return list(load(matrix).cells) if everything else cell or []


def _build(names: list[str], tree: str | None, series: str | None, matrix: Path) -> list[builder.Built]:
    """Build with progress on the screen; raise the gravest failure at the end."""
    built: list[builder.Built] = []
    failed: list[builder.Event] = []
    process = builder.start(builder.Order(names, tree, series, str(matrix)))
    try:
        with Live(err) as live:
            live.cells(names)
            for event in builder.events(process):
                if event.kind == "progress":
                    live.building(event.cell, event.text)
                elif event.built:
                    live.built(event.cell, event.built.kernel_key)
                    built.append(event.built)
                else:
                    live.built(event.cell, "failed")
                    failed.append(event)
        status = process.wait()
    finally:
        process.terminate()
        process.wait()
    if failed:
        worst = max(failed, key=lambda event: event.exit)
        raise builder.as_error(worst.exit)("\n".join(event.text for event in failed))
    if status:
        raise FarmError(f"the builder ended with {status}")
    return built


def _spec(name: str, tree: str | None, series: str | None, wish: str, matrix: Path) -> vm.Spec:
    (cell,) = choose(load(matrix), [name])
    if cell.machine is None:
        raise UsageError(f"{name} is only built, it has no guest; see `farm cells`")
    chosen = accel.choose(_accelerator(wish))
    (built,) = _build([name], tree, series, matrix)
    root = image(Path(built.programs), Path(built.module))
    return vm.Spec(Path(built.kernel) / "bzImage", root, cell.machine, chosen.name)


@app.command()
def boot(
    cell: OneCell,
    tree: TreeOption = None,
    series: SeriesOption = None,
    accelerator: AccelOption = "auto",
    append: Annotated[str, typer.Option("--append", help="More for the kernel's command line.")] = "",
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """A shell in a guest of a cell; leaving it ends the guest.

    Example: `farm boot x86_64-regs`
    """
    _verbose(verbose)
    spec = _spec(cell, tree, series, accelerator, matrix)
    with cache.scratch("consoles") as directory:
        log = directory / "console.log"
        with vm.boot(replace(spec, cmdline=append), log) as guest:
            err.print(
                f"{cell} after {guest.boot_seconds:.1f} s under {spec.accel}; the kernel's log: {log}", highlight=False
            )
            raise typer.Exit(guest.shell())


@app.command(context_settings={"ignore_unknown_options": True})
def exec(
    cell: OneCell,
    command: Annotated[list[str], typer.Argument(help="What to run, after --.", metavar="-- CMD…")],
    tree: TreeOption = None,
    series: SeriesOption = None,
    accelerator: AccelOption = "auto",
    limit: Annotated[float, typer.Option("--limit", help="Seconds that it may take.")] = 600.0,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Run one command in a fresh guest of a cell, with its output and its status.

    Example: `farm exec x86_64-regs -- uname -a`
    """
    _verbose(verbose)
    spec = _spec(cell, tree, series, accelerator, matrix)
    with cache.scratch("consoles") as directory, vm.boot(spec, directory / "console.log") as guest:
        done = guest.connection.run(" ".join(command), guest.deadline(limit))
        sys.stdout.write(done.stdout)
        sys.stderr.write(done.stderr)
        raise typer.Exit(done.status)


@app.command()
def run(
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
        typer.Option("--partial", help="The tree has only a part of the feature: test neither it nor its absence."),
    ] = False,
    repeat: Annotated[int, typer.Option("--repeat", metavar="N", min=1, help="Run each test so often.")] = 1,
    stop: Annotated[bool, typer.Option("-x", "--stop", help="Stop at the first failure.")] = False,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Go on with this interrupted run, as it was asked for."),
    ] = None,
    results: ResultsOption = None,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Build, boot and test cells. Exit status: 0 passed, 1 the kernel failed
    something, 2 wrong usage, 3 the farm failed.

    Examples: `farm run`, `farm run --all`, `farm run x86_64-regs --tree ~/linux -k slots`,
    `farm run --tree ~/linux@v6.12-mine --series none`, `farm run -k test_filter --repeat 100 -x`
    """
    _verbose(verbose)
    request = session.Request(
        cells=_names(matrix, cell, everything),
        tree=tree,
        series=series,
        select=select,
        accel=_accelerator(accelerator),
        workers=guests,
        patches=[str(Path(path).expanduser().resolve()) for path in patch or []],
        pokes=[str(pokes.parse(text)) for text in poke or []],
        partial=partial,
        repeat=repeat,
        stop=stop,
        resume=resume.resolve() if resume else None,
        matrix=matrix,
    )
    _report(replace(request, results=results.resolve()) if results else request)


def _report(request: session.Request) -> NoReturn:
    """Run, show what came of it, and exit with its status."""
    with Live(out) as live:
        directory, status = session.execute(request, live)
    finished, verdicts = records.load_run(directory), records.load_verdicts(directory)
    _leave_exports(directory, finished, verdicts)
    terminal.show(out, directory, finished, verdicts)
    raise typer.Exit(status)


def _leave_exports(directory: Path, finished: records.Run, verdicts: list[records.VerdictRecord]) -> None:
    for complaint in exports.leave(directory, finished, verdicts):
        err.print(complaint, markup=False, highlight=False, soft_wrap=True)


@app.command()
def export(
    run: OneRun,
    format: Annotated[str, typer.Option("--format", metavar="|".join(exports.FORMATS), help="What to make of it.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Instead of stdout.")] = None,
    origin: Annotated[
        str, typer.Option("--origin", metavar="NAME", envvar="FTRACE_FARM_ORIGIN", help="Who reports it, for KCIDB.")
    ] = kcidb.ORIGIN,
    results: ResultsOption = None,
) -> None:
    """A run in the format of another program: JUnit XML, KTAP, KCIDB, JSON lines.
    `docs/formats.md` describes each.

    Examples: `farm export 20260101-000000 --format ktap`, `farm export ~/nightly/run --format kcidb -o r.json`
    """
    text, troubles = exports.text(records.find(results or session.Request.results, run), format, origin)
    for trouble in troubles:
        err.print(trouble, markup=False, highlight=False, soft_wrap=True)
    exports.write(output, text) if output else exports.say(text)


@app.command()
def tell(
    run: OneRun,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the mail, send nothing.")] = False,
    always: Annotated[bool, typer.Option("--always", help="Also if nothing changed.")] = False,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Instead of tell.yaml in your configuration.")
    ] = None,
    results: ResultsOption = None,
    verbose: Verbose = False,
) -> None:
    """Tell what came of a run, and what changed, by mail or webhook, as tell.yaml
    says; docs/telling.md has one. Exit status: 0 told or nothing to tell, 2 wrong
    configuration, 3 it could not be delivered.

    Examples: `farm tell 20260101-000000 --dry-run`, `farm tell 20260101-000000 --always`
    """
    _verbose(verbose)
    path = config or tell_config.default()
    told = telling.look(records.find(results or session.Request.results, run))
    if dry_run:
        exports.say(telling.draft(told, tell_config.load(path) if path.exists() or config else None))
    else:
        done = telling.tell(told, tell_config.load(path), always)
        out.print(
            f"told {'; '.join(done)}" if done else "nothing changed, nobody was told", highlight=False, soft_wrap=True
        )


@app.command()
def selftests(
    cell: Annotated[str, typer.Argument(help="A cell of the matrix.")] = "x86_64-regs",
    select: Annotated[str, typer.Option("-k", metavar="TEXT", help="Only tests with this in their names.")] = "",
    tree: TreeOption = None,
    series: SeriesOption = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base", metavar="PATH[@REV]", help="What to compare with; default: the tree without the series."
        ),
    ] = None,
    accelerator: AccelOption = "auto",
    results: ResultsOption = None,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Run the kernel's own tests of ftrace (ftracetest) on a cell's kernel and on
    its base, side by side: none may end worse. Takes some ten minutes.

    Examples: `farm selftests`, `farm selftests -k fgraph`,
    `farm selftests --tree ~/linux@mine --base ~/linux@v6.12.100`
    """
    _verbose(verbose)
    request = comparison.Request(cell, select, tree, series, base, _accelerator(accelerator), matrix)
    if results:
        request = replace(request, results=results.resolve())
    kernels = comparison.orders(request)
    built = {kernel: _build(order.cells, order.tree, order.series, matrix)[0] for kernel, order in kernels.items()}
    with Live(out) as live:
        directory, status = comparison.execute(request, built, live)
    finished, verdicts = records.load_run(directory), records.load_verdicts(directory)
    _leave_exports(directory, finished, verdicts)
    differences.show(out, directory, finished, verdicts)
    raise typer.Exit(status)


@app.command(name="series")
def check_series(
    cell: Annotated[
        list[str] | None,
        typer.Argument(help="Cells with the feature and without; default: x86_64-off x86_64-regs.", metavar="[CELL]…"),
    ] = None,
    select: SelectOption = "",
    tree: TreeOption = None,
    series: Annotated[str | None, typer.Option("--series", metavar="DIR", help="Patches; default: the farm's.")] = None,
    first: Annotated[int, typer.Option("--from", metavar="N", min=1, help="Begin with the Nth patch.")] = 1,
    goon: Annotated[bool, typer.Option("--all", help="Go on behind a patch that fails.")] = False,
    accelerator: AccelOption = "auto",
    results: ResultsOption = None,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Check that each patch of a series stands by itself: checkpatch, the ABI, the
    build with the feature off and on, the suites that apply so far. Names the
    first that does not. Takes some minutes a patch.

    Examples: `farm series`, `farm series --series ~/v2 -k "abi or build"`,
    `farm series --tree ~/linux@v6.12.100 --from 4`
    """
    _verbose(verbose)
    request = session.Request(
        cells=cell or ["x86_64-off", "x86_64-regs"],
        tree=tree,
        series=series,
        select=select,
        accel=_accelerator(accelerator),
        matrix=matrix,
    )
    steps = series_hunt.steps(request)
    wanted = steps[first - 1 :]
    if not wanted:
        raise UsageError(f"--from {first}: the series has {len(steps)} patches")
    directory = records.new_directory((results or request.results).resolve(), "series-")
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
    bad: Annotated[str, typer.Option("--bad", metavar="REV", help="A later one that fails.")],
    tree: Annotated[str, typer.Option("--tree", metavar="PATH", help="A git tree of yours.")] = ".",
    cell: Annotated[str, typer.Option("--cell", metavar="CELL", help="A cell of the matrix.")] = "x86_64-regs",
    select: SelectOption = "",
    failure: FailureOption = "",
    confidence: ConfidenceOption = 0.99,
    tries: TriesOption = 50,
    series: SeriesOption = None,
    restart: RestartOption = False,
    accelerator: AccelOption = "auto",
    guests: GuestsOption = 0,
    results: ResultsOption = None,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Find the commit that broke a test, by `git bisect`; your tree is only read.

    Tests both ends first. Only the failure of the bad end counts as bad;
    what does not build, does not boot or fails in another way is skipped. A
    failure that comes and goes is waited for until the confidence is reached.
    Stopped or killed, the same command goes on. Exit status: 0 found, 1 only
    skipped commits are left, 2 wrong ends or wrong usage, 3 the farm failed.

    Examples: `farm bisect --good v6.12.100 --bad HEAD -k slots`,
    `farm bisect --tree ~/linux --good good --bad mine --cell x86_64-static --series none -k filter`,
    `farm bisect --good v6.12.100 --bad HEAD -k test_arguments --confidence 0.999 --tries 500`
    """
    _verbose(verbose)
    request = bisect_hunt.Request(
        good=good,
        bad=bad,
        tree=tree,
        cell=cell,
        series=series,
        select=select,
        failure=failure,
        confidence=confidence,
        tries=tries,
        accel=_accelerator(accelerator),
        workers=guests,
        restart=restart,
        matrix=matrix,
    )
    if results:
        request = replace(request, results=results.resolve())
    with bisect_report.Progress(out) as progress:
        directory, hunt = bisect_hunt.bisect(request, progress, progress.tell)
    bisect_report.show(out, directory, hunt)
    raise typer.Exit(bisect_report.exit_status(hunt))


@app.command()
def config_bisect(
    good: Annotated[str, typer.Option("--good", metavar="CELL", help="A cell that passes.")] = "",
    bad: Annotated[str, typer.Option("--bad", metavar="CELL", help="One that fails.")] = "",
    minimise: Annotated[
        str, typer.Option("--minimise", metavar="CELL", help="Instead: the fewest options with which this one fails.")
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
    results: ResultsOption = None,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Find the options that make a test fail, or the fewest with which it does.

    Tests both ends first, and then what lies between them, by leaving away what
    can be left away: a kernel a step, of some minutes. Only the failure of the bad
    end counts. Tree, toolchain, patches and guest are the bad cell's for all.
    A cell is minimised beside its fragment `base`, which a guest needs to boot.
    Stopped or killed, the same command goes on. Exit status: 0 found, 2 wrong
    cells or wrong usage, 3 the farm failed.

    Examples: `farm config-bisect --good x86_64-regs --bad x86_64-kasan -k test_arguments`,
    `farm config-bisect --minimise x86_64-lockdep --tree ~/linux@mine -k load`
    """
    _verbose(verbose)
    if bool(minimise) == bool(good or bad) or bool(good) != bool(bad):
        raise UsageError("give --good CELL and --bad CELL, or --minimise CELL")
    request = config_hunt.Request(
        good=good,
        bad=bad or minimise,
        tree=tree,
        series=series,
        select=select,
        failure=failure,
        confidence=confidence,
        tries=tries,
        accel=_accelerator(accelerator),
        workers=guests,
        restart=restart,
        matrix=matrix,
    )
    if results:
        request = replace(request, results=results.resolve())
    with bisect_report.Progress(out) as progress:
        directory, hunt = config_hunt.bisect(request, progress, progress.tell)
    config_report.show(out, directory, hunt)


@app.command()
def mutants(
    name: Annotated[
        list[str] | None,
        typer.Argument(help="Mutants, folders of mutants, or patterns; all if none is named.", metavar="[NAME]…"),
    ] = None,
    cell: Annotated[
        list[str] | None, typer.Option("--cell", metavar="CELL", help="Try them in this cell only; may be given again.")
    ] = None,
    clean: Annotated[
        int,
        typer.Option("--clean", metavar="N", min=0, help="No mutant: the clean kernel, N times. Counts false alarms."),
    ] = 0,
    accelerator: AccelOption = "auto",
    guests: GuestsOption = 0,
    results: ResultsOption = None,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Put bugs into the kernel, one after the other, and see what goes red. Exit
    status: 0 all were caught, 1 some survived, 2 wrong usage or a patch that does
    not fit, 3 the farm failed.

    Examples: `farm mutants`, `farm mutants trampoline`, `farm mutants 'S-*' --cell x86_64-regs`,
    `farm mutants --clean 20 --cell x86_64-regs`
    """
    _verbose(verbose)
    known = load(matrix)
    only = [chosen.name for chosen in choose(known, cell)] if cell else []
    chosen = mutant_files.choose(mutant_files.load(known), name or [])
    place = results.resolve() if results else session.Request.results
    if clean:
        asked = mutant_hunt.clean(chosen, only, clean)
        _report(replace(asked, accel=_accelerator(accelerator), workers=guests, results=place, matrix=matrix))
    request = mutant_hunt.Request(chosen, only, bool(name), _accelerator(accelerator), guests, place, matrix)
    with mutant_report.Progress(out) as progress:
        directory, scores = mutant_hunt.hunt(request, progress)
    mutant_report.show(out, directory, scores, chosen)
    raise typer.Exit(scores.exit)


@app.command()
def nightly(
    budget: Annotated[str, typer.Option("--budget", metavar="TIME", help="How long it may take: 6h, 90m.")] = "6h",
    tree: TreeOption = None,
    series: SeriesOption = None,
    install: Annotated[bool, typer.Option("--install", help="Run nothing now, but every night from now on.")] = False,
    at: Annotated[str, typer.Option("--at", metavar="HH:MM", help="When, with --install.")] = "02:00",
    restart: RestartOption = False,
    results: ResultsOption = None,
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
    _verbose(verbose)
    place = (results or session.Request.results).resolve()
    tree = str(Path(tree).expanduser().absolute()) if tree else None
    series = str(Path(series).expanduser().absolute()) if series and series != "none" else series
    asked = night.Asked(place, matrix.resolve(), tree, series)
    limit = night.seconds(budget)
    if install:
        where, said = timer.install([sys.executable, "-m", "farm", "nightly", "--budget", budget, *asked.words], at)
        out.print(f"installed in {where}{said}", markup=False, highlight=False, soft_wrap=True)
        return
    with night.alone(place), morning.told_of_failure(place):
        found = None if restart else night.left_open(asked, datetime.now(UTC))
        directory, planned = found or night.begin(asked, limit)
        for line in night.told(planned, goes_on=found is not None):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
        ended = night.go_on(directory, planned, Deadline(limit))
        status = morning.show(out, place, directory, ended)
    raise typer.Exit(status)


@app.command()
def report(
    run: Annotated[
        str, typer.Argument(help="The run of the first page; the newest if none is named.", metavar="[RUN]")
    ] = "",
    reindex: Annotated[bool, typer.Option("--reindex", help="Make the history anew from the run directories.")] = False,
    results: ResultsOption = None,
) -> None:
    """Make the site of the results: what changed, each test, each failure, each cell,
    trends. Static pages below `results/site`; only what changed is written.

    Examples: `farm report`, `farm report 20260301-020000`, `farm report --reindex`
    """
    where = (results or CHECKOUT / "results").resolve()
    indexed = index.reindex(where) if reindex else index.index(where)
    for said in indexed.skipped:
        err.print(f"not taken: {said}", markup=False, highlight=False, soft_wrap=True)
    out.print(make_site(where, Path(run).name), markup=False, highlight=False, soft_wrap=True)


@app.command()
def compare(
    before: Annotated[str, typer.Argument(help="A run: its id or its directory; RUN:CELL: one cell of it.")],
    after: Annotated[str, typer.Argument(help="Another one, the later.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="For a mail or a pull request.")] = False,
    results: ResultsOption = None,
) -> None:
    """What is different between two runs, test by test: of two nights, trees, series
    or cells. Exit status: 0 nothing is worse, 1 something is, 2 wrong usage.

    Examples: `farm compare 20260101-020000 20260102-020000 --markdown`,
    `farm compare results/20260101-020000:x86_64-regs results/20260101-020000:x86_64-kasan`
    """
    comparison = query.named((results or session.Request.results).resolve(), before, after)
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
    results: ResultsOption = None,
) -> None:
    """Remove build directories and what interrupted builds left; kernels stay.

    The next build of a cell starts anew, from ccache. `--all` empties the
    cache and takes the time of a first run to fill again. `--runs` leaves of the
    run directories those that a failure is hunted from, the last good and the
    first bad one; the history keeps the verdicts of all.

    Examples: `farm clean`, `farm clean --runs 90 --dry-run`
    """
    if runs is not None:
        where = (results or session.Request.results).resolve()
        index.index(where)
        with store.reading(where) as db:
            planned = retention.plan(db, runs)
        for kept, why in planned.kept:
            out.print(f"keeping {kept.id}: {why}", highlight=False, markup=False, soft_wrap=True)
        for gone in planned.prunable if dry_run else retention.prune(where, runs):
            out.print(f"{'would remove' if dry_run else 'removed'} {gone.id}", highlight=False, markup=False)
        return
    root = cache.root()
    victims = [root] if everything else [*root.glob("worktrees/*/build-*"), *root.glob("*/.partial-*")]
    for victim in victims:
        if victim.exists():
            out.print(f"removing {victim}", highlight=False, soft_wrap=True)
            shutil.rmtree(victim)


def main() -> None:
    """The entry point: errors with blame become a message and an exit status."""
    try:
        app(standalone_mode=True)
    except SystemExit as ended:
        if ended.code != INTERRUPTED:
            raise
        print("interrupted", file=sys.stderr)
        sys.exit(Exit.FARM)
    except Blamed as error:
        kind = "kernel" if isinstance(error, KernelError) else "farm" if error.exit == Exit.FARM else "error"
        print(f"{kind}: {error}", file=sys.stderr)
        sys.exit(error.exit)
    except Exception:
        traceback.print_exc()
        print("farm: this is a bug of the farm's, please report it", file=sys.stderr)
        sys.exit(Exit.FARM)
