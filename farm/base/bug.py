# SPDX-License-Identifier: GPL-2.0
"""What is said of an error that nobody foresaw: a line, and a file to be reported."""

import platform
import shlex
import sys
import tempfile
import traceback
from importlib.metadata import version

from farm.base.errors import Blamed, FarmError, refused


def blamed(error: Exception) -> Blamed:
    """An error that has no blame yet with one: what the system refused is the host's, what is
    unknown is a bug of the farm's. The traceback of a bug is left in a file, which is named."""
    if isinstance(error, Blamed):
        return error
    if isinstance(error, OSError):
        return refused(error)
    if isinstance(error, UnicodeError):
        return FarmError(f"text that cannot be read or written: {error}")
    return FarmError(_report(error))


def about() -> str:
    """Which farm this is, for reports."""
    return f"farm {version('ftrace-farm')}, Python {platform.python_version()}"


def _report(error: Exception) -> str:
    text = f"{about()}, {platform.platform()}\n{shlex.join(sys.argv)}\n\n{''.join(traceback.format_exception(error))}"
    first = f"{type(error).__name__}: {error}".partition("\n")[0]
    said = f"this is a bug of the farm's: {first}\nplease report it as an issue of the farm's repository, and attach"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="farm-bug-", suffix=".txt", delete=False) as file:
            file.write(text)
    except OSError:  # with no place for a file the screen has to do
        return f"{said} this:\n{text}"
    return f"{said} {file.name} and what `farm doctor` prints"
