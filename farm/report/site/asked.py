# SPDX-License-Identifier: GPL-2.0
"""How the command of a run differs from that of a night: patches and pokes first."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from farm.history.model import Planted, Summary
from farm.run import patches


@dataclass(frozen=True)
class Tag:
    """A word in capitals, with its details. `loud` marks a bug that was planted on purpose; `link` is
    a file, relative to the site's directory, empty if there is none."""

    word: str
    what: str
    more: str = ""
    loud: bool = False
    link: str = ""


def tags(results: Path, run: Summary) -> list[Tag]:
    """The tags of a run, the loudest first; none for a run of all tests on the farm's own tree."""
    return [*_patched(results, run), *_others(run)]


def _patched(results: Path, run: Summary) -> Iterator[Tag]:
    for patch in patches.kept(results / run.place, run.planted.patches):
        link = f"../{quote(f'{run.place}/{patch.place}')}" if run.place and patch.place else ""
        yield Tag("PATCHED", patch.name, patch.subject, True, link)


def _others(run: Summary) -> Iterator[Tag]:
    for poke in run.planted.pokes:
        yield Tag("POKED", poke, loud=True)
    if run.planted.partial:
        yield Tag("PARTIAL", "the kernel has only part of the feature", loud=True)
    if run.tree:
        yield Tag("TREE", run.tree)
    if run.series:
        yield Tag("SERIES", run.series)
    if run.select:
        yield Tag("ONLY", run.select)


def manner(planted: Planted) -> str:
    """How a kernel differs from a clean one, in words that begin a sentence; empty for a clean one."""
    words = [
        word
        for word, have in (("patched", planted.patches), ("poked", planted.pokes), ("partial", planted.partial))
        if have
    ]
    return " and ".join(words).capitalize()
