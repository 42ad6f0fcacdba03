# SPDX-License-Identifier: GPL-2.0
"""Commands for the host, the matrix, and kernels and guests by hand."""

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from farm import doctor as requirements
from farm import execute
from farm.arch import of
from farm.artifact import locate
from farm.base import cache
from farm.base.errors import Exit, FarmError, KernelError, UsageError
from farm.base.strict import near
from farm.cli.options import (
    AccelOption,
    All,
    Cells,
    MatrixOption,
    OneCell,
    PatchOption,
    SeriesOption,
    TreeOption,
    Verbose,
    err,
    names,
    out,
    paths,
)
from farm.guest import accel, splat, vm
from farm.guest.start import start
from farm.kernel import builder
from farm.kernel import series as patches
from farm.kernel.tree import from_package, version_in
from farm.matrix import MATRIX, choose, load
from farm.report.live import Live
from farm.report.text import plain
from farm.worker.spec import guest_spec

app = typer.Typer()

#: How many lines of a kernel's log are printed. With the message below them they fit on a screen.
LOG_LINES = 18


def _limit(seconds: float) -> float:
    if not 0 < seconds <= 1e6:
        raise typer.BadParameter(f"{seconds} must be more than 0, and at most a million seconds")
    return seconds


@app.command()
def doctor(verbose: Verbose = False) -> None:
    """Show what this host has and lacks, and how to get what is missing."""
    table = Table("requirement", "state", "what to do")
    findings = requirements.check()
    for finding in findings:
        style = "green" if finding.good else "yellow" if finding.optional else "bold red"
        table.add_row(finding.name, f"[{style}]{finding.state}[/]", finding.remedy)
    out.print(table)
    raise typer.Exit(Exit.PASSED if all(f.good or f.optional for f in findings) else Exit.FARM)


@app.command()
def cells(
    cell: Annotated[
        list[str] | None, typer.Argument(help="Only these cells, with all details.", metavar="[CELL]…")
    ] = None,
    tree: TreeOption = None,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """List the cells of the matrix, in a line or two each. With names or `-v`, also
    their fragments, and what they declare to support.

    Examples:

    ```
    farm cells
    farm cells x86_64-regs x86_64-noregs
    farm cells --tree debian-7.3
    ```
    """
    known = load(matrix)
    chosen = choose(known, cell) if cell else patches.for_tree(known, tree)
    width = max(len(one.name) for one in chosen)
    for one in chosen:
        notes = " (main road)" * one.main + " (only built)" * (one.machine is None)
        line = Table.grid(Column(no_wrap=True, width=width), Column(), padding=(0, 2, 0, 0))
        line.add_row(Text(one.name, "bold"), Text.assemble(one.about, (notes, "dim")))
        out.print(line)
        if not cell and not verbose:
            continue
        machine = one.machine
        rows = {
            "fragments": " ".join(path.stem for path in one.fragments + one.feature),
            "supports": " ".join(sorted(one.supports)) or "nothing that a test asks for",
            "tree": f"{tree or one.tree}, built by {one.toolchain}",
            "kernels": str(one.versions),
            "guest": f"{machine.memory} MiB, {machine.cpus} processors {machine.cmdline}" if machine else "none",
        }
        table = Table.grid(padding=(0, 0, 0, 2))
        for name, said in rows.items():
            table.add_row(name, Text(said))
        out.print(table, "")


@app.command()
def build(
    cell: Cells = None,
    everything: All = False,
    tree: TreeOption = None,
    series: SeriesOption = None,
    patch: PatchOption = None,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Build the kernels of cells, except those that the cache has.

    Examples:

    ```
    farm build x86_64-regs --tree ~/linux
    farm build --all
    ```
    """
    chosen = choose(load(matrix), names(matrix, cell, everything, tree))
    order = builder.Order([cell.name for cell in chosen], tree, series, str(matrix), paths(patch))
    for one in build_kernels(order):
        out.print(
            f"{one.cell}: {locate(one.kernel, one.cell)}/{of(one.arch).image_name}", highlight=False, soft_wrap=True
        )


@app.command()
def fetch(
    tree: Annotated[list[str] | None, typer.Argument(help="Only these trees.", metavar="[TREE]…")] = None,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Get the newest of Debian's kernels for the trees of the matrix. A tree that was never
    fetched is fetched when it is first used, and stays as it is until it is fetched again. One
    whose package is installed is what apt has installed.

    Examples:

    ```
    farm fetch
    farm fetch debian-7.3
    ```
    """
    known = load(matrix).trees
    for name in tree or []:
        if name not in known:
            raise UsageError(f"no tree {name!r}; {near(name, known)}there is: {', '.join(known)}")
    failed = []
    for one in [known[name] for name in tree or known]:
        try:
            if one.suite and not one.archive.exists():
                err.print(f"{one.name}: asking for {one.package} in {one.suite}", highlight=False, soft_wrap=True)
            source = from_package(one, newest=True)
        except FarmError as error:
            failed.append(f"{one.name}: {error}")
            continue
        out.print(f"{one.name}: {version_in(one)}, {source.version}", highlight=False, soft_wrap=True)
    if failed:
        raise FarmError("\n".join(failed))


def check(order: builder.Order) -> None:
    """Raise UsageError for what cannot be built, as far as that is known without building."""
    known = load(Path(order.matrix))
    patches.check(choose(known, order.cells), known.trees, order.tree, order.series, order.patches)


def build_kernels(order: builder.Order) -> list[builder.Built]:
    """Build, with progress on the screen. Raise the gravest failure at the end."""
    built: list[builder.Built] = []
    failed: list[builder.Event] = []
    check(order)
    with execute.named("local").build(order) as events, Live(err) as live:
        live.cells(order.cells)
        for event in events:
            if event.kind == "progress":
                live.building(event.cell, event.text)
            elif event.built:
                live.built(event.cell, event.built.kernel_key)
                built.append(event.built)
            else:
                live.built(event.cell, "failed")
                failed.append(event)
    if failed:
        worst = max(failed, key=lambda event: event.exit)
        raise builder.as_error(worst.exit)("\n".join(dict.fromkeys(event.text for event in failed)))
    return built


def _spec(order: builder.Order, wish: str) -> vm.Spec:
    """The guest of the only cell of an order. Its kernel is built if the cache has none."""
    (cell,) = choose(load(Path(order.matrix)), order.cells)
    if cell.machine is None:
        raise UsageError(f"{cell.name} is only built, it has no guest; see `farm cells`")
    chosen = accel.choose(wish)
    (built,) = build_kernels(order)
    return guest_spec(cell, built, chosen.name)


@contextmanager
def _guest(spec: vm.Spec) -> Iterator[vm.Guest]:
    """A guest for interactive use. Its log is removed with it."""
    with ExitStack() as stack:
        log = stack.enter_context(cache.scratch("consoles")) / "console.log"
        guest, distrust = start(stack, spec, lambda: log)
        if distrust:
            err.print(f"KVM is distrusted, the guest runs under TCG: {distrust}", style="bold yellow", soft_wrap=True)
        yield guest


@app.command()
def boot(
    cell: OneCell,
    tree: TreeOption = None,
    series: SeriesOption = None,
    patch: PatchOption = None,
    accelerator: AccelOption = "auto",
    append: Annotated[str, typer.Option("--append", metavar="TEXT", help="Add to the kernel's command line.")] = "",
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Open a shell in a guest of a cell. Leaving the shell ends the guest.

    Examples:

    ```
    farm boot x86_64-regs
    farm boot x86_64-regs --append ftrace=function
    ```
    """
    spec = _spec(builder.Order([cell], tree, series, str(matrix), paths(patch)), accelerator)
    with _guest(replace(spec, cmdline=append)) as guest:
        said = f"{cell} after {guest.boot_seconds:.1f} s under {guest.accel}; the kernel's log: {guest.console.log}"
        err.print(said, highlight=False, soft_wrap=True)
        raise typer.Exit(guest.shell())


@app.command(context_settings={"ignore_unknown_options": True})
def exec(
    cell: OneCell,
    command: Annotated[list[str], typer.Argument(help="The command to run, after --.", metavar="-- CMD…")],
    tree: TreeOption = None,
    series: SeriesOption = None,
    patch: PatchOption = None,
    accelerator: AccelOption = "auto",
    limit: Annotated[
        float, typer.Option("--limit", metavar="SECONDS", callback=_limit, help="How long the command may take.")
    ] = 600.0,
    matrix: MatrixOption = MATRIX,
    verbose: Verbose = False,
) -> None:
    """Run one command in a fresh guest of a cell. Its stdin, stdout, stderr and exit status
    are those of `farm exec`, byte by byte. Several words arrive as they were given. A single
    word is a line for the guest's shell.

    Examples:

    ```
    farm exec x86_64-regs -- uname -a
    farm exec x86_64-regs -- sh -c 'echo out; exit 7'
    farm exec x86_64-regs -- 'dmesg | tail -3'
    farm exec x86_64-regs -- cat /proc/kallsyms > symbols
    ```
    """
    spec = _spec(builder.Order([cell], tree, series, str(matrix), paths(patch)), accelerator)
    line = command[0] if len(command) == 1 else shlex.join(command)
    with _guest(spec) as guest:
        try:
            raise typer.Exit(guest.connection.stream(line, guest.deadline(limit)))
        except KernelError as error:
            known = guest.explain(error)
            if known is not error:
                err.print(_last_of(guest.console.text()), markup=False, highlight=False, soft_wrap=True)
            raise known from error


def _last_of(log: str) -> str:
    """What to print of the kernel's log: its first complaint, or else its end."""
    found = splat.find(log)
    lines = log[found[0].start : found[0].end].splitlines() if found else log.splitlines()[-LOG_LINES:]
    return "\n".join(plain(line) for line in lines[:LOG_LINES])
