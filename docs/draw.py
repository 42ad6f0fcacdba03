# SPDX-License-Identifier: GPL-2.0
"""Draw docs/architecture.svg from the code's own imports: `python -m docs.draw`.

A room is a package or a module directly below farm/. It stands above everything
that it imports, and directly below what imports it. An arrow is left out where two
others lead the same way.
"""

import ast
from collections.abc import Mapping
from html import escape
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
PICTURE = CHECKOUT / "docs/architecture.svg"

#: What each room is about, on its box.
ABOUT = {
    "arch": "what is spelled differently",
    "artifact": "what the cache keeps, by name",
    "base": "blame, time, commands, cache",
    "cleaning": "what `farm clean` removes",
    "cli": "one command a phase",
    "doctor": "what the host lacks",
    "execute": "where units of work run",
    "guest": "a machine, and its life",
    "history": "all runs together",
    "hunt": "bisection, mutants",
    "kernel": "from source to kernel",
    "matrix": "cells, fragments, trees",
    "nightly": "all of it, every night",
    "record": "what is on disk, verdicts",
    "report": "terminal, site, exports",
    "run": "from a request to records",
    "tell": "mail, webhook",
    "timer": "systemd, cron",
    "version": "since when, until when",
    "worker": "guests, tests, verdicts",
}

#: What stands at the right, in columns of its own: one command needs it, and no room does.
ASIDE = ("doctor", "cleaning", "timer")

#: The way of one test, from the matrix to a page: what happens, and in which file.
WAY = (
    ("a cell", "kconfigs/matrix.yaml", "matrix.py"),
    ("its kernel", "kernels/KEY", "kernel/build.py"),
    ("its image", "images/KEY", "guest/image.py"),
    ("a guest", "QEMU", "guest/vm.py"),
    ("the test", "suites/test_*.py", "worker/plugin.py"),
    ("what happened", "an exception, or none", "worker/classify.py"),
    ("its verdict", "verdicts.jsonl", "record/records.py"),
    ("its case", "history.sqlite", "history/store.py"),
    ("a page", "results/site/", "report/site/make.py"),
)

BOX_WIDTH, BOX_HEIGHT = 196, 46
GAP, LAYER = 22, 92
MARGIN = 24
STYLE = """\
text { font: 13px sans-serif; fill: #1b1f24; } .name { font-weight: bold; } .small { font-size: 11px; fill: #57606a; }
rect { fill: #f6f8fa; stroke: #8c959f; rx: 6px; } path { fill: none; stroke: #8c959f; } .way rect { fill: #ddf4ff; }
.head { fill: #8c959f; stroke: none; } .ground { fill: #ffffff; stroke: none; }"""


def imports() -> dict[str, set[str]]:
    """Which rooms each room imports."""
    found: dict[str, set[str]] = {}
    for path in sorted((CHECKOUT / "farm").rglob("*.py")):
        room = path.relative_to(CHECKOUT / "farm").parts[0].removesuffix(".py")
        if room not in ("__init__", "__main__"):
            found.setdefault(room, set()).update(_rooms_of(path) - {room})
    return found


def _rooms_of(path: Path) -> set[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("farm.")}


def heights(rooms: Mapping[str, set[str]]) -> dict[str, int]:
    """How far above the ground each room stands: one more than the highest that it imports.

    Raises ValueError for rooms that import one another in a circle.
    """
    known: dict[str, int] = {}
    while len(known) < len(rooms):
        ready = [room for room in rooms if room not in known and rooms[room] <= known.keys()]
        if not ready:
            raise ValueError(f"rooms that import one another: {', '.join(sorted(rooms.keys() - known.keys()))}")
        known |= {room: 1 + max((known[below] for below in rooms[room]), default=-1) for room in ready}
    for room in sorted(known, key=lambda room: -known[room]):  # up, to below what imports it
        above = [known[other] for other in rooms if room in rooms[other]]
        known[room] = min(above, default=known[room] + 1) - 1
    return known


def arrows(rooms: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """The imports, without those that follow from two others."""

    def below(room: str) -> set[str]:
        return rooms[room].union(*map(below, rooms[room]))

    return [
        (room, other)
        for room in sorted(rooms)
        for other in sorted(rooms[room])
        if not any(other in below(step) for step in rooms[room] - {other})
    ]


def draw() -> str:
    """The picture."""
    rooms = imports()
    up = heights(rooms)
    top = max(up.values())
    column = BOX_WIDTH + GAP
    layers = [sorted(room for room in rooms if up[room] == level and room not in ASIDE) for level in range(top + 1)]
    middle = max(len(layer) for layer in layers) * column
    width = middle + len(ASIDE) * column + 2 * MARGIN - GAP
    places = {}
    for level, layer in enumerate(layers):
        start = MARGIN + (middle - len(layer) * column) / 2
        for number, room in enumerate(layer):
            places[room] = (start + number * column, MARGIN + (top - level) * LAYER)
    for number, room in enumerate(ASIDE):
        places[room] = (MARGIN + middle + number * column, MARGIN + (top - up[room]) * LAYER)
    parts = [_arrow(places[room], places[other]) for room, other in arrows(rooms)]
    parts += [_box(*places[room], room, ABOUT[room]) for room in sorted(rooms)]
    below = MARGIN + (top + 1) * LAYER + 10
    way, height = _way(width, below)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n'
        "<!-- SPDX-License-Identifier: GPL-2.0 -->\n<!-- Drawn by docs/draw.py. -->\n"
        "<title>The rooms of the farm, and the way of one test</title>\n"
        f'<style>{STYLE}</style>\n<rect class="ground" width="{width}" height="{height}"/>\n'
        + "\n".join([*parts, *way])
        + "\n</svg>\n"
    )


def _way(width: float, top: float) -> tuple[list[str], float]:
    """The steps of a test in rows, and where they end."""
    across = int((width - 2 * MARGIN + GAP) // (BOX_WIDTH + GAP))
    places = [
        (MARGIN + (n % across) * (BOX_WIDTH + GAP), top + 26 + (n // across) * (BOX_HEIGHT + 40))
        for n in range(len(WAY))
    ]
    parts = [f'<text class="name" x="{MARGIN}" y="{top + 8}">The way of one test</text>', '<g class="way">']
    for number, (place, (name, what, file)) in enumerate(zip(places, WAY, strict=True), 1):
        parts.append(_box(*place, f"{number}. {name}", what))
        parts.append(f'<text class="small" x="{place[0] + 10:g}" y="{place[1] + BOX_HEIGHT + 15:g}">farm/{file}</text>')
    return [*parts, "</g>"], places[-1][1] + BOX_HEIGHT + 34


def _box(x: float, y: float, name: str, about: str) -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}"/>'
        f'<text class="name" x="{x + 10:g}" y="{y + 19:g}">{escape(name)}</text>'
        f'<text class="small" x="{x + 10:g}" y="{y + 36:g}">{escape(about)}</text>'
    )


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """From the lower edge of one box to the upper edge of another."""
    x1, y1, x2, y2 = start[0] + BOX_WIDTH / 2, start[1] + BOX_HEIGHT, end[0] + BOX_WIDTH / 2, end[1]
    bend = y2 - (LAYER - BOX_HEIGHT)  # straight down, to above the layer of the other
    middle = (bend + y2) / 2
    return (
        f'<path d="M{x1:g} {y1:g} L{x1:g} {bend:g} C{x1:g} {middle:g} {x2:g} {middle:g} {x2:g} {y2 - 6:g}"/>'
        f'<path class="head" d="M{x2 - 4:g} {y2 - 8:g} L{x2 + 4:g} {y2 - 8:g} L{x2:g} {y2:g} Z"/>'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw())
