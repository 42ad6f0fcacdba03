# SPDX-License-Identifier: GPL-2.0
"""The fewest items that still show a failure, by leaving away what is not needed.

Halves of halves are left away, whole groups first. Where one item of n is
needed that takes some 2 log2(n) questions, and where all are no more than 2 n:
delta debugging (A. Zeller, R. Hildebrandt, IEEE Transactions on Software
Engineering 28 (2), 2002) asks for the square of n there.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def minimal(groups: Sequence[Sequence[T]], shows: Callable[[Sequence[T]], bool]) -> list[T]:
    """Items of which none can be left away, in their order.

    What needs something else stands behind it, and is left away before it.
    `shows` is taken to be true of all items, is asked about no set twice, and
    may say false of a set of which nothing can be told: then more than needed stays.
    """
    left = [item for group in groups for item in group]

    def leave_away(block: Sequence[Sequence[T]], needed: bool) -> bool:
        """Leave away what can go of some groups, or of a part of one; whether all
        went. `needed` says that they cannot go all."""
        nonlocal left
        gone = [item for group in block for item in group]
        if not needed:
            rest = [item for item in left if item not in gone]
            if shows(rest):
                left = rest
                return True
        if len(gone) > 1:
            front, back = _halves(block)
            # without either it is without the block, and of that is known that it does not show
            leave_away(front, needed=leave_away(back, needed=False))
        return False

    if left and not shows([]):
        leave_away([group for group in groups if group], needed=True)
    elif left:
        left = []
    return left


def _halves(block: Sequence[Sequence[T]]) -> tuple[Sequence[Sequence[T]], Sequence[Sequence[T]]]:
    if len(block) > 1:
        return block[: len(block) // 2], block[len(block) // 2 :]
    (group,) = block
    return [group[: len(group) // 2]], [group[len(group) // 2 :]]
