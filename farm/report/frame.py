# SPDX-License-Identifier: GPL-2.0
"""The picture of the trampoline's frame, as every report shows it."""

from collections.abc import Sequence

from farm.run.records import Slot

#: Who can tell what was in a slot, as the columns of the picture name them.
WITNESSES = {"raw": "raw memory", "program": "program saw", "callee": "callee received"}


def witnesses(slots: Sequence[Slot]) -> list[str]:
    """Those who saw anything at all; the others have no column."""
    return [name for name in WITNESSES if any(getattr(slot, name) is not None for slot in slots)]


def halves(value: int) -> tuple[str, str]:
    """64 bits in hex, in two halves between which a narrow table breaks the line."""
    return f"{value >> 32:08x}", f"{value & 0xFFFFFFFF:08x}"
