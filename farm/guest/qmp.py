# SPDX-License-Identifier: GPL-2.0
"""QEMU's monitor, which controls the machine from outside."""

import asyncio
import re
import socket
from typing import Any

from qemu.qmp import QMPClient, QMPError

from farm.base.errors import FarmError


class Monitor:
    """A QMP connection for synchronous code. Only one thread may use it."""

    def __init__(self, stream: socket.socket) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = QMPClient("guest")
        self._wait(self._client.connect(stream))

    def _wait(self, coroutine: Any, seconds: float = 10.0) -> Any:
        try:
            return self._loop.run_until_complete(asyncio.wait_for(coroutine, seconds))
        except (TimeoutError, OSError, EOFError, QMPError) as error:
            raise FarmError(f"QEMU's monitor does not answer: {error or type(error).__name__}") from error

    def execute(self, command: str, **arguments: Any) -> Any:
        """The answer to a QMP command; FarmError if QEMU refuses or is gone."""
        return self._wait(self._client.execute(command, arguments or None))

    def ssh_port(self) -> int:
        """The loopback port that leads to the guest's port 22."""
        table = self.execute("human-monitor-command", **{"command-line": "info usernet"})
        found = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+22\b", table)
        if not found:
            raise FarmError(f"QEMU forwards no port to the guest's SSH:\n{table}")
        return int(found[1])

    def close(self) -> None:
        try:
            self._wait(self._client.disconnect(), 2.0)
        except FarmError:
            pass  # QEMU is gone already
        self._loop.close()
