# SPDX-License-Identifier: GPL-2.0
"""A kill ends long work in the same way as Ctrl-C: it has time to save what it has."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kill_interrupts() -> Iterator[None]:
    """Until the block ends, SIGTERM raises KeyboardInterrupt in the main thread, which must be the caller's."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
