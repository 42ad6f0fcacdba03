# SPDX-License-Identifier: GPL-2.0
"""The command line: one command a phase, no logic."""

import errno
import platform
import shlex
import sys
import tempfile
import traceback
from importlib.metadata import version
from typing import Annotated

import typer

from farm.base.errors import Blamed, Exit, FarmError, KernelError, UsageError, refused
from farm.cli import hunts, kernels, nights, runs

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Boot patched kernels in QEMU and check the ftrace trampoline and the BPF filters on it.",
)
for commands in (kernels.app, runs.app, hunts.app, nights.app):
    app.add_typer(commands)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"farm {version('ftrace-farm')}, Python {platform.python_version()}")
        raise typer.Exit


@app.callback()
def _common(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The command line: errors with blame become a message and an exit status."""
    try:
        app(standalone_mode=True)
    except SystemExit as ended:
        # typer makes 130 of a Ctrl-C, which `farm exec` may have of the guest's command as well
        if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):
            _end("interrupted", Exit.FARM)
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        _end("", status)
    except KeyboardInterrupt:
        _end("interrupted", Exit.FARM)
    except Blamed as error:
        _end(told(error), error.exit)
    except OSError as error:
        _end(told(refused(error)), refused(error).exit)
    except UnicodeError as error:
        _end(told(FarmError(f"text that cannot be read or written: {error}")), Exit.FARM)
    except Exception as error:
        _end(_bug(error), Exit.FARM)


def told(error: Blamed) -> str:
    """The error as it is printed: whose it is, and what it is."""
    kind = "kernel" if isinstance(error, KernelError) else "error" if isinstance(error, UsageError) else "farm"
    return f"{kind}: {error}"


def _end(said: str, status: int) -> None:
    """Say why on stderr, see that stdout took what was written, and exit.

    A reader who has had enough (`farm cells | head -1`) is no trouble, a disk that is full is.
    """
    sys.stdout.flush()
    trouble = getattr(sys.stdout, "trouble", None)
    if trouble and trouble.errno != errno.EPIPE:
        lost = told(FarmError(f"stdout: {trouble.strerror}; what was to be printed is lost"))
        said, status = "\n".join(filter(None, [said, lost])), max(status, Exit.FARM)
    if said:
        print(said, file=sys.stderr, flush=True)
    sys.exit(status)


def _bug(error: Exception) -> str:
    """What is said of an error that nobody foresaw; its traceback goes to a file."""
    about = f"farm {version('ftrace-farm')}, Python {platform.python_version()}, {platform.platform()}"
    text = f"{about}\n{shlex.join(sys.argv)}\n\n{''.join(traceback.format_exception(error))}"
    first = f"{type(error).__name__}: {error}".partition("\n")[0]
    report = "please report it as an issue of the farm's repository, and attach"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="farm-bug-", suffix=".txt", delete=False) as file:
            file.write(text)
    except OSError:  # with no place for a file the screen has to do
        return f"{text}\nfarm: this is a bug of the farm's: {first}\n{report} what stands above"
    return f"farm: this is a bug of the farm's: {first}\n{report} {file.name} and what `farm doctor` prints"
