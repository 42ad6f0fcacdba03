# SPDX-License-Identifier: GPL-2.0
"""Running external commands: with `-v` they are printed, and a failure gets blame."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from farm.base.errors import FarmError


class CommandFailed(FarmError):
    """An external command exited non-zero or could not be started."""

    def __init__(self, argv: Sequence[str], status: int, output: str) -> None:
        self.argv, self.status, self.output = tuple(argv), status, output
        tail = "\n".join(output.strip().splitlines()[-15:])
        super().__init__(f"`{shlex.join(argv)}` exited with {status}\n{tail}".rstrip())


#: The environment variable that makes every command echo itself. It is not a
#: parameter, because the builder and the workers are separate processes that
#: must follow the command line too.
VERBOSE = "FARM_VERBOSE"


def echo(argv: Sequence[str], cwd: Path | None = None) -> None:
    """Print a command, ready to be pasted, if `-v` was given."""
    if os.environ.get(VERBOSE):
        place = f"cd {shlex.quote(str(cwd))} && " if cwd else ""
        print(f"+ {place}{shlex.join(argv)}", file=sys.stderr, flush=True)


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
) -> str:
    """Run a command to its end and return what it wrote to stdout.

    `env` is added to the farm's own environment. Raises CommandFailed, whose
    `output` holds stdout and stderr.
    """
    words = [str(word) for word in argv]
    echo(words, cwd)
    try:
        done = subprocess.run(
            leashed(words),
            cwd=cwd,
            env={**os.environ, **(env or {})},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise FarmError(f"{error.filename}: no such command or directory; see `farm doctor`") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(words, -1, f"no end within {timeout:.0f} s") from error
    if done.returncode:
        missing = f"failed to execute {words[0]}"
        if done.returncode == 127 and missing in done.stderr:
            raise FarmError(f"{words[0]}: no such command; see `farm doctor`")
        raise CommandFailed(words, done.returncode, done.stdout + done.stderr)
    return done.stdout


def leashed(argv: Sequence[str], signal: str = "KILL", *privileges: str) -> list[str]:
    """The command, changed so that it dies with the process that starts it.

    `privileges` are further options for setpriv.

    setpriv of util-linux sets PR_SET_PDEATHSIG: so no code of ours runs between
    fork and exec, and it works even if the parent gets SIGKILL.
    """
    return ["setpriv", "--pdeathsig", signal, *privileges, "--", *argv]
