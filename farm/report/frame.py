# SPDX-License-Identifier: GPL-2.0
"""The picture of the trampoline's frame, the same for every report."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from textwrap import dedent

from rich.box import SIMPLE
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from farm.record.records import Slot

#: The witnesses of a slot, with their headings in the picture.
WITNESSES = {"raw": "raw memory", "program": "program saw", "callee": "callee received"}

#: The default width of a picture, in columns.
WIDTH = 120


@dataclass(frozen=True)
class _Column:
    """A heading, and the value for each slot; None if the witness saw nothing."""

    heading: str
    values: tuple[int | None, ...]


def witnesses(slots: Sequence[Slot]) -> list[str]:
    """The witnesses that saw anything at all; the others have no column."""
    return [name for name in WITNESSES if any(getattr(slot, name) is not None for slot in slots)]


def halves(value: int) -> tuple[str, str]:
    """64 bits in hex, in two halves; a narrow table breaks the line between them."""
    return f"{value >> 32:08x}", f"{value & 0xFFFFFFFF:08x}"


def frame(slots: Sequence[Slot], width: int = WIDTH) -> Table:
    """The picture of the frame: what should be in each slot and what each witness saw
    there. Wrong values are red and marked `!`.

    Values are never wrapped. If the whole picture is too wide, witnesses that saw the
    same share a column. If it still is, slot and register share one too, and witnesses
    that saw what was expected have none. In the end only the wrong slots are listed, with
    one line for each witness.
    """
    columns = [_Column(WITNESSES[name], tuple(getattr(slot, name) for slot in slots)) for name in witnesses(slots)]
    shared = _shared(columns)
    wrong = [column for column in shared if _wrong(column, slots)]
    for some, short in ((columns, False), (shared, False), (wrong, True)):
        table = _table(slots, some, short)
        if Measurement.get(Console(width=10_000), Console(width=10_000).options, table).maximum <= width:
            return table
    return _listing(slots)


def picture(slots: Sequence[Slot], width: int = WIDTH) -> list[str]:
    """The picture of the frame as lines of plain text; empty if there are no slots."""
    if not slots:
        return []
    console = Console(file=StringIO(), width=width, no_color=True, force_terminal=False)
    with console.capture() as captured:
        console.print(frame(slots, width))
    return dedent("\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip())).splitlines()


def _shared(columns: Sequence[_Column]) -> list[_Column]:
    """The columns, with those merged that are equal wherever both have a value."""
    kept: list[_Column] = []
    for column in columns:
        for place, other in enumerate(kept):
            pairs = list(zip(other.values, column.values, strict=True))
            known = [pair for pair in pairs if None not in pair]
            if known and all(one == two for one, two in known):
                both = tuple(one if one is not None else two for one, two in pairs)
                kept[place] = _Column(f"{other.heading} + {column.heading}", both)
                break
        else:
            kept.append(column)
    return kept


def _wrong(column: _Column, slots: Sequence[Slot]) -> bool:
    return any(value not in (None, slot.passed) for value, slot in zip(column.values, slots, strict=True))


def _table(slots: Sequence[Slot], columns: Sequence[_Column], short: bool) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("slot", "%rsp+") if short else ("slot", "register", "%rsp+"):
        table.add_column(heading, no_wrap=True, justify="right" if heading == "%rsp+" else "left")
    table.add_column("expected", justify="right", no_wrap=True)
    for column in columns:
        # only as wide as a value and its mark: a heading of several witnesses takes several lines
        table.add_column(column.heading.replace(" + ", " +\n"), justify="right", no_wrap=True)
    for number, slot in enumerate(slots):
        named = [slot.name, slot.register]
        table.add_row(
            *([" ".join(dict.fromkeys(named))] if short else named),
            str(slot.offset) if slot.offset is not None else "none",
            _hex(slot.passed),
            *(_value(column.values[number], slot.passed) for column in columns),
            style="bold red" if slot.wrong else "",
        )
    return table


def _listing(slots: Sequence[Slot]) -> Table:
    """Only the wrong slots, line by line."""
    table = Table(box=SIMPLE, pad_edge=False, show_header=False)
    for slot in slots:
        if slot.wrong:
            place = f", {slot.offset}(%rsp)" if slot.offset is not None else ""
            table.add_row(Text(f"{slot.name} ({slot.register}{place})", "bold red"), "")
            table.add_row("  expected", _hex(slot.passed))
            for name in witnesses([slot]):
                table.add_row(f"  {WITNESSES[name]}", _value(getattr(slot, name), slot.passed))
    return table


def _value(value: int | None, expected: int) -> str:
    if value is None:
        return "-"
    return _hex(value) + ("" if value == expected else "!")


def _hex(value: int) -> str:
    return " ".join(halves(value))
