# SPDX-License-Identifier: GPL-2.0
"""Excerpts of the kernel's log during a test, with its complaints marked, and of the compiler's output."""

import re
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from farm.guest import splat
from farm.record.records import VerdictRecord
from farm.record.verdict import Verdict

#: How much of the end of a record's span is read: a crash or a hang is there.
READ_BYTES = 512 << 10

#: How many complaints are shown, how many lines of each, and how many lines before one and at the end.
MOST_SPLATS = 4
SPLAT_LINES = 80
LINES_BEFORE = 6
LAST_LINES = 12


@dataclass(frozen=True)
class Block:
    """Consecutive lines. `kind` is that of the splat, "" if they are no complaint;
    `left` lines before them are not shown."""

    kind: str
    lines: tuple[str, ...]
    left: int = 0


@dataclass(frozen=True)
class Excerpt:
    """`lacks` says why there is nothing, or not everything."""

    blocks: tuple[Block, ...] = ()
    lacks: str = ""


def excerpt(directory: Path, record: VerdictRecord) -> Excerpt:
    """The part of a record's console that is worth reading."""
    if not record.console:
        return Excerpt(lacks="The record names no console: no guest ran for this test.")
    path = directory / "cells" / record.cell / record.console
    start, end = record.span
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            end = min(end, size) if end > start else size
            begin = max(start, end - READ_BYTES)
            file.seek(begin)
            data = file.read(max(0, end - begin))
    except (OSError, ValueError):  # no file can have such a name
        return Excerpt(lacks=f"The run directory lacks cells/{record.cell}/{record.console}.")
    lacks = f"The {begin - start} bytes before this are in the log only." if begin > start else ""
    text = data.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    blocks = _blocks(text)
    if not blocks:
        lacks = f"The kernel said nothing in {record.console} during this test."
    return Excerpt(blocks, lacks)


#: How many lines of the build log are shown before and after one that the verdict names, and how much is read.
COMPILER_BEFORE, COMPILER_BEHIND, BUILD_LOG_BYTES = 4, 8, 64 << 20

#: What make itself prints between the compiler's lines, including its progress.
_OF_MAKE = re.compile(r"^(  [A-Z][A-Z+]+ |make|# |\S*(gcc|clang|ccache|ld) )")


def compiler(directory: Path, record: VerdictRecord) -> tuple[Block, ...]:
    """The compiler's output for a kernel that does not build: the lines of the build log that the verdict
    names, and those around them. Empty for other verdicts, or if there is no log."""
    if record.verdict is not Verdict.BUILD:
        return ()
    named = {line.strip() for line in record.reason.splitlines()[1:] if line.strip()}
    try:
        with (directory / "cells" / record.cell / "build.log").open(errors="replace") as file:
            lines = file.read(BUILD_LOG_BYTES).splitlines()
    except (OSError, ValueError):  # no file can have such a name
        return ()
    shown: set[int] = set()
    for number, line in enumerate(lines):
        if line.strip() in named:
            shown.add(number)
            for step, most in ((-1, COMPILER_BEFORE), (1, COMPILER_BEHIND)):
                near = range(number + step, number + step * (most + 1), step)
                shown |= set(takewhile(lambda n: 0 <= n < len(lines) and not _OF_MAKE.match(lines[n]), near))
    blocks: list[Block] = []
    before = -1
    for number in sorted(shown):
        if number == before + 1 and blocks:
            blocks[-1] = Block("", (*blocks[-1].lines, lines[number]), blocks[-1].left)
        else:
            blocks.append(Block("", (lines[number],), number - before - 1))
        before = number
    return tuple(blocks)


def _blocks(text: str) -> tuple[Block, ...]:
    lines = [line for line in text.splitlines() if line.strip() and not splat.strip(line).startswith("farm: mark")]
    clean = "\n".join(lines)
    kinds = [""] * len(lines)
    shown = set(range(max(0, len(lines) - LAST_LINES), len(lines)))
    heads: dict[int, str] = {}
    for found in splat.find(clean)[:MOST_SPLATS]:
        first = clean.count("\n", 0, found.start)
        last = first + len(clean[found.start : found.end].splitlines())
        heads[first] = found.kind
        for number in range(first, last):
            kinds[number] = found.kind
        shown |= set(range(max(0, first - LINES_BEFORE), min(last, first + SPLAT_LINES)))
    blocks: list[Block] = []
    before = -1
    for number in sorted(shown):
        left = number - before - 1
        if left or not blocks or blocks[-1].kind != kinds[number] or number in heads:
            blocks.append(Block(kinds[number], (lines[number],), left))
        else:
            blocks[-1] = Block(kinds[number], (*blocks[-1].lines, lines[number]), blocks[-1].left)
        before = number
    return tuple(blocks)
