# SPDX-License-Identifier: GPL-2.0
"""For tests that do wrong on purpose: tests/guest/test_canaries.py has them run as
`farm run` runs the suites, and judges their verdicts."""

from collections.abc import Generator

import pytest

from farm.guest import vm
from tests.canaries.deeds import wait_complaint

#: Hangs are waited for until the limit, a fifth of the usual one.
REQUEST_SECONDS = 2.0

_GUEST = pytest.StashKey[vm.Guest]()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # the controller's process has other tests to run
        vm.REQUEST_SECONDS = REQUEST_SECONDS


@pytest.fixture(autouse=True)
def _kept(request: pytest.FixtureRequest, guest: vm.Guest) -> None:
    request.node.stash[_GUEST] = guest


def _wait(item: pytest.Item, when: str) -> None:
    """Let a deed's late consequence come at this moment, and not at another."""
    if f"{when}-deed" in item.name and _GUEST in item.stash:
        wait_complaint(item.stash[_GUEST])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    yield
    _wait(item, "behind_the_mark")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    done = yield
    _wait(item, "behind_the_verdict")
    return done
