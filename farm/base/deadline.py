# SPDX-License-Identifier: GPL-2.0
"""Deadlines: the moment by which something must have happened."""

import time
from collections.abc import Iterator


class Deadline:
    """A point in time that is passed down instead of a timeout.

    Two waits with one deadline share it; two timeouts would add up.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that remain, never negative."""
        return max(0.0, self._end - time.monotonic())

    @property
    def passed(self) -> bool:
        return self.left() == 0.0

    def poll(self, interval: float = 0.02) -> Iterator[None]:
        """Yield at once, and then every `interval` seconds until the deadline passes.

        A loop that runs to its end has missed the deadline. Leave it with `return`
        or `break` when the wait is over::

            for _ in deadline.poll():
                if ready():
                    return
            raise GuestHung(...)
        """
        yield
        while not self.passed:
            time.sleep(min(interval, self.left()))
            yield
