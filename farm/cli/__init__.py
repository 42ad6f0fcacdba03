# SPDX-License-Identifier: GPL-2.0
"""The command line: one command for each phase, and no logic."""

import errno
import sys
from typing import Annotated

import typer

from farm.base import bug
from farm.base.errors import Blamed, Exit, FarmError, KernelError, UsageError
from farm.cli import clean, hunts, kernels, nights, runs

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Boot patched kernels in QEMU and check the ftrace trampoline and the BPF filters on it.",
)
for commands in (kernels.app, runs.app, hunts.app, nights.app, clean.app):
    app.add_typer(commands)


def _version(wanted: bool) -> None:
    if wanted:
        print(bug.about())
        raise typer.Exit


@app.callback()
def _common(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line. Errors with blame become a message and an exit status."""
    try:
        app(standalone_mode=True)
    except SystemExit as ended:
        # typer turns a Ctrl-C into 130, but the guest's command of `farm exec` may end with 130 too
        if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):
            _end("interrupted", Exit.FARM)
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        _end("", status)
    except KeyboardInterrupt:
        _end("interrupted", Exit.FARM)
    except Exception as error:
        known = bug.blamed(error)
        _end(told(known), known.exit)


def told(error: Blamed) -> str:
    """The error as it is printed: who is to blame, and the message."""
    kind = "kernel" if isinstance(error, KernelError) else "error" if isinstance(error, UsageError) else "farm"
    return f"{kind}: {error}"


def _end(said: str, status: int) -> None:
    """Say why on stderr, check that stdout took all output, and exit.

    A reader that stops reading (`farm cells | head -1`) is no error; a full disk is.
    """
    sys.stdout.flush()
    trouble = getattr(sys.stdout, "trouble", None)
    if trouble and trouble.errno != errno.EPIPE:
        lost = told(FarmError(f"stdout: {trouble.strerror}; what was to be printed is lost"))
        said, status = "\n".join(filter(None, [said, lost])), max(status, Exit.FARM)
    if said:
        print(said, file=sys.stderr, flush=True)
    sys.exit(status)
