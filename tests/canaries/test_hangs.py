# SPDX-License-Identifier: GPL-2.0
"""Kernels and guests that stop answering, and some that only look like it."""

from farm.guest import splat
from farm.guest.agent import Agent
from farm.guest.vm import Guest
from tests.canaries.deeds import MISDEED, Deed, commit, load, witnessed, write

YEAR = 365 * 24 * 3600


def log_flood(guest: Guest, agent: Agent) -> None:
    """All of it comes out, and the mark behind it."""
    agent.limit = 60 * guest.scale
    commit(agent, "flood")
    start = guest.marked
    text = guest.console.text(start, guest.mark())
    assert text.count(" of so many, which ") == 6000
    assert not splat.find(text)


def clock_jump(guest: Guest, agent: Agent) -> None:
    """The clock on the wall is no concern of the farm's."""
    now = int(guest.connection.run("date +%s", guest.deadline(10)).stdout)
    for then in (now + 10 * YEAR, 0, now):
        assert guest.connection.run(f"date -s @{then}", guest.deadline(10)).status == 0
        guest.mark()
        with guest.agent() as another:
            another.request("hello")
        assert guest.connection.run("sleep 0.1", guest.deadline(10)).status == 0


def hang_all(guest: Guest, agent: Agent) -> None:
    commit(agent, "hang_all")


def hang_of_the_control(guest: Guest, agent: Agent) -> None:
    """What hangs is the session that also writes the marks."""
    load(agent)
    write(guest.control, MISDEED, "hung_task")


def hang_before_a_session(guest: Guest, agent: Agent) -> None:
    guest.monitor.execute("stop")
    with guest.agent():
        pass


def network_down(guest: Guest, agent: Agent) -> None:
    guest.connection.run("ifconfig eth0 down", guest.deadline(2))


def ssh_killed(guest: Guest, agent: Agent) -> None:
    """Its processes, that of this connection among them."""
    kill = "kill -9 $(grep -l '^dropbear$' /proc/[0-9]*/comm | tr -dc '0-9\\n')"
    guest.connection.run(kill, guest.deadline(10))


def console_lost(guest: Guest, agent: Agent) -> None:
    write(agent, "/sys/class/tty/ttyS0/console", "N")


DEEDS = [
    log_flood,
    clock_jump,
    hang_all,
    hang_of_the_control,
    hang_before_a_session,
    network_down,
    ssh_killed,
    console_lost,
]


@witnessed(DEEDS)
def test_hang(guest: Guest, agent: Agent, deed: Deed) -> None:
    deed(guest, agent)
