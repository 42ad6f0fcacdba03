# SPDX-License-Identifier: GPL-2.0
"""What the build of a cell left: also for the cells that are only built."""

import re
from pathlib import Path

from farm.kernel import kconfig
from farm.kernel.builder import Built
from farm.matrix import Cell


def test_feature_is_as_declared(cell: Cell, built: Built) -> None:
    """The option is on where the cell declares the feature, and off where not."""
    options = kconfig.parse((Path(built.kernel) / "config").read_text())
    expected = "y" if "bpf_ftrace" in cell.supports else "n"
    assert options.get("BPF_FTRACE", "n") == expected


#: What the feature cannot be without.
DEPENDENCIES = ("BPF_EVENTS", "DYNAMIC_FTRACE_WITH_REGS", "HAVE_BPF_FTRACE")


def test_feature_is_offered_where_it_can_be(built: Built) -> None:
    """A .config names an option that is off only where its dependencies are met."""
    text = (Path(built.kernel) / "config").read_text()
    options = kconfig.parse(text)
    missing = [name for name in DEPENDENCIES if options.get(name) != "y"]
    offered = re.search(r"\bCONFIG_BPF_FTRACE\b", text) is not None
    assert offered == (not missing), (
        f"BPF_FTRACE can be {'chosen' if offered else 'chosen nowhere'}, without: {missing}"
    )


def test_kernel_is_there(built: Built) -> None:
    """It was compiled and linked, with the engine in it or without."""
    symbols = {line.split()[2] for line in (Path(built.kernel) / "System.map").read_text().splitlines()}
    assert "start_kernel" in symbols
    options = kconfig.parse((Path(built.kernel) / "config").read_text())
    assert ("bpf_ftrace_traced" in symbols) == (options.get("BPF_FTRACE") == "y")
