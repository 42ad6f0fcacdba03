# SPDX-License-Identifier: GPL-2.0
"""What the deeds have in common."""

from collections.abc import Callable, Sequence

import pytest

from farm.guest.agent import Agent, Refused
from farm.guest.vm import Guest

Deed = Callable[[Guest, Agent], None]

MISDEED = "/sys/module/canary/parameters/misdeed"


def nothing(guest: Guest, agent: Agent) -> None:
    pass


def witnessed(deeds: Sequence[Deed]) -> pytest.MarkDecorator:
    """Each deed, and behind it a test that does nothing and that nothing may happen to."""
    tests = [
        (does, f"{deed.__name__}-{part}") for deed in deeds for does, part in ((deed, "deed"), (nothing, "witness"))
    ]
    return pytest.mark.parametrize("deed", [pytest.param(does, id=name) for does, name in tests])


def load(agent: Agent) -> None:
    try:
        agent.request("module_load", path="/payload/canary.ko")
    except Refused as refused:
        if refused.name != "EEXIST":  # from the test before, which did no harm
            raise


def write(agent: Agent, path: str, data: str) -> None:
    agent.request("file_write", path=path, data=data)


def commit(agent: Agent, misdeed: str) -> None:
    """One of payload/module/canary.c, by the agent itself."""
    load(agent)
    write(agent, MISDEED, misdeed)


def commit_apart(guest: Guest, agent: Agent, misdeed: str) -> None:
    """The same by a process of its own on the second processor, for which nobody waits."""
    load(agent)
    command = f"taskset 2 sh -c 'echo {misdeed} > {MISDEED}' < /dev/null > /dev/null 2>&1 &"
    assert guest.connection.run(command, guest.deadline(10)).status == 0


def wait_complaint(guest: Guest, seconds: float = 10) -> None:
    """Return when the kernel has complained of something. That it did is not
    asserted: it is for the farm to notice."""
    for _ in guest.deadline(seconds).poll():
        if guest.console.complaint:
            return
