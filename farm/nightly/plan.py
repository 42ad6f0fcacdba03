# SPDX-License-Identifier: GPL-2.0
"""What a night runs, by what the history knows; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from farm.history.model import Mutation, Summary, is_bad

#: What a cell, the kernel's own tests and a mutant are taken to need where nothing is known, in seconds.
GUESS_CELL, GUESS_SELFTESTS, GUESS_MUTANT = 900.0, 900.0, 120.0

#: Mutants of one night, at most.
SAMPLE = 12


@dataclass(frozen=True)
class Plan:
    """Cells in the order in which they run, whether the kernel's own tests do, and mutants; what
    each of the three is expected to take, in seconds. `left` do not fit, with the reason."""

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
    costs: Mapping[str, float],
    worth: Mapping[str, float],
    mutants: Sequence[str],
    hunts: Sequence[Mutation],
    budget: float,
    selftests: float = GUESS_SELFTESTS,
) -> Plan:
    """Choose within `budget` seconds: the cells of the most worth first, then the kernel's own
    tests, which take `selftests` seconds, then mutants, those that were not tried for longest. What
    was chosen runs longest first, so that no worker waits long for the last."""
    rest, chosen, left = budget, [], []
    for cell in sorted(cells, key=lambda cell: (-worth.get(cell, 0.0), cells.index(cell))):
        cost = costs.get(cell, GUESS_CELL)
        if cost <= rest:
            chosen.append(cell)
            rest -= cost
        else:
            left.append(f"{cell}: needs {cost:.0f} s, {rest:.0f} s are left")
    of_cells = budget - rest
    fits = bool(chosen) and selftests <= rest
    if fits:
        rest -= selftests
    else:
        left.append(f"the kernel's own tests: need {selftests:.0f} s, {rest:.0f} s are left")
    sample = tuple(rotated(mutants, hunts)[: min(SAMPLE, int(rest // pace(hunts)))])
    if len(sample) < min(SAMPLE, len(mutants)):
        left.append(f"{min(SAMPLE, len(mutants)) - len(sample)} of tonight's mutants: {rest:.0f} s are left")
    ordered = sorted(chosen, key=lambda cell: (-costs.get(cell, GUESS_CELL), cells.index(cell)))
    expected = (of_cells, selftests if fits else 0.0, len(sample) * pace(hunts))
    return Plan(tuple(ordered), fits, sample, expected, tuple(left))


def rotated(mutants: Sequence[str], hunts: Sequence[Mutation]) -> list[str]:
    """Mutants, those first that were not tried for longest."""
    tried = {name: n for n, hunt in enumerate(hunts) for name, end in hunt.outcomes.items() if end != "not run"}
    return sorted(mutants, key=lambda name: (tried.get(name, -1), mutants.index(name)))


def pace(hunts: Sequence[Mutation]) -> float:
    """Seconds that a mutant took in the last hunt that tried any."""
    for hunt in reversed(hunts):
        if tried := sum(end not in ("not run", "equivalent") for end in hunt.outcomes.values()):
            return max(1.0, hunt.seconds / tried)
    return GUESS_MUTANT


def worth(cells: Sequence[str], main: Sequence[str], runs: Sequence[Summary]) -> dict[str, float]:
    """How much is to be learnt of a cell: one that was never run most, then by the failures of its
    last run and the runs since then; a cell of the main road before one that is not. `runs` are
    those that tonight's can be compared with, oldest first."""
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
