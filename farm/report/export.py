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

#: For each format, the function that makes its text from a run directory and its records.
FORMATS: dict[str, Callable[[Path, Run, Sequence[VerdictRecord]], str]] = {
    "junit": junit.text,
    "ktap": ktap.text,
    "kcidb": kcidb.text,
    "jsonl": jsonl.text,
}

#: The files that every run leaves beside its own records. Other formats are made on request.
LEFT = {"junit.xml": "junit", "results.ktap": "ktap"}


def text(directory: Path, format: str, origin: str = kcidb.ORIGIN) -> tuple[str, tuple[str, ...]]:
    """A run in one of FORMATS, and what of it could not be read. `origin` is who reports it
    to KCIDB. Raises UsageError for an unknown format, or a run that cannot be read."""
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
    """Write the files that every run leaves. Returns what could not be written, and how to make it later."""
    complaints = []
    for name, format in LEFT.items():
        try:
            write(directory / name, FORMATS[format](directory, run, verdicts))
        except Blamed as error:
            complaints.append(f"{error}; later: farm export {directory} --format {format} -o {directory / name}")
    return complaints


def write(path: Path, text: str) -> None:
    """Write a file. A regular file is written whole or not at all, and keeps its mode. A symbolic link
    is followed. A device or a pipe is written into.

    Raises UsageError for a directory, FarmError if the file cannot be written.
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
    """The status of a path's target; None if there is nothing yet."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _is_stdout(status: os.stat_result) -> bool:
    """Whether this is the file of stdout, as /dev/stdout is: others may have written to it before."""
    try:
        return os.path.samestat(status, os.fstat(1))
    except OSError:
        return False


def _replace(path: Path, text: str, mode: int | None) -> None:
    """Write a file, or replace one. Raises OSError."""
    if mode is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    atomic.write(path, text, mode)


def say(text: str) -> None:
    """Write to stdout, in UTF-8 in any locale. A reader may stop reading before the end."""
    try:
        sys.stdout.buffer.write(text.encode())
        sys.stdout.flush()
    except BrokenPipeError:
        # otherwise Python complains again when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
