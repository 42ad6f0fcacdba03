# SPDX-License-Identifier: GPL-2.0
"""The guest from outside: as much of GDB's remote protocol as it takes to stop at an
instruction and to read registers and memory, through QEMU's gdbstub.

All breakpoints are hardware breakpoints: a software breakpoint would be an INT3
in the guest's text, which would confuse ftrace's own code patching.
"""

import re
import select
import socket
from typing import Protocol

from farm.arch.architecture import RegisterLayout
from farm.base.deadline import Deadline
from farm.base.errors import FarmError, GuestCrashed, GuestHung, KernelError
from farm.guest.qmp import Monitor

#: The character device of qemu.argv() for the stub.
CHARDEV = "debugger"

#: QEMU answers at once while the guest is stopped; this is for a loaded host.
ANSWER_SECONDS = 20.0

#: The longest piece of memory in one answer: QEMU's packets end at 4096 bytes.
LONGEST_READ = 1024

_INTERRUPT = b"\x03"
_SPECIAL = b"#$}*"
_SIGINT, _SIGTRAP = 2, 5


# Framing: pure functions.


def packet(payload: bytes) -> bytes:
    """A payload as it is sent: `$payload#checksum`."""
    escaped = b"".join(b"}%c" % (byte ^ 0x20) if byte in _SPECIAL else b"%c" % byte for byte in payload)
    return b"$%s#%02x" % (escaped, sum(escaped) % 256)


def take_packet(data: bytes) -> tuple[bytes | None, bytes]:
    """The payload of the first packet in `data`, and the rest after it.

    None while the packet is incomplete. Acknowledgements before the packet are
    dropped.
    """
    start = data.find(b"$")
    if start < 0:
        return None, b""
    end = data.find(b"#", start)
    if end < 0 or len(data) < end + 3:
        return None, data[start:]
    body, checksum = data[start + 1 : end], data[end + 1 : end + 3]
    if b"%02x" % (sum(body) % 256) != checksum.lower():
        raise FarmError(f"QEMU's gdbstub sent a packet with a wrong checksum: {data[start : end + 3]!r}")
    return _expand(body), data[end + 3 :]


def _expand(body: bytes) -> bytes:
    """Undo escapes (`}` and a byte) and runs (`*` and a byte that counts from 29)."""
    if not set(b"}*") & set(body):
        return body
    payload = bytearray()
    at = 0
    while at < len(body):
        if body[at] in b"}*" and at + 1 == len(body):
            raise FarmError(f"QEMU's gdbstub sent a packet that ends within an escape: {body!r}")
        if body[at] == ord("}"):
            payload.append(body[at + 1] ^ 0x20)
            at += 2
        elif body[at] == ord("*"):
            payload += payload[-1:] * (body[at + 1] - 29)
            at += 2
        else:
            payload.append(body[at])
            at += 1
    return bytes(payload)


def registers(answer: str, layout: RegisterLayout) -> dict[str, int]:
    """The registers of a layout, from the answer to `g`. FarmError if it is too short for them."""
    data, found = bytes.fromhex(answer), {}
    for name, size in layout.sizes.items():
        value, data = data[:size], data[size:]
        if len(value) < size:
            raise FarmError(f"QEMU's gdbstub sent {len(answer) // 2} bytes of registers, which end before {name}")
        found[name] = int.from_bytes(value, layout.byteorder)
    return found


class Readable(Protocol):
    """What select() can wait for."""

    def fileno(self) -> int: ...


class Debugger:
    """QEMU's gdbstub of one guest. Use it through `Guest.debugger()`, which stops
    the guest at the start and lets it run at the end.

    The first Debugger starts the stub, which stops the guest. The stub then stays:
    QEMU 7.2 cannot start it twice on one character device.
    """

    def __init__(self, monitor: Monitor, stream: socket.socket, layout: RegisterLayout) -> None:
        self.layout = layout
        self._stream = stream
        self._buffer = b""
        self._acknowledge = True
        self._breakpoints: set[int] = set()
        self._thread = "0"  # any
        #: KVM steps with the guest's own trap flag, and a PUSHF in the guest would save it
        self.can_step = not monitor.execute("query-kvm")["enabled"]
        said = monitor.execute("human-monitor-command", **{"command-line": f"gdbserver chardev:{CHARDEV}"})
        if "Waiting for gdb connection" not in said:
            raise FarmError(f"QEMU starts no gdbstub: {said.strip()}")
        self.running = False
        self._ask("?")
        if self._ask("QStartNoAckMode") == "OK":
            self._acknowledge = False
        # the stub gives single registers only to clients that asked for the description
        self._ask("qXfer:features:read:target.xml:0,1")

    # While the guest is stopped.

    def read(self, address: int, size: int) -> bytes:
        """Memory of the guest, as seen by the processor that stopped."""
        pieces = []
        for start in range(0, size, LONGEST_READ):
            length = min(LONGEST_READ, size - start)
            answer = self._ask(f"m{address + start:x},{length:x}")
            if not re.fullmatch(f"[0-9a-f]{{{2 * length}}}", answer):
                raise KernelError(f"{length} bytes at {address + start:#x} are no memory of the guest's: {answer}")
            pieces.append(bytes.fromhex(answer))
        return b"".join(pieces)

    def read_u64(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8), self.layout.byteorder)

    def write(self, address: int, data: bytes) -> None:
        """Replace memory of the guest, including its text, without the guest noticing."""
        self._ok(f"M{address:x},{len(data):x}:{data.hex()}")

    def registers(self) -> dict[str, int]:
        """The registers of the processor that stopped."""
        return registers(self._ask("g"), self.layout)

    def pc(self) -> int:
        """Only the program counter: the answer is short."""
        return int.from_bytes(bytes.fromhex(self._ask(f"p{self._number(self.layout.pc):x}")), self.layout.byteorder)

    def set_register(self, name: str, value: int) -> None:
        """Set one of the layout's registers on the processor that stopped."""
        data = value.to_bytes(self.layout.sizes[name], self.layout.byteorder)
        self._ok(f"P{self._number(name):x}={data.hex()}")

    def _number(self, name: str) -> int:
        return list(self.layout.sizes).index(name)

    def insert(self, address: int) -> None:
        """Stop before the instruction at `address` from now on."""
        self._ok(f"Z1,{address:x},1")
        self._breakpoints.add(address)

    def remove(self, address: int) -> None:
        self._ok(f"z1,{address:x},1")
        self._breakpoints.discard(address)

    def step(self) -> None:
        """Run one instruction on the processor that stopped, and on no other, without
        interrupts. Remove a breakpoint on that instruction first."""
        self._send(f"vCont;s:{self._thread}")
        self.running = True
        if not self.wait(Deadline(ANSWER_SECONDS)):
            raise GuestHung(f"the guest ran no instruction within {ANSWER_SECONDS:.0f} s")

    def go(self) -> None:
        """Let the guest run. From a breakpoint it would stop there again at once."""
        self._send("c")
        self.running = True

    # While it runs.

    def wait(self, deadline: Deadline, *others: Readable) -> bool:
        """True when the guest has stopped, False if one of `others` becomes readable
        first. GuestHung if neither happens, GuestCrashed if the guest stops for
        another reason."""
        while True:
            payload, self._buffer = take_packet(self._buffer)
            if payload is not None:
                self._take_stop(payload.decode())
                return True
            ready, _, _ = select.select([self._stream, *others], [], [], deadline.left())
            if self._stream in ready:
                self._receive()
            elif ready:
                return False
            else:
                raise GuestHung(f"the guest came to no breakpoint within {deadline.seconds:.0f} s")

    def halt(self) -> None:
        """Stop the guest at its current instruction."""
        if self.running:
            self._transmit(_INTERRUPT)
            self.wait(Deadline(ANSWER_SECONDS))

    def release(self) -> None:
        """Remove all breakpoints and let the guest run, whether it is stopped or not."""
        if self.running and not self._breakpoints:
            return
        self.halt()
        for address in sorted(self._breakpoints):
            self.remove(address)
        self.go()

    # The connection.

    def _take_stop(self, stop: str) -> None:
        """Take a stop reply: the guest is stopped and can be read."""
        self.running = False
        found = re.match(r"T([0-9a-f]{2})thread:([^;]+);", stop)
        if not found or int(found[1], 16) not in (_SIGINT, _SIGTRAP):
            raise GuestCrashed(f"the guest stopped by itself: QEMU's gdbstub said {stop}")
        self._thread = found[2]
        self._acknowledged()

    def _ask(self, request: str) -> str:
        """The answer to a request. Only for a stopped guest: any byte stops one
        that runs."""
        assert not self.running, f"{request}: the guest runs"
        self._send(request)
        deadline = Deadline(ANSWER_SECONDS)
        while True:
            payload, self._buffer = take_packet(self._buffer)
            if payload is not None:
                break
            if not select.select([self._stream], [], [], deadline.left())[0]:
                raise FarmError(f"QEMU's gdbstub did not answer `{request}` within {ANSWER_SECONDS:.0f} s")
            self._receive()
        self._acknowledged()
        return payload.decode()

    def _ok(self, request: str) -> None:
        answer = self._ask(request)
        if answer != "OK":
            raise FarmError(f"QEMU's gdbstub refuses `{request}`: {answer or 'not supported'}")

    def _acknowledged(self) -> None:
        if self._acknowledge:
            self._transmit(b"+")

    def _send(self, request: str) -> None:
        self._transmit(packet(request.encode()))

    def _transmit(self, data: bytes) -> None:
        try:
            self._stream.sendall(data)
        except OSError as error:
            raise GuestCrashed(f"the guest ended under the debugger: {error}") from error

    def _receive(self) -> None:
        try:
            data = self._stream.recv(1 << 16)
        except OSError as error:
            raise GuestCrashed(f"the guest ended under the debugger: {error}") from error
        if not data:
            raise GuestCrashed("the guest ended under the debugger")
        self._buffer += data
