# SPDX-License-Identifier: GPL-2.0
"""How an unexpected error is reported: one line, and a file to attach to an issue."""

import platform
import shlex
import sys
import tempfile
import traceback
from importlib.metadata import version

from farm.base.errors import Blamed, FarmError, refused


def blamed(error: Exception) -> Blamed:
    """Give an error blame, if it has none: the host is to blame for what the system refused, and
    anything unknown is a bug of the farm. The traceback of a bug goes to a file that the message names."""
    if isinstance(error, Blamed):
        return error
    if isinstance(error, OSError):
        return refused(error)
    if isinstance(error, UnicodeError):
        return FarmError(f"text that cannot be read or written: {error}")
    return FarmError(_report(error))


def about() -> str:
    """The farm's version, for reports."""
    return f"farm {version('ftrace-farm')}, Python {platform.python_version()}"


def _report(error: Exception) -> str:
    text = f"{about()}, {platform.platform()}\n{shlex.join(sys.argv)}\n\n{''.join(traceback.format_exception(error))}"
    first = f"{type(error).__name__}: {error}".partition("\n")[0]
    said = f"this is a bug of the farm's: {first}\nplease report it as an issue of the farm's repository, and attach"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="farm-bug-", suffix=".txt", delete=False) as file:
            file.write(text)
    except OSError:  # no place for a file: print the text instead
        return f"{said} this:\n{text}"
    return f"{said} {file.name} and what `farm doctor` prints"
