# SPDX-License-Identifier: GPL-2.0
"""Reduce a set of items that shows a failure to those that are needed for it.

Whole groups are removed first, then halves of them, then halves of those. If one item of n is
needed, this takes about 2 log2(n) questions. If all are needed, it takes at most 2 n; delta
debugging (A. Zeller, R. Hildebrandt, IEEE Transactions on Software Engineering 28 (2), 2002)
takes about n² there.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def minimal(groups: Sequence[Sequence[T]], shows: Callable[[Sequence[T]], bool]) -> list[T]:
    """A set of items from which none can be removed, in their order.

    An item that needs another one comes after it, and is removed before it. `shows(items)` says
    whether these items show the failure. It must be true for all items together, and is called
    once for each set. If a set cannot be tested, it may return false: the result then has more
    items than needed.
    """
    left = [item for group in groups for item in group]

    def leave_away(block: Sequence[Sequence[T]], needed: bool) -> bool:
        """Remove what is not needed from some groups, or from a part of one. Returns whether all was
        removed. `needed` says that they cannot all be removed."""
        nonlocal left
        gone = [item for group in block for item in group]
        if not needed:
            rest = [item for item in left if item not in gone]
            if shows(rest):
                left = rest
                return True
        if len(gone) > 1:
            front, back = _halves(block)
            # without both halves it is without the block, which is known not to show the failure
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
