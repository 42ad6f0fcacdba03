# SPDX-License-Identifier: GPL-2.0
"""Delta debugging: what is left shows the failure, and nothing of it can go."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.hunt.minimal import minimal


def grouped(size: int, parts: int) -> list[range]:
    """So many items in about so many groups."""
    return [range(size * part // parts, size * (part + 1) // parts) for part in range(parts)]


@given(st.integers(0, 40), st.integers(1, 9), st.sets(st.integers(0, 39), max_size=4))
def test_what_is_needed_together(size: int, parts: int, needed: set[int]) -> None:
    needed = {item for item in needed if item < size}
    assert minimal(grouped(size, parts), lambda items: needed <= set(items)) == sorted(needed)


@given(st.sets(st.frozensets(st.integers(0, 11), min_size=1, max_size=3), min_size=1, max_size=3))
def test_nothing_can_be_left_away(causes: set[frozenset[int]]) -> None:
    """Where there are several causes one of them is found, whole."""

    def shows(items: Sequence[int]) -> bool:
        return any(cause <= set(items) for cause in causes)

    left = minimal(grouped(12, 3), shows)
    assert shows(left)
    assert not any(shows([item for item in left if item != gone]) for gone in left)


@pytest.mark.parametrize(
    "needed, most",
    [({0}, 9), ({31}, 11), ({3, 11}, 16), ({8, 9, 10}, 16), (set(range(32)), 64)],
)
def test_questions_are_few_and_none_is_asked_twice(needed: set[int], most: int) -> None:
    """Each is a kernel. Of 32 options by 8 fragments one, some of one fragment, some of two, all."""
    asked: list[tuple[int, ...]] = []

    def shows(items: Sequence[int]) -> bool:
        asked.append(tuple(items))
        return needed <= set(items)

    assert minimal(grouped(32, 8), shows) == sorted(needed)
    assert len(asked) == len(set(asked)) <= most


def test_sets_of_which_nothing_can_be_told() -> None:
    """2 needs 7, as an option that depends on another: without it there is no kernel."""

    def shows(items: Sequence[int]) -> bool:
        return (2 in items and 7 in items and 8 not in items) or len(items) == 10

    left = minimal([range(10)], shows)
    assert shows(left)
    assert {2, 7} <= set(left)
