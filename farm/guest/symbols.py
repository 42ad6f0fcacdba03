# SPDX-License-Identifier: GPL-2.0
"""Where a kernel's symbols are in a guest: as in System.map, for it is booted with nokaslr."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path


@cache
def symbols(kernel: Path) -> Mapping[str, int]:
    """Address by name, out of System.map in the kernel's directory. A name that
    is there twice is none."""
    found: dict[str, int] = {}
    twice = set()
    for line in (kernel / "System.map").read_text().splitlines():
        address, _, name = line.split(maxsplit=2)
        if name in found:
            twice.add(name)
        found[name] = int(address, 16)
    return {name: address for name, address in found.items() if name not in twice}
