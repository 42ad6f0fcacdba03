# SPDX-License-Identifier: GPL-2.0
"""Pictures of the site, as SVG inside the page: no script, no library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

#: The size in units of the picture; the page scales it to its width.
WIDTH, HEIGHT = 720, 220
LEFT, RIGHT, TOP, BOTTOM = 92, 10, 12, 34

#: How many characters of a label the axis has: of a time, the day.
LABEL = 10

#: Nobody can distinguish more points than this: beyond it, each stands for several.
MOST_POINTS = 180


@dataclass(frozen=True)
class Point:
    """A value (None: there was none), and its name on the axis and in words."""

    label: str
    value: float | None


def plot(title: str, points: Sequence[Point], unit: str = "", shifts: Sequence[int] = (), id: str = "p") -> Markup:
    """A line through values in the given order, from zero up. `unit` follows the numbers of the axis;
    it is empty for counts. `shifts` are the indexes where the level changed. `id` is unique in the page.

    If there are too many points, the largest of several stands for all of them.
    """
    step = math.ceil(len(points) / MOST_POINTS) or 1
    groups = [points[n : n + step] for n in range(0, len(points), step)]
    values = [max((p.value for p in group if p.value is not None), default=None) for group in groups]
    known = [value for value in values if value is not None]
    if not known:
        return Markup('<p class="soft">There are no values yet.</p>')
    ticks = scale(max(known))
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(index: int) -> float:
        return LEFT + (across * index / (len(values) - 1) if len(values) > 1 else across / 2)

    def y(value: float) -> float:
        return TOP + down * (1 - value / ticks[-1])

    parts = [
        Markup('<line class="grid" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>').format(LEFT, WIDTH - RIGHT, y=y(tick))
        + Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
            LEFT - 6, y(tick) + 4, amount(tick, unit)
        )
        for tick in ticks
    ]
    named = sorted({0, len(groups) // 2, len(groups) - 1})
    for index in named:
        anchor = "start" if index == 0 and len(groups) > 1 else "end" if index == named[-1] and index else "middle"
        parts.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(
                x(index), HEIGHT - 8, anchor, groups[index][-1].label[:LABEL]
            )
        )
    for shift in shifts:
        at = x(shift // step)
        parts.append(
            Markup('<line class="shift" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(at, TOP, TOP + down)
        )
    for present, run in groupby(enumerate(values), key=lambda item: item[1] is not None):
        if present:
            line = [(x(index), y(value)) for index, value in run if value is not None]
            parts.append(_line(line))
    last = max(index for index, value in enumerate(values) if value is not None)
    parts.append(
        Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="3.5"/>').format(x(last), y(values[last] or 0.0))
    )
    low, high, end = (amount(value, unit) for value in (min(known), max(known), known[-1]))
    said = f"{len(points)} values, from {low} to {high}, the last {end}."
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-labelledby="{id}-t {id}-d"><title id="{id}-t">{}</title>'
        '<desc id="{id}-d">{}</desc>{}</svg>'
    ).format(WIDTH, HEIGHT, title, said, Markup("").join(parts), id=id)


def _line(points: Sequence[tuple[float, float]]) -> Markup:
    if len(points) == 1:
        return Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="2"/>').format(*points[0])
    return Markup('<polyline class="plot" points="{}"/>').format(" ".join(f"{x:.1f},{y:.1f}" for x, y in points))


def scale(largest: float) -> list[float]:
    """Round numbers from zero to at least the largest value, three to six of them."""
    if largest <= 0 or not math.isfinite(largest):
        return [0.0, 1.0]
    magnitude = 10.0 ** math.floor(math.log10(largest))
    step = next(magnitude * part for part in (0.25, 0.5, 1, 2) if largest <= 5 * magnitude * part)
    return [step * n for n in range(math.ceil(round(largest / step, 9)) + 1)]


def number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def amount(value: float, unit: str) -> str:
    """A number with its unit."""
    return f"{number(value)} {unit}".rstrip()


#: The size of one verdict in a strip.
MARK, GAP, TALL = 5, 1, 18


@dataclass(frozen=True)
class Mark:
    """One verdict in a strip: its class in the style sheet and its word."""

    look: str
    word: str


def strip(marks: Sequence[Mark], said: str) -> Markup:
    """Verdicts side by side, the newest at the right. Equal neighbours are one box.
    Bad ones are taller, so that they can be seen without colours."""
    boxes, position = [], 0
    for mark, run in groupby(marks):
        count = len(list(run))
        tall = TALL if mark.look in ("bad", "farm") else TALL - 8
        boxes.append(
            Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>').format(
                mark.look,
                position,
                (TALL - tall) // 2,
                count * (MARK + GAP) - GAP,
                tall,
                f"{count} × {mark.word}" if count > 1 else mark.word,
            )
        )
        position += count * (MARK + GAP)
    frame = '<svg class="strip" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img" aria-label="{2}">{3}</svg>'
    return Markup(frame).format(max(position, 1), TALL, said, Markup("").join(boxes))
