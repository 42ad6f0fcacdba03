# SPDX-License-Identifier: GPL-2.0
"""The life of a guest, from QEMU's start to its end, on every path."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from farm import arch
from farm.artifact import Ref, locate
from farm.base.command import echo, leashed
from farm.base.deadline import Deadline
from farm.base.errors import Blamed, BootFailed, FarmError, GuestCrashed, KernelError
from farm.guest import privileges, qemu
from farm.guest.agent import FOLLOWS, LAST_SECONDS, Agent
from farm.guest.console import Console
from farm.guest.gdb import Debugger
from farm.guest.image import Image
from farm.guest.poke import Poke, address_of
from farm.guest.qmp import Monitor
from farm.guest.shell import interact
from farm.guest.ssh import Connection
from farm.guest.symbols import symbols
from farm.matrix import Machine

#: The limit from QEMU's start until the guest is ready. A boot takes a second; the rest is
#: for a loaded host and for kernels that check themselves while they boot.
BOOT_SECONDS = 60.0

#: How long one request to the agent may take, if the boot took BOOT_USUAL (times the `boot`
#: of the cell's machine).
REQUEST_SECONDS = 10.0
BOOT_USUAL = 1.5

CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Spec:
    """Everything that a guest is made from. It can be sent to another machine."""

    arch: str
    kernel: Ref
    image: Image
    machine: Machine
    accel: str
    cmdline: str = ""
    pokes: tuple[Poke, ...] = ()


class QemuKilled(FarmError):
    """QEMU was killed, for example by the kernel of a host that is short of memory. The guest is not to blame."""


class Guest:
    """A running machine. Made by `boot`."""

    def __init__(
        self,
        console: Console,
        monitor: Monitor,
        connection: Connection,
        debugger: socket.socket,
        process: "subprocess.Popen[bytes]",
        boot_seconds: float,
        boot_usual: float,
        spec: Spec,
    ) -> None:
        self.accel = spec.accel
        self.arch = arch.of(spec.arch)
        self.console = console
        self.process = process.pid
        self._qemu = process
        self.monitor = monitor
        self.connection = connection
        self.boot_seconds = boot_seconds
        #: how much slower than usual this machine is, measured by its boot; at least 1
        self.scale = max(1.0, boot_seconds / boot_usual)
        #: the offset in the log after the last mark; 0 before the first one
        self.marked = 0
        self._marks = 0
        self._control: Agent | None = None
        self._stub = debugger
        self._debugger: Debugger | None = None

    def deadline(self, seconds: float) -> Deadline:
        """A deadline for this guest. `seconds` are those of a machine of usual speed."""
        return Deadline(seconds * self.scale)

    @contextmanager
    def agent(self) -> Iterator[Agent]:
        """A session with the agent. What it opened is closed at the end."""
        session = self._agent()
        try:
            yield session
        finally:
            session.close(self.deadline(REQUEST_SECONDS))

    def _agent(self) -> Agent:
        return Agent(
            self.connection,
            self.arch.name,
            REQUEST_SECONDS * self.scale,
            lambda: bool(self.console.complaint),
            LAST_SECONDS * self.scale,
        )

    @property
    def control(self) -> Agent:
        """A session that lives as long as the guest, for requests that leave nothing open."""
        if self._control is None:
            self._control = self._agent()
        return self._control

    @contextmanager
    def debugger(self) -> Iterator[Debugger]:
        """The guest from outside. It is stopped at the start of the block, and runs
        again at the end, on every path.

        While it is stopped it answers nothing: send the agent a request, let the
        guest run, and then receive the answer.
        """
        if self._debugger is None:
            self._debugger = Debugger(self.monitor, self._stub, self.arch.registers)
        self._debugger.halt()
        try:
            yield self._debugger
        except BaseException:
            with suppress(Blamed):  # the first error is the one to report
                self._debugger.release()
            raise
        self._debugger.release()

    def mark(self) -> int:
        """Write a mark to the kernel's log and return the offset after it.

        The log is one stream: everything that the kernel printed before the mark is
        before that offset. Raises GuestHung or GuestCrashed.
        """
        self._marks += 1
        self.control.request("file_write", path="/dev/kmsg", data=f"farm: mark {self._marks}\n")
        self.marked = self.console.wait_mark(self._marks, self.deadline(REQUEST_SECONDS))
        return self.marked

    def resident(self) -> float:
        """How much of the host's memory QEMU uses now, in MiB."""
        pages = int(Path(f"/proc/{self.process}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

    def shell(self) -> int:
        """Run a login shell on this process's terminal. Returns its exit status."""
        return interact(self.connection.terminal())

    def explain(self, error: KernelError) -> KernelError | QemuKilled:
        """The cause of a lost answer: if the kernel complained or the guest ended, it is no
        hang, and if QEMU was killed, the kernel is not to blame."""
        if isinstance(error, BootFailed) or (isinstance(error, GuestCrashed) and self._told(str(error))):
            return error
        # the reason may still be on its way through the console
        self.console.wait_closed(self.deadline(0.5))
        during = "" if str(error).startswith(FOLLOWS) else str(error)
        if self.console.complaint:
            return GuestCrashed(self.console.reason(during))
        if killed := _killed(self._qemu):
            return killed
        if self.console.closed:
            return GuestCrashed(f"the guest ended{self.console.last_words()}" + (f" ({during})" if during else ""))
        return error

    def _told(self, reason: str) -> bool:
        return bool(self.console.complaint) and self.console.complaint in reason


@contextmanager
def boot(spec: Spec, log: Path, limit: float = BOOT_SECONDS) -> Iterator[Guest]:
    """A guest that is ready for its first command. It ends with the block.

    Its console goes to `log`. Raises BootFailed if the guest is not ready within `limit`
    seconds (times its machine's `boot`), and FarmError if QEMU or the host is to blame.
    To judge a kernel, call `farm.guest.start.start` instead: under a broken KVM no kernel
    boots.
    """
    known = arch.of(spec.arch)
    kernel = locate(spec.kernel) / known.image_name
    started = time.monotonic()
    deadline = Deadline(limit * spec.machine.boot)
    with ExitStack() as stack:
        console_ours, console_theirs = (stack.enter_context(end) for end in socket.socketpair())
        monitor_ours, monitor_theirs = (stack.enter_context(end) for end in socket.socketpair())
        debugger_ours, debugger_theirs = (stack.enter_context(end) for end in socket.socketpair())
        errors = stack.enter_context(tempfile.TemporaryFile())
        wiring = qemu.Wiring(
            kernel=_opened(stack, kernel),
            initramfs=_opened(stack, spec.image.initramfs),
            console=console_theirs.fileno(),
            monitor=monitor_theirs.fileno(),
            debugger=debugger_theirs.fileno(),
        )
        clock = known.clock(CPUINFO.read_text()) if spec.accel == "tcg" else ""
        argv = qemu.argv(known, spec.machine, spec.accel, wiring, f"{clock} {spec.cmdline}".strip())
        echo(argv)
        console = Console(console_ours, log)
        stack.callback(console.close)  # after QEMU's end, so that the log is complete
        process = subprocess.Popen(
            # a single setpriv: a change of user clears the parent-death signal
            leashed(argv, "KILL", *privileges.dropped()),
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            pass_fds=vars(wiring).values(),
        )
        stack.callback(_end, process)
        console_theirs.close()
        monitor_theirs.close()
        debugger_theirs.close()
        try:
            monitor = Monitor(monitor_ours)
            stack.callback(monitor.close)
            port = monitor.ssh_port()
        except FarmError as error:
            raise FarmError(f"QEMU did not start: {_said(errors, process) or error}") from error
        try:
            console.wait_ready(deadline)
            connection = Connection(port, spec.image.keys, deadline)
        except BootFailed as error:
            said = _said(errors, process)
            if killed := _killed(process):
                raise killed from error
            raise BootFailed(f"{error}" + (f" (QEMU: {said})" if said else "")) from error
        stack.callback(connection.close)
        took, usual = time.monotonic() - started, BOOT_USUAL * spec.machine.boot
        guest = Guest(console, monitor, connection, debugger_ours, process, took, usual, spec)
        if spec.pokes:
            _break(guest, spec)
        yield guest


def _break(guest: Guest, spec: Spec) -> None:
    """Plant the bugs of a spec. Raises UsageError if one does not fit the kernel."""
    names = symbols(locate(spec.kernel))
    with guest.debugger() as debugger:
        for poke in spec.pokes:
            debugger.write(address_of(poke, names, debugger.read), poke.new)


def _opened(stack: ExitStack, path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise FarmError(f"{path}: {error.strerror}") from error
    stack.callback(os.close, descriptor)
    return descriptor


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill QEMU: a guest has nothing to save."""
    process.kill()
    process.wait(10)


def _killed(process: "subprocess.Popen[bytes]") -> QemuKilled | None:
    """The error for a QEMU that was killed. None if it ended by itself, or still runs."""
    with suppress(subprocess.TimeoutExpired):
        if -process.wait(0.2) in (signal.SIGKILL, signal.SIGTERM):
            return QemuKilled(
                f"QEMU was killed by signal {-process.returncode}; is the host short of memory? See `dmesg`"
            )
    return None


def _said(errors: IO[bytes], process: "subprocess.Popen[bytes]") -> str:
    """The last line that QEMU wrote to its standard error."""
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        pass  # it still runs; use what it has printed so far
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
