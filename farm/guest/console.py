# SPDX-License-Identifier: GPL-2.0
"""The serial console: the kernel's log, and nothing else.

The stream is read line by line, all the time: a guest whose console nobody
reads stops at its next printk. What is read goes to a file first. QEMU's own
`logfile=` is no second witness: up to 7.2 at least it has a byte twice that the
stream did not take at once, which tears splats and moves every offset behind it.
"""

import re
import socket
import threading
from pathlib import Path

import pexpect
from pexpect.fdpexpect import fdspawn

from farm.base.deadline import Deadline
from farm.base.errors import BootFailed, GuestCrashed, GuestHung
from farm.guest.splat import kind_of, strip

READY = "farm: ready"
GIVES_UP = "farm: init:"
_MARK = re.compile(r"farm: mark (\d+)$")

#: Longest line that is taken as one; printk's own limit is 1 kB.
_LONGEST = 1 << 16


class Console:
    """Follows the log of one guest. `complaint` is the first line of the first splat."""

    def __init__(self, stream: socket.socket, log: Path) -> None:
        self.log = log
        self.complaint = ""
        self.closed = False
        self._file = log.open("wb")
        self._ready = False
        self._given_up = False
        self._panicked = False
        self._read = 0
        self._marks: dict[int, int] = {}
        self._changed = threading.Condition()
        self._stream = stream
        self._thread = threading.Thread(target=self._follow, name="console", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        spawn = fdspawn(self._stream, timeout=None, maxread=_LONGEST)
        spawn.logfile_read = self._file
        while True:
            try:
                found = spawn.expect([rb"\n", pexpect.EOF])
            except OSError:  # the socket was closed below us
                found = 1
            before: bytes = spawn.before if isinstance(spawn.before, bytes) else b""
            line = before.decode(errors="replace").strip("\r")
            with self._changed:
                self._read += len(before) + 1
                self._take(line)
                self.closed = found == 1
                self._changed.notify_all()
            if found == 1:
                return

    def _take(self, line: str) -> None:
        text = strip(line)
        if text == READY:
            self._ready = True
        elif text.startswith(GIVES_UP):
            self._given_up = True
        elif mark := _MARK.match(text):
            self._marks[int(mark[1])] = self._read
        elif not self.complaint and kind_of(line):
            self.complaint = text
        if "Kernel panic - not syncing" in text:
            self._panicked = True

    @property
    def _ended(self) -> bool:
        """Where there is no firmware a guest that has powered off only halts."""
        return self._given_up or self._panicked or self.closed

    def wait_ready(self, deadline: Deadline) -> None:
        """Return when the guest's init says it is ready; BootFailed otherwise."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._ended, deadline.left())
            if self._ready:
                return
        what = "ended before it was ready" if self._ended else f"was not ready within {deadline.seconds:.0f} s"
        raise BootFailed(f"the guest {what}{self.last_words()}")

    def wait_mark(self, number: int, deadline: Deadline) -> int:
        """The offset in the log behind the line `farm: mark NUMBER`.

        A log without the mark cannot be judged: it is GuestCrashed or
        GuestHung, never "nothing found".
        """
        with self._changed:
            self._changed.wait_for(lambda: number in self._marks or self.closed, deadline.left())
            if number in self._marks:
                return self._marks[number]
        if self.closed:
            raise GuestCrashed(f"the guest ended{self.last_words()}")
        raise GuestHung(f"the kernel's log did not get as far as mark {number} within {deadline.seconds:.0f} s")

    @property
    def size(self) -> int:
        """How much of the log has been read, in bytes."""
        with self._changed:
            return self._read

    def wait_closed(self, deadline: Deadline) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.closed, deadline.left())

    def text(self, start: int = 0, end: int | None = None) -> str:
        """The log between two offsets."""
        with self.log.open("rb") as handle:
            handle.seek(start)
            data = handle.read() if end is None else handle.read(max(0, end - start))
        return data.decode(errors="replace").replace("\r\n", "\n")

    def last_words(self) -> str:
        """To be put behind what became of the guest."""
        if self.complaint:
            return f": {self.complaint}"
        lines = [strip(line) for line in self.text().splitlines() if line.strip()]
        farm = [line for line in lines if line.startswith(GIVES_UP)]
        if farm:
            return f": {farm[-1]}"
        if not lines:
            return ": its console stayed silent"
        return f"; its last line was: {lines[-1]}"

    def close(self) -> None:
        try:
            self._stream.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # QEMU has closed it
        self._thread.join(5)
        self._stream.close()
        self._file.close()
