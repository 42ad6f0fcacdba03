# SPDX-License-Identifier: GPL-2.0
"""Locks on files and directories, and who holds them.

The locks are those of flock(2): the kernel drops one when its holder dies, however it
dies, and /proc/locks lists the holders. So nothing on disk says that a lock is held,
and nothing there can be out of date.
"""

import fcntl
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from farm.base.deadline import Deadline

#: How long a process waits for a lock before it says so.
SILENT_SECONDS = 1.0

#: How the line about a wait begins.
WAITING = "waiting for another farm"


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


#: Called with one line when this process has to wait for another farm.
notice: ContextVar[Callable[[str], None]] = ContextVar("notice", default=_print)


@dataclass(frozen=True)
class Holder:
    """A farm that holds a lock; `command` is its command line as typed."""

    pid: int
    command: str

    def __str__(self) -> str:
        words = " ".join(self.command.split())
        return f"pid {self.pid} ({words[:100]}{'…' * (len(words) > 100)})" if words else f"pid {self.pid}"


def take(path: Path, shared: bool = False, what: str = "") -> int:
    """Lock `path`, alone or with others that share it. The file is made if it is missing.

    The lock is held until the returned descriptor is closed. If the wait takes longer than
    SILENT_SECONDS, `notice` is called with a line that says what for (`what`). Raises OSError.
    """
    descriptor = _open(path)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        for _ in Deadline(SILENT_SECONDS).poll():
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                return descriptor
        _announce(path, what or str(path))
        fcntl.flock(descriptor, kind)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def attempt(path: Path, create: bool = True) -> Iterator[bool]:
    """Lock a file or a directory alone if no process holds it, and yield whether that worked.

    With `create`, a missing file is made so that it can be locked; without it, a missing file
    counts as free. Raises OSError.
    """
    if not create and not path.exists():
        yield True
        return
    descriptor = _open(path) if create and not path.is_dir() else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        yield free
    finally:
        os.close(descriptor)


@contextmanager
def new_directory(parent: Path, prefix: str) -> Iterator[Path]:
    """A new directory, locked while the block lasts. So a directory without a lock was
    abandoned by its maker. Raises OSError."""
    descriptor = None
    while descriptor is None:
        directory = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        descriptor = _own(directory)
    try:
        yield directory
    finally:
        os.close(descriptor)


def _own(directory: Path) -> int | None:
    """Lock a directory that was just made. None if another process took it for abandoned and removed it first."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.samestat(os.fstat(descriptor), directory.stat()):
            return descriptor
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        if not path.is_file():
            raise
        # another user's, or on a read-only file system: a lock needs no permission to write
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _announce(path: Path, what: str) -> None:
    own = _farm_of(os.getpid())
    others = holders(path)
    if own in others:
        return  # a worker and its builder belong to one farm
    who = "".join(f", {holder}" for holder in others)
    notice.get()(f"{WAITING}{who}: {what}")


def holders(path: Path) -> list[Holder]:
    """The farms that hold a lock on `path`, as far as they are visible from here, each once."""
    try:
        status = path.stat()
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return []
    inode = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    # "1: FLOCK  ADVISORY  WRITE 26405 fe:00:2147505 0 EOF"; a waiting process has "->" after the number
    locks = [words for line in lines if (words := line.split())[1] == "FLOCK" and words[5] == inode]
    return list(dict.fromkeys(_farm_of(int(words[4])) for words in locks))


def _farm_of(pid: int) -> Holder:
    """The farm that a process belongs to: builder and workers are children of the command
    that was typed. If a process belongs to no farm, the process itself."""
    ancestor = pid
    while ancestor > 1:
        if command := _typed(_argv(ancestor)):
            return Holder(ancestor, command)
        ancestor = _parent(ancestor)
    return Holder(pid, shlex.join(_argv(pid)))


def _typed(argv: list[str]) -> str:
    """`farm …` as it was typed, from the command line of its interpreter; empty for other programs."""
    match argv:
        case [python, "-m", "farm", *words] if "python" in python:
            return shlex.join(["farm", *words])
        case [python, script, *words] if "python" in python and Path(script).name == "farm":
            return shlex.join(["farm", *words])
    return ""


def _argv(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return []
    return text.removesuffix("\0").split("\0") if text else []


def _parent(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])  # the name in parentheses may hold anything
