# SPDX-License-Identifier: GPL-2.0
"""From a cell and what was built for it to the guest that runs it."""

from pathlib import Path

from farm.arch import of
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
    return vm.Spec(
        arch=cell.arch,
        kernel=Path(built.kernel) / arch.image_name,
        image=image(arch, Path(built.programs), Path(built.module)),
        machine=cell.machine,
        accel=accel.of_guest(accelerator, arch),
        pokes=pokes,
    )
