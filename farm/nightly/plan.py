# SPDX-License-Identifier: GPL-2.0
"""Chooses what a night runs, from what the history knows. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from farm.history.model import Mutation, Summary
from farm.record.verdict import is_bad

#: The guessed seconds for the tests of a cell, the kernel's own tests and a mutant, if nothing is known,
#: without the builds of kernels.
GUESS_TESTS, GUESS_SELFTESTS, GUESS_MUTANT = 480.0, 900.0, 120.0

#: The most mutants of one night.
SAMPLE = 12


@dataclass(frozen=True)
class Build:
    """A kernel that must be built, and its seconds. After it, others of the same `place` need no whole build."""

    place: str
    seconds: float


@dataclass(frozen=True)
class Costs:
    """The seconds that the parts of a night take: `tests` by cell, and the kernel's `own_tests`; and before
    these the builds of missing kernels, `builds` by cell and `own_builds`. `mutants` has, for each mutant's
    name, the build that must come before its own."""

    tests: Mapping[str, float] = field(default_factory=dict)
    builds: Mapping[str, Build] = field(default_factory=dict)
    own_tests: float = GUESS_SELFTESTS
    own_builds: Sequence[Build] = ()
    mutants: Mapping[str, Build] = field(default_factory=dict)

    def cell(self, name: str) -> float:
        build = self.builds.get(name)
        return self.tests.get(name, GUESS_TESTS) + (build.seconds if build else 0.0)


@dataclass(frozen=True)
class NightPlan:
    """The cells in the order in which they run, whether the kernel's own tests run, and the mutants; and the
    expected seconds of each of the three. `left` lists what does not fit, with the reason."""

    cells: tuple[str, ...]
    selftests: bool
    mutants: tuple[str, ...]
    expected: tuple[float, float, float]
    left: tuple[str, ...]

    @property
    def seconds(self) -> float:
        return sum(self.expected)


def plan(
    cells: Sequence[str],
    costs: Costs,
    worth: Mapping[str, float],
    mutants: Sequence[str],
    hunts: Sequence[Mutation],
    budget: float,
) -> NightPlan:
    """Choose what fits into `budget` seconds: first the cells from which most can be learnt, then the kernel's
    own tests, then the mutants that have waited longest. The chosen cells run longest first, so that no worker
    waits long for the last one. A kernel that two of them need is built once."""
    rest, chosen, left, built = budget, list[str](), list[str](), set[str]()
    for cell in sorted(cells, key=lambda cell: (-worth.get(cell, 0.0), cells.index(cell))):
        builds = [costs.builds[cell]] if cell in costs.builds else []
        if costs.cell(cell) <= rest:
            chosen.append(cell)
            rest -= costs.cell(cell)
            built |= {build.place for build in builds}
        else:
            left.append(f"{cell}: needs {_needs(costs.cell(cell), builds)}, {rest:.0f} s are left")
    of_cells = budget - rest
    builds = [build for build in costs.own_builds if build.place not in built]
    of_own = costs.own_tests + sum(build.seconds for build in builds)
    fits = bool(chosen) and of_own <= rest
    if fits:
        rest -= of_own
        built |= {build.place for build in builds}
    else:
        left.append(f"the kernel's own tests: need {_needs(of_own, builds)}, {rest:.0f} s are left")
    sample, of_mutants = _sample(rotated(mutants, hunts), costs.mutants, built, pace(hunts), rest)
    if len(sample) < min(SAMPLE, len(mutants)):
        missing = min(SAMPLE, len(mutants)) - len(sample)
        left.append(f"{missing} of tonight's mutants: {rest - of_mutants:.0f} s are left")
    ordered = sorted(chosen, key=lambda cell: (-costs.cell(cell), cells.index(cell)))
    return NightPlan(tuple(ordered), fits, sample, (of_cells, of_own if fits else 0.0, of_mutants), tuple(left))


def _needs(seconds: float, builds: Sequence[Build]) -> str:
    """A time, and how much of it is for missing kernels."""
    of_builds = sum(build.seconds for build in builds)
    kernels = "a kernel" if len(builds) == 1 else f"{len(builds)} kernels"
    return f"{seconds:.0f} s" + (f", {of_builds:.0f} s of them to build {kernels}" if builds else "")


def _sample(
    mutants: Sequence[str], builds: Mapping[str, Build], built: set[str], pace: float, rest: float
) -> tuple[tuple[str, ...], float]:
    """The first mutants that fit into `rest` seconds, and how long they take. What they build is added to `built`."""
    sample, taken = list[str](), 0.0
    for name in mutants:
        build = builds.get(name)
        cost = pace + (build.seconds if build and build.place not in built else 0.0)
        if len(sample) == SAMPLE or taken + pace > rest:
            break
        if taken + cost <= rest:
            sample.append(name)
            taken += cost
            built |= {build.place} if build else set()
    return tuple(sample), taken


def rotated(mutants: Sequence[str], hunts: Sequence[Mutation]) -> list[str]:
    """The mutants, sorted so that those that have waited longest come first."""
    tried = {name: n for n, hunt in enumerate(hunts) for name, end in hunt.outcomes.items() if end != "not run"}
    return sorted(mutants, key=lambda name: (tried.get(name, -1), mutants.index(name)))


def pace(hunts: Sequence[Mutation]) -> float:
    """How many seconds a mutant took in the last hunt that tried any."""
    for hunt in reversed(hunts):
        if tried := sum(end not in ("not run", "equivalent") for end in hunt.outcomes.values()):
            return max(1.0, hunt.seconds / tried)
    return GUESS_MUTANT


def worth(cells: Sequence[str], main: Sequence[str], runs: Sequence[Summary]) -> dict[str, float]:
    """How much can be learnt from each cell. A cell that never ran is worth most; then failures in its
    last run and the number of runs since then count. Cells of the main road come before others. `runs`
    are those that tonight's run can be compared with, oldest first."""
    found = {}
    for cell in cells:
        value = 1e6
        for age, run in enumerate(reversed([run for run in runs if not run.select])):
            tallies = [tally for (of, _), tally in run.counts.items() if of == cell]
            if tallies:
                bad = sum(number for tally in tallies for verdict, number in tally.items() if is_bad(verdict))
                value = 10.0 * (bad > 0) + age
                break
        found[cell] = value + 5.0 * (cell in main)
    return found
