# SPDX-License-Identifier: GPL-2.0
"""Locks on files and directories, and who holds them.

They are flock(2)'s: the kernel drops one when its holder dies, however it dies, and
/proc/locks lists the holders. So nothing on disk says that a lock is held, and
nothing there can be out of date.
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

#: How long a lock is waited for in silence.
SILENT_SECONDS = 1.0

#: What the line about a wait begins with.
WAITING = "waiting for another farm"


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


#: Called with one line when this process has to wait for another farm.
notice: ContextVar[Callable[[str], None]] = ContextVar("notice", default=_print)


@dataclass(frozen=True)
class Holder:
    """A farm that holds a lock; `command` is what was typed to start it."""

    pid: int
    command: str

    def __str__(self) -> str:
        words = " ".join(self.command.split())
        return f"pid {self.pid} ({words[:100]}{'…' * (len(words) > 100)})" if words else f"pid {self.pid}"


def take(path: Path, shared: bool = False, what: str = "") -> int:
    """Lock `path`, a file that is made if it is missing: alone, or beside others that share it.

    The lock is held until the descriptor that this returns is closed. A wait of more
    than SILENT_SECONDS is announced by `notice`, with `what` is waited for. Raises OSError.
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
    """Lock a file or a directory alone if nobody holds it; whether that worked.

    With `create` a file that is missing is made, so that it can be held; without, it counts
    as free. Raises OSError.
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
    """A new directory, locked while the block lasts: one that nobody has locked was
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
    """Lock a directory that was made just now; None if somebody took it for abandoned before that."""
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
        # another user's, or on a file system that is mounted read-only: a lock needs no right to write
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _announce(path: Path, what: str) -> None:
    own = _farm_of(os.getpid())
    others = holders(path)
    if own in others:
        return  # a worker and its builder: one farm
    who = "".join(f", {holder}" for holder in others)
    notice.get()(f"{WAITING}{who}: {what}")


def holders(path: Path) -> list[Holder]:
    """Who holds a lock on `path`: the farms that are visible from here, each once."""
    try:
        status = path.stat()
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return []
    inode = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    # "1: FLOCK  ADVISORY  WRITE 26405 fe:00:2147505 0 EOF"; who waits for it has "->" behind the number
    locks = [words for line in lines if (words := line.split())[1] == "FLOCK" and words[5] == inode]
    return list(dict.fromkeys(_farm_of(int(words[4])) for words in locks))


def _farm_of(pid: int) -> Holder:
    """The farm that a process belongs to: builder and workers are children of the command
    that was typed. Of a process that belongs to none, the process itself."""
    ancestor = pid
    while ancestor > 1:
        if command := _typed(_argv(ancestor)):
            return Holder(ancestor, command)
        ancestor = _parent(ancestor)
    return Holder(pid, shlex.join(_argv(pid)))


def _typed(argv: list[str]) -> str:
    """`farm …` as it was typed, from the command line of its interpreter; empty for another program's."""
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
