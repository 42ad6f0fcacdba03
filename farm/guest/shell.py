# SPDX-License-Identifier: GPL-2.0
"""A person at a guest's shell: this terminal, joined to an SSH channel."""

import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

import paramiko


def interact(channel: paramiko.Channel) -> int:
    """Copy both ways until the shell ends or stdin does; the shell's status.

    Works without a terminal too: what stands in a pipe is typed.
    """
    stdin, stdout = sys.stdin.fileno(), sys.stdout.fileno()
    typing = True
    with _raw(stdin), _resized(channel):
        while True:
            ready, _, _ = select.select([channel, stdin] if typing else [channel], [], [])
            if channel in ready:
                data = channel.recv(1 << 16)
                if not data:
                    return channel.recv_exit_status()
                os.write(stdout, data)
            if stdin in ready:
                data = os.read(stdin, 1 << 12)
                if data:
                    channel.sendall(data)
                else:
                    typing = False
                    channel.sendall(b"\x04")  # end of file, as a terminal says it


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """Keys go to the guest as they are, Ctrl-C among them."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _resized(channel: paramiko.Channel) -> Iterator[None]:
    """The guest's terminal follows the size of this one."""

    def tell(*_: object) -> None:
        size = shutil.get_terminal_size()
        channel.resize_pty(size.columns, size.lines)

    before = signal.signal(signal.SIGWINCH, tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
