# SPDX-License-Identifier: GPL-2.0
"""What came of the points of a fault, and verdicts as they are compared."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from farm.record import records
from farm.record.records import Planned
from farm.record.verdict import Verdict

#: Each test of a run with its verdict.
Verdicts = Mapping[Planned, Verdict]


@dataclass(frozen=True)
class Point:
    """One fault: `lost` planned tests that did not have exactly one verdict at the end, `orphans` processes that
    were left, `unequal` tests with another verdict than in an undisturbed run, `trouble` what else was wrong.
    `named` are the tests that the fault itself hit, and that the run says so of."""

    lost: int = 0
    orphans: tuple[str, ...] = ()
    unequal: tuple[str, ...] = ()
    trouble: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return not (self.lost or self.orphans or self.unequal or self.trouble)


@dataclass
class Row:
    """The points of one fault; `how` says what of it is real."""

    what: str
    how: str
    points: list[Point] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return bool(self.points) and all(point.good for point in self.points)


def verdicts(directory: Path) -> Verdicts:
    """The verdicts of a run, by test; of several of one test the last."""
    return {_planned(record): record.verdict for record in records.load_verdicts(directory)}


def lost(directory: Path, expected: Iterable[Planned]) -> int:
    """Tests that have no verdict in a run, or more than one."""
    times = Counter(_planned(record) for record in records.load_verdicts(directory))
    return sum(times[test] != 1 for test in {*expected, *times})


def differing(expected: Verdicts, found: Verdicts) -> tuple[str, ...]:
    """The tests that ended otherwise, in words."""
    return tuple(
        f"{test.cell} {test.suite} {test.test}: {found.get(test, 'nothing')} instead of {expected.get(test, 'nothing')}"
        for test in sorted({*expected, *found}, key=str)
        if expected.get(test) != found.get(test)
    )


def _planned(record: records.VerdictRecord) -> Planned:
    return Planned(record.test, record.suite, record.cell, record.attempt)


def say(line: str) -> None:
    """Progress, for who waits."""
    print(line, file=sys.stderr, flush=True)


def repeat(row: Row, times: int, point: Callable[[int], Point | None], tries: int = 3) -> Row:
    """Fill a row with so many points. A fault that came too late to hit anything, None, is no point and is drawn
    again."""
    for number in range(times):
        for attempt in range(tries):
            made = point(number * tries + attempt)
            if made is not None:
                row.points.append(made)
                said = "ok" if made.good else "; ".join([*made.orphans, *made.unequal[:3], *made.trouble])
                hit = f" (hit: {', '.join(made.named)})" if made.named else ""
                say(f"{row.what} [{number + 1}/{times}]: {said}{hit}" + (f"; {made.lost} lost" if made.lost else ""))
                break
        else:
            say(f"{row.what} [{number + 1}/{times}]: missed {tries} times, no point")
    return row
