# SPDX-License-Identifier: GPL-2.0
"""Files that are replaced whole: a reader sees the old or the new content, never a mixture."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def save_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, sorted by keys, in the same way as `write`."""
    write(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def write(path: Path, data: str | bytes, mode: int | None = None, sync: bool = False) -> None:
    """Write a file by writing another one beside it and renaming that. Text is UTF-8.

    `mode` are its permissions; None means those of a new file. With `sync`, the content is on
    disk before readers see it. Raises an OSError that names `path`; the file is then unchanged.
    """
    partial = path.with_name(f".{path.name}.partial")
    with naming(path):
        try:
            partial.write_bytes(data.encode() if isinstance(data, str) else data)
            if sync:
                with partial.open("rb") as handle:
                    os.fsync(handle.fileno())
            if mode is not None:
                partial.chmod(mode)
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add `path` to any OSError of the block: one from write(), as on a full disk, names no file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
