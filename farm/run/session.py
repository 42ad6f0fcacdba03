# SPDX-License-Identifier: GPL-2.0
"""The controller of a run: starts the builder and the workers, collects verdicts."""

import os
import platform
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import pytest
from xdist.scheduler import LoadScopeScheduling

from farm.base.command import leashed
from farm.base.errors import Blamed, Exit, FarmError, UsageError
from farm.guest import accel, qemu
from farm.kernel import builder
from farm.kernel.build import version_of
from farm.matrix import CHECKOUT, MATRIX, RESULTS, Cell, choose, load
from farm.run import cellstate, patches, records, resume
from farm.run.plugin import planned
from farm.run.records import Planned, Run, Verdict, VerdictRecord

#: What QEMU itself takes beside the guest's memory, in MiB.
QEMU_OVERHEAD = 128

_CHANGED = """\
{}: {} would go on with another kernel than it began with: the tree, the series, the
configuration or the compiler has changed since. Undo that, or start a new run"""


@dataclass(frozen=True)
class Request:
    """What the command line asks of a run.

    `patches` go on top of the series; with `partial` the kernel has only a part
    of the feature, and neither what needs it nor what needs its absence is
    tested in the cells that declare it; each test runs `repeat` times; `stop` ends
    the run with the first failure; the suites named in `first` go before the others.
    `resume` is the directory of a run that was interrupted or killed, to go on with.
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


class Watcher(Protocol):
    """Who wants to know how a run goes on: a person's screen, a test."""

    def began(self, directory: Path, run: Run) -> None: ...
    def building(self, cell: str, step: str) -> None: ...
    def built(self, cell: str, outcome: str) -> None: ...
    def plan(self, cells: list[str]) -> None: ...
    def verdict(self, record: VerdictRecord) -> None: ...


def worker_count(cells: list[Cell], wish: int) -> int:
    """Guests at once: what was asked for, else what cores and memory allow."""
    if wish:
        return wish
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    largest = max((cell.machine.memory for cell in cells if cell.machine), default=0) + QEMU_OVERHEAD
    return max(1, min(len(os.sched_getaffinity(0)), available // largest))


class BySuite(LoadScopeScheduling):
    """xdist's scheduler, with a suite of a cell as the unit, once for each repetition:
    one worker takes it as a whole and keeps its guest for it."""

    def __init__(self, config: pytest.Config, log: Any, cells: list[str]) -> None:
        super().__init__(config, log)
        self._cells = cells

    def _split_scope(self, nodeid: str) -> str:
        test = planned(nodeid, self._cells)
        return f"{test.cell}:{test.suite}:{test.attempt}"


class Collector:
    """The controller's side of pytest: reports in, verdicts out, none forgotten."""

    def __init__(self, directory: Path, cells: list[str], watcher: Watcher, done: Sequence[VerdictRecord] = ()) -> None:
        self._directory = directory
        self._cells = cells
        self._watcher = watcher
        self._seconds: dict[str, float] = {}
        self._detail: dict[str, str] = {}
        self.planned: dict[str, Planned] = {}
        self.records: list[VerdictRecord] = list(done)
        self.trouble = ""
        self.error: FarmError | None = None

    @pytest.hookimpl
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> BySuite:
        return BySuite(config, log, self._cells)

    @pytest.hookimpl
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        if not self.planned:
            self.planned = {nodeid: planned(nodeid, self._cells) for nodeid in ids}
            self._watcher.plan([test.cell for test in self.planned.values()])
            records.update_run(self._directory, planned=len(self.planned) + len(self.records))

    @pytest.hookimpl
    def pytest_internalerror(self, excrepr: object) -> None:
        self.trouble = self.trouble or str(excrepr)  # the later ones follow from the first

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.trouble = f"{report.nodeid}:\n{report.longreprtext}"

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: Any) -> None:
        nodeid = report.nodeid
        if report.when == "call":  # what comes before may be the wait for a kernel
            self._seconds[nodeid] = report.duration
        if report.failed:
            self._detail[nodeid] = "\n".join(filter(None, [self._detail.get(nodeid), report.longreprtext]))
        if hasattr(report, "farm"):
            raw = {
                **report.farm,
                "seconds": round(self._seconds.get(nodeid, 0.0), 3),
                "detail": self._detail.get(nodeid, ""),
            }
            self.take(records.from_json(raw))
        elif report.when not in ("setup", "call"):  # xdist's own report of a worker that died
            self.take(self._missing(nodeid, Verdict.INFRA, f"its worker died: {report.longreprtext}"))

    def take(self, record: VerdictRecord) -> None:
        try:
            records.append_verdict(self._directory, record)
        except FarmError as error:  # and so it would be with all that follow
            self.error = error
            pytest.exit(str(error))
        self.records.append(record)
        self._watcher.verdict(record)

    def _missing(self, nodeid: str, verdict: Verdict, reason: str) -> VerdictRecord:
        test = self.planned.get(nodeid) or planned(nodeid, self._cells)
        return VerdictRecord(test.test, test.suite, test.cell, verdict, 0.0, reason, attempt=test.attempt)

    def account(self, reason: str) -> None:
        """Every planned test without a verdict is LOST."""
        # what counts is on disk: an interrupt may have come between there and the list
        self.records = list(records.load_verdicts(self._directory))
        have = {Planned(record.test, record.suite, record.cell, record.attempt) for record in self.records}
        for nodeid, test in self.planned.items():
            if test not in have:
                self.take(self._missing(nodeid, Verdict.LOST, reason))


def execute(request: Request, watcher: Watcher) -> tuple[Path, Exit]:
    """Build, boot, test. The run directory and the exit status.

    Raises UsageError for what is wrong with the request, FarmError when
    nothing can run at all; whatever else happens stands in the records.
    """
    if request.resume:
        directory, (run, done) = request.resume, resume.resume(request.resume)
        request = replace(request, cells=run.cells, tree=run.tree, series=run.series, patches=run.patches)
        request = replace(request, select=run.select, matrix=Path(run.matrix))
        return _execute(request, directory, run, watcher, done)
    cells = choose(load(request.matrix), request.cells)
    chosen = accel.choose(request.accel)
    directory, run = begin(
        request.results,
        chosen,
        tree=request.tree,
        series=request.series,
        select=request.select,
        cells=[cell.name for cell in cells],
        workers=worker_count(cells, request.workers),
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
    request: Request, directory: Path, run: Run, watcher: Watcher, done: Sequence[VerdictRecord] = ()
) -> tuple[Path, Exit]:
    watcher.began(directory, run)
    collector = Collector(directory, run.cells, watcher, done)
    try:
        ended = _build_and_test(request, run, directory, collector, watcher)
    except Blamed as error:
        with suppress(OSError):  # a full disk may have been the error
            status = "interrupted" if collector.error or request.resume else "refused"
            records.update_run(directory, status=status, finished=records.now(), exit=int(error.exit))
        raise
    if ended != "stopped":  # what was left away was not to have a verdict
        collector.account("the run was interrupted" if ended == "interrupted" else "no worker reported it")
    return directory, _finish(directory, collector, ended)


def begin(results: Path, chosen: accel.Accelerator, **asked: Any) -> tuple[Path, Run]:
    """A new run: its directory, and the record of what was `asked` of which host."""
    directory = records.new_directory(results)
    run = Run(
        id=directory.name,
        command=sys.argv,
        accel=chosen.name,
        accel_reason=chosen.reason,
        host=host(),
        versions=versions(),
        started=records.now(),
        **asked,
    )
    records.save_run(directory, run)
    return directory, run


def _build_and_test(request: Request, run: Run, directory: Path, collector: Collector, watcher: Watcher) -> str:
    """Builder and workers side by side; the run's status then: finished, stopped, interrupted."""
    order = builder.Order(run.cells, request.tree, request.series, str(request.matrix), request.patches)
    process = builder.start(order)
    trouble: list[UsageError] = []
    thread = threading.Thread(target=_follow_builder, args=(process, directory, run, watcher, trouble), daemon=True)
    thread.start()
    ended = "finished"
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a kill ends a run as Ctrl-C does
    try:
        status = pytest.main(_pytest_arguments(request, run, directory), plugins=[collector])
        if collector.error:
            raise collector.error
        if status == pytest.ExitCode.INTERRUPTED and not collector.trouble:
            ended = "stopped" if request.stop and any(record.bad for record in collector.records) else "interrupted"
        if status in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR) or collector.trouble:
            raise FarmError(f"pytest ended with {status!r}\n{collector.trouble}")
        if ended == "finished" and not collector.planned and not collector.records:
            raise UsageError(f"-k {request.select!r} selects no test of {request.suites}")
        if ended == "finished":
            thread.join()
    except KeyboardInterrupt:
        ended = "interrupted"
    finally:
        _stop(process)
        thread.join(10)
        signal.signal(signal.SIGTERM, before)
        if ended == "interrupted":
            records.update_run(directory, status="interrupted", finished=records.now())
    if trouble:
        raise trouble[0]
    return ended


def _pytest_arguments(request: Request, run: Run, directory: Path) -> list[str]:
    # PDEATHSIG through execnet's own idea of which python to start: a worker
    # does not outlive the controller, and its guests do not outlive a worker
    python = shlex.join(leashed([sys.executable]))
    arguments = [str(request.suites), "--strict-markers", "--rootdir", str(request.suites.parent), "-c", os.devnull]
    arguments += ["-p", "farm.run.plugin", "-p", "no:cacheprovider", "-p", "no:terminal", "--farm-run", str(directory)]
    # pytest would keep what the watcher prints while it loads the suites, and show it at the end
    arguments += ["--capture=no"]
    arguments += [
        "--dist",
        "loadscope",
        "--no-loadscope-reorder",
        "--tx",
        f"{run.workers}*popen//python={python}",
        "--max-worker-restart=1000",
    ]
    arguments += ["--exitfirst"] if request.stop else []
    return arguments + (["-k", request.select] if request.select else [])


def _follow_builder(
    process: "subprocess.Popen[str]", directory: Path, run: Run, watcher: Watcher, trouble: list[UsageError]
) -> None:
    """Pass on what the builder tells; no cell is left without an answer."""
    open_cells = list(run.cells)
    text = ""
    for event in builder.events(process):
        if event.kind == "progress":
            watcher.building(event.cell, event.text)
            continue
        open_cells.remove(event.cell)
        if event.log:
            _copy(Path(event.log), cellstate.directory(directory, event.cell) / "build.log")
        before = cellstate.load_built(directory, event.cell)
        if event.built and before and before.kernel_key != event.built.kernel_key:
            trouble.append(UsageError(_CHANGED.format(directory, event.cell)))
        elif event.built:
            _keep_artifacts(event.built, directory)
            cellstate.tell_built(directory, event.built)
            watcher.built(event.cell, event.built.kernel_key)
        else:
            text = event.text
            watcher.built(event.cell, f"failed: {event.text}")
            cellstate.tell_failed(directory, event)
            if event.exit == Exit.USAGE:
                trouble.append(UsageError(event.text))
    status = process.wait()
    if trouble:
        # wrong input is no verdict of any test: end the run, not its tests. Not by
        # SIGINT, which is ignored where a shell has put the farm into the background
        signal.raise_signal(signal.SIGTERM)
        return
    for cell in open_cells:
        said = text or f"the builder ended with {status} before it came to this cell"
        cellstate.tell_failed(directory, builder.Event("failed", cell, said, Exit.FARM))


def _keep_artifacts(built: builder.Built, directory: Path) -> None:
    """What a report wants to know of a kernel, beside the cell's other files."""
    where = cellstate.directory(directory, built.cell)
    for name in ("config", "dropped-options", "build.log", "metadata.json", "reproducer.sh"):
        _copy(Path(built.kernel) / name, where / name)


def _copy(source: Path, destination: Path) -> None:
    if source.exists():
        destination.write_bytes(source.read_bytes())


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _finish(directory: Path, collector: Collector, ended: str) -> Exit:
    status = records.exit_status(collector.records)
    records.update_run(directory, status=ended, finished=records.now(), exit=int(status))
    return status


def versions() -> dict[str, str]:
    return {"qemu": version_of(qemu.BINARY), "python": platform.python_version()}


def host() -> dict[str, str]:
    name = platform.uname()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    return {
        "system": f"{name.system} {name.release}",
        "machine": name.machine,
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory} MiB",
    }
