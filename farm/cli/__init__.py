# SPDX-License-Identifier: GPL-2.0
"""The command line: one command a phase, no logic."""

import sys
import traceback

import typer

from farm.base.errors import Blamed, Exit, KernelError
from farm.cli import clean, hunts, kernels, nights, runs

#: What typer makes of a Ctrl-C that nobody took.
INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="Boot patched kernels in QEMU and check the ftrace trampoline and the BPF filters on it.",
)
for commands in (kernels.app, runs.app, hunts.app, nights.app, clean.app):
    app.add_typer(commands)


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
