# SPDX-License-Identifier: GPL-2.0
"""Files that are replaced whole: a reader sees the old content or the new, never half."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def save_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, sorted by its keys, as `write` does."""
    write(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def write(path: Path, data: str | bytes, mode: int | None = None, sync: bool = False) -> None:
    """Write a file through another one beside it, text in UTF-8.

    `mode` are its permissions, those of a new file if None. With `sync` its content is on
    disk before it is seen. Raises OSError that names `path`, which is then as before.
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
    """Let an OSError of the block name `path`: one of write(), as of a full disk, names nothing."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
