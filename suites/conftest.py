# SPDX-License-Identifier: GPL-2.0
"""Fixtures that the suites share, on top of the farm's plugin.

Marks for tests that may do what others may not:

`misses`        a filter may miss calls, because its program was running on the
                processor already
`touches_many`  the test traces hundreds of functions. A kernel never forgets
                what it has traced, so later nobody could see whether another test
                traces them too. Such tests run last in their suite, and their
                guest ends with them
"""

from collections.abc import Generator, Iterator
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import hypothesis.configuration
import pytest

from farm.base import cache
from farm.guest.agent import Agent
from farm.guest.vm import Guest
from farm.kernel.builder import Built
from farm.matrix import Cell
from farm.version import Version, parse
from farm.worker.classify import SlotsDiffer
from farm.worker.plugin import failed, spoils_guest
from suites import frame, leftovers, versions
from suites.outside import OutsideObserver
from suites.tracefs import Tracing

# its own files, such as tables of Unicode, do not belong in a checkout
hypothesis.configuration.set_hypothesis_home_dir(cache.root() / "hypothesis")

_REQUEST = pytest.StashKey[pytest.FixtureRequest]()


@pytest.fixture(autouse=True)
def _request(request: pytest.FixtureRequest) -> None:
    request.node.stash[_REQUEST] = request


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Repeat a call whose slots differ and look at it from outside, while the tracers
    and filters of the test are still there. So every picture of a frame has the raw
    memory, and tests need not ask for it."""
    try:
        return (yield)
    except SlotsDiffer as error:
        if error.call is None:
            raise
        fixture = pyfuncitem.stash[_REQUEST].getfixturevalue
        guest = fixture("guest")
        raise frame.with_raw(error, OutsideObserver(guest, fixture("built")), guest.control) from error


#: The state of each guest when it was new, and after its last test.
_FRESH: WeakKeyDictionary[Guest, dict[str, Any]] = WeakKeyDictionary()
_LAST: WeakKeyDictionary[Guest, dict[str, Any]] = WeakKeyDictionary()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "misses: programs of this test may run within themselves")
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
    """Check that nothing is left in the guest, before and after the test. It is set up
    before everything else that a test uses, so it looks after all that is closed."""
    if "guest" not in request.fixturenames:
        yield
        return
    guest: Guest = request.getfixturevalue("guest")
    cell: Cell = request.getfixturevalue("cell")
    memory.add(guest)
    if guest not in _FRESH:  # otherwise the check after the previous test was the one before this one
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
    """The guests that a suite used. After the suite, check that the last one has lost no
    memory, if its kernel can tell: that takes longer than a test."""
    guests: set[Guest] = set()
    yield guests
    if "kmemleak" in cell.supports:
        for guest in guests:
            if not guest.console.closed:
                leftovers.check_memory(guest)


@pytest.fixture
def version(built: Built) -> Version:
    """The version of the kernel's source."""
    known = parse(built.version)
    assert known, f"the builder gave the version {built.version!r}"
    return known


@pytest.fixture
def tracing(guest: Guest, cell: Cell, version: Version, request: pytest.FixtureRequest) -> Iterator[Tracing]:
    """The guest's tracefs. It is reset after the test."""
    control = Tracing(
        guest,
        "dynamic_ftrace" in cell.supports,
        pauses=versions.FTRACE_SWITCH.hold(version),
        crowd=partial(request.node.add_marker, "touches_many"),
    )
    yield control
    control.reset()


@pytest.fixture
def agent(tracing: Tracing, guest: Guest, request: pytest.FixtureRequest) -> Iterator[Agent]:
    """A session for the test. It depends on `tracing`, so that the session and its
    filters are closed before the check for leftovers."""
    with guest.agent() as session:
        yield session
        if not failed(request.node) and request.node.get_closest_marker("misses") is None:
            leftovers.check_misses(session)
