# SPDX-License-Identifier: GPL-2.0
"""The guest of a worker: one at a time, kept from test to test as long as it is in order."""

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
    """The host cannot start a guest. The kernel is not to blame, and the next test will get none either."""


class Stall:
    """Keeps the guest of a worker between tests."""

    def __init__(self, run: Path, units: Mapping[str, Unit]) -> None:
        """`units` by cell."""
        self._run = run
        self._units = units
        self._stack = ExitStack()
        self._cell = ""
        self._guest: vm.Guest | None = None

    def guest(self, cell: Cell) -> vm.Guest:
        """A guest of the cell. Boots one if there is none. Raises BuildFailed, BootFailed, NoGuest."""
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
        """The accelerator of the unit, or TCG if a worker has found out that KVM does not run guests."""
        return "tcg" if unit.accel != "tcg" and cellstate.distrust(self._run) else unit.accel

    def kvm_broke(self, cell: Cell) -> str:
        """Boot the next guest, which is needed anyway. If it boots under TCG but not under KVM, return
        why KVM is distrusted; otherwise an empty string."""
        self.clear()
        try:
            guest = self.guest(cell)
        except Blamed:
            return ""  # it boots under neither; the next test will report that
        return cellstate.distrust(self._run) if guest.accel != "kvm" else ""

    def clear(self) -> None:
        self._guest = None
        self._stack.close()
