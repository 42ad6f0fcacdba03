# SPDX-License-Identifier: GPL-2.0
"""What a run was asked for, where that is not what a night does: patches and pokes first."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from farm.history.model import Planted, Summary
from farm.run import patches


@dataclass(frozen=True)
class Tag:
    """A word in capitals, what it says of, and more of that. `loud` marks a bug on purpose; `link` is
    a file, from the site's directory, empty if there is none."""

    word: str
    what: str
    more: str = ""
    loud: bool = False
    link: str = ""


def tags(results: Path, run: Summary) -> list[Tag]:
    """What was asked for of a run, the loudest first; nothing for one of the farm's own tree and all tests."""
    return [*_patched(results, run), *_others(run)]


def _patched(results: Path, run: Summary) -> Iterator[Tag]:
    for patch in patches.kept(results / run.place, run.planted.patches):
        link = f"../{quote(f'{run.place}/{patch.place}')}" if run.place and patch.place else ""
        yield Tag("PATCHED", patch.name, patch.subject, True, link)


def _others(run: Summary) -> Iterator[Tag]:
    for poke in run.planted.pokes:
        yield Tag("POKED", poke, loud=True)
    if run.planted.partial:
        yield Tag("PARTIAL", "the kernel has only a part of the feature", loud=True)
    if run.tree:
        yield Tag("TREE", run.tree)
    if run.series:
        yield Tag("SERIES", run.series)
    if run.select:
        yield Tag("ONLY", run.select)


def manner(planted: Planted) -> str:
    """How a kernel differs from a clean one, in a word that begins a sentence; empty for a clean one."""
    words = [
        word
        for word, have in (("patched", planted.patches), ("poked", planted.pokes), ("partial", planted.partial))
        if have
    ]
    return " and ".join(words).capitalize()
