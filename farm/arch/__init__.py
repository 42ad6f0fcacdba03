# SPDX-License-Identifier: GPL-2.0
"""The architectures that kernels are tested on, each a record of what it spells differently."""

import platform

from farm.arch.architecture import Architecture
from farm.arch.x86_64 import X86_64

__all__ = ["ARCHITECTURES", "FIRST", "HOST", "Architecture", "cross_prefix", "of"]

#: By the name that a cell has in kconfigs/matrix.yaml.
ARCHITECTURES: dict[str, Architecture] = {one.name: one for one in (X86_64,)}

#: The architecture of a cell that names none, and of every cell before there was a second one.
FIRST = X86_64.name

#: That of this host; None where the farm has no guests of it.
HOST = ARCHITECTURES.get(platform.machine())


def cross_prefix(arch: Architecture) -> str:
    """What the names of compiler and binutils begin with here: empty for the host's own architecture."""
    return "" if arch == HOST else arch.cross_compile


def of(name: str) -> Architecture:
    """The record of a cell's `arch`; the matrix has checked that there is one."""
    return ARCHITECTURES[name]
