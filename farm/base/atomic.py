# SPDX-License-Identifier: GPL-2.0
"""Files that are replaced whole: a reader sees the old content or the new, never half."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def save_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, sorted by its keys, as `write` does."""
    write(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def write(path: Path, text: str) -> None:
    """Write a file by way of another one beside it. Raises OSError that names `path`; it is as before then."""
    partial = path.with_name(f".{path.name}.partial")
    with naming(path):
        partial.write_text(text)
        partial.replace(path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError of the block name `path`: one of write(), as of a full disk, names nothing."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
