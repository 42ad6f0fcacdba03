# SPDX-License-Identifier: GPL-2.0
"""A run in the formats of other programs; docs/formats.md describes them."""

import errno
import os
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from farm.base import atomic
from farm.base.errors import Blamed, FarmError, UsageError
from farm.base.strict import near
from farm.history import reading
from farm.record.records import Run, VerdictRecord
from farm.report import jsonl, junit, kcidb, ktap

#: What makes the text of each format from a run directory and its records.
FORMATS: dict[str, Callable[[Path, Run, Sequence[VerdictRecord]], str]] = {
    "junit": junit.text,
    "ktap": ktap.text,
    "kcidb": kcidb.text,
    "jsonl": jsonl.text,
}

#: What every run leaves beside its own records; the others are for the asking.
LEFT = {"junit.xml": "junit", "results.ktap": "ktap"}


def text(directory: Path, format: str, origin: str = kcidb.ORIGIN) -> tuple[str, tuple[str, ...]]:
    """A run in one of FORMATS, and what of it could not be read; `origin` is who reports
    it to KCIDB. Raises UsageError for another format, or a run that nothing can be made of."""
    if format not in FORMATS:
        raise UsageError(f"--format {format}: {near(format, FORMATS)}there is {', '.join(FORMATS)}")
    try:
        read = reading.read(directory)
    except reading.Unreadable as error:
        raise UsageError(str(error)) from error
    if format == "kcidb":
        return kcidb.text(directory, read.run, read.verdicts, origin), read.troubles
    return FORMATS[format](directory, read.run, read.verdicts), read.troubles


def leave(directory: Path, run: Run, verdicts: Sequence[VerdictRecord]) -> list[str]:
    """Write the files that every run leaves. What could not be written, and how to have it later."""
    complaints = []
    for name, format in LEFT.items():
        try:
            write(directory / name, FORMATS[format](directory, run, verdicts))
        except Blamed as error:
            complaints.append(f"{error}; later: farm export {directory} --format {format} -o {directory / name}")
    return complaints


def write(path: Path, text: str) -> None:
    """Write a file: a regular one as a whole or not at all, with the mode that it has; of a symbolic
    link what it points to. What is no file, as a device or a pipe, stays and is written into.

    Raises UsageError for a directory, FarmError where it cannot be written.
    """
    try:
        there = _status(path)
        if there and stat.S_ISDIR(there.st_mode):
            raise UsageError(f"{path}: this is a directory; name a file in it")
        if there and _is_stdout(there):
            say(text)
        elif there and not stat.S_ISREG(there.st_mode):
            with suppress(BrokenPipeError), path.open("w", encoding="utf-8") as handle:
                handle.write(text)
        else:
            _replace(path.resolve(), text, stat.S_IMODE(there.st_mode) if there else None)
    except OSError as error:
        raise FarmError(f"{path}: not written: {error.strerror}") from error


def _status(path: Path) -> os.stat_result | None:
    """What a path leads to; None where there is nothing yet."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _is_stdout(status: os.stat_result) -> bool:
    """Whether this is where stdout goes, as by /dev/stdout: others may have written there before."""
    try:
        return os.path.samestat(status, os.fstat(1))
    except OSError:
        return False


def _replace(path: Path, text: str, mode: int | None) -> None:
    """Put a file in the place of another, or of none. Raises OSError."""
    if mode is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    atomic.write(path, text, mode)


def say(text: str) -> None:
    """Write to stdout, in UTF-8 whatever the locale. A reader may have enough before the end."""
    try:
        sys.stdout.buffer.write(text.encode())
        sys.stdout.flush()
    except BrokenPipeError:
        # or Python complains once more when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
