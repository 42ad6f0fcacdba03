# SPDX-License-Identifier: GPL-2.0
"""The processes of one fault's farm, found by a mark in their environment, whoever started them."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from farm.base.deadline import Deadline

#: The variable that all processes of a fault's farm inherit.
MARK = "FTRACE_FARM_FAULT"


@dataclass(frozen=True)
class Process:
    """One that runs, as /proc shows it."""

    pid: int
    parent: int
    argv: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.pid} {' '.join(self.argv)[:80]}"


def marked(mark: str) -> list[Process]:
    """All processes with this mark; what has ended and was not waited for is none."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if wanted not in (place / "environ").read_bytes().split(b"\0"):
                continue
            argv = (place / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended meanwhile, or is another user's
        found.append(Process(int(place.name), parent, tuple(argv)))
    return found


def left(mark: str, seconds: float) -> tuple[str, ...]:
    """The processes that are still there after so many seconds."""
    there: list[Process] = []
    for _ in Deadline(seconds).poll(0.1):
        there = marked(mark)
        if not there:
            break
    return tuple(map(str, there))


def kill(process: int) -> bool:
    """SIGKILL; whether the process was there."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def kill_all(mark: str) -> None:
    """Leave none, also of those that start others meanwhile."""
    for _ in Deadline(10).poll(0.1):
        there = marked(mark)
        if not there:
            return
        for process in there:
            kill(process.pid)


# Who is who in a run.


def is_worker(process: Process) -> bool:
    return any("exec(eval(sys.stdin.readline()))" in word for word in process.argv) and "setpriv" not in process.argv[0]


def is_builder(process: Process) -> bool:
    return process.argv[-1:] == ("farm.kernel.builder",) and "setpriv" not in process.argv[0]


def is_guest(process: Process) -> bool:
    return process.argv[0].endswith("qemu-system-x86_64") and "-kernel" in process.argv


def find(mark: str, which: Callable[[Process], bool]) -> list[Process]:
    return [process for process in marked(mark) if which(process)]


def port_of(process: int) -> int | None:
    """The TCP port on which a process listens, if it does: a guest's way in."""
    place = Path(f"/proc/{process}")
    try:
        links = [os.readlink(link) for link in (place / "fd").iterdir()]
        lines = (place / "net/tcp").read_text().splitlines()[1:]
    except OSError:
        return None
    for line in lines:
        words = line.split()
        if words[3] == "0A" and f"socket:[{words[9]}]" in links:
            return int(words[1].partition(":")[2], 16)
    return None
