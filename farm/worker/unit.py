# SPDX-License-Identifier: GPL-2.0
"""Units of work: plain records that JSON can carry to another process, or to another host.

The workers of a run find theirs in its directory, as UNITS. The kernel of a unit is named by the
artifacts in `cells/CELL/built.json` beside it, as soon as it is built (farm.record.cellstate).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from farm.base import stored
from farm.base.atomic import save_json
from farm.kernel.builder import Built, Order
from farm.record.records import Planned
from farm.worker.ftracetest import Suite

UNITS = "units.json"


@dataclass(frozen=True)
class Limits:
    """How long a worker waits, in seconds: for its kernel, and for one test, on a machine where a
    guest boots in the usual time.

    Each request to a guest has a limit already. That of a test only bounds a loop in the test.
    Usually the builder ends and reports. That of a build is for a builder that was killed without
    anybody noticing.
    """

    build: float = 4 * 3600.0
    test: float = 400.0


@dataclass(frozen=True)
class Unit:
    """The tests of one cell, and what its kernel is built from.

    `order` names the cell. `select` is an expression of pytest's -k. With `partial` the kernel has
    only a part of the feature, and with `bare` nothing of it, so that it is asked for nothing. `version`
    is that of the kernel, as v6.12, or empty where every version is asked for the same. Each
    test runs `repeat` times. The suites named in `first` go before the others. Tests that are `done`
    have a verdict already, and do not run again. `accel` is what the executor made of the user's
    wish: kvm or tcg.
    """

    order: Order
    suites: str
    select: str = ""
    repeat: int = 1
    first: tuple[str, ...] = ()
    partial: bool = False
    bare: bool = False
    version: str = ""
    pokes: tuple[str, ...] = ()
    accel: str = "tcg"
    done: tuple[Planned, ...] = ()
    limits: Limits = field(default_factory=Limits)

    @property
    def cell(self) -> str:
        return self.order.cells[0]


@dataclass(frozen=True)
class Pair:
    """The kernel's own tests, to be run on two kernels of one cell. `kernels` names each of them.
    `accel` is kvm or tcg."""

    cell: str
    matrix: str
    kernels: Mapping[str, Built]
    tests: Suite
    accel: str


def save(directory: Path, units: Sequence[Unit]) -> None:
    """Leave units for the workers of a run."""
    save_json(directory / UNITS, [asdict(unit) for unit in units])


def load(directory: Path) -> list[Unit]:
    """The units of a run, in the order in which their kernels are built. Raises UsageError for a
    file that says something else, OSError."""
    return stored.load(directory / UNITS, list[Unit])
