# SPDX-License-Identifier: GPL-2.0
"""The host, the matrix, kernels and guests by hand."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from farm import doctor as requirements
from farm.base import cache
from farm.base.errors import Exit, FarmError, UsageError
from farm.cli.options import (
    AccelOption,
    All,
    Cells,
    MatrixOption,
    OneCell,
    SeriesOption,
    TreeOption,
    Verbose,
    err,
    names,
    out,
)
from farm.guest import accel, vm
from farm.guest.image import image
from farm.kernel import builder
from farm.matrix import MATRIX, choose, load
from farm.report.live import Live

app = typer.Typer()


@app.command()
def doctor(verbose: Verbose = False) -> None:
    """What this host can and lacks, and how to get what is missing."""
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
    chosen = choose(load(matrix), names(matrix, cell, everything))
    for one in build_kernels([cell.name for cell in chosen], tree, series, matrix):
        out.print(f"{one.cell}: {one.kernel}/bzImage", highlight=False, soft_wrap=True)


def build_kernels(cells: list[str], tree: str | None, series: str | None, matrix: Path) -> list[builder.Built]:
    """Build with progress on the screen; raise the gravest failure at the end."""
    built: list[builder.Built] = []
    failed: list[builder.Event] = []
    process = builder.start(builder.Order(cells, tree, series, str(matrix)))
    try:
        with Live(err) as live:
            live.cells(cells)
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
    chosen = accel.choose(wish)
    (built,) = build_kernels([name], tree, series, matrix)
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
    spec = _spec(cell, tree, series, accelerator, matrix)
    with cache.scratch("consoles") as directory, vm.boot(spec, directory / "console.log") as guest:
        done = guest.connection.run(" ".join(command), guest.deadline(limit))
        sys.stdout.write(done.stdout)
        sys.stderr.write(done.stderr)
        raise typer.Exit(done.status)
