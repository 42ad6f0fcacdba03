# SPDX-License-Identifier: GPL-2.0
"""The serial console: the kernel's log, and nothing else.

A thread reads the stream all the time: a guest whose console is not read stops
at its next printk. Everything goes to a file first. QEMU's own `logfile=` cannot
serve as that file: at least up to 7.2, it repeats a byte that the stream did not
take at once. That breaks splats apart and moves every later offset.
"""

import re
import socket
import threading
from contextlib import suppress
from pathlib import Path

from farm.base.deadline import Deadline
from farm.base.errors import BootFailed, FarmError, GuestCrashed, GuestHung
from farm.guest import complaints
from farm.guest.splat import kind_of, strip

READY = "farm: ready"
GIVES_UP = "farm: init:"
_MARK = re.compile(r"farm: mark (\d+)$")

#: The longest text that is taken as one line; printk's own limit is 1 kB.
_LONGEST = 1 << 16

#: The largest size of a log: a kernel that prints without end would fill the disk. The rest
#: is still read, and marks are found in it, but it is not kept.
MOST_BYTES = 64 << 20
_DROPPED = b"\nfarm: the log is full, what the kernel said after this was dropped\n"

#: The `complaint` if there is no splat, but too much was printed since the last mark.
FLOODED = "the console was flooded"


class Console:
    """Follows the log of one guest. `complaint` is the first line of the first splat,
    or says that the console was flooded."""

    def __init__(self, stream: socket.socket, log: Path) -> None:
        self.log = log
        self.complaint = ""
        self.closed = False
        self._complained_at = 0
        self._file = log.open("wb")
        self._kept = 0
        self._error: OSError | None = None
        self._ready = False
        self._given_up = False
        self._panicked = False
        self._read = 0
        self._marked = 0
        self._marks: dict[int, int] = {}
        self._changed = threading.Condition()
        self._stream = stream
        self._thread = threading.Thread(target=self._follow, name="console", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        rest = b""
        while True:
            try:
                data = self._stream.recv(_LONGEST)
            except OSError:  # the socket was closed meanwhile
                data = b""
            self._keep(data)
            *lines, rest = (rest + data).split(b"\n")
            with self._changed:
                for line in lines:
                    self._take(line + b"\n")
                if len(rest) > _LONGEST or not data:
                    self._take(rest)
                    rest = b""
                self.closed = not data
                self._changed.notify_all()
            if not data:
                return

    def _keep(self, data: bytes) -> None:
        """Write to the log, up to its limit."""
        room = MOST_BYTES - self._kept
        self._kept += len(data)
        try:
            self._file.write(data[: max(0, room)])
            if 0 <= room < len(data):
                self._file.write(_DROPPED)
            self._file.flush()
        except OSError as error:  # keep reading the console, or the guest would stop
            self._error = error

    def _take(self, raw: bytes) -> None:
        before, self._read = self._read, self._read + len(raw)
        line = raw.decode(errors="replace").rstrip("\r\n")
        text = strip(line)
        if text == READY:
            self._ready = True
        elif text.startswith(GIVES_UP):
            self._given_up = True
        elif mark := _MARK.match(text):
            self._marks[int(mark[1])] = self._marked = self._read
        elif not self.complaint and kind_of(line):
            self.complaint, self._complained_at = text, before
        elif not self.complaint and self._read - self._marked > complaints.FLOOD_BYTES:
            self.complaint, self._complained_at = FLOODED, self._marked
        if "Kernel panic - not syncing" in text:
            self._panicked = True

    @property
    def _ended(self) -> bool:
        """Whether the guest is finished: without firmware, a guest that powers off only halts."""
        return self._given_up or self._panicked or self.closed

    def wait_ready(self, deadline: Deadline) -> None:
        """Return when the guest's init says that it is ready. Raises BootFailed otherwise."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._ended, deadline.left())
            if self._ready:
                return
        what = "ended before it was ready" if self._ended else f"was not ready within {deadline.seconds:.0f} s"
        raise BootFailed(f"the guest {what}{self.last_words()}")

    def wait_mark(self, number: int, deadline: Deadline) -> int:
        """The offset in the log after the line `farm: mark NUMBER`.

        A log without the mark cannot be judged: this raises GuestCrashed or
        GuestHung, and never means "nothing found".
        """
        with self._changed:
            self._changed.wait_for(lambda: number in self._marks or self.closed, deadline.left())
            if self._error:
                raise FarmError(f"{self.log}: {self._error.strerror}; the kernel's log is not whole")
            if number in self._marks:
                return min(self._marks[number], MOST_BYTES)
        if self.closed:
            raise GuestCrashed(f"the guest ended{self.last_words()}")
        raise GuestHung(f"the kernel's log did not get as far as mark {number} within {deadline.seconds:.0f} s")

    @property
    def size(self) -> int:
        """How long the log is so far, in bytes: what was read, except what was dropped."""
        with self._changed:
            return min(self._read, MOST_BYTES)

    def wait_closed(self, deadline: Deadline) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.closed, deadline.left())

    def text(self, start: int = 0, end: int | None = None) -> str:
        """The log between two offsets."""
        with self.log.open("rb") as handle:
            handle.seek(start)
            data = handle.read() if end is None else handle.read(max(0, end - start))
        return data.decode(errors="replace").replace("\r\n", "\n")

    def reason(self, during: str = "") -> str:
        """The kernel's complaints with their call traces, as a reason of several lines. `during`
        is another observation; it is added to the first line."""
        first, *rest = complaints.told(self.text(self._complained_at)) or [self.complaint]
        return "\n".join([f"{first} ({during})" if during else first, *rest])

    def last_words(self) -> str:
        """The end of a message about the guest: its complaint, or its last line."""
        if self.complaint:
            return f": {self.reason()}"
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
        with suppress(OSError):  # it was reported when it happened
            self._file.close()
