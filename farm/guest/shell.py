# SPDX-License-Identifier: GPL-2.0
"""Connects stdin and stdout of this process to an SSH channel, for a person or a program at a guest's shell."""

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

from farm.base.deadline import Deadline

#: The exit status that a shell gives a command whose reader closed the pipe.
BROKEN_PIPE = 128 + signal.SIGPIPE


def stream(channel: paramiko.Channel, deadline: Deadline) -> int | None:
    """Pass on the output of a command in the guest as it comes, and stdin too unless that is a terminal.

    Returns its status, or None if the connection ended first. Raises TimeoutError when the deadline passes.
    """
    stdin = sys.stdin.fileno()
    typing = not os.isatty(stdin)
    if not typing:
        channel.shutdown_write()
    channel.settimeout(0.0)
    pending = b""
    try:
        while not (_drained(channel) and (channel.closed or (channel.exit_status_ready() and channel.eof_received))):
            if deadline.passed:
                raise TimeoutError
            wanted = [channel, stdin] if typing and not pending else [channel]
            # select does not notice when the channel takes more
            ready, _, _ = select.select(wanted, [], [], min(0.02 if pending else 0.2, deadline.left()))
            _pass_on(channel)
            if stdin in ready:
                pending = os.read(stdin, 1 << 16)
                if not pending:
                    typing = False
                    channel.shutdown_write()
            if pending and channel.send_ready():
                pending = _send(channel, pending)
    except BrokenPipeError:
        return BROKEN_PIPE
    return channel.recv_exit_status() if channel.exit_status_ready() and channel.eof_received else None


def _send(channel: paramiko.Channel, data: bytes) -> bytes:
    """Send some input. Returns the part that the guest does not take now."""
    try:
        return data[channel.send(data) :]
    except TimeoutError:
        return data
    except OSError:  # the command or the connection has ended; the caller finds out
        return b""


def _drained(channel: paramiko.Channel) -> bool:
    return not channel.recv_ready() and not channel.recv_stderr_ready()


def _pass_on(channel: paramiko.Channel) -> None:
    while channel.recv_ready():
        _write(sys.stdout.fileno(), channel.recv(1 << 16))
    while channel.recv_stderr_ready():
        _write(sys.stderr.fileno(), channel.recv_stderr(1 << 16))


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def interact(channel: paramiko.Channel) -> int:
    """Copy in both directions until the shell or stdin ends. Returns the shell's status.

    Works without a terminal too: the content of a pipe is sent as if typed.
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
                    channel.sendall(b"\x04")  # end of file, as a terminal sends it


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """Send all keys to the guest unchanged, Ctrl-C among them."""
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
    """Let the guest's terminal follow the size of this one."""

    def tell(*_: object) -> None:
        size = shutil.get_terminal_size()
        channel.resize_pty(size.columns, size.lines)

    before = signal.signal(signal.SIGWINCH, tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
