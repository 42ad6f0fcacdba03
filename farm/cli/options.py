# SPDX-License-Identifier: GPL-2.0
"""What the commands share: two consoles, and the options."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from farm.base.command import VERBOSE
from farm.base.errors import UsageError
from farm.kernel import series
from farm.matrix import load
from farm.run import selection

out = Console()
#: For progress and messages: `farm exec` leaves stdout to the guest.
err = Console(stderr=True)


def _verbose(verbose: bool) -> bool:
    if verbose:
        os.environ[VERBOSE] = "1"  # the builder, a process of its own, reads it too
    return verbose


def _accelerator(name: str) -> str:
    if name not in ("auto", "kvm", "tcg"):
        raise typer.BadParameter(f"{name!r} is none of auto, kvm, tcg")
    return name


def _filled(param: typer.CallbackParam, value: str | None) -> str | None:
    """The value, if it is not empty. An unset shell variable leaves an option empty."""
    if value is not None and not value.strip():
        raise UsageError(f"{param.opts[0]} is empty; give {param.metavar}, or leave out the option")
    return value


def _expression(ctx: typer.Context, param: typer.CallbackParam, value: str) -> str:
    """Check an expression for pytest's -k before anything is built."""
    if value or was_typed(ctx, param.name):
        _filled(param, value)
        selection.check_expression(value)
    return value


def was_typed(ctx: typer.Context, name: str | None) -> bool:
    """Whether a parameter was given on the command line."""
    source = ctx.get_parameter_source(name or "")
    return source is not None and source.name == "COMMANDLINE"


Cells = Annotated[
    list[str] | None,
    typer.Argument(help="Cells of the matrix; default: those of the main road.", metavar="[CELL]…"),
]
All = Annotated[bool, typer.Option("--all", help="Every cell of the matrix.")]
OneCell = Annotated[str, typer.Argument(help="A cell of the matrix.", metavar="CELL")]
TreeOption = Annotated[
    str | None,
    typer.Option(
        "--tree",
        metavar="PATH[@REV]|NAME",
        callback=_filled,
        help="Your git tree, without @REV as it stands, with uncommitted changes; or a tree of the matrix.",
    ),
]
SeriesOption = Annotated[
    str | None,
    typer.Option(
        "--series",
        metavar="DIR|none",
        callback=_filled,
        help="Patches to apply; default: the farm's series, unless the tree has it.",
    ),
]
PatchOption = Annotated[
    list[str] | None,
    typer.Option("--patch", metavar="FILE", help="A patch on top of the series; may be repeated."),
]
PokeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--poke",
        metavar="SYMBOL[+OFFSET][:OLD]=NEW",
        help="Break the running kernel first, to see a check fail: bytes of a symbol, in hex.",
    ),
]
AccelOption = Annotated[
    str,
    typer.Option(
        "--accel", metavar="auto|kvm|tcg", callback=_accelerator, help="What runs the guests: KVM, or emulation by TCG."
    ),
]
SelectOption = Annotated[
    str,
    typer.Option(
        "-k",
        metavar="EXPR",
        callback=_expression,
        help="Only tests that match, as with pytest; `farm tests` lists names.",
    ),
]
GuestsOption = Annotated[int, typer.Option("-n", "--guests", min=0, max=512, help="Guests at once; 0: as many as fit.")]
ResultsOption = Annotated[
    Path, typer.Option("--results", metavar="DIR", resolve_path=True, help="Where run directories go.")
]
OneRun = Annotated[str, typer.Argument(help="A run directory, or its name in the results.", metavar="RUN")]
FailureOption = Annotated[
    str,
    typer.Option("--failure", metavar="TEXT", help="If there are several failures: the one whose name has this text."),
]
ConfidenceOption = Annotated[
    float, typer.Option("--confidence", help="How sure the result must be if the failure comes and goes.")
]
TriesOption = Annotated[
    int, typer.Option("--tries", metavar="N", min=1, help="If the bad end passes N times, it counts as good.")
]
RestartOption = Annotated[bool, typer.Option("--restart", help="Start from the beginning; do not continue.")]
MatrixOption = Annotated[Path, typer.Option("--matrix", help="Use this matrix.yaml instead.", metavar="FILE")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", callback=_verbose, help="Print the external commands.")]


def paths(patch: list[str] | None) -> list[str]:
    """The patches by their absolute paths, so that they are the same from any directory."""
    return [os.path.realpath(os.path.expanduser(path)) if path else path for path in patch or []]


def names(matrix: Path, cell: list[str] | None, everything: bool, tree: str | None = None) -> list[str]:
    """The cells that were named, or with --all those that are for the version of their tree. An empty
    list means those of the main road. Raises UsageError for both at once."""
    if everything and cell:
        raise UsageError(f"--all and {' '.join(cell)}: name cells, or give --all")
    return [one.name for one in series.for_tree(load(matrix), tree)] if everything else cell or []
