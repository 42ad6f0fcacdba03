# SPDX-License-Identifier: GPL-2.0
"""Kernels that complain or die. None of these deeds asserts anything."""

from farm.guest.agent import Agent
from farm.guest.vm import Guest
from tests.canaries.deeds import MISDEED, Deed, commit, commit_apart, load, nothing, wait_complaint, witnessed, write


def warn(guest: Guest, agent: Agent) -> None:
    commit(agent, "warn")


def oops(guest: Guest, agent: Agent) -> None:
    commit(agent, "oops")


def oops_in_interrupt(guest: Guest, agent: Agent) -> None:
    commit(agent, "oops_in_interrupt")


def panic(guest: Guest, agent: Agent) -> None:
    write(agent, "/proc/sysrq-trigger", "c")


def panic_behind_the_debugger(guest: Guest, agent: Agent) -> None:
    """The farm finds QEMU gone where it wants to steer it."""
    agent.send("file_write", path="/proc/sysrq-trigger", data="c")
    guest.console.wait_closed(guest.deadline(10))
    with guest.debugger():
        pass


def triple_fault(guest: Guest, agent: Agent) -> None:
    commit(agent, "triple_fault")


def init_killed(guest: Guest, agent: Agent) -> None:
    """Nobody may send it a deadly signal, so its code is overwritten."""
    guest.connection.run(
        "set -- $(grep -m1 r-xp /proc/1/maps | tr - ' ');"
        " dd if=/dev/zero of=/proc/1/mem bs=4096 seek=$((0x$1 / 4096)) count=$(((0x$2 - 0x$1) / 4096)) conv=notrunc;"
        " kill -HUP 1",
        guest.deadline(10),
    )
    wait_complaint(guest)


def lockup(guest: Guest, agent: Agent) -> None:
    """The answer is lost, and the kernel says why."""
    write(agent, "/proc/sys/kernel/watchdog_thresh", "1")
    agent.request("pin", cpu=1)
    load(agent)
    agent.send("file_write", path=MISDEED, data="lockup")
    wait_complaint(guest)
    agent.limit = 0.5
    agent.receive()


def rcu_stall(guest: Guest, agent: Agent) -> None:
    write(agent, "/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout", "3")
    commit_apart(guest, agent, "rcu_stall")
    wait_complaint(guest)


def hung_task(guest: Guest, agent: Agent) -> None:
    write(agent, "/proc/sys/kernel/hung_task_timeout_secs", "1")
    commit_apart(guest, agent, "hung_task")
    wait_complaint(guest)


def out_of_memory(guest: Guest, agent: Agent) -> None:
    guest.connection.run("tail /dev/zero", guest.deadline(20))


def log_overrun(guest: Guest, agent: Agent) -> None:
    commit(agent, "flood_faster")


def log_without_end(guest: Guest, agent: Agent) -> None:
    """All of it comes out, and more and more of it."""
    load(agent)
    command = f"sh -c 'while echo flood > {MISDEED}; do :; done' < /dev/null > /dev/null 2>&1 &"
    assert guest.connection.run(command, guest.deadline(10)).status == 0
    wait_complaint(guest, 20)


def agent_killed(guest: Guest, agent: Agent) -> None:
    guest.connection.run(f"kill -9 {agent.request('hello')['pid']}", guest.deadline(20))
    agent.request("hello")


def warn_behind_the_mark(guest: Guest, agent: Agent) -> None:
    commit(agent, "warn_late")


def warn_behind_the_verdict(guest: Guest, agent: Agent) -> None:
    commit(agent, "warn_late")


DEEDS = [
    nothing,
    warn,
    oops,
    oops_in_interrupt,
    panic,
    panic_behind_the_debugger,
    triple_fault,
    init_killed,
    lockup,
    rcu_stall,
    hung_task,
    out_of_memory,
    log_overrun,
    log_without_end,
    warn_behind_the_mark,
    warn_behind_the_verdict,
    agent_killed,
]


@witnessed(DEEDS)
def test_crash(guest: Guest, agent: Agent, deed: Deed) -> None:
    deed(guest, agent)
