# SPDX-License-Identifier: GPL-2.0
"""The guest of a worker: one at a time, kept from test to test until it is in doubt."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from farm.base.errors import Blamed, BootFailed, FarmError
from farm.guest import vm
from farm.guest.poke import parse
from farm.guest.start import start
from farm.matrix import Cell
from farm.record import cellstate
from farm.worker.spec import guest_spec
from farm.worker.unit import Unit


class NoGuest(FarmError):
    """The host starts no guest, which is no fault of the kernel's: the next test will meet the same."""


class Stall:
    """Where a worker keeps its guest between tests."""

    def __init__(self, run: Path, units: Mapping[str, Unit]) -> None:
        """`units` by cell."""
        self._run = run
        self._units = units
        self._stack = ExitStack()
        self._cell = ""
        self._guest: vm.Guest | None = None

    def guest(self, cell: Cell) -> vm.Guest:
        """A guest of the cell, booted if there is none. Raises BuildFailed, BootFailed."""
        if self._guest and self._cell == cell.name:
            return self._guest
        self.clear()
        assert cell.machine, "only cells with a machine have tests that take a guest"
        unit = self._units[cell.name]
        built = cellstate.wait_built(self._run, cell.name, unit.limits.build)
        cellstate.check_bootable(self._run, cell.name)
        try:
            spec = guest_spec(cell, built, self._accel(unit), tuple(map(parse, unit.pokes)))
            guest, distrust = start(self._stack, spec, lambda: cellstate.new_console(self._run, cell.name))
        except BootFailed as error:
            cellstate.tell_unbootable(self._run, cell.name, error)
            raise
        except FarmError as error:
            raise NoGuest(str(error)) from error
        if distrust:
            cellstate.tell_distrust(self._run, distrust)
        cellstate.tell_booted(self._run, cell.name, guest.boot_seconds)
        self._guest, self._cell = guest, cell.name
        return guest

    def _accel(self, unit: Unit) -> str:
        """What was asked for, unless a worker has found out meanwhile that KVM lies."""
        return "tcg" if unit.accel != "tcg" and cellstate.distrust(self._run) else unit.accel

    def kvm_broke(self, cell: Cell) -> str:
        """Why KVM is distrusted, where the next guest, which is due anyway, does not come up
        under it but does under TCG; else empty."""
        self.clear()
        try:
            guest = self.guest(cell)
        except Blamed:
            return ""  # neither runs it; the next test meets the same and says so
        return cellstate.distrust(self._run) if guest.accel != "kvm" else ""

    def clear(self) -> None:
        self._guest = None
        self._stack.close()
