# SPDX-License-Identifier: GPL-2.0
"""Two farms that run the same cell from one cache, and `farm clean` all the while."""

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults import processes
from benchmarks.faults.ground import FARM, Ground, run_directory, troubles
from benchmarks.faults.kills import Undisturbed, ended, undisturbed
from benchmarks.faults.outcome import Point, Row, differing, lost, repeat, verdicts

#: Images are made again, so that both want to make one: a clean may not take it away while it is made.
REMADE = "images"


def rows(ground: Ground, points: int) -> Iterator[Row]:
    before = undisturbed(ground)

    def point(number: int) -> Point | None:
        return _point(ground, before, random.Random(f"{ground.seed} crowd {number}"))

    yield repeat(Row("two farms on one cache, and clean", "farm run, guests, images are made"), points, point)


def _point(ground: Ground, before: Undisturbed, chance: random.Random) -> Point:
    places = [ground.fresh(), ground.fresh()]
    for image in (ground.cache / REMADE).glob("[!.]*"):
        for file in image.iterdir():
            file.unlink()
        image.rmdir()
    runs = []
    for place in places:
        runs.append(ground.farm(ground.words, place, place / ".log"))
        time.sleep(chance.uniform(0, 1))
    trouble, cleaned = _clean_until(ground, runs, chance)
    found = Point()
    for process, place in zip(runs, places, strict=True):
        status, directory = ended(process), run_directory(place)
        found = Point(
            found.lost + (lost(directory, before.verdicts) if directory else len(before.verdicts)),
            (),
            found.unequal + differing(before.verdicts, verdicts(directory) if directory else {}),
            found.trouble + troubles(place / ".log", status, (0,)),
        )
    left = processes.left(ground.mark, 10)
    partial = [str(path) for path in ground.cache.glob("*/.partial-*")]
    trouble += tuple(f"left in the cache: {path}" for path in partial)
    return Point(found.lost, left, found.unequal, found.trouble + trouble, (f"{cleaned} times cleaned",))


def _clean_until(
    ground: Ground, runs: "list[subprocess.Popen[bytes]]", chance: random.Random
) -> tuple[tuple[str, ...], int]:
    """Clean again and again until both have ended; what was wrong of that, and how often it was done."""
    trouble, times = tuple[str, ...](), 0
    log: Path = ground.fresh() / ".log"
    while any(process.poll() is None for process in runs):
        status = ended(ground.start([*FARM, "clean"], log))
        trouble += troubles(log, status, (0,))
        times += 1
        time.sleep(chance.uniform(0, 2))
    return trouble, times
