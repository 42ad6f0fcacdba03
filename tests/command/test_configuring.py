# SPDX-License-Identifier: GPL-2.0
"""Configurations of the real tree, as `farm config-bisect` makes them: no kernel is built."""

from pathlib import Path

import pytest

from farm.base.command import run
from farm.base.errors import BuildFailed
from farm.hunt.trial import configure
from farm.kernel import kconfig, series
from farm.kernel.tree import IDENTITY
from farm.matrix import load

CELL = load().cells["x86_64-regs"]

#: What `make olddefconfig` reads. A sparse work tree of it is there in seconds.
READ = ["Kconfig*", "*Makefile*", "*.config", "/Kbuild", "/scripts/", "/include/uapi/", "/include/linux/", "/arch/x86/"]

MAKE = {"ARCH": "x86_64", "CC": "gcc"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The series' tree, as far as it is configured."""
    source = series.resolve(CELL, load().trees, None, None)
    where = tmp_path_factory.mktemp("tree") / "linux"
    run(["git", "clone", "--quiet", "--shared", "--no-checkout", source.store, where], env=IDENTITY)
    run(["git", "-C", where, "sparse-checkout", "set", "--no-cone", *READ], env=IDENTITY)
    run(["git", "-C", where, "checkout", "--quiet", source.commit], env=IDENTITY)
    return where


def configured(tree: Path, directory: Path, text: str = "") -> dict[str, str]:
    """What comes of the cell's fragments and of some more options."""
    more = directory / "more.config"
    more.write_text(text)
    out = directory / "out"
    out.mkdir()
    configure(tree, out, [*CELL.fragments, *CELL.feature, more], MAKE)
    return kconfig.parse((out / ".config").read_text())


def test_cell(tree: Path, tmp_path: Path) -> None:
    configured(tree, tmp_path)
    assert kconfig.compare([*CELL.fragments, *CELL.feature], tmp_path / "out/.config") == []


def test_candidate(tree: Path, tmp_path: Path) -> None:
    """What lacks a dependency is dropped, and of a choice the last option wins."""
    options = configured(tree, tmp_path, "CONFIG_KASAN_VMALLOC=y\nCONFIG_PREEMPT_NONE=y\n")
    assert "KASAN_VMALLOC" not in options
    assert (options["PREEMPT_NONE"], options["PREEMPT"]) == ("y", "n")


def test_tree_that_cannot_be_configured(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"(?s)no configuration comes of it:\n.*No rule to make target"):
        configure(tmp_path, tmp_path, [], MAKE)
