# SPDX-License-Identifier: GPL-2.0
"""Which options turn a good configuration into a bad one, and which a failure needs.

Between two cells lie the options that either asks for and that came out
differently. A candidate is the good cell's configuration with some of them as
the bad cell has them; olddefconfig decides what follows, and what it drops for
want of a dependency is as if nobody had asked. Delta debugging finds options
of which none can be left away, whole fragments first. To minimise a cell is
the same with nothing at the good end.

Toolchain, patches and guest are the bad cell's for all: they are no options.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import yaml

from farm.base import cache
from farm.base.errors import UsageError
from farm.hunt.evidence import Answer, Hunt, Role, Status
from farm.hunt.judge import Bench, Judge, Question, Tell, alone, kept, left, told
from farm.hunt.minimal import minimal
from farm.kernel import kconfig
from farm.matrix import Cell, choose, load
from farm.run import records, session
from farm.run.session import Watcher

#: A candidate's cell is named for the bad one, and built beside it.
SUFFIX = "-candidate"

#: Where the matrix of each candidate lies, in the hunt's directory.
CONFIGS = "configs"

#: What a subject names before it stops.
MOST_NAMED = 6


@dataclass(frozen=True)
class Request(Question):
    """What the command line asks: what lies between two cells, or with no good
    one all that the bad one's failure needs."""

    bad: str
    good: str = ""
    tree: str | None = None


@dataclass(frozen=True)
class Option:
    """What one cell asks for and the other has not. Values as in a .config, "n" for
    one that is not set; `good` is empty where there is no good end."""

    name: str
    good: str
    bad: str
    fragment: str


def bisect(request: Request, watcher: Watcher, tell: Tell, bench: Bench = Bench()) -> tuple[Path, Hunt]:
    """Hunt to the end, or go on with a hunt that was left; its directory and state.
    `candidates` of the latter are the options.

    Raises UsageError for cells and tests that allow no hunt, BuildFailed for a
    cell that gives no kernel, FarmError, KeyboardInterrupt.
    """
    matrix = load(request.matrix)
    if request.good == request.bad:
        raise UsageError(f"--good {request.good} and --bad {request.bad} are the same cell")
    cells = {name: choose(matrix, [name])[0] for name in (request.bad, request.good) if name}
    bad, good = cells[request.bad], cells.get(request.good)
    for cell in cells.values():
        if cell.machine is None:
            raise UsageError(f"{cell.name}: it is only built, it has no guest; see `farm cells`")
    configs = {}
    for cell in cells.values():
        tell(f"the configuration of {cell.name}")
        asked = request.run(cell.name, "", request.results, request.tree)
        configs[cell.name] = bench.config(asked, watcher)
    base, options = _between(good, bad, configs, with_feature=request.series != "none")
    key = cache.digest(request.key, repr(request.tree), request.good, request.bad, repr(base), repr(options))
    directory = request.results / f"config-bisect-{key[:8]}"
    with alone(directory, request.restart):
        hunter = _Hunter(base, options, bad, request, directory, left(directory, tell), watcher, tell, bench)
        if hunter.hunt.status is Status.RUNNING:
            with kept(directory, tell):
                hunter.go(good)
        return directory, hunter.hunt


def _between(
    good: Cell | None, bad: Cell, configs: dict[str, dict[str, str]], with_feature: bool
) -> tuple[dict[str, str], tuple[Option, ...]]:
    """What every candidate asks for, and the options that may make the difference,
    those of one fragment side by side."""

    def asked(cell: Cell) -> dict[str, str]:
        fragments = cell.fragments + (cell.feature if with_feature else ())
        return {name: file.stem for file in fragments for name in kconfig.parse(file.read_text(), str(file))}

    at_bad = configs[bad.name]
    if good is None:
        found = [Option(name, "", at_bad.get(name, "n"), fragment) for name, fragment in asked(bad).items()]
        return {}, tuple(sorted(found, key=lambda option: option.fragment))
    at_good, of_good, of_bad = configs[good.name], asked(good), asked(bad)
    found = [
        Option(name, at_good.get(name, "n"), at_bad.get(name, "n"), of_bad.get(name) or of_good[name])
        for name in of_good | of_bad
        if at_good.get(name, "n") != at_bad.get(name, "n")
    ]
    if not found:
        raise UsageError(
            f"--good {good.name} and --bad {bad.name} have the same value of each option that either asks for; what "
            "tells them apart is the toolchain, the patches or the guest"
        )
    base = {name: at_good.get(name, "n") for name in of_good}
    return base, tuple(sorted(found, key=lambda option: option.fragment))


class _Hunter(Judge):
    """A hunt for options while it goes on. A point is the key of a set of options."""

    elsewhere = "take another cell, or another test with -k"
    build_guess = 240.0

    def __init__(
        self,
        base: dict[str, str],
        options: tuple[Option, ...],
        cell: Cell,
        request: Request,
        directory: Path,
        hunt: Hunt | None,
        *rest: Any,
    ) -> None:
        self.base, self.options, self.cell = base, options, cell
        self.sets: dict[str, tuple[Option, ...]] = {}
        super().__init__(request, directory, hunt or self._begin(request, directory.name), *rest)
        self.tree = request.tree
        for chosen in ((), options):
            self._point(chosen)

    def _begin(self, request: Request, name: str) -> Hunt:
        return Hunt(
            id=name,
            command=sys.argv,
            tree=request.tree or "",
            good=self._point(()) if request.good else "",
            bad=self._point(self.options),
            good_name=f"--good {request.good}",
            bad_name=f"--bad {request.bad}" if request.good else f"--minimise {request.bad}",
            cell=f"{self.cell.name}{SUFFIX}",
            series=request.series,
            select=request.select,
            confidence=request.confidence,
            suspects=len(self.options),
            steps=0,
            started=records.now(),
        )

    def _point(self, options: Sequence[Option]) -> str:
        chosen = tuple(option for option in self.options if option in options)
        point = cache.digest(*(option.name for option in chosen))
        self.sets[point] = chosen
        return point

    def go(self, good: Cell | None) -> None:
        hunt = self.hunt
        self.tell(f"hunt {self.directory}")
        groups = [tuple(members) for _, members in groupby(self.options, key=lambda option: option.fragment)]
        hunt.steps = _steps(groups) if good else len(groups) + len(self.options)
        self.save()
        what = "options are different" if good else "options are asked for"
        self.tell(
            f"{hunt.suspects} {what}, in {len(groups)} fragments; about {hunt.steps} configurations to test, "
            f"{self.forecast()}"
        )
        for name in ("toolchain", "patches", "machine"):
            if good and getattr(good, name) != getattr(self.cell, name):
                self.tell(f"the {name} of {self.cell.name} is taken for both: only options are compared")
        if hunt.failure is None:
            self.find_failure()
        self.measure()
        if good:
            self.check_good_end()
        fragments = minimal(groups, lambda chosen: self._shows(tuple(chain(*chosen))))
        found = minimal(tuple(chain(*fragments)), self._shows)
        hunt.candidates = [option.name for option in found]
        hunt.subjects = {option.name: _changed(option) for option in found}
        if good:
            self._confirm(tuple(option for option in self.options if option not in found))
        hunt.status, hunt.finished = Status.FOUND, records.now()
        self.save()

    def _shows(self, chosen: Sequence[Option]) -> bool:
        """Whether the hunted failure shows with these options. Of what cannot be
        tested nothing is known: it counts as not."""
        point = self._point(chosen)
        known = [one for one in self.hunt.evidence if one.commit == point and one.answer is not Answer.TESTING]
        if known:
            return known[0].answer is Answer.BAD
        one = self.evidence_of(Role.STEP, point)
        self.tell(f"{len(self.sets[point])} options: {one.subject}")
        self.build_and_judge(one, self.ask(point, self.select))
        self.tell(f"  {told(one)}")
        return one.answer is Answer.BAD

    def _confirm(self, others: Sequence[Option]) -> None:
        """Test the bad end without what was found."""
        hunt, point = self.hunt, self._point(others)
        if point == hunt.good:
            hunt.confirmed = "confirmed: it is all the difference, and the good end passes"
            return
        one = self.evidence_of(Role.REVERTED, point)
        if one.answer is Answer.TESTING:
            self.tell("the bad end with these as the good one has them")
            self.build_and_judge(one, self.ask(point, self.select))
            self.tell(f"  {told(one)}")
        hunt.confirmed = {
            Answer.GOOD: f"confirmed: with these as the good end has them the bad end is {told(one)}",
            Answer.BAD: "there are other options that do it as well: without these the bad end still fails",
        }.get(one.answer, f"not confirmed: without these the bad end cannot be tested: {one.why}")

    def ask(self, point: str, select: str) -> session.Request:
        return self.question.run(self.hunt.cell, select, self.directory, self.tree, self._write(point))

    def subject(self, point: str) -> str:
        chosen = self.sets[point]
        if not chosen:
            return "the good configuration" if self.hunt.good else "nothing asked for"
        more = f" and {len(chosen) - MOST_NAMED} more" if len(chosen) > MOST_NAMED else ""
        return ", ".join(option.name for option in chosen[:MOST_NAMED]) + more

    @property
    def steps_left(self) -> int:
        return max(1, self.hunt.steps - sum(one.role is Role.STEP for one in self.hunt.evidence))

    def _write(self, point: str) -> Path:
        """The matrix of a candidate: one cell, of one fragment."""
        top = matrix_of(self.directory, point).parent
        fragment, cell = top / self.cell.arch / "candidate.config", self.cell
        wanted = self.base | {option.name: option.bad for option in self.sets[point]}
        fragment.parent.mkdir(parents=True, exist_ok=True)
        fragment.write_text("# SPDX-License-Identifier: GPL-2.0\n" + "".join(map(_line, wanted.items())))
        assert cell.machine
        spec = {
            "about": f"{cell.name}, and of its options {len(self.sets[point])}",
            "arch": cell.arch,
            "tree": cell.tree,
            "fragments": ["candidate"],
            "patches": [str(patch) for patch in cell.patches],
            "toolchain": cell.toolchain,
            "lenient": True,
            "guest": vars(cell.machine),
        }
        tree = load(self.question.matrix).trees[cell.tree]
        trees = {tree.name: {"package": tree.package, "archive": str(tree.archive), "series": str(tree.series)}}
        known = {"trees": trees, "fragments": {"candidate": sorted(cell.supports)}, "cells": {self.hunt.cell: spec}}
        (top / "matrix.yaml").write_text(yaml.safe_dump(known, sort_keys=False))
        return top / "matrix.yaml"


def matrix_of(directory: Path, point: str) -> Path:
    """Where a hunt keeps the matrix of a candidate, as `farm run --matrix` takes it."""
    return directory / CONFIGS / point[:16] / "kconfigs" / "matrix.yaml"


def _steps(groups: Sequence[Sequence[Option]]) -> int:
    """How many questions it takes if one option is the cause."""
    return 2 * sum(math.ceil(math.log2(max(2, size))) for size in (len(groups), max(map(len, groups))))


def _changed(option: Option) -> str:
    return f"{option.good or 'not asked for'} -> {option.bad}, by the fragment {option.fragment}"


def _line(option: tuple[str, str]) -> str:
    name, value = option
    return f"# CONFIG_{name} is not set\n" if value == "n" else f"CONFIG_{name}={value}\n"
