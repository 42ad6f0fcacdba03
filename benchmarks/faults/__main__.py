# SPDX-License-Identifier: GPL-2.0
"""Faults that are done to farms which run, and whether anything is lost by them.

    python -m benchmarks.faults [--only NAME]… [--points N] [--seed S] [--cell CELL] [-k EXPR] [--accel ACCEL]

Each fault is done to a farm of its own, with a cache and results of its own, and then the
same command is given again. A line a fault: how many points, how many planned tests had no
verdict at the end or two of them, processes that were left, whether the verdicts were those of
a run to which nothing is done, and what else was wrong. Exit status: 0 if nothing was, else 1.

The kernel of the cell is built before if the cache lacks it. Full disks are mounted, which
only root may; failing system calls want Debian's package strace.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Iterable, Iterator

from rich.console import Console
from rich.table import Table

from benchmarks.faults import clock, crowd, disk, hunts, kills, syscalls
from benchmarks.faults.ground import Ground, ground
from benchmarks.faults.outcome import Row

#: By name: what is done, and how many points of it there are if nobody says.
FAULTS: dict[str, tuple[Callable[[Ground, int], Iterator[Row]], int]] = {
    "kills": (kills.rows, 170),
    "hunts": (hunts.rows, 30),
    "clock": (clock.rows, 12),
    "disk": (disk.rows, 30),
    "crowd": (crowd.rows, 20),
    "syscalls": (syscalls.rows, 1000),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", choices=list(FAULTS), help="this fault; may be given again")
    parser.add_argument("--points", type=int, help="of each fault")
    parser.add_argument("--seed", type=int, default=1, help="of the moments; the same are drawn again with it")
    parser.add_argument("--cell", default="x86_64-regs")
    parser.add_argument("-k", dest="select", default="slots or open", help="the tests of a run; default: %(default)s")
    parser.add_argument("--accel", default="tcg")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rows: list[Row] = []
    interrupted = False
    try:
        with ground(asked.cell, asked.select, asked.accel, asked.seed) as made:
            for name in asked.only or FAULTS:
                what, points = FAULTS[name]
                for row in what(made, asked.points or points):
                    rows.append(row)  # each at once: Ctrl-C shows what there is
    except KeyboardInterrupt:
        interrupted = True
    finally:
        show(rows)
    return int(interrupted or not all(row.good for row in rows))


def show(rows: Iterable[Row]) -> None:
    table = Table("what", "how", "points", "verdicts lost", "orphans", "final table equal", "trouble")
    wrong = []
    for row in rows:
        unequal = sum(bool(point.unequal) for point in row.points)
        trouble = sum(bool(point.trouble) for point in row.points)
        table.add_row(
            row.what,
            row.how,
            str(len(row.points)),
            str(sum(point.lost for point in row.points)),
            str(sum(len(point.orphans) for point in row.points)),
            "yes" if not unequal else f"no: {unequal}",
            str(trouble or "none"),
        )
        said = [line for point in row.points for line in (*point.orphans, *point.unequal, *point.trouble)]
        wrong += [f"{row.what}: {line}" for line in dict.fromkeys(said)]
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    for line in wrong:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
