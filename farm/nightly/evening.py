# SPDX-License-Identifier: GPL-2.0
"""Plans a night: turns what the history, the cache and the matrix know into steps."""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from farm.base.errors import Blamed, UsageError
from farm.history import index, reading, store
from farm.history.model import Summary
from farm.hunt import mutant as mutant_files
from farm.hunt.mutant import Mutant
from farm.kernel import series as patching
from farm.matrix import Matrix, load
from farm.nightly import builds as kernels
from farm.nightly import night
from farm.nightly import plan as planning
from farm.nightly.night import PREFIX, Asked, Night, Step
from farm.record import records
from farm.record.verdict import Verdict
from farm.run import resume

#: The cell in which the kernel's own tests run.
SELFTESTS_CELL = "x86_64-regs"

#: The guessed seconds to fetch and unpack the newest kernels, for each night.
FETCH = 120.0


def begin(asked: Asked, budget: float) -> tuple[Path, Night]:
    """Begin a new night, planned from the history."""
    known, results = load(asked.matrix), asked.results
    if last := night.last(results):  # it was killed, and will not be continued
        for step in last[1].steps:
            night.left_by(results, last[1], step)
    index.index(results)
    line = reading.line_of("run", asked.tree, asked.series, str(asked.matrix))
    with store.reading(results) as db:
        everything, past = store.runs(db), store.mutations(db)
        runs = [run for run in everything if run.line == line]
        # a cell takes about as long with another tree: better than a guess, in the first night of this one
        tests = _tests(db, results, everything) | _tests(db, results, runs)
    own = [run for run in everything if run.line == reading.own_tests(line) and run.complete and not run.select]
    names, main = _names(known, asked), [cell.name for cell in known.cells.values() if cell.main]
    (mutants, unfit), built = _mutants(known), kernels.past(everything, runs)
    costs = planning.Costs(
        tests,
        _builds(known, asked, built),
        next((took for run in reversed(own) if (took := _seconds(run))), planning.GUESS_SELFTESTS),
        kernels.of_own_tests(SELFTESTS_CELL, asked.tree, asked.series, known, built) if SELFTESTS_CELL in names else (),
        kernels.of_mutants(mutants, known, built),
    )
    worth = planning.worth(names, main, runs)
    chosen = planning.plan(names, costs, worth, [mutant.name for mutant in mutants], past, budget)
    if not chosen.cells:
        least = min(map(costs.cell, names))
        raise UsageError(f"--budget: no cell fits into {budget / 60:.0f} min, the shortest needs {least / 60:.0f} min")
    of_cells, of_selftests, of_mutants = chosen.expected
    steps = [Step("cells", ("run", *chosen.cells, *asked.words), of_cells)]
    if SELFTESTS_CELL not in names:
        unfit.append(f"the kernel's own tests: the matrix has no {SELFTESTS_CELL}")
    elif chosen.selftests:
        steps.append(Step("selftests", ("selftests", SELFTESTS_CELL, *asked.words), of_selftests))
    if not (asked.tree or asked.series):
        rest = budget - chosen.seconds - FETCH
        more, without = _other_trees(known, asked, everything, rest)
        steps += more
        unfit += without
    if chosen.mutants:
        steps.append(Step("mutants", ("mutants", *chosen.mutants, *asked.place), of_mutants))
    directory = records.new_directory(results, PREFIX)
    planned = Night(
        directory.name,
        records.now(),
        budget,
        asked.words,
        (*chosen.left, *unfit),
        tuple(steps),
        next((path.name for path in night.newer(results, "run.json", "")), ""),
        next((path.name for path in night.newer(results, "score.json", "")), ""),
        reported=False,
    )
    return directory, night.save(directory, planned)


def _names(known: Matrix, asked: Asked) -> list[str]:
    """The cells that are for the version of the tree; all, if it cannot be read: the step that needs it
    says what is wrong."""
    try:
        return [cell.name for cell in patching.for_tree(known, asked.tree)]
    except Blamed:
        return list(known.cells)


def _other_trees(
    known: Matrix, asked: Asked, everything: Sequence[Summary], rest: float
) -> tuple[list[Step], list[str]]:
    """The steps for the other trees of the matrix, as far as they fit into `rest` seconds, and what does not
    fit. Before them, the newest of these trees are fetched."""
    steps, left = [], []
    for tree in known.trees.values():
        if not tree.nightly:
            continue
        there = replace(asked, tree=tree.name)
        line = reading.line_of("run", tree.name, None, str(asked.matrix))
        runs = [run for run in everything if run.line == line]
        with store.reading(asked.results) as db:
            tests = _tests(db, asked.results, everything) | _tests(db, asked.results, runs)
        costs = planning.Costs(tests, _builds(known, there, kernels.past(everything, runs)))
        cells = []
        taken = 0.0
        for cell in tree.nightly:
            if costs.cell(cell) <= rest - taken:
                cells.append(cell)
                taken += costs.cell(cell)
            else:
                left.append(f"{cell} of {tree.name}: needs {costs.cell(cell):.0f} s, {rest - taken:.0f} s are left")
        rest -= taken
        if cells:
            steps.append(Step(tree.name, ("run", *cells, *there.words), taken))
    if steps:
        steps.insert(0, Step("trees", ("fetch", *(step.name for step in steps), *asked.of_matrix), FETCH))
    return steps, left


def _builds(known: Matrix, asked: Asked, built: kernels.Past) -> dict[str, planning.Build]:
    """For each cell, what must be built before it can be tested."""
    wanted = [kernels.Wanted(cell, asked.tree, asked.series) for cell in known.cells.values()]
    return {one.cell.name: build for one, build in kernels.lacking(wanted, known, built).items()}


def _mutants(known: Matrix) -> tuple[list[Mutant], list[str]]:
    """The mutants that a night may try. With a matrix that lacks their cells: none, and the reason."""
    try:
        return [mutant for mutant in mutant_files.load(known) if not mutant.equivalent], []
    except UsageError as error:
        return [], [f"mutants: {str(error).partition(chr(10))[0]}"]


def _tests(db: sqlite3.Connection, results: Path, runs: Sequence[Summary]) -> dict[str, float]:
    """How many seconds a cell's tests took when it was last tested completely: their share of the whole run,
    by the durations of its builds, boots and tests."""
    found: dict[str, float] = {}
    cells = {cell for run in runs for cell in run.cells}
    for run in reversed(runs):
        if cells <= set(found):
            break
        whole = _seconds(run)
        if run.select or not whole or (results / run.place / resume.DONE).exists():
            continue  # for a resumed run, nobody knows how long it was interrupted
        work = {cell: sum(kernel.boot_seconds) for cell, kernel in run.kernels.items()}
        for case, seen in store.verdicts(db, run.id).items():
            work[case.cell] = work.get(case.cell, 0.0) + seen.seconds * seen.tries
        built = sum(kernel.build_seconds for kernel in run.kernels.values())
        for cell in set(run.cells) - set(found):
            tally = sum((one for (of, _), one in run.counts.items() if of == cell), start=type(run.totals)())
            if tally[Verdict.PASS] and not tally[Verdict.LOST] and work.get(cell):
                found[cell] = whole * work[cell] / (sum(work.values()) + built)
    return found


def _seconds(run: Summary) -> float:
    """How long a run took by the clock; 0 if unknown."""
    try:
        took = (datetime.fromisoformat(run.finished) - datetime.fromisoformat(run.started)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
    return max(0.0, took)
