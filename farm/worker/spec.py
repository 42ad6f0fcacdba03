# SPDX-License-Identifier: GPL-2.0
"""Describes the guest that runs a cell."""

from farm.arch import of
from farm.artifact import locate
from farm.guest import accel, vm
from farm.guest.image import image
from farm.guest.poke import Poke
from farm.kernel.builder import Built
from farm.matrix import Cell


def guest_spec(cell: Cell, built: Built, accelerator: str, pokes: tuple[Poke, ...] = ()) -> vm.Spec:
    """The guest of a cell, under the accelerator of its run. Makes the image if the cache has none.
    Raises FarmError if that fails. The cell must have a guest."""
    assert cell.machine, f"{cell.name} is only built"
    arch = of(cell.arch)
    locate(built.kernel, cell.name)  # later, an error could not name the cell
    return vm.Spec(
        arch=cell.arch,
        kernel=built.kernel,
        image=image(arch, locate(built.programs, cell.name), locate(built.module, cell.name)),
        machine=cell.machine,
        accel=accel.of_guest(accelerator, arch),
        pokes=pokes,
    )
