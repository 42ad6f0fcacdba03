# SPDX-License-Identifier: GPL-2.0
"""Compares the kernel's own tests of ftrace on a kernel and on its base. With the series, no test
may end worse than without."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from farm import execute
from farm.base.errors import Blamed, Exit, FarmError, UsageError
from farm.base.interrupt import kill_interrupts
from farm.kernel.builder import Built, Order
from farm.kernel.series import resolve
from farm.kernel.tree import from_user
from farm.matrix import MATRIX, RESULTS, choose, load
from farm.record import cellstate, records
from farm.record.records import VerdictRecord
from farm.record.verdict import Verdict
from farm.run import session
from farm.run.watcher import Watcher as RunWatcher
from farm.worker import ftracetest
from farm.worker.selftests import BASE, PATCHED, RANK, Compared, worse
from farm.worker.unit import Pair

SUITE = "selftests"
COMPARISON = "comparison.json"


class Watcher(RunWatcher, Protocol):
    """Is told about the progress of a comparison. `done` counts the tests that ran on each kernel."""

    def comparing(self, cell: str, done: Mapping[str, int]) -> None: ...


def told(outcomes: Sequence[str]) -> str:
    """The outcomes of one test on one kernel, in a few words."""
    same = len(outcomes) > 1 and len(set(outcomes)) == 1
    return f"{len(outcomes)} times {outcomes[0]}" if same else ", ".join(outcomes)


def judge(base: Sequence[str], patched: Sequence[str]) -> tuple[Verdict, str]:
    """The verdict for all attempts of one test, and its reason."""
    first, last = base[0], patched[0]
    if worse(base, patched):
        verdict = Verdict(last) if last in ("CRASH", "HANG") else Verdict.FAIL
        return verdict, f"{told(base)} on the base, {told(patched)} with the series"
    if len(base) > 1 and len({*base, *patched}) > 1:
        return Verdict.PASS, f"not steady: {told(base)} on the base, {told(patched)} with the series"
    if first == last == "PASS":
        return Verdict.PASS, ""
    if RANK[last] in (1, 2):
        return Verdict.SKIP, f"{last}, and {first} on the base"
    return Verdict.PASS, f"no worse: {last}, and {first} on the base"


@dataclass(frozen=True)
class SelftestsRequest:
    """What the command line asks to be compared."""

    cell: str
    select: str = ""
    tree: str | None = None
    series: str | None = None
    base: str | None = None
    patches: Sequence[str] = ()
    accel: str = "auto"
    results: Path = RESULTS
    matrix: Path = MATRIX
    on: str = "local"


def orders(request: SelftestsRequest) -> dict[str, Order]:
    """What to build. If the tree has the feature already, its base is the farm's own source, unless
    the user names another. Patches are applied to the other kernel. Raises UsageError for a cell
    without a guest."""
    (cell,) = choose(load(request.matrix), [request.cell])
    if cell.machine is None:
        raise UsageError(f"{cell.name} is only built, it has no guest; see `farm cells`")
    base = request.base
    if not base and request.tree and not from_user(request.tree).has_feature:
        base = request.tree
    cells, matrix = [request.cell], str(request.matrix)
    return {
        BASE: Order(cells, base, "none", matrix),
        PATCHED: Order(cells, request.tree, request.series, matrix, list(request.patches)),
    }


def run(request: SelftestsRequest, built: Mapping[str, Built], watcher: Watcher) -> tuple[Path, Exit]:
    """Compare the two kernels. Returns the run directory and the exit status."""
    matrix = load(request.matrix)
    (cell,) = choose(matrix, [request.cell])
    assert cell.machine, "orders() refuses others"
    source = resolve(cell, matrix.trees, request.tree, request.series, request.patches)
    tests = ftracetest.suite(source, request.select)
    executor = execute.named(request.on)
    capacity = executor.capacity([cell], request.accel)
    pair = Pair(cell.name, str(request.matrix), built, tests, capacity.accel)
    names = [name for file in tests.files for name in tests.names(file)]
    directory, begun = session.begin(
        request.results,
        capacity,
        tree=request.tree,
        series=request.series,
        select=request.select,
        cells=[cell.name],
        workers=len(built),
        matrix=str(request.matrix),
        planned=len(names),
        patches=list(request.patches),
    )
    watcher.began(directory, begun)
    cellstate.tell_built(directory, built[PATCHED])
    for kernel, one in built.items():
        watcher.built(cell.name, f"{one.kernel_key}, {kernel}: {one.source}")
    watcher.plan([cell.name] * len(names))
    consoles = cellstate.directory(directory, cell.name)
    try:
        compared = executor.compare(pair, consoles, lambda done: watcher.comparing(cell.name, done), watcher.notice)
    except Blamed:  # nothing ran
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return directory, judge_all(directory, cell.name, compared, watcher)


def judge_all(directory: Path, cell: str, compared: Iterator[Compared], watcher: Watcher) -> Exit:
    comparison: dict[str, dict[str, list[str]]] = {}
    verdicts = []
    try:
        with kill_interrupts():
            for name, base, patched, done in compared:
                comparison[name] = {BASE: base, PATCHED: patched}
                verdict, reason = judge(base, patched)
                log = done.results[name].log if verdict not in (Verdict.PASS, Verdict.SKIP) else ""
                record = VerdictRecord(
                    name, SUITE, cell, verdict, done.seconds, reason, log, (), len(patched), done.console, done.span
                )
                records.append_verdict(directory, record)
                verdicts.append(record)
                watcher.verdict(record)
    except BaseException:
        records.update_run(directory, status="interrupted", finished=records.now())
        raise
    finally:
        (directory / COMPARISON).write_text(json.dumps(comparison, indent=1) + "\n")
    if not any("PASS" in outcomes[BASE] for outcomes in comparison.values()):
        raise FarmError("not one test passed on the base: there is nothing to compare with")
    status = records.exit_status(verdicts)
    records.update_run(directory, status="finished", finished=records.now(), exit=int(status))
    return status


def load_comparison(directory: Path) -> dict[str, dict[str, list[str]]]:
    """Load the outcomes of each test on both kernels, as `run` left them."""
    return dict(json.loads((directory / COMPARISON).read_text()))


def tally(comparison: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, Counter[str]]:
    """For each kernel, count the first outcomes of the tests."""
    return {kernel: Counter(outcomes[kernel][0] for outcomes in comparison.values()) for kernel in (BASE, PATCHED)}
