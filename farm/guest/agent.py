# SPDX-License-Identifier: GPL-2.0
"""The agent in the guest: one JSON request a line, one answer a line.

payload/agent/main.c documents the requests. What a session opens stays open until
the session is closed.
"""

import errno as errnos
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import paramiko

from farm.base.deadline import Deadline
from farm.base.errors import FarmError, GuestCrashed, GuestHung, KernelError
from farm.guest.ssh import Connection

PATH = "/payload/agent"

#: How often to check whether the kernel has complained, and how long to wait after that: its
#: report may be long, but a kernel that died with a lock held never answers.
LOOK_SECONDS, LAST_SECONDS = 1.0, 10.0

#: How the message of a failure begins that only follows from an earlier one. It is no reason of its own.
FOLLOWS = "no request is made after"


class Refused(OSError):
    """The kernel answered a system call with an error. `log` is the verifier's log."""

    def __init__(self, number: int, call: str, message: str, log: str = "") -> None:
        super().__init__(number, message)
        self.call, self.log = call, log

    @property
    def name(self) -> str:
        return name_of(self.errno)

    def __str__(self) -> str:
        return f"{self.call}: {self.name}: {self.strerror}"


def name_of(number: int | None) -> str:
    """The name of an errno as in the contract. 524 is the kernel's own ENOTSUPP. 95 has
    two names, and the kernel does not use the same one as Python."""
    special = {524: "ENOTSUPP", errnos.EOPNOTSUPP: "EOPNOTSUPP"}
    return special.get(number or 0) or errnos.errorcode.get(number or 0, str(number))


class Agent:
    """A session with the agent. If no answer comes within `limit` seconds, that is a
    hang, and the session ends; the limit may be raised for a long request. Once the
    kernel has `complained`, the session waits at most `last` seconds for an answer."""

    def __init__(
        self,
        connection: Connection,
        arch: str,
        limit: float,
        complained: Callable[[], bool] = lambda: False,
        last: float = LAST_SECONDS,
    ) -> None:
        self.arch = arch
        self.limit = limit
        self._complained, self._last = complained, last
        self._channel: paramiko.Channel = connection.channel(PATH, Deadline(limit))
        self._buffer = b""
        self._number = 0
        self._op = ""
        self._lost = ""
        self.request("hello")

    def request(self, op: str, **arguments: Any) -> dict[str, Any]:
        """The answer to one request.

        Raises Refused for an error of the kernel, GuestHung or GuestCrashed if no
        answer comes, FarmError if the request made no sense.
        """
        self.send(op, **arguments)
        return self.receive()

    def send(self, op: str, **arguments: Any) -> None:
        """Send a request without waiting, because the guest may be stopped. `receive`
        takes the answer, which is there when `fileno` is readable."""
        if self._lost:  # its answer may still come, and would be taken for the answer to this one
            raise GuestHung(f"{FOLLOWS} `{self._lost}`, which had no answer")
        self._number += 1
        self._op = op
        line = json.dumps({"id": self._number, "op": op, **arguments}) + "\n"
        with self._blame():
            self._channel.settimeout(self.limit)
            self._channel.sendall(line.encode())

    def receive(self) -> dict[str, Any]:
        """The answer to the last request. Raises what `request` raises."""
        with self._blame():
            answer = json.loads(self._line(Deadline(self.limit)))
        if answer.get("id") != self._number:
            raise FarmError(f"the agent answered request {answer.get('id')}, not {self._number}")
        return _accepted(self._op, answer)

    def batch(self, *requests: dict[str, Any]) -> list[dict[str, Any]]:
        """The answers to several requests, in one round trip. Raises what `request` raises."""
        answers = self.request("batch", requests=requests)["answers"]
        return [_accepted(request["op"], answer) for request, answer in zip(requests, answers, strict=True)]

    def fileno(self) -> int:
        """For select(): readable when the agent has sent something."""
        return self._channel.fileno()

    @contextmanager
    def _blame(self) -> Iterator[None]:
        try:
            yield
        except (TimeoutError, paramiko.SSHException) as error:
            self._lost = self._op
            within = (isinstance(error, TimeoutError) and str(error)) or f"within {self.limit:.0f} s"
            raise GuestHung(f"no answer to `{self._op}` {within}") from error
        except OSError as error:
            raise self._ended(f": {error}") from error

    def _line(self, deadline: Deadline) -> bytes:
        dying = False
        while b"\n" not in self._buffer:
            self._channel.settimeout(max(0.01, min(deadline.left(), LOOK_SECONDS)))
            try:
                data = self._channel.recv(1 << 16)
            except TimeoutError:
                if deadline.passed and dying:
                    raise TimeoutError(f"{deadline.seconds:.0f} s after the kernel complained") from None
                if deadline.passed:
                    raise
                if self._complained() and not dying:
                    dying, deadline = True, Deadline(min(deadline.left(), self._last))
                continue
            if not data:
                raise self._ended(self._complaint())
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _ended(self, how: str) -> KernelError:
        """The error for a closed channel: with EOF from the server, the agent ended; without it, SSH did."""
        if self._channel.eof_received:
            return GuestCrashed(f"the agent ended during `{self._op}`{how}")
        return GuestHung(f"SSH to the guest broke off during `{self._op}`")

    def _complaint(self) -> str:
        data = self._channel.recv_stderr(4096) if self._channel.recv_stderr_ready() else b""
        return f": {data.decode(errors='replace').strip()}" if data else ""

    def close(self, deadline: Deadline) -> None:
        """End the session and wait until the agent has closed what it held."""
        try:
            self._channel.shutdown_write()
            # an agent that did not answer will not end either; it has had its time
            while not self._lost and not deadline.passed and not self._channel.exit_status_ready():
                self._channel.status_event.wait(min(0.2, deadline.left()))
                if self._channel.closed:
                    break
        except OSError:
            pass  # the guest is gone, and so is all that the session held
        self._channel.close()


def _accepted(op: str, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer, if the request succeeded."""
    if answer["ok"]:
        return answer
    if answer["name"] == "REQUEST":
        raise FarmError(f"the agent does not understand `{op}`: {answer['message']}")
    raise Refused(answer["errno"], answer.get("call", op), answer.get("message", ""), answer.get("log", ""))
