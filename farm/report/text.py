# SPDX-License-Identifier: GPL-2.0
"""Makes text from guests and users safe to show."""

from collections.abc import Sequence


def plain(line: str) -> str:
    """A line without characters that a terminal or a mail reader would act on."""
    return "".join(c if c.isprintable() else "\ufffd" for c in line.expandtabs()).rstrip()


def shortened(lines: Sequence[str], most: int) -> list[str]:
    """The first lines, and then how many more there are."""
    return [*lines[:most], *([f"… {len(lines) - most} more lines"] if len(lines) > most else [])]
