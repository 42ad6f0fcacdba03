# SPDX-License-Identifier: GPL-2.0
"""A run in the formats of other programs; docs/formats.md describes them."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from farm.base.errors import FarmError, UsageError
from farm.base.strict import near
from farm.history import reading
from farm.report import jsonl, junit, kcidb, ktap
from farm.run.records import Run, VerdictRecord

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
        except FarmError as error:
            complaints.append(f"{error}; later: farm export {directory} --format {format} -o {directory / name}")
    return complaints


def write(path: Path, text: str) -> None:
    """Replace a file, as a whole or not at all. Raises FarmError."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise FarmError(f"{path}: not written: {error.strerror}") from error


def say(text: str) -> None:
    """Write to stdout, in UTF-8 whatever the locale. A reader may have enough before the end."""
    try:
        sys.stdout.buffer.write(text.encode())
        sys.stdout.flush()
    except BrokenPipeError:
        # or Python complains once more when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
