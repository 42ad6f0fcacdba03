# SPDX-License-Identifier: GPL-2.0
"""Runs units on this host: a builder process, and beside it pytest with one worker process for each
guest (xdist)."""

import os
import platform
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from farm.arch import of
from farm.base.command import leashed
from farm.base.errors import Exit, FarmError, refused
from farm.base.interrupt import kill_interrupts
from farm.execute.collector import Collector
from farm.execute.contract import Capacity, Ended, Sink
from farm.guest import accel as accelerators
from farm.kernel import builder
from farm.kernel.build import version_of
from farm.matrix import Cell
from farm.record import cellstate
from farm.worker import selftests, suites, unit
from farm.worker.selftests import Compared
from farm.worker.unit import Pair, Unit

#: The memory that QEMU needs besides that of the guest, in MiB.
QEMU_OVERHEAD = 128

#: How long pytest may take to end its workers after an interrupt, in seconds.
ENDING = 10.0


class Local:
    """The executor for this host. It has no state; it is a class because the contract is a Protocol."""

    def capacity(self, cells: Sequence[Cell], accel: str) -> Capacity:
        chosen = accelerators.choose(accel)
        available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
        largest = max((cell.machine.memory for cell in cells if cell.machine), default=0) + QEMU_OVERHEAD
        return Capacity(
            guests=max(1, min(len(os.sched_getaffinity(0)), available // largest)),
            accel=chosen.name,
            accel_reason=chosen.reason,
            host=_host(),
            versions={"qemu": version_of(of(cells[0].arch).qemu), "python": platform.python_version()},
        )

    @contextmanager
    def build(self, order: builder.Order) -> Iterator[Iterator[builder.Event]]:
        process, stopped = builder.start(order), threading.Event()
        try:
            yield _answers(process, order.cells, stopped)
        finally:
            stopped.set()
            _stop(process)

    def test(self, units: Sequence[Unit], directory: Path, sink: Sink, guests: int, stop: bool) -> Ended:
        try:
            unit.save(directory, units)
        except OSError as error:
            raise refused(error, directory) from error
        collector = Collector([one.cell for one in units], sink, lambda: cellstate.distrust(directory))
        trouble: list[Exception] = []
        arguments = _arguments(units[0], directory, guests, stop)
        try:
            with kill_interrupts(), self._following(_together(units), directory, sink, trouble) as thread:
                ended = _ended(suites.run(arguments, collector), collector, stop)
                if ended is Ended.FINISHED:
                    thread.join()
        except KeyboardInterrupt:
            ended = Ended.INTERRUPTED
        for ending in (*trouble, collector.error):  # the latter again: an interrupt may have come after it
            if ending:
                raise ending
        return ended

    @contextmanager
    def _following(
        self, order: builder.Order, directory: Path, sink: Sink, trouble: list[Exception]
    ) -> Iterator[threading.Thread]:
        """A thread that passes the events of the builder on, until all is built or the block ends."""
        thread = None
        try:
            with self.build(order) as events:
                thread = threading.Thread(target=_follow, args=(events, directory, sink, trouble), daemon=True)
                thread.start()
                yield thread
        finally:
            if thread and thread.ident:
                thread.join(10)

    def compare(
        self,
        pair: Pair,
        directory: Path,
        report: Callable[[Mapping[str, int]], None],
        notice: Callable[[str], None],
    ) -> Iterator[Compared]:
        return selftests.compare(pair, directory, report, notice)


def _together(units: Sequence[Unit]) -> builder.Order:
    """One order for all units. They belong to one run and differ only in the cell."""
    return replace(units[0].order, cells=[one.cell for one in units])


def _arguments(any_unit: Unit, directory: Path, guests: int, stop: bool) -> list[str]:
    # execnet starts this instead of python, so a worker gets PDEATHSIG: it does not outlive
    # the controller, and its guests do not outlive it
    python = shlex.join(leashed([sys.executable]))
    arguments = suites.collecting(Path(any_unit.suites), directory, any_unit.select)
    arguments += [
        "--dist",
        "loadscope",
        "--no-loadscope-reorder",
        "--tx",
        f"{guests}*popen//python={python}",
        "--max-worker-restart=1000",
    ]
    return arguments + (["--exitfirst"] if stop else [])


def _ended(status: int | pytest.ExitCode, collector: Collector, stop: bool) -> Ended:
    """How pytest ended. Raises the error that ended it, if any."""
    if collector.error:
        raise collector.error
    if status in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR) or collector.trouble:
        raise FarmError(f"pytest ended with {status!r}\n{collector.trouble}")
    if status != pytest.ExitCode.INTERRUPTED:
        return Ended.FINISHED
    return Ended.STOPPED if stop and collector.bad else Ended.INTERRUPTED


def _follow(events: Iterator[builder.Event], directory: Path, sink: Sink, trouble: list[Exception]) -> None:
    """Pass on the events of the builder. If that fails, end the work: no worker would hear of its kernel."""
    try:
        for event in events:
            sink.build_event(event)
    except Exception as error:  # a full disk, or a bug
        trouble.append(refused(error, directory) if isinstance(error, OSError) else error)
        # SIGTERM ends the run without a verdict for its tests. SIGINT would be ignored if a shell
        # has put the farm into the background
        signal.raise_signal(signal.SIGTERM)


def _answers(
    process: "subprocess.Popen[str]", cells: Sequence[str], stopped: threading.Event
) -> Iterator[builder.Event]:
    """The events of a builder. Raises FarmError if it ends before all cells, unless it was `stopped`."""
    missing = list(cells)
    for event in builder.events(process):
        if event.kind != "progress":
            missing.remove(event.cell)
        yield event
        if event.exit == Exit.USAGE:
            return
    status = process.wait()
    # whoever ends a session ends the builder with the farm, which takes a moment to notice
    if missing and not stopped.wait(ENDING if status in (-signal.SIGTERM, -signal.SIGINT, 130) else 0):
        how = "was killed" if status == -signal.SIGKILL else f"ended with {status}"
        advice = "; see dmesg" if status == -signal.SIGKILL else ""  # the farm does not do that
        raise FarmError(f"the builder {how} before it came to {', '.join(missing)}{advice}")


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except BaseException as error:  # Ctrl-C as well: nothing is left running
        process.kill()
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


def _host() -> dict[str, str]:
    name = platform.uname()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    return {
        "system": f"{name.system} {name.release}",
        "machine": name.machine,
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory} MiB",
    }
