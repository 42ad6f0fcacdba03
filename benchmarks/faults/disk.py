# SPDX-License-Identifier: GPL-2.0
"""Results and a cache on a disk that is full: a small file system of its own, of which so many kB are left."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.faults import processes
from benchmarks.faults.ground import Ground, run_directory, troubles
from benchmarks.faults.kills import Undisturbed, ended, undisturbed
from benchmarks.faults.outcome import Point, Row, differing, lost, repeat, say, verdicts
from farm.base.command import run
from farm.record import records

#: What fills a disk.
FILLER = "filler"

#: A message is no longer than a screen.
SCREEN = 24


def rows(ground: Ground, points: int) -> Iterator[Row]:
    """Half of the points with results on it, half with the cache, for as many amounts that are left."""
    if os.geteuid() != 0:
        say("full disks: only root may mount one")
        return
    before = undisturbed(ground)
    of_results, of_cache = (points + 1) // 2, points // 2
    with _disk(ground, "results", 64) as disk:
        yield _results(ground, before, disk, of_results)
    if of_cache:
        with _disk(ground, "small-cache", 256) as disk:
            yield _cache(ground, before, disk, of_cache)


@contextmanager
def _disk(ground: Ground, name: str, size: int) -> Iterator[Path]:
    """A file system of so many MiB."""
    where = ground.place / name
    where.mkdir()
    run(["mount", "-t", "tmpfs", "-o", f"size={size}m,mode=755", "farm-faults", where])
    try:
        yield where
    finally:
        processes.kill_all(ground.mark)
        run(["umount", "--lazy", where])


def _fill(disk: Path, left: int) -> None:
    """Leave so many bytes free."""
    stat = os.statvfs(disk)
    with (disk / FILLER).open("wb") as handle:
        os.posix_fallocate(handle.fileno(), 0, max(1, stat.f_bavail * stat.f_frsize - left))


def _results(ground: Ground, before: Undisturbed, disk: Path, points: int) -> Row:
    taken = _taken(ground, disk)
    say(f"full disk: a run leaves {taken >> 10} kB in its results")

    def point(number: int) -> Point | None:
        results = disk / f"point-{number}"
        results.mkdir()
        try:
            return _full(ground, before, results, disk, taken * number // (3 * points), str(disk))
        finally:
            shutil.rmtree(results)

    return repeat(Row("a disk that is full, with results", "tmpfs, farm run, guests"), points, point, tries=3)


def _taken(ground: Ground, disk: Path) -> int:
    """Bytes that a run takes of a disk."""
    results = disk / "whole"
    start = os.statvfs(disk).f_bavail
    ended(ground.farm(ground.words, results, ground.fresh() / ".log"))
    taken = (start - os.statvfs(disk).f_bavail) * os.statvfs(disk).f_frsize
    shutil.rmtree(results)
    return taken


def _cache(ground: Ground, before: Undisturbed, disk: Path, points: int) -> Row:
    for kind in ("kernels", "modules", "programs", "keys"):
        shutil.copytree(ground.cache / kind, disk / kind)
    (disk / "sources").symlink_to(ground.cache / "sources")
    empty = os.statvfs(disk).f_bavail
    ended(ground.farm(ground.words, ground.fresh(), ground.fresh() / ".log", FTRACE_FARM_CACHE=str(disk)))
    taken = (empty - os.statvfs(disk).f_bavail) * os.statvfs(disk).f_frsize
    say(f"full disk: a run leaves {taken >> 10} kB in a cache that has its kernel")

    def point(number: int) -> Point | None:
        for kind in _kinds(disk) - {"kernels", "modules", "programs", "keys", "sources"}:
            shutil.rmtree(disk / kind)
        return _full(ground, before, ground.fresh(), disk, taken * number // (3 * points), str(disk), str(disk))

    return repeat(Row("a disk that is full, with the cache", "tmpfs, farm run, guests"), points, point, tries=3)


def _kinds(disk: Path) -> set[str]:
    """The kinds of artifacts that a cache has."""
    return {path.name for path in disk.iterdir() if path.is_dir()}


def _full(
    ground: Ground, before: Undisturbed, results: Path, disk: Path, left: int, named: str, cache: str = ""
) -> Point:
    """With `left` bytes a run ends with 3 and one message that names the path; with room it goes on to its end."""
    more = {"FTRACE_FARM_CACHE": cache} if cache else {}
    log = ground.fresh() / ".log"
    _fill(disk, left)
    status = ended(ground.farm(ground.words, results, log, **more))
    orphans = processes.left(ground.mark, 10)
    text = log.read_text(errors="replace")
    begun = run_directory(results)
    trouble = troubles(log, status, (0, 3))
    kept = verdicts(begun) if begun else {}
    if status == 3:
        lines = text.strip().splitlines()
        if not any(named in line and ("No space left" in line or "full" in line) for line in lines[-SCREEN:]):
            trouble += (f"{left >> 10} kB: no message that names {named}: {' | '.join(lines[-3:])[:300]}",)
        if sum("No space left" in line or "disk full" in line for line in lines) > 3:
            trouble += (f"{left >> 10} kB: the same message again and again, {len(lines)} lines",)
        said = [int(number) for number in re.findall(r": (\d+) of \d+ tests done", text)]
        if max(said, default=0) > len(kept):
            trouble += (f"{left >> 10} kB: {max(said)} tests were said to be done, {len(kept)} are on disk",)
    (disk / FILLER).unlink()
    going_on = begun is not None and records.load_run(begun).status in ("running", "interrupted")
    if status == 0:
        return Point(lost(begun, before.verdicts) if begun else 1, orphans, differing(before.verdicts, kept), trouble)
    again = ["run", "--resume", str(begun)] if going_on else ground.words
    status = ended(ground.farm(again, results, log, **more))
    end = run_directory(results)
    found = verdicts(end) if end else {}
    return Point(
        lost(end, before.verdicts) if end else len(before.verdicts),
        (*orphans, *processes.left(ground.mark, 10)),
        differing(before.verdicts, found),
        (*trouble, *troubles(log, status, (0,)))
        if not trouble
        else (*trouble, *((f"then exit {status}",) if status else ())),
    )
