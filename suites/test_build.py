# SPDX-License-Identifier: GPL-2.0
"""The results of a cell's build, also for cells that are only built."""

import re

import pytest

from farm.artifact import locate
from farm.kernel import kconfig
from farm.kernel.builder import Built
from farm.matrix import Cell


def test_feature_is_as_declared(cell: Cell, built: Built) -> None:
    """The option is on if the cell declares the feature, and off if not."""
    options = kconfig.parse((locate(built.kernel) / "config").read_text())
    expected = "y" if "bpf_ftrace" in cell.supports else "n"
    assert options.get("BPF_FTRACE", "n") == expected


#: The options that the feature depends on.
DEPENDENCIES = ("BPF_EVENTS", "DYNAMIC_FTRACE_WITH_REGS", "HAVE_BPF_FTRACE")


def test_feature_is_offered_only_where_it_can_be(built: Built, cell: Cell) -> None:
    """The option can be chosen only if its dependencies are met: otherwise the .config does not name it."""
    text = (locate(built.kernel) / "config").read_text()
    options = kconfig.parse(text)
    missing = [name for name in DEPENDENCIES if options.get(name) != "y"]
    offered = re.search(r"\bCONFIG_BPF_FTRACE\b", text) is not None
    assert not (offered and missing), f"BPF_FTRACE can be chosen without {', '.join(missing)}"


def _symbols(built: Built) -> set[str]:
    return {line.split()[2] for line in (locate(built.kernel) / "System.map").read_text().splitlines()}


def test_kernel_is_there(built: Built, cell: Cell) -> None:
    """The kernel was compiled and linked."""
    assert "start_kernel" in _symbols(built), "System.map has no start_kernel"


@pytest.mark.needs("bpf_ftrace")
def test_engine_is_in(built: Built, cell: Cell) -> None:
    assert "bpf_ftrace_traced" in _symbols(built), "the kernel has no bpf_ftrace_traced()"


@pytest.mark.absent("bpf_ftrace")
def test_engine_is_not_in(built: Built, cell: Cell) -> None:
    assert "bpf_ftrace_traced" not in _symbols(built), "the kernel has bpf_ftrace_traced()"
