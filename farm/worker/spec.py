# SPDX-License-Identifier: GPL-2.0
"""From a cell and what was built for it to the guest that runs it."""

from farm.arch import of
from farm.artifact import locate
from farm.guest import accel, vm
from farm.guest.image import image
from farm.guest.poke import Poke
from farm.kernel.builder import Built
from farm.matrix import Cell


def guest_spec(cell: Cell, built: Built, accelerator: str, pokes: tuple[Poke, ...] = ()) -> vm.Spec:
    """The guest of a cell that has one, under the accelerator of its run. Makes the image if
    the cache has none; raises FarmError where that cannot be."""
    assert cell.machine, f"{cell.name} is only built"
    arch = of(cell.arch)
    locate(built.kernel, cell.name)  # here it is known which cell wants it
    return vm.Spec(
        arch=cell.arch,
        kernel=built.kernel,
        image=image(arch, locate(built.programs, cell.name), locate(built.module, cell.name)),
        machine=cell.machine,
        accel=accel.of_guest(accelerator, arch),
        pokes=pokes,
    )
