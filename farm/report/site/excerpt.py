# SPDX-License-Identifier: GPL-2.0
"""What the kernel said during a test, with its complaints marked."""

from dataclasses import dataclass
from pathlib import Path

from farm.guest import splat
from farm.run.records import VerdictRecord

#: Of the log within a record's span, the end: a crash or a hang stands there.
READ_BYTES = 512 << 10

#: Complaints that are shown, lines of each, and lines before one and at the end.
MOST_SPLATS = 4
SPLAT_LINES = 80
LINES_BEFORE = 6
LAST_LINES = 12


@dataclass(frozen=True)
class Block:
    """Lines that stand together. `kind` is what splat calls them, "" for what
    complains of nothing; `left` lines in front of them are not shown."""

    kind: str
    lines: tuple[str, ...]
    left: int = 0


@dataclass(frozen=True)
class Excerpt:
    """`lacks` says why there is nothing, or not all."""

    blocks: tuple[Block, ...] = ()
    lacks: str = ""


def excerpt(directory: Path, record: VerdictRecord) -> Excerpt:
    """Of the console that a record names, what is worth reading."""
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
    except (OSError, ValueError):  # a name that no file can have
        return Excerpt(lacks=f"The run directory lacks cells/{record.cell}/{record.console}.")
    lacks = f"The {begin - start} bytes before this are in the log only." if begin > start else ""
    text = data.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    blocks = _blocks(text)
    if not blocks:
        lacks = f"The kernel said nothing in {record.console} during this test."
    return Excerpt(blocks, lacks)


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
