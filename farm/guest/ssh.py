# SPDX-License-Identifier: GPL-2.0
"""SSH into a guest: commands, files, and the agent's channel."""

import base64
import logging
import os
import shlex
import shutil
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import paramiko

from farm.base.deadline import Deadline
from farm.base.errors import BootFailed, GuestCrashed, GuestHung
from farm.guest import shell
from farm.guest.image import Keys

# a guest that disappears in the middle of a packet is a verdict, not a traceback
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Finished:
    """A command that ran in the guest."""

    status: int
    stdout: str
    stderr: str


class Connection:
    """One SSH connection to a guest, with the keys of its image."""

    def __init__(self, port: int, keys: Keys, deadline: Deadline) -> None:
        self._client = _connect(port, keys, deadline)

    def channel(self, command: str, deadline: Deadline) -> paramiko.Channel:
        """A channel on which `command` runs. GuestHung if the guest opens none in time, or
        if the connection is gone."""
        transport = self._client.get_transport()
        try:
            if transport is None:
                raise EOFError("no connection")
            channel = transport.open_session(timeout=deadline.left())
            start(channel, command, deadline)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise GuestHung(
                f"no session for `{command}` within {deadline.seconds:.0f} s"
                if deadline.passed
                else f"SSH to the guest broke off before `{command}`: {error}"
            ) from error
        return channel

    def run(self, command: str, deadline: Deadline, stdin: bytes = b"") -> Finished:
        """Run a shell command to its end. GuestHung if it does not end in time, or
        if the connection ends first."""
        channel = self.channel(command, deadline)
        with channel:
            out, err = bytearray(), bytearray()
            try:
                channel.settimeout(max(0.1, deadline.left()))
                channel.sendall(stdin)
                channel.shutdown_write()
                channel.settimeout(0.0)
                for _ in deadline.poll(0.01):
                    while channel.recv_ready():
                        out += channel.recv(1 << 16)
                    while channel.recv_stderr_ready():
                        err += channel.recv_stderr(1 << 16)
                    if channel.exit_status_ready() and channel.eof_received:
                        break
                    if channel.closed:
                        break
                else:
                    raise GuestHung(f"no end of `{command}` within {deadline.seconds:.0f} s")
                status = channel.recv_exit_status() if channel.exit_status_ready() else -1
            except (OSError, EOFError) as error:
                raise GuestHung(f"SSH to the guest broke off during `{command}`: {error}") from error
            if not channel.eof_received:  # the server sends EOF when the command has ended
                raise GuestHung(f"SSH to the guest broke off during `{command}`")
            return Finished(status, out.decode(errors="replace"), err.decode(errors="replace"))

    def stream(self, command: str, deadline: Deadline) -> int:
        """Run a shell command to its end, with the input and output of this process. Returns its status.
        Raises GuestHung as `run` does, and OSError if the output cannot be written."""
        with self.channel(command, deadline) as channel:
            try:
                status = shell.stream(channel, deadline)
            except TimeoutError as error:
                raise GuestHung(f"no end of `{command}` within {deadline.seconds:.0f} s") from error
            except (paramiko.SSHException, EOFError) as error:
                raise GuestHung(f"SSH to the guest broke off during `{command}`: {error}") from error
        if status is None:
            raise GuestHung(f"SSH to the guest broke off during `{command}`")
        return status

    def terminal(self) -> paramiko.Channel:
        """A channel with a login shell on a terminal that is as large as this one. Raises GuestHung."""
        transport = self._client.get_transport()
        size = shutil.get_terminal_size()
        try:
            if transport is None:
                raise EOFError("no connection")
            channel = transport.open_session(timeout=10)
            channel.get_pty(os.environ.get("TERM", "linux"), size.columns, size.lines)
            channel.invoke_shell()
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise GuestHung(f"SSH to the guest gave no terminal: {error}") from error
        return channel

    def put(self, local: Path, remote: str, deadline: Deadline) -> None:
        """Copy a file into the guest."""
        done = self.run(f"cat > {shlex.quote(remote)}", deadline, local.read_bytes())
        if done.status:
            raise GuestCrashed(f"{remote} cannot be written in the guest: {done.stderr.strip()}")

    def close(self) -> None:
        self._client.close()


def start(channel: paramiko.Channel, command: str, deadline: Deadline) -> None:
    """Run `command` on a channel. paramiko itself would wait forever for the guest to
    confirm it; this raises SSHException when the deadline passes."""

    def give_up() -> None:
        with suppress(OSError, EOFError):  # the connection ends at the same time
            channel.close()

    timer = threading.Timer(deadline.left(), give_up)
    timer.daemon = True
    timer.start()
    try:
        channel.exec_command(command)
    finally:
        timer.cancel()


def _connect(port: int, keys: Keys, deadline: Deadline) -> paramiko.SSHClient:
    """Connect and log in, and try again until the guest answers."""
    host_key = paramiko.Ed25519Key(data=_public(keys.host))
    client_key = paramiko.Ed25519Key.from_private_key_file(str(keys.client))
    last: Exception | None = None
    for _ in deadline.poll(0.05):
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        client.get_host_keys().add(f"[127.0.0.1]:{port}", "ssh-ed25519", host_key)
        try:
            client.connect(
                "127.0.0.1",
                port,
                "root",
                pkey=client_key,
                timeout=max(0.1, deadline.left()),
                banner_timeout=max(0.1, deadline.left()),
                auth_timeout=max(0.1, deadline.left()),
                allow_agent=False,
                look_for_keys=False,
            )
        except (OSError, paramiko.SSHException, EOFError) as error:
            last = error
            client.close()
        else:
            _send_at_once(client)
            return client
    raise BootFailed(f"the guest is up but SSH gave no session within {deadline.seconds:.0f} s: {last}")


def _send_at_once(client: paramiko.SSHClient) -> None:
    """Switch off Nagle's algorithm. Otherwise a message right after a small one waits
    40 ms for the acknowledgement, which Linux delays."""
    transport = client.get_transport()
    assert transport is not None
    assert isinstance(transport.sock, socket.socket)
    transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _public(path: Path) -> bytes:
    """The key blob of a public key file."""
    return base64.b64decode(path.read_text().split()[1])
