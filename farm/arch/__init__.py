# SPDX-License-Identifier: GPL-2.0
"""The architectures that kernels are tested on. Each one is a record of what differs there."""

import platform

from farm.arch.architecture import Architecture
from farm.arch.x86_64 import X86_64

__all__ = ["ARCHITECTURES", "FIRST", "HOST", "Architecture", "cross_prefix", "of"]

#: By the name that kconfigs/matrix.yaml uses.
ARCHITECTURES: dict[str, Architecture] = {one.name: one for one in (X86_64,)}

#: The architecture of a cell that names none. Older runs have only cells of it.
FIRST = X86_64.name

#: The architecture of this host; None if the farm has no guests of it.
HOST = ARCHITECTURES.get(platform.machine())


def cross_prefix(arch: Architecture) -> str:
    """The prefix of compiler and binutils on this host: empty for the host's own architecture."""
    return "" if arch == HOST else arch.cross_compile


def of(name: str) -> Architecture:
    """The record of a cell's `arch`; the matrix has checked that there is one."""
    return ARCHITECTURES[name]
