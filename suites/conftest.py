# SPDX-License-Identifier: GPL-2.0
"""Fixtures that the suites share, on top of the farm's plugin."""

from collections.abc import Iterator

import pytest

from farm.guest.agent import Agent
from farm.guest.vm import Guest
from farm.matrix import Cell
from suites.tracefs import Tracing


@pytest.fixture
def tracing(guest: Guest, cell: Cell) -> Iterator[Tracing]:
    """The guest's tracefs; behind the test it is reset, and must be quiet."""
    control = Tracing(guest, "dynamic_ftrace" in cell.supports)
    yield control
    control.reset()


@pytest.fixture
def agent(tracing: Tracing, guest: Guest) -> Iterator[Agent]:
    """A session for the test. It takes `tracing`, so that the session and the
    filters that it holds are closed before the guest must be quiet."""
    with guest.agent() as session:
        yield session
