# SPDX-License-Identifier: GPL-2.0
"""The kernels that a night must build before it can test, and how long that takes on this machine."""

import json
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from farm import artifact
from farm.artifact import Ref
from farm.base import cache
from farm.base.errors import Blamed
from farm.history.model import Summary
from farm.hunt.mutant import Mutant
from farm.kernel import build as kernels
from farm.kernel import series as patching
from farm.kernel.tree import Source, is_imported, work_tree
from farm.matrix import Cell, Matrix
from farm.nightly.plan import Build
from farm.run import comparison

#: The guessed processor seconds of a kernel, if this machine has not built one yet.
GUESS_PROCESSOR = 600.0

#: A build that took less than this share of the longest one compiled only a few files.
WHOLE = 0.25


@dataclass(frozen=True)
class Past:
    """How many seconds builds took here. `last`: by cell, in the last run of the same tree that built it;
    `longest`: by cell, for any tree; `usual`: a whole kernel of any cell."""

    last: Mapping[str, float]
    longest: Mapping[str, float]
    usual: float

    def whole(self, cell: str) -> float:
        return self.longest.get(cell, self.usual)


def past(everything: Sequence[Summary], same_tree: Sequence[Summary]) -> Past:
    """What the history and the cache know about builds. The runs are sorted, the oldest first."""
    longest: dict[str, float] = {}
    for cell, seconds in _seconds(everything):
        longest[cell] = max(seconds, longest.get(cell, 0.0))
    return Past(dict(_seconds(same_tree)), longest, _usual())


def _seconds(runs: Iterable[Summary]) -> list[tuple[str, float]]:
    return [(cell, one.build_seconds) for run in runs for cell, one in run.kernels.items() if one.build_seconds]


def _usual() -> float:
    """Seconds of a whole build, from TuxMake's records beside the kernels in the cache."""
    took = []
    for path in cache.root().glob("kernels/[!.]*/metadata.json"):
        try:
            took.append(float(json.loads(path.read_text())["results"]["duration"]["build"]))
        except (OSError, ValueError, TypeError, KeyError):
            continue  # the build left no record
    if whole := [seconds for seconds in took if seconds >= WHOLE * max(took)]:
        return statistics.median(whole)
    return GUESS_PROCESSOR / len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Wanted:
    """A kernel that a night tests: its cell, and tree and series as on the command line."""

    cell: Cell
    tree: str | None
    series: str | None

    @property
    def place(self) -> str:
        """The same for kernels that are built one after the other in the same directory."""
        return f"{self.tree or self.cell.tree} {self.series or 'series'} {self.cell.name}"


def lacking(wanted: Sequence[Wanted], matrix: Matrix, known: Past) -> dict[Wanted, Build]:
    """The kernels of `wanted` that the cache lacks. If that cannot be found out, for example because the tree
    is missing, a kernel counts as lacking: the step that needs it will say what is wrong."""
    plans = _plans(wanted, matrix)
    found = {}
    for one in wanted:
        plan = plans.get(one)
        if plan and _built(plan):
            continue
        last = known.last.get(one.cell.name) if plan and _begun(plan) else None
        found[one] = Build(one.place, last or known.whole(one.cell.name))
    return found


def of_mutants(mutants: Iterable[Mutant], matrix: Matrix, known: Past) -> dict[str, Build]:
    """The whole builds that come before the quick ones of mutants, if a cell has no build directory yet."""
    first = {mutant.name: Wanted(matrix.cells[mutant.cells[0]], None, None) for mutant in mutants}
    plans = _plans(set(first.values()), matrix)
    return {
        name: Build(one.place, known.whole(one.cell.name))
        for name, one in first.items()
        if one not in plans or not _begun(plans[one])
    }


def of_own_tests(cell: str, tree: str | None, series: str | None, matrix: Matrix, known: Past) -> list[Build]:
    """What `farm selftests` must build: the base and the patched kernel."""
    try:
        orders = comparison.orders(comparison.SelftestsRequest(cell, tree=tree, series=series)).values()
        wanted = [Wanted(matrix.cells[cell], order.tree, order.series) for order in orders]
    except Blamed:  # no such tree; as with `lacking`
        wanted = [Wanted(matrix.cells[cell], tree, which) for which in ("none", series)]
    return list(lacking(wanted, matrix, known).values())


def _plans(wanted: Iterable[Wanted], matrix: Matrix) -> dict[Wanted, kernels.BuildPlan]:
    """The build plans of the kernels, except those whose source cannot be had. Empty if the cache has no
    kernel at all: nothing has to be unpacked to know that."""
    if not any(cache.root().glob("kernels/[!.]*")):
        return {}
    sources: dict[tuple[str | None, ...], Source | None] = {}
    found = {}
    for one in wanted:
        key = (one.tree, one.series, one.cell.tree, *map(str, one.cell.patches))
        if key not in sources:
            sources[key] = _source(one, matrix)
        if source := sources[key]:
            bare = patching.is_bare(one.tree or one.cell.tree, matrix.trees, one.series)
            found[one] = kernels.plan(one.cell, source, bare)
    return found


def _source(wanted: Wanted, matrix: Matrix) -> Source | None:
    tree = matrix.trees.get(wanted.tree or wanted.cell.tree)
    try:
        if tree and not is_imported(tree):
            return None  # to get it takes minutes, and a network
        return patching.resolve(wanted.cell, matrix.trees, wanted.tree, wanted.series)
    except Blamed:
        return None


def _built(plan: kernels.BuildPlan) -> bool:
    """Whether the cache has the kernel."""
    try:
        return artifact.exists(Ref("kernels", plan.key))
    except Blamed:  # its compiler is missing
        return False


def _begun(plan: kernels.BuildPlan) -> bool:
    """Whether a build in its directory will compile only what differs."""
    return (work_tree(plan.source) / f"build-{plan.cell.name}" / kernels.STAMP).exists()
