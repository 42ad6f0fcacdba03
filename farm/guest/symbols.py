# SPDX-License-Identifier: GPL-2.0
"""The addresses of a kernel's symbols in a guest. They are those of System.map, because of nokaslr."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path


@cache
def symbols(kernel: Path) -> Mapping[str, int]:
    """Addresses by name, from System.map in the kernel's directory. A name that
    appears twice is left out."""
    found: dict[str, int] = {}
    twice = set()
    for line in (kernel / "System.map").read_text().splitlines():
        address, _, name = line.split(maxsplit=2)
        if name in found:
            twice.add(name)
        found[name] = int(address, 16)
    return {name: address for name, address in found.items() if name not in twice}
