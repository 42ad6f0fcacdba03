# SPDX-License-Identifier: GPL-2.0
"""The smallest set that still shows a failure, by delta debugging.

A. Zeller, R. Hildebrandt: Simplifying and Isolating Failure-Inducing Input,
IEEE Transactions on Software Engineering 28 (2), 2002: the algorithm ddmin.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def minimal(items: Sequence[T], shows: Callable[[Sequence[T]], bool]) -> list[T]:
    """Items of which none can be left away: without any one of them `shows` is false.

    `shows(items)` is taken to be true. It is asked about no set twice, and may
    say false of a set of which nothing can be told: then more than needed stays.
    """
    asked: dict[tuple[int, ...], bool] = {}

    def bad(indices: Sequence[int]) -> bool:
        key = tuple(indices)
        if key not in asked:
            asked[key] = shows([items[i] for i in key])
        return asked[key]

    left = list(range(len(items)))
    parts = 2
    while len(left) > 1:
        pieces = [left[len(left) * n // parts : len(left) * (n + 1) // parts] for n in range(parts)]
        rests = [[i for i in left if i not in piece] for piece in pieces]
        if smaller := next((piece for piece in pieces if bad(piece)), None):
            left, parts = smaller, 2
        elif parts > 2 and (smaller := next((rest for rest in rests if bad(rest)), None)):
            left, parts = smaller, parts - 1
        elif parts < len(left):
            parts = min(len(left), 2 * parts)
        else:
            break
    if len(left) == 1 and bad([]):
        left = []
    return [items[i] for i in left]
