# SPDX-License-Identifier: GPL-2.0
"""The controller of a run: what was asked becomes units, what an executor tells becomes records."""

import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from farm.base.errors import Blamed, Exit, refused
from farm.execute import named
from farm.execute.contract import Capacity, Ended
from farm.kernel import series
from farm.kernel.builder import Order, as_error
from farm.matrix import CHECKOUT, MATRIX, RESULTS, choose, load
from farm.record import cellstate, records
from farm.record.records import Planned, Run, VerdictRecord
from farm.run import patches, resume
from farm.run.ledger import Ledger
from farm.run.watcher import Watcher
from farm.worker.unit import Unit


@dataclass(frozen=True)
class RunRequest:
    """What the command line asks of a run.

    `patches` go on top of the series; with `partial` the kernel has only a part
    of the feature, and neither what needs it nor what needs its absence is
    tested in the cells that declare it; each test runs `repeat` times; `stop` ends
    the run with the first failure; the suites named in `first` go before the others.
    `resume` is the directory of a run that was interrupted or killed, to go on with.
    `on` names the executor.
    """

    cells: list[str]
    tree: str | None = None
    series: str | None = None
    select: str = ""
    accel: str = "auto"
    workers: int = 0
    patches: list[str] = field(default_factory=list)
    pokes: list[str] = field(default_factory=list)
    partial: bool = False
    repeat: int = 1
    stop: bool = False
    first: list[str] = field(default_factory=list)
    resume: Path | None = None
    results: Path = RESULTS
    suites: Path = CHECKOUT / "suites"
    matrix: Path = MATRIX
    on: str = "local"


def execute(request: RunRequest, watcher: Watcher) -> tuple[Path, Exit]:
    """Build, boot, test. The run directory and the exit status.

    Raises UsageError for what is wrong with the request, FarmError when
    nothing can run at all; whatever else happens stands in the records.
    """
    if request.resume:
        directory, (run, done) = request.resume, resume.resume(request.resume)
        request = replace(request, cells=run.cells, tree=run.tree, series=run.series, patches=run.patches)
        request = replace(request, select=run.select, matrix=Path(run.matrix))
        return _execute(request, directory, run, watcher, done)
    matrix = load(request.matrix)
    cells = choose(matrix, request.cells)
    series.check(cells, matrix.trees, request.tree, request.series, request.patches)
    capacity = named(request.on).capacity(cells, request.accel)
    directory, run = begin(
        request.results,
        capacity,
        tree=request.tree,
        series=request.series,
        select=request.select,
        cells=[cell.name for cell in cells],
        workers=request.workers or capacity.guests,
        patches=request.patches,
        pokes=request.pokes,
        partial=request.partial,
        repeat=request.repeat,
        first=request.first,
        matrix=str(request.matrix),
    )
    patches.keep(directory, request.patches)
    for cell in cells:
        (cellstate.directory(directory, cell.name) / "reproduce").write_text(
            f"{records.repeat_command(run, cell.name)}\n"
        )
    return _execute(request, directory, run, watcher)


def _execute(
    request: RunRequest, directory: Path, run: Run, watcher: Watcher, done: Sequence[VerdictRecord] = ()
) -> tuple[Path, Exit]:
    watcher.began(directory, run)
    ledger = Ledger(directory, run, watcher, done)
    executor = named(request.on)
    try:
        ended = executor.test(_units(request, run, done), directory, ledger, run.workers, request.stop)
    except Blamed as error:
        raise as_error(error.exit)(_left(request, directory, ledger, error)) from error
    if ended is Ended.INTERRUPTED:
        with suppress(OSError):  # it is as resumable as a run that was killed
            records.update_run(directory, status=str(ended), finished=records.now())
    if ended is not Ended.STOPPED:  # what was left away was not to have a verdict
        ledger.account("the run was interrupted" if ended is Ended.INTERRUPTED else "no worker reported it")
    status = records.exit_status(ledger.records)
    records.update_run(directory, status=str(ended), finished=records.now(), exit=int(status))
    return directory, status


def _units(request: RunRequest, run: Run, done: Sequence[VerdictRecord]) -> list[Unit]:
    """A unit for each cell, in the order of the builds."""
    matrix = load(Path(run.matrix))
    trees = {cell.name: request.tree or cell.tree for cell in choose(matrix, run.cells)}
    bare = {tree: series.is_bare(tree, matrix.trees, request.series) for tree in set(trees.values())}
    versions = {tree: str(series.version_of(tree, matrix.trees) or "") for tree in bare}
    have = [Planned(one.test, one.suite, one.cell, one.attempt) for one in done]
    return [
        Unit(
            order=Order([cell], request.tree, request.series, run.matrix, request.patches),
            suites=str(request.suites),
            select=request.select,
            repeat=run.repeat,
            first=tuple(run.first),
            partial=run.partial,
            bare=bare[trees[cell]],
            version=versions[trees[cell]],
            pokes=tuple(run.pokes),
            accel=run.accel,
            done=tuple(test for test in have if test.cell == cell),
        )
        for cell in run.cells
    ]


def _left(request: RunRequest, directory: Path, ledger: Ledger, error: Blamed) -> str:
    """Leave of a run that trouble has ended what can be gone on with, and nothing of a request that
    was wrong. What is said of it: how many tests it cost their verdicts, which are not listed."""
    if error.exit == Exit.USAGE and not request.resume:
        shutil.rmtree(directory, ignore_errors=True)
        return str(error)
    resumable = bool(request.resume) or error.exit == Exit.FARM
    with suppress(OSError):  # a full disk may have been the error
        status = "interrupted" if resumable else "refused"
        records.update_run(directory, status=status, finished=records.now(), exit=int(error.exit))
    missing = ledger.without_verdict
    if not resumable or not missing:
        return str(error)
    return f"{error}\n{missing} tests have no verdict; when that is mended: farm run --resume {directory}"


def begin(results: Path, capacity: Capacity, **asked: Any) -> tuple[Path, Run]:
    """A new run: its directory, and the record of what was `asked` of which host."""
    directory = records.new_directory(results)
    run = Run(
        id=directory.name,
        command=sys.argv,
        accel=capacity.accel,
        accel_reason=capacity.accel_reason,
        host=dict(capacity.host),
        versions=dict(capacity.versions),
        started=records.now(),
        **asked,
    )
    try:
        records.save_run(directory, run)
    except OSError as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise refused(error, directory) from error
    return directory, run
