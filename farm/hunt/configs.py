# SPDX-License-Identifier: GPL-2.0
"""Which options turn a good configuration into a bad one, and which a failure needs.

The search is among the options that one of two cells asks for and that differ between
their configurations. A candidate is the configuration of the good cell, with some of
these options as in the bad cell. `olddefconfig` drops an option whose dependency is missing;
the candidate then equals one without it, so both options are found together. The result is a
set from which no option can be removed. It is found by removing what is not needed, whole
fragments first (farm.hunt.minimal). A kernel takes minutes, its configuration seconds: if a
candidate's configuration was tested before, nothing is built.

To minimise a cell, the good end is what a guest needs to boot, and the options that are
switched off.

Everything else (tree, toolchain, patches, guest) is taken from the bad cell for every
candidate.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from farm.base import cache
from farm.base.errors import BuildFailed, UsageError
from farm.hunt.evidence import Answer, Evidence, Hunt, Role, Status
from farm.hunt.judge import Bench, Judge, Question, Tell, alone, kept, left, told
from farm.hunt.minimal import minimal
from farm.hunt.trial import Config
from farm.kernel import kconfig
from farm.matrix import Cell, Tree, choose, load
from farm.record import records
from farm.record.verdict import Verdict
from farm.run import session
from farm.run.watcher import Watcher

#: The cell of a candidate has the name of the bad cell with this suffix.
SUFFIX = "-candidate"

#: The directory with the matrix of each candidate, below that of the hunt.
CONFIGS = "configs"

#: The fragment that is never reduced: without it no guest boots.
BASE = "base"

#: How many options a subject names.
MOST_NAMED = 6


@dataclass(frozen=True)
class ConfigBisectRequest(Question):
    """What the command line asks. With a good cell: which options between the two cells cause the
    failure. Without one: which options of the bad cell the failure needs."""

    bad: str
    good: str = ""
    tree: str | None = None


@dataclass(frozen=True)
class Option:
    """An option that differs between the cells. Values are as in a .config, and "n" if it is not
    set. `good` is empty if there is no good cell."""

    name: str
    good: str
    bad: str
    fragment: str


def bisect(request: ConfigBisectRequest, watcher: Watcher, tell: Tell, bench: Bench = Bench()) -> tuple[Path, Hunt]:
    """Hunt to the end, or continue an interrupted hunt. Returns its directory and its state, whose
    `candidates` are options.

    Raises UsageError if these cells and tests allow no hunt, FarmError, KeyboardInterrupt.
    """
    matrix = load(request.matrix)
    if request.good == request.bad:
        raise UsageError(f"--good {request.good} and --bad {request.bad} are the same cell")
    cells = {name: choose(matrix, [name])[0] for name in (request.bad, request.good) if name}
    bad, good = cells[request.bad], cells.get(request.good)
    for cell in cells.values():
        if cell.machine is None:
            raise UsageError(f"{cell.name}: it is only built, it has no guest; see `farm cells`")
    configs = {cell.name: _config(cell, request, watcher, tell, bench) for cell in cells.values()}
    apart = _apart(good, bad) if good else []
    if good:
        base, options = _between(configs[good.name], configs[bad.name])
        if not options:
            also = f", and these are no options: {', '.join(apart)}" if apart else ""
            raise UsageError(
                f"--good {good.name} and --bad {bad.name} have the same value of each option that either asks for{also}"
            )
    else:
        base, options = _beside_base(configs[bad.name])
    sources = [configs[name].source for name in cells]
    key = cache.digest(request.key, *sources, request.good, request.bad, repr(apart), repr(base), repr(options))
    directory = request.results / f"config-bisect-{key[:8]}"
    with alone(directory, request.restart):
        source = configs[bad.name].source
        hunter = _Hunter(base, options, source, bad, request, directory, left(directory, tell), watcher, tell, bench)
        if hunter.hunt.status is Status.RUNNING:
            with kept(directory, tell):
                hunter.go(good is not None, apart)
        return directory, hunter.hunt


def _config(cell: Cell, request: ConfigBisectRequest, watcher: Watcher, tell: Tell, bench: Bench) -> Config:
    """The configuration of a cell. Prints its source."""
    tell(f"the configuration of {cell.name}")
    try:
        config = bench.config(request.run(cell.name, "", request.results, request.tree), watcher)
    except BuildFailed as error:
        raise UsageError(f"{cell.name} cannot be tested:\n{error}") from error
    tell(f"  of {config.label}")
    return config


def _asked(config: Config) -> dict[str, str]:
    """The options that a cell asks for, each with its fragment, in the order of the fragments."""
    return {name: file.stem for file in config.fragments for name in kconfig.read(file)}


def _between(good: Config, bad: Config) -> tuple[dict[str, str], tuple[Option, ...]]:
    """The options of every candidate, and those that may make the difference. The latter are
    grouped by fragment."""
    of_good, of_bad = _asked(good), _asked(bad)
    found = [
        Option(name, good.options.get(name, "n"), bad.options.get(name, "n"), of_bad.get(name) or of_good[name])
        for name in of_good | of_bad
        if good.options.get(name, "n") != bad.options.get(name, "n")
    ]
    return {name: good.options.get(name, "n") for name in of_good}, _by_fragment(found, [good, bad])


def _beside_base(config: Config) -> tuple[dict[str, str], tuple[Option, ...]]:
    """For minimising a cell: the options of every candidate, and those that may be removed. An
    option that is switched off stays off, because it makes the kernel smaller."""
    asked = {name: (config.options.get(name, "n"), fragment) for name, fragment in _asked(config).items()}
    base = {name: value for name, (value, fragment) in asked.items() if value == "n" or fragment == BASE}
    found = [Option(name, "", value, fragment) for name, (value, fragment) in asked.items() if name not in base]
    return base, _by_fragment(found, [config])


def _by_fragment(options: Sequence[Option], configs: Sequence[Config]) -> tuple[Option, ...]:
    """In the order of the fragments: an option comes after those that it depends on."""
    order = list(dict.fromkeys(file.stem for config in configs for file in config.fragments))
    return tuple(sorted(options, key=lambda option: order.index(option.fragment)))


def _apart(good: Cell, bad: Cell) -> list[str]:
    """How two cells differ besides their options."""

    def facts(cell: Cell) -> dict[str, object]:
        patches = " ".join(patch.name for patch in cell.patches)
        guest = {f"guest's {name}": value for name, value in vars(cell.machine).items()}
        return {"tree": cell.tree, "toolchain": cell.toolchain, "patches": patches, **guest}

    of_good = facts(good)
    return [
        f"the {name}: {of_good[name] or 'none'} at the good end, {value or 'none'} at the bad one"
        for name, value in facts(bad).items()
        if value != of_good[name]
    ]


class _Hunter(Judge):
    """A hunt for options in progress. A point is the key of a set of options."""

    elsewhere = "take another cell, or another test with -k"
    build_guess = 240.0

    def __init__(
        self,
        base: dict[str, str],
        options: tuple[Option, ...],
        source: str,
        cell: Cell,
        request: ConfigBisectRequest,
        directory: Path,
        hunt: Hunt | None,
        *rest: Any,
    ) -> None:
        self.base, self.options, self.source, self.cell = base, options, source, cell
        self.tree = request.tree
        self.sets: dict[str, tuple[Option, ...]] = {}
        super().__init__(request, directory, hunt or self._begin(request, directory.name), *rest)
        for chosen in ((), options):
            self._point(chosen)

    def _begin(self, request: ConfigBisectRequest, name: str) -> Hunt:
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
        point = point_of([option.name for option in chosen])
        self.sets[point] = chosen
        return point

    def go(self, between: bool, apart: Sequence[str]) -> None:
        """Hunt between two cells that stand `apart` by what is no option, or minimise one."""
        hunt = self.hunt
        self.tell(f"hunt {self.directory}")
        groups = [tuple(members) for _, members in groupby(self.options, key=lambda option: option.fragment)]
        hunt.steps = _steps(groups) if between else len(groups) + len(self.options)
        self.save()
        what = "options are different" if between else f"options are asked for, beside what the fragment {BASE} does"
        self.tell(
            f"{hunt.suspects} {what}, by {len(groups)} fragments; about {hunt.steps} configurations to test, "
            f"{self.forecast()}; the first build takes some minutes more"
        )
        for difference in apart:
            self.tell(f"no option is {difference}; all is tested with the latter")
        if apart:
            self.elsewhere = (
                f"it was tested with the bad end's, so the failure may come from there and from no option: "
                f"{'; '.join(apart)}"
            )
        if hunt.failure is None:
            self.find_failure()
        self.measure()
        if between:
            self.check_good_end()
        found = minimal(groups, self._shows)
        hunt.candidates = [option.name for option in found]
        hunt.subjects = {option.name: _changed(option) for option in found}
        if between:
            self._confirm(tuple(option for option in self.options if option not in found))
            hunt.follows = self._follows(self._point(found))
        hunt.status, hunt.finished = Status.FOUND, records.now()
        self.save()

    def _shows(self, chosen: Sequence[Option]) -> bool:
        """Whether the hunted failure shows with these options. If they cannot be tested, it counts
        as not shown."""
        point = self._point(chosen)
        known = [one for one in self.hunt.evidence if one.commit == point and one.answer is not Answer.TESTING]
        if known:
            return known[0].answer is Answer.BAD
        one = self.evidence_of(Role.STEP, point)
        self.tell(f"{len(self.sets[point])} of {len(self.options)} options, {self.forecast()}: {one.subject}")
        self._answer(one)
        return one.answer is Answer.BAD

    def _answer(self, one: Evidence) -> None:
        """The answer for a configuration. Tests it unless that was done."""
        self._note_config(one)
        for other in self.hunt.evidence:
            if other is not one and other.answer is not Answer.TESTING and not other.config:
                self._note_config(other)  # the ends, whose kernels were built in any case
        same = [other for other in self.hunt.evidence if other.config == one.config and _is_final(other)]
        if same:
            one.answer, one.why = same[0].answer, same[0].why
            one.same_as = "" if one.answer is Answer.SKIP else same[0].same_as or same[0].commit
            self.save()
        else:
            self.build_and_judge(one, self.ask(one.commit, self.select))
        self.tell(f"  {told(one)}")

    def _note_config(self, one: Evidence) -> None:
        one.config = cache.digest(repr(sorted(self._came_out(one.commit).items())))

    def _came_out(self, point: str) -> dict[str, str]:
        """The configuration of a candidate. Raises UsageError if its source has changed since the
        hunt began."""
        config = self.bench.config(self.ask(point, ""), self.watcher)
        if config.source != self.source:
            where = f"--tree {self.tree}" if self.tree else "the source"
            raise UsageError(
                f"{where} has changed since this hunt began; what was tested says nothing of it: hunt anew, or in "
                "a revision, as --tree PATH@REV"
            )
        return config.options

    def _confirm(self, others: Sequence[Option]) -> None:
        """Test the bad end without the options that were found."""
        hunt, point = self.hunt, self._point(others)
        if point == hunt.good:
            hunt.confirmed = "confirmed: it is all the difference, and the good end passes"
            return
        one = self.evidence_of(Role.REVERTED, point)
        if one.answer is Answer.TESTING:
            self.tell("the bad end with these as the good one has them")
            self._answer(one)
        hunt.confirmed = {
            Answer.GOOD: f"confirmed: with these as the good end has them the bad end is {told(one)}",
            Answer.BAD: "there are other options that do it as well: without these the bad end still fails",
        }.get(one.answer, f"not confirmed: without these the bad end cannot be tested: {one.why}")

    def _follows(self, point: str) -> list[str]:
        """The options that followed from a set of options without being asked for, as NAME: good -> bad."""
        good, bad = self._came_out(self.hunt.good), self._came_out(point)
        asked = self.base.keys() | {option.name for option in self.sets[point]}
        return [
            f"{name}: {good.get(name, 'n')} -> {bad.get(name, 'n')}"
            for name in sorted(good.keys() | bad.keys())
            if name not in asked and good.get(name, "n") != bad.get(name, "n")
        ]

    def ask(self, point: str, select: str) -> session.RunRequest:
        return self.question.run(self.hunt.cell, select, self.directory, self.tree, self._write(point))

    def subject(self, point: str) -> str:
        chosen = self.sets[point]
        if not chosen:
            return "the good configuration" if self.hunt.good else f"only what the fragment {BASE} asks for"
        more = f" and {len(chosen) - MOST_NAMED} more" if len(chosen) > MOST_NAMED else ""
        return ", ".join(option.name for option in chosen[:MOST_NAMED]) + more

    @property
    def steps_left(self) -> int:
        return max(1, self.hunt.steps - sum(one.role is Role.STEP for one in self.hunt.evidence))

    def _write(self, point: str) -> Path:
        """The matrix of a candidate: one cell, of one fragment."""
        top = matrix_of(self.directory, point).parent
        fragment, cell = top / self.cell.arch / "candidate.config", self.cell
        chosen = {option.name: option.bad for option in self.sets[point]}
        # at the end: of two options of a choice, the last one that is set wins
        wanted = {name: value for name, value in self.base.items() if name not in chosen} | chosen
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
        # all trees: the request may name another one, or one of the user's that a series has to fit
        trees = {name: _spec_of_tree(tree) for name, tree in load(self.question.matrix).trees.items()}
        bounded = dict(cell.bounded)
        facts = [f"{fact} {bounded[fact]}" if fact in bounded else fact for fact in sorted(cell.supports)]
        known = {"trees": trees, "fragments": {"candidate": facts}, "cells": {self.hunt.cell: spec}}
        (top / "matrix.yaml").write_text(yaml.safe_dump(known, sort_keys=False))
        return top / "matrix.yaml"


def _spec_of_tree(tree: Tree) -> dict[str, str]:
    spec = {
        "package": tree.package,
        "archive": str(tree.archive),
        "suite": tree.suite,
        "series": str(tree.series or ""),
    }
    return {key: text for key, text in spec.items() if text}


def point_of(names: Sequence[str]) -> str:
    """The key of a set of options, in their order."""
    return cache.digest(*names)


def matrix_of(directory: Path, point: str) -> Path:
    """The file with the matrix of a candidate, for `farm run --matrix`."""
    return directory / CONFIGS / point[:16] / "kconfigs" / "matrix.yaml"


def _steps(groups: Sequence[Sequence[Option]]) -> int:
    """How many candidates must be tested if a single option is the cause."""
    return 2 * sum(math.ceil(math.log2(max(2, size))) for size in (len(groups), max(map(len, groups))))


def _is_final(one: Evidence) -> bool:
    """Whether another kernel of the same configuration would get the same answer."""
    if one.answer is Answer.SKIP:
        return not one.why.startswith((Verdict.INFRA, Verdict.LOST))
    return one.answer is not Answer.TESTING


def _changed(option: Option) -> str:
    change = f"{option.good} -> {option.bad}" if option.good else option.bad
    return f"{change}, by the fragment {option.fragment}"


def _line(option: tuple[str, str]) -> str:
    name, value = option
    return f"# CONFIG_{name} is not set\n" if value == "n" else f"CONFIG_{name}={value}\n"
