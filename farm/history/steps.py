# SPDX-License-Identifier: GPL-2.0
"""Where durations changed for good, and not by their own noise.

Of a series of n durations each place is tried as a change-point: there, the
last m are compared with all before them by the rank-sum statistic (Mann and
Whitney, 1947; for an unknown change-point Pettitt, 1979). Ranks know nothing of
how durations are distributed, and an outlier weighs no more than its rank. The chance of so
high a statistic without a change is counted exactly, not approximated, as what is
asked about are chances of one in millions; times the number of places that were tried it
bounds the false alarms (Bonferroni).
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb

#: False alarms that a comparison of two runs may have among all of its cases, on average:
#: one in a hundred nights.
FALSE_ALARMS = 0.01

#: On either side of a change there must be so many durations.
FEWEST = 3


@dataclass(frozen=True)
class Found:
    """A step at `position`: medians before it and from it on, and the chance of it without a change."""

    position: int
    before: float
    after: float
    chance: float


def find(durations: Sequence[float], budget: float) -> Found | None:
    """The clearest step in a series, up or down, if its chance is below `budget`.

    Medians must differ by more than the durations on either side usually differ
    from theirs as well: a step that is sure, but within the noise, is none.
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
    place, and the chance, bounded for all places and both directions."""
    n = len(durations)
    sign = 1 if up else -1
    # Equal durations get the ranks that speak against the step, so that the chance is a bound for them too.
    ordered = sorted(range(n), key=lambda i: (sign * durations[i], -i))
    ranks = [0] * n
    for rank, i in enumerate(ordered, 1):
        ranks[i] = rank
    best, place, clearest = 0.0, 0, 0
    total = sum(ranks[:FEWEST])
    for position in range(FEWEST, n - FEWEST + 1):
        m = n - position
        # pairs of one before and one behind of which the latter is longer
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
    """In how many orders of `few` and `many` values there are 0, 1, 2, … pairs with the one
    of the first kind above: the coefficients of the Gaussian binomial."""
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
    """The chance that of `one` and `other` values in random order at least so many pairs
    have that of the second kind above."""
    counts = _arrangements(min(one, other), max(one, other))
    return sum(counts[pairs:]) / comb(one + other, one)
