# SPDX-License-Identifier: GPL-2.0
"""Fixtures that the suites share, on top of the farm's plugin.

Marks of tests for what they may do, and others may not:

`misses`        calls that no program can be asked about, as one was running on
                the processor already
`touches_many`  hundreds of functions are traced. What a kernel has traced it
                never forgets, so that behind such a test nobody could tell
                whether another one traces them, too: they go last in their
                suite, and take their guest along
"""

from collections.abc import Generator, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import hypothesis.configuration
import pytest

from farm.base import cache
from farm.guest.agent import Agent
from farm.guest.vm import Guest
from farm.matrix import Cell
from farm.run.classify import SlotsDiffer
from farm.run.plugin import failed, spoils_guest
from suites import frame, leftovers
from suites.outside import OutsideObserver
from suites.tracefs import Tracing

# what it keeps of its own, such as tables of Unicode, does not belong in a checkout
hypothesis.configuration.set_hypothesis_home_dir(cache.root() / "hypothesis")

_REQUEST = pytest.StashKey[pytest.FixtureRequest]()


@pytest.fixture(autouse=True)
def _request(request: pytest.FixtureRequest) -> None:
    request.node.stash[_REQUEST] = request


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A call whose slots differ is made once more and looked at from outside,
    while the tracers and filters of the test still stand: so every picture of a
    frame has the raw memory, and tests need not ask for it."""
    try:
        return (yield)
    except SlotsDiffer as error:
        if error.call is None:
            raise
        fixture = pyfuncitem.stash[_REQUEST].getfixturevalue
        guest = fixture("guest")
        raise frame.with_raw(error, OutsideObserver(guest, fixture("built")), guest.control) from error


#: What each guest said of itself when it was new, and behind the last test.
_FRESH: WeakKeyDictionary[Guest, dict[str, Any]] = WeakKeyDictionary()
_LAST: WeakKeyDictionary[Guest, dict[str, Any]] = WeakKeyDictionary()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "misses: programs of this test may run within one another")
    config.addinivalue_line("markers", "touches_many: this test traces hundreds of functions")


def _touches_many(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("touches_many") is not None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    suites = list(dict.fromkeys(item.path for item in items))
    items.sort(key=lambda item: (suites.index(item.path), _touches_many(item)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if _touches_many(item) and not _touches_many(nextitem):
        item.add_marker("spoils_guest")


@pytest.fixture(autouse=True)
def quiet(request: pytest.FixtureRequest, memory: set[Guest]) -> Iterator[None]:
    """Nothing is left in the guest, before the test and behind it. It comes
    before all that a test takes, and so looks when they are closed."""
    if "guest" not in request.fixturenames:
        yield
        return
    guest: Guest = request.getfixturevalue("guest")
    cell: Cell = request.getfixturevalue("cell")
    memory.add(guest)
    if guest not in _FRESH:  # else the check behind the test before was the one before this
        _FRESH[guest] = leftovers.look(guest.control)
        _LAST[guest] = leftovers.check(guest, cell, _FRESH[guest], "left in a new guest")
    yield
    many = _touches_many(request.node)
    if failed(request.node) or (spoils_guest(request.node) and not many):
        return
    before, _LAST[guest] = _LAST[guest], leftovers.check(guest, cell, _FRESH[guest], "left behind")
    if not many:
        leftovers.check_touched(leftovers.touched(before), leftovers.touched(_LAST[guest]))


@pytest.fixture(scope="module", autouse=True)
def memory(cell: Cell) -> Iterator[set[Guest]]:
    """The guests that a suite used. Behind it no memory is lost in the last,
    where the kernel looks for it: that takes longer than a test."""
    guests: set[Guest] = set()
    yield guests
    if "kmemleak" in cell.supports:
        for guest in guests:
            if not guest.console.closed:
                leftovers.check_memory(guest)


@pytest.fixture
def tracing(guest: Guest, cell: Cell) -> Iterator[Tracing]:
    """The guest's tracefs; behind the test it is reset."""
    control = Tracing(guest, "dynamic_ftrace" in cell.supports)
    yield control
    control.reset()


@pytest.fixture
def agent(tracing: Tracing, guest: Guest, request: pytest.FixtureRequest) -> Iterator[Agent]:
    """A session for the test. It takes `tracing`, so that the session and the
    filters that it holds are closed before the guest must be quiet."""
    with guest.agent() as session:
        yield session
        if not failed(request.node) and request.node.get_closest_marker("misses") is None:
            leftovers.check_misses(session)
