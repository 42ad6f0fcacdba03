# SPDX-License-Identifier: GPL-2.0
"""Runs the kernel's own checkpatch.pl, taken from the tree that the patches are for."""

from collections.abc import Iterable
from pathlib import Path

from farm.base import cache
from farm.base.command import CommandFailed, run
from farm.kernel.tree import Source

#: checkpatch.pl and the files that it reads.
SCRIPTS = ("checkpatch.pl", "spelling.txt", "const_structs.checkpatch")


def complaints(source: Source, *words: str | Path) -> list[str]:
    """The complaints of `checkpatch.pl --strict`, one a line. `words` are patches,
    or `--file` and files."""
    with cache.scratch("checkpatch") as directory:
        for name in SCRIPTS:
            (directory / name).write_text(source.git("show", f"{source.commit}:scripts/{name}") + "\n")
        argv: Iterable[str | Path] = ["perl", directory / SCRIPTS[0], "--strict", "--no-tree", "--terse"]
        try:
            run([*argv, "--no-summary", *words])
        except CommandFailed as error:
            return error.output.splitlines()
    return []
