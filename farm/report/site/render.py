# SPDX-License-Identifier: GPL-2.0
"""Turns templates into pages: all text is escaped, and in a form for people."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from farm.record.verdict import MEANING, Verdict
from farm.report.frame import halves


def symbol(verdict: str) -> str:
    return MEANING[Verdict(verdict)].symbol


def look(verdict: str) -> str:
    """The class of a verdict in the style sheet."""
    return MEANING[Verdict(verdict)].look


def in_words(tally: Mapping[Verdict, int]) -> str:
    """Counts, the bad ones first."""
    order = sorted((verdict for verdict in tally if tally[verdict]), key=gravity)
    return ", ".join(f"{tally[verdict]} {verdict}" for verdict in order) or "no verdicts"


def gravity(verdict: Verdict) -> tuple[int, bool]:
    """The sort key of verdicts, the gravest first."""
    return -MEANING[verdict].blame, verdict == Verdict.SKIP


def first_line(text: str, width: int = 240) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= width else f"{line[: width - 1]}…"


def hexadecimal(value: int, expected: int | None = None) -> Markup:
    """64 bits in two halves; the bytes that differ from the expected value are marked."""
    texts = []
    for half, wanted in zip(halves(value), halves(value if expected is None else expected), strict=True):
        pairs = [(half[n : n + 2], half[n : n + 2] != wanted[n : n + 2]) for n in range(0, len(half), 2)]
        runs = [("".join(byte for byte, _ in run), other) for other, run in groupby(pairs, key=lambda pair: pair[1])]
        texts.append("".join(f"<i>{text}</i>" if other else text for text, other in runs))
    # it has only hex digits
    return Markup('<span class="half">{}</span><span class="half">{}</span>').format(*map(Markup, texts))


def when(stamp: str) -> str:
    """A time of a record, to the minute, as UTC; anything else stays unchanged."""
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return stamp
    moment = moment.astimezone(UTC) if moment.tzinfo else moment
    return moment.strftime("%Y-%m-%d %H:%M")


def day(stamp: str) -> str:
    return when(stamp)[:10]


def seconds(value: float) -> str:
    if value < 10:
        return f"{value:.1f} s"
    if value < 90:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.1f} h"


@cache
def environment() -> Environment:
    made = Environment(
        loader=PackageLoader("farm.report.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters: dict[str, Any] = {
        "symbol": symbol,
        "look": look,
        "meaning": lambda verdict: MEANING[Verdict(verdict)].sentence,
        "hex": hexadecimal,
        "when": when,
        "day": day,
        "seconds": seconds,
    }
    made.filters.update(filters)
    return made
