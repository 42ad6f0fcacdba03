# SPDX-License-Identifier: GPL-2.0
"""Delta debugging: what is left shows the failure, and nothing of it can go."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from farm.hunt.minimal import minimal


@given(st.integers(0, 40), st.sets(st.integers(0, 39), max_size=4))
def test_what_is_needed_together(size: int, needed: set[int]) -> None:
    needed = {item for item in needed if item < size}
    assert set(minimal(range(size), lambda items: needed <= set(items))) == needed


@given(st.sets(st.frozensets(st.integers(0, 11), min_size=1, max_size=3), min_size=1, max_size=3))
def test_nothing_can_be_left_away(causes: set[frozenset[int]]) -> None:
    """Where there are several causes one of them is found, whole."""

    def shows(items: Sequence[int]) -> bool:
        return any(cause <= set(items) for cause in causes)

    left = minimal(range(12), shows)
    assert shows(left)
    assert not any(shows([item for item in left if item != gone]) for gone in left)


def test_no_set_is_asked_about_twice() -> None:
    asked: list[tuple[int, ...]] = []

    def shows(items: Sequence[int]) -> bool:
        asked.append(tuple(items))
        return {3, 11} <= set(items)

    assert minimal(range(16), shows) == [3, 11]
    assert len(asked) == len(set(asked))


def test_sets_of_which_nothing_can_be_told() -> None:
    """2 needs 7, as an option that depends on another: without it there is no kernel."""
    assert minimal(range(10), lambda items: (2 in items and 7 in items and 8 not in items) or len(items) == 10) == [
        2,
        7,
    ]
