# SPDX-License-Identifier: GPL-2.0
"""A guest's shell as somebody has it who types: a terminal, and the keys one after the other."""

import sys
from collections.abc import Callable, Iterator

import pexpect
import pytest

Start = Callable[..., "pexpect.spawn[str]"]

#: A guest boots within, on a loaded host.
SECONDS = 120


@pytest.fixture
def typed() -> Iterator[Start]:
    """Starts a command on a terminal of 80 columns; ended with the test."""
    started: list[pexpect.spawn[str]] = []

    def start(*words: str) -> "pexpect.spawn[str]":
        argv = ["-m", "farm", *words]
        started.append(pexpect.spawn(sys.executable, argv, encoding="utf-8", timeout=SECONDS, dimensions=(24, 80)))
        return started[-1]

    yield start
    for child in started:
        child.close(force=True)


@pytest.mark.usefixtures("real")  # the kernel is built by then
def test_shell_in_a_guest(typed: Start) -> None:
    """Keys go to the guest as they are, Ctrl-C among them; its status is the command's."""
    child = typed("boot", "x86_64-regs", "--accel", "tcg")
    child.expect_exact("# ")
    child.sendline("cat /proc/sys/kernel/osrelease; stty size")
    child.expect(r"\d+\.\d+\.\d+-farm\s+24 80\s")
    child.expect_exact("# ")
    child.sendline("cat")
    child.expect_exact("cat\r\n")
    child.sendline("typed")
    child.expect(r"typed\s+typed")  # the second one is cat's: before that the key would find nobody
    child.sendintr()
    child.expect_exact("# ")
    child.sendline("exit 7")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 7
