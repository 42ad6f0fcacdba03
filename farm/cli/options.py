# SPDX-License-Identifier: GPL-2.0
"""What the commands have in common: two consoles, the options."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from farm.base.command import VERBOSE
from farm.base.errors import UsageError
from farm.matrix import load
from farm.run import selection

out = Console()
#: For what is told on the way to a result: `farm exec` leaves stdout to the guest.
err = Console(stderr=True)


def _verbose(verbose: bool) -> bool:
    if verbose:
        os.environ[VERBOSE] = "1"  # for the builder as well, which is a process of its own
    return verbose


def _accelerator(name: str) -> str:
    if name not in ("auto", "kvm", "tcg"):
        raise typer.BadParameter(f"{name!r} is none of auto, kvm, tcg")
    return name


def _filled(param: typer.CallbackParam, value: str | None) -> str | None:
    """A value that is not left empty, as a shell's variable without one leaves it."""
    if value is not None and not value.strip():
        raise UsageError(f"{param.opts[0]} is empty; give {param.metavar}, or leave the option away")
    return value


def _expression(ctx: typer.Context, param: typer.CallbackParam, value: str) -> str:
    """What pytest takes for -k; here, before anything is built for it."""
    if value or was_typed(ctx, param.name):
        _filled(param, value)
        selection.check_expression(value)
    return value


def was_typed(ctx: typer.Context, name: str | None) -> bool:
    """Whether a parameter stands on the command line."""
    source = ctx.get_parameter_source(name or "")
    return source is not None and source.name == "COMMANDLINE"


Cells = Annotated[
    list[str] | None,
    typer.Argument(help="Cells of the matrix; those of the main road if none is named.", metavar="[CELL]…"),
]
All = Annotated[bool, typer.Option("--all", help="Every cell of the matrix.")]
OneCell = Annotated[str, typer.Argument(help="A cell of the matrix.", metavar="CELL")]
TreeOption = Annotated[
    str | None,
    typer.Option(
        "--tree",
        metavar="PATH[@REV]",
        callback=_filled,
        help="A git tree of yours; without @REV as it stands, changes included.",
    ),
]
SeriesOption = Annotated[
    str | None,
    typer.Option(
        "--series",
        metavar="DIR|none",
        callback=_filled,
        help="Patches to apply; default: the tree's own, unless they are in it.",
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
AccelOption = Annotated[
    str, typer.Option("--accel", metavar="auto|kvm|tcg", callback=_accelerator, help="What runs the guests.")
]
SelectOption = Annotated[
    str,
    typer.Option(
        "-k", metavar="EXPR", callback=_expression, help="Only tests that match, as with pytest; see `farm tests`."
    ),
]
GuestsOption = Annotated[int, typer.Option("-n", "--guests", min=0, max=512, help="Guests at once; 0: as many as fit.")]
ResultsOption = Annotated[
    Path, typer.Option("--results", metavar="DIR", resolve_path=True, help="Where run directories go.")
]
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
Verbose = Annotated[bool, typer.Option("-v", "--verbose", callback=_verbose, help="Print the external commands.")]


def paths(patch: list[str] | None) -> list[str]:
    """The patches that were named, such that another directory and another day name the same."""
    return [os.path.realpath(os.path.expanduser(path)) if path else path for path in patch or []]


def names(matrix: Path, cell: list[str] | None, everything: bool) -> list[str]:
    """The cells that were named, all with --all; none stands for those of the main road. Raises
    UsageError for both at once."""
    if everything and cell:
        raise UsageError(f"--all and {' '.join(cell)}: name cells, or give --all")
    return list(load(matrix).cells) if everything else cell or []
