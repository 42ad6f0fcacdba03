# SPDX-License-Identifier: GPL-2.0
"""Finds where durations changed for good, as opposed to their usual noise.

Each place in a series of n durations is tried as a change-point: the last m are
compared with all before them by the rank-sum statistic (Mann and Whitney, 1947;
for an unknown change-point Pettitt, 1979). Ranks do not depend on how durations
are distributed, and an outlier weighs no more than its rank. The chance of so high a
statistic without a change is counted exactly, not approximated, because it may be one
in millions. Multiplied by the number of places that were tried, it bounds the false
alarms (Bonferroni).
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb

#: How many false alarms a comparison of two runs may have on average, among all of its
#: cases: one in a hundred nights.
FALSE_ALARMS = 0.01

#: How many durations there must be on either side of a change.
FEWEST = 3


@dataclass(frozen=True)
class Found:
    """A step at `position`: the medians before it and from it on, and its chance without a real change."""

    position: int
    before: float
    after: float
    chance: float


def find(durations: Sequence[float], budget: float) -> Found | None:
    """The clearest step in a series, up or down, if its chance is below `budget`.

    The medians must also differ by more than the durations on either side usually
    differ from their median: a step that is certain, but within the noise, is none.
    """
    n = len(durations)
    if n < 2 * FEWEST or 2 * (n - 2 * FEWEST + 1) / comb(n, n // 2) > budget:
        return None  # no series of this length is clear enough
    best = max((_at(durations, up, budget) for up in (True, False)), key=lambda one: one[0])
    _, position, chance = best
    if chance > budget:
        return None
    before, after = durations[:position], durations[position:]
    low, high = statistics.median(before), statistics.median(after)
    noise = max(_spread(before, low), _spread(after, high))
    return Found(position, low, high, chance) if abs(high - low) > noise else None


def _spread(durations: Sequence[float], median: float) -> float:
    return statistics.median(abs(one - median) for one in durations)


def _at(durations: Sequence[float], up: bool, budget: float) -> tuple[float, int, float]:
    """The clearest place for a step up (or down): how clear it is in standard deviations, the
    place, and a bound of the chance for all places and both directions."""
    n = len(durations)
    sign = 1 if up else -1
    # Equal durations get the ranks that count against the step, so that the chance is a bound for them too.
    ordered = sorted(range(n), key=lambda i: (sign * durations[i], -i))
    ranks = [0] * n
    for rank, i in enumerate(ordered, 1):
        ranks[i] = rank
    best, place, clearest = 0.0, 0, 0
    total = sum(ranks[:FEWEST])
    for position in range(FEWEST, n - FEWEST + 1):
        m = n - position
        # pairs of one duration before and one after the place, where the later one is longer
        u = position * m - (total - position * (position + 1) // 2)
        z = (u - position * m / 2) / (position * m * (n + 1) / 12) ** 0.5
        if z > best:
            best, place, clearest = z, position, u
        if position < n:
            total += ranks[position]
    if best < 2.0:
        return best, place, 1.0
    places = 2 * (n - 2 * FEWEST + 1)
    return best, place, min(1.0, places * tail(place, n - place, clearest))


@lru_cache(maxsize=1024)
def _arrangements(few: int, many: int) -> tuple[int, ...]:
    """How many orders of `few` and `many` values have 0, 1, 2, … pairs in which the value of the
    first kind is higher: the coefficients of the Gaussian binomial."""
    size = few * many + 1
    counts = [1] + [0] * (size - 1)
    for k in range(1, few + 1):
        for i in range(size - 1, many + k - 1, -1):  # times 1 - q^(many + k)
            counts[i] -= counts[i - many - k]
        for i in range(k, size):  # over 1 - q^k
            counts[i] += counts[i - k]
    return tuple(counts)


@lru_cache(maxsize=65536)
def tail(one: int, other: int, pairs: int) -> float:
    """The chance that `one` and `other` values in random order have at least so many `pairs`
    in which the value of the second kind is higher."""
    counts = _arrangements(min(one, other), max(one, other))
    return sum(counts[pairs:]) / comb(one + other, one)
