# SPDX-License-Identifier: GPL-2.0
"""Builds that fail, by TuxMake and make: what counts against the tree, and what the host has done.

The tree is the smallest that TuxMake takes for Linux; `deed` in its Makefile is what a test has
it do where a kernel would be compiled.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from farm.base import cache
from farm.base.errors import BuildFailed, FarmError
from farm.kernel import build
from farm.kernel.blame import hosts_trouble
from farm.kernel.build import BuildPlan, Kernel, plan
from farm.kernel.tree import from_user
from farm.matrix import Cell, load
from tests.conftest import LINUX, Repository

MAKEFILE = """\
VERSION = 6
PATCHLEVEL = 12
default: deed
\t@cd $(O) && mkdir -p arch/x86/boot include/generated arch/x86/include/generated
\t@cd $(O) && echo kernel > arch/x86/boot/bzImage && touch System.map
deed:
\t@echo '  CC      x.o'
\t@cd $(O) && DEED
tinyconfig olddefconfig:
\t@touch $(O)/.config
"""

MERGE = "#!/bin/sh\nexit 0\n"

#: A compiler whose second stage is killed, as when the memory runs out.
KILLED = "echo 'int x;' > x.c; gcc -wrapper sh,-c,'kill -KILL $$$$' -c x.c"


class Build:
    """Builds of one cell from the tree, one after the other."""

    def __init__(self, linux: Repository, cell: Cell) -> None:
        self._linux, self._cell = linux, cell
        self.steps: list[str] = []

    def plan(self, deed: str) -> BuildPlan:
        self._linux.write({"Makefile": MAKEFILE.replace("DEED", deed)})
        return plan(self._cell, from_user(str(self._linux.path)), False)

    def __call__(self, deed: str) -> Kernel:
        self.steps = []
        return build.kernel(self.plan(deed), self.steps.append)

    @property
    def repeated(self) -> bool:
        return any(step.startswith("failed, building once more from scratch: ") for step in self.steps)


@pytest.fixture
def made(linux: Repository, cache_root: Path) -> Build:
    """A build of the tree; what it does is the test's."""
    linux.write({**LINUX, "scripts/kconfig/merge_config.sh": MERGE})
    (linux.path / "scripts/kconfig/merge_config.sh").chmod(0o755)
    cell = replace(load().cells["x86_64-regs"], fragments=(), feature=())
    return Build(linux, cell)


def test_kernel_comes_of_it(made: Build) -> None:
    kernel = made("true")
    assert kernel.image.read_text() == "kernel\n"
    assert kernel.image.stat().st_mode & 0o044 == 0o044, "guests of a farm that is root are nobody's"
    assert not made.repeated


def test_failure_of_a_new_directory_counts_at_once(made: Build) -> None:
    with pytest.raises(BuildFailed, match=r"x\.c:1:1: error: no"):
        made("echo 'x.c:1:1: error: no'; false")
    assert not made.repeated


def test_failure_that_comes_of_the_directory_is_none(made: Build) -> None:
    """What an earlier build has left, and this one trips over."""
    made("touch stale")
    kernel = made("{ [ ! -e stale ] || { echo 'stale:1:1: error: no'; false; }; }")
    assert kernel.image.exists()
    assert made.repeated
    assert any("stale:1:1: error: no" in step for step in made.steps), "it is said why"


def test_failure_that_is_the_trees_counts_when_it_is_repeated(made: Build) -> None:
    made("true")
    with pytest.raises(BuildFailed, match=r"x\.c:1:1: error: no"):
        made("echo 'x.c:1:1: error: no'; false")
    assert made.repeated


@pytest.mark.parametrize(
    "deed, says",
    [
        (KILLED, "a compiler was killed"),
        ("kill -KILL $$$$", "a compiler was killed"),
        ("kill -TERM $$$$", "something ended the compilers"),
        ("seq 9 > /dev/full", "the disk is full below"),
        ("nosuchcompiler -c x.c", "a program is missing .*nosuchcompiler"),
        ("rm -rf $(O); false", "No such file or directory; build again"),
        ("rm .config; false", "went away during the build; build again"),
        ("echo 'int x;' > x.c; gcc -wrapper sh,-c,'kill -SEGV $$$$' -c x.c", "the compiler crashed"),
        ("echo '#include <libelf.h>' > x.c; gcc -nostdinc -I. -c x.c", "a library's header is missing"),
    ],
)
@pytest.mark.parametrize("history", [False, True])
def test_what_the_host_did_is_not_the_kernels(made: Build, deed: str, says: str, history: bool) -> None:
    if history:
        made("true")
    with pytest.raises(FarmError, match=says):
        made(deed)
    assert not made.repeated, "it would come to the same"


def test_nothing_is_left_of_a_build_that_failed(made: Build) -> None:
    wanted = made.plan("false")
    with pytest.raises(BuildFailed):
        build.kernel(wanted, made.steps.append)
    assert not cache.entry("kernels", wanted.key).exists()


def test_words_of_a_kernel_are_no_trouble_of_the_hosts() -> None:
    log = (
        "  CC      mm/oom_kill.o\n  CC      kernel/signal.o\n../a.c:1:1: error: expected ';'\nmake: *** [x.o] Error 1\n"
    )
    assert hosts_trouble(log) == ""
