# SPDX-License-Identifier: GPL-2.0
"""Where faults are done: a cache of their own that has a cell's kernel, results, and farms that bear a mark."""

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults import processes
from farm.base import cache
from farm.base.command import run
from farm.matrix import CHECKOUT, MATRIX

FARM = [sys.executable, "-m", "farm"]

#: What of the cache a run needs whose kernels were built before.
KEPT = ("kernels", "modules", "programs", "images", "keys", "selftests", "bytecode")

#: For a command that hangs. Other work on the host makes runs slow, and no fault of the farm's.
LIMIT = 900.0


@dataclass(frozen=True)
class Ground:
    """`place` has cache, results and logs, and goes at the end, with all processes that bear the `mark`."""

    place: Path
    mark: str
    cell: str
    select: str
    accel: str
    seed: int

    @property
    def cache(self) -> Path:
        return self.place / "cache"

    @property
    def words(self) -> list[str]:
        """The run to which faults are done."""
        return ["run", self.cell, "-k", self.select, "--accel", self.accel]

    def environment(self, **more: str) -> dict[str, str]:
        mine = {"FTRACE_FARM_CACHE": str(self.cache), processes.MARK: self.mark, "COLUMNS": "160"}
        home = {"XDG_CONFIG_HOME": str(self.place / "config")}  # nobody is told of a fault by mail
        return {**os.environ, **home, **mine, **more}

    def start(self, argv: Sequence[str], log: Path, **more: str) -> "subprocess.Popen[bytes]":
        """A command in a session of its own; what it says goes to the end of `log`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as handle:
            return subprocess.Popen(
                argv,
                cwd=CHECKOUT,
                env=self.environment(**more),
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def farm(self, words: Sequence[str], results: Path, log: Path, **more: str) -> "subprocess.Popen[bytes]":
        return self.start([*FARM, *words, "--results", str(results)], log, **more)

    def fresh(self) -> Path:
        """An empty directory for one point."""
        return Path(tempfile.mkdtemp(prefix="point-", dir=self.place))


@contextmanager
def ground(cell: str, select: str, accel: str, seed: int) -> Iterator[Ground]:
    """The ground, and after the block neither a process nor a file of it."""
    run([*FARM, "build", cell])  # into the user's own cache, from which it is copied
    with ExitStack() as stack:
        place = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="farm-faults-", ignore_cleanup_errors=True))
        )
        place.chmod(0o755)  # a guest is nobody's, and its kernel lies here
        made = Ground(place, uuid.uuid4().hex, cell, select, accel, seed)
        stack.callback(processes.kill_all, made.mark)
        fill_cache(made.cache)
        yield made


def fill_cache(where: Path) -> None:
    """A copy of the user's cache, but for what a build needs. Sources are linked: objects of git's never change."""
    for kind in KEPT:
        if (cache.root() / kind).is_dir():
            shutil.copytree(cache.root() / kind, where / kind, symlinks=True, ignore=shutil.ignore_patterns(".*"))
    link_sources(cache.root() / "sources", where / "sources")


def link_sources(source: Path, where: Path) -> None:
    def link(one: str, other: str) -> str:
        if "/objects/" in one:
            os.link(one, other)
        else:
            shutil.copy2(one, other)
        return other

    shutil.copytree(source, where, symlinks=True, copy_function=link, ignore=shutil.ignore_patterns("unpacked", ".*"))


def run_directory(results: Path) -> Path | None:
    """The run that a command has begun in an empty results directory, once it is written down."""
    return next((path.parent for path in sorted(results.glob("*/run.json"), reverse=True)), None)


def troubles(log: Path, status: int, allowed: Sequence[int]) -> tuple[str, ...]:
    """What no command may do, whatever is done to it."""
    text = log.read_text(errors="replace")
    found = [f"exit {status}, log: {_tail(text)}"] if status not in allowed else []
    if "Traceback (most recent call last)" in text or "INTERNALERROR" in text or "please report it" in text:
        found.append(f"a traceback: {_tail(text)}")
    return tuple(found)


def _tail(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-4:])[-400:]


def small_matrix(where: Path, cells: dict[str, str]) -> Path:
    """A matrix like the farm's with these cells alone, by name the lines of each."""
    (where / "kconfigs").mkdir(parents=True)
    (where / "kconfigs/x86_64").symlink_to(MATRIX.parent / "x86_64")
    (where / "patches").symlink_to(CHECKOUT / "patches")
    head = MATRIX.read_text().partition("\ncells:\n")[0]
    lines = "".join(f"  {name}:\n{text}" for name, text in cells.items())
    (where / "kconfigs/matrix.yaml").write_text(f"{head}\ncells:\n{lines}")
    return where / "kconfigs/matrix.yaml"
