# SPDX-License-Identifier: GPL-2.0
"""The command line: one command a phase, no logic."""

import os
import shutil
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from farm import doctor as requirements
from farm.base import cache
from farm.base.command import VERBOSE
from farm.base.errors import Blamed, Exit, FarmError, KernelError, UsageError
from farm.guest import accel, vm
from farm.guest import poke as pokes
from farm.guest.image import image
from farm.hunt import bisect as bisect_hunt
from farm.hunt import mutant as mutant_files
from farm.hunt import mutants as mutant_hunt
from farm.hunt import series as series_hunt
from farm.kernel import builder
from farm.matrix import MATRIX, choose, load
from farm.report import bisection as bisect_report
from farm.report import comparison as differences
from farm.report import junit, terminal
from farm.report import mutants as mutant_report
from farm.report import series as series_report
from farm.report.live import Live
from farm.run import comparison, records, session

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
    select: Annotated[str, typer.Option("-k", metavar="EXPR", help="Only tests that match, as with pytest.")] = "",
    tree: TreeOption = None,
    series: SeriesOption = None,
    accelerator: AccelOption = "auto",
    guests: Annotated[int, typer.Option("-n", "--guests", min=0, help="Guests at once; 0: as many as fit.")] = 0,
    patch: PatchOption = None,
    poke: PokeOption = None,
    partial: Annotated[
        bool,
        typer.Option("--partial", help="The tree has only a part of the feature: test neither it nor its absence."),
    ] = False,
    repeat: Annotated[int, typer.Option("--repeat", metavar="N", min=1, help="Run each test so often.")] = 1,
    stop: Annotated[bool, typer.Option("-x", "--stop", help="Stop at the first failure.")] = False,
    results: Annotated[Path | None, typer.Option("--results", help="Where run directories go.", metavar="DIR")] = None,
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
        matrix=matrix,
    )
    _report(replace(request, results=results.resolve()) if results else request)


def _report(request: session.Request) -> NoReturn:
    """Run, show what came of it, and exit with its status."""
    with Live(out) as live:
        directory, status = session.execute(request, live)
    finished, verdicts = records.load_run(directory), records.load_verdicts(directory)
    junit.write(finished, verdicts, directory / "junit.xml")
    terminal.show(out, directory, finished, verdicts)
    raise typer.Exit(status)


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
    results: Annotated[Path | None, typer.Option("--results", help="Where run directories go.", metavar="DIR")] = None,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Run the kernel's own tests of ftrace (ftracetest) on a cell's kernel and on
    its base, side by side: none may end worse. Takes some ten minutes.

    Examples: `farm selftests`, `farm selftests -k fgraph`, `farm selftests --tree ~/linux@mine --base ~/linux@v6.12`
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
    junit.write(finished, verdicts, directory / "junit.xml")
    differences.show(out, directory, finished, verdicts)
    raise typer.Exit(status)


@app.command(name="series")
def check_series(
    cell: Annotated[
        list[str] | None,
        typer.Argument(help="Cells with the feature and without; default: x86_64-off x86_64-regs.", metavar="[CELL]…"),
    ] = None,
    select: Annotated[str, typer.Option("-k", metavar="EXPR", help="Only tests that match, as with pytest.")] = "",
    tree: TreeOption = None,
    series: Annotated[str | None, typer.Option("--series", metavar="DIR", help="Patches; default: the farm's.")] = None,
    first: Annotated[int, typer.Option("--from", metavar="N", min=1, help="Begin with the Nth patch.")] = 1,
    goon: Annotated[bool, typer.Option("--all", help="Go on behind a patch that fails.")] = False,
    accelerator: AccelOption = "auto",
    results: Annotated[Path | None, typer.Option("--results", help="Where run directories go.", metavar="DIR")] = None,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Check that each patch of a series stands by itself: checkpatch, the ABI, the
    build with the feature off and on, the suites that apply so far. Names the
    first that does not. Takes some minutes a patch.

    Examples: `farm series`, `farm series --series ~/v2 -k "abi or build"`, `farm series --tree ~/linux@v6.12 --from 4`
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
    select: Annotated[str, typer.Option("-k", metavar="EXPR", help="Only tests that match, as with pytest.")] = "",
    failure: Annotated[
        str, typer.Option("--failure", metavar="TEXT", help="Of several failures the one with this text in its name.")
    ] = "",
    confidence: Annotated[
        float, typer.Option("--confidence", help="How sure the result must be, where the failure comes and goes.")
    ] = 0.99,
    tries: Annotated[
        int, typer.Option("--tries", metavar="N", min=1, help="The bad end may pass so often before it is called good.")
    ] = 50,
    series: SeriesOption = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew what was left or has ended.")] = False,
    accelerator: AccelOption = "auto",
    guests: Annotated[int, typer.Option("-n", "--guests", min=0, help="Guests at once; 0: as many as fit.")] = 0,
    results: Annotated[Path | None, typer.Option("--results", help="Where run directories go.", metavar="DIR")] = None,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Find the commit that broke a test, by `git bisect`; your tree is only read.

    Tests both ends first. Only the failure of the bad end counts as bad;
    what does not build, does not boot or fails in another way is skipped. A
    failure that comes and goes is waited for until the confidence is reached.
    Stopped or killed, the same command goes on. Exit status: 0 found, 1 only
    skipped commits are left, 2 wrong ends or wrong usage, 3 the farm failed.

    Examples: `farm bisect --good v6.12 --bad HEAD -k slots`,
    `farm bisect --tree ~/linux --good good --bad mine --cell x86_64-static --series none -k filter`,
    `farm bisect --good v6.12 --bad HEAD -k test_arguments --confidence 0.999 --tries 500`
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
    guests: Annotated[int, typer.Option("-n", "--guests", min=0, help="Guests at once; 0: as many as fit.")] = 0,
    results: Annotated[Path | None, typer.Option("--results", help="Where run directories go.", metavar="DIR")] = None,
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
def clean(
    everything: Annotated[bool, typer.Option("--all", help="Sources, ccache and finished kernels as well.")] = False,
) -> None:
    """Remove build directories and what interrupted builds left; kernels stay.

    The next build of a cell starts anew, from ccache. `--all` empties the
    cache and takes the time of a first run to fill again.
    """
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
