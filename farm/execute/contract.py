# SPDX-License-Identifier: GPL-2.0
"""What an executor does, and whom it tells. tests/command/test_executors.py has what each must pass."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from farm.kernel.builder import Event, Order
from farm.matrix import Cell
from farm.record.records import Planned, VerdictRecord
from farm.worker.selftests import Compared
from farm.worker.unit import Pair, Unit


class Ended(StrEnum):
    """How the work came to its end, as in `status` of run.json."""

    FINISHED = "finished"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Capacity:
    """What an executor offers: `guests` at once, their accelerator with the reason for it, the
    host, and the versions of the programs that it uses."""

    guests: int
    accel: str
    accel_reason: str
    host: Mapping[str, str]
    versions: Mapping[str, str]


class Sink(Protocol):
    """Who is told what becomes of units. `build_event` may be called by another thread than the
    other methods, at the same time. An error of the farm's that a call raises ends the work, and
    the executor raises it.
    """

    def build_event(self, event: Event) -> None:
        """A build makes progress, has ended, or has failed.

        When a kernel is told as built, this host's cache has its artifacts, and `log` can be read
        here. The sink leaves `built.json` or `failed.json` in the directory of the work
        (farm.record.cellstate), where the workers of this host look for it.
        """

    def planned(self, tests: Sequence[Planned]) -> None:
        """All tests of the units that are not done. Comes once, before the first verdict."""

    def verdict(self, record: VerdictRecord) -> None:
        """A test is over. Comes once for each attempt; its console is in the directory by then."""

    def distrusted(self, reason: str) -> None:
        """KVM does not run guests, and the work goes on under TCG. Comes at most once."""


class Executor(Protocol):
    """What runs units of work. It leaves nothing running, however a call ends."""

    def capacity(self, cells: Sequence[Cell], accel: str) -> Capacity:
        """What it offers for guests of these cells. `accel` is a wish: auto, kvm or tcg. Raises
        FarmError if it cannot be fulfilled."""

    def build(self, order: Order) -> AbstractContextManager[Iterator[Event]]:
        """Build kernels. Each cell gets an event `built` or `failed`; the first that is wrong usage
        ends them. To leave the context early stops the builds. Raises FarmError."""

    def test(self, units: Sequence[Unit], directory: Path, sink: Sink, guests: int, stop: bool) -> Ended:
        """Build the kernels of units, in this order, and run their tests, `guests` at once.

        The units of a call differ only in the cell and in what is `done`. One worker takes the tests
        of a suite in a cell, in their order. A test whose worker dies is INFRA, and the other tests go
        on. With `stop` the first failure ends the work. `directory` gets the consoles and what else
        farm.record.cellstate tells of guests. It may have them from an earlier call, with units that
        were done in part.

        Call it in the main thread. Ctrl-C and SIGTERM end the work: it then returns INTERRUPTED, and
        the other tests have no verdict. Raises FarmError for trouble that all other tests would meet
        as well, UsageError for wrong input, and what the sink raises.
        """

    def compare(
        self,
        pair: Pair,
        directory: Path,
        report: Callable[[Mapping[str, int]], None],
        notice: Callable[[str], None],
    ) -> Iterator[Compared]:
        """Run the kernel's own tests on two kernels, as farm.worker.selftests.compare does.
        `directory` gets the consoles. `notice` may be called by other threads. Raises FarmError at once
        if an artifact is missing."""
