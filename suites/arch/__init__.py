# SPDX-License-Identifier: GPL-2.0
"""What the suites know about each architecture besides farm.arch: calls and the trampolines' frames."""

from suites.arch.convention import Convention, Promise
from suites.arch.x86_64 import X86_64

__all__ = ["Convention", "Promise", "of"]

_CONVENTIONS = {"x86_64": X86_64}


def of(name: str) -> Convention:
    """The convention of a cell's `arch`, which farm.arch must know too."""
    return _CONVENTIONS[name]
