# SPDX-License-Identifier: GPL-2.0
"""Removing directories so that a kill at any moment leaves each one either whole or gone."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from farm.base import locks
from farm.base.deadline import Deadline
from farm.base.errors import FarmError

#: The prefix of a directory whose contents are being removed.
REMOVING = ".removing-"

#: How long new files may appear in a directory while it is removed: a compiler writes on for
#: a moment after its farm was killed.
WRITING_SECONDS = 5.0


@contextmanager
def trash(beside: Path) -> Iterator[Path]:
    """A directory to move things into. It is removed with them at the end.

    What was moved is gone from its old place at once. If the removal is killed, the next
    `sweep` of `beside` finishes it. Raises FarmError.
    """
    with ExitStack() as stack:
        try:
            directory = stack.enter_context(locks.new_directory(beside, REMOVING))
        except OSError as error:
            raise FarmError(f"{beside}: nothing in it can be removed: {error.strerror}") from error
        stack.callback(clear, directory)
        yield directory


def remove(path: Path, beside: Path) -> None:
    """Remove a directory by moving it into `beside`, which is on the same file system. A
    symbolic link is removed, but not its target. Raises FarmError."""
    with trash(beside) as directory:
        move(path, directory)


def move(path: Path, directory: Path) -> bool:
    """Move `path` into a `trash`, and return whether it was still there. Raises FarmError."""
    try:
        path.rename(directory / path.name)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise FarmError(f"{path}: cannot be removed: {error.strerror}") from error
    return True


def sweep(beside: Path) -> None:
    """Remove what killed removals have left in `beside`. Raises FarmError."""
    for directory in sorted(beside.glob(f"{REMOVING}*")):
        if directory.is_symlink() or not directory.is_dir():
            continue
        with suppress(FileNotFoundError), locks.attempt(directory) as free:
            if free:
                clear(directory)


def clear(path: Path) -> None:
    """Remove a directory and everything in it. Symbolic links are not followed. Raises FarmError."""
    for _ in Deadline(WRITING_SECONDS).poll(0.2):
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            if not path.exists():
                return  # another `farm clean` was faster
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise FarmError(f"{error.filename}: cannot be removed: {error.strerror}") from error
        else:
            return
    raise FarmError(f"{path}: cannot be removed: somebody goes on writing into it")


def size(path: Path) -> int:
    """Bytes that a directory takes on the disk, as far as it can be read."""
    total = 0
    for where, _, names in os.walk(path):
        for one in (where, *(os.path.join(where, name) for name in names)):
            with suppress(OSError):  # it was removed meanwhile
                total += os.lstat(one).st_blocks * 512
    return total
