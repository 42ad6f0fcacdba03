# SPDX-License-Identifier: GPL-2.0
"""The controller of a run: starts the builder and the workers, collects verdicts."""

import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from farm.arch import of
from farm.artifact import locate
from farm.base.atomic import naming
from farm.base.command import leashed
from farm.base.errors import Blamed, Exit, FarmError, UsageError, refused
from farm.guest import accel
from farm.kernel import builder, series
from farm.kernel.build import version_of
from farm.kernel.builder import as_error
from farm.matrix import CHECKOUT, MATRIX, RESULTS, Cell, choose, load
from farm.record import cellstate, records
from farm.record.records import Run, VerdictRecord
from farm.run import patches, resume
from farm.run.collector import Collector
from farm.run.watcher import Watcher

#: What QEMU itself takes beside the guest's memory, in MiB.
QEMU_OVERHEAD = 128

_CHANGED = """\
{}: {} would go on with another kernel than it began with: the tree, the series, the
configuration or the compiler has changed since. Undo that, or start a new run"""


@dataclass(frozen=True)
class RunRequest:
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


def worker_count(cells: list[Cell], wish: int) -> int:
    """Guests at once: what was asked for, else what cores and memory allow."""
    if wish:
        return wish
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    largest = max((cell.machine.memory for cell in cells if cell.machine), default=0) + QEMU_OVERHEAD
    return max(1, min(len(os.sched_getaffinity(0)), available // largest))


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
    request: RunRequest, directory: Path, run: Run, watcher: Watcher, done: Sequence[VerdictRecord] = ()
) -> tuple[Path, Exit]:
    watcher.began(directory, run)
    collector = Collector(directory, run.cells, watcher, done)
    try:
        ended = _build_and_test(request, run, directory, collector, watcher)
    except Blamed as error:
        raise as_error(error.exit)(_left(request, directory, collector, error)) from error
    if ended != "stopped":  # what was left away was not to have a verdict
        collector.account("the run was interrupted" if ended == "interrupted" else "no worker reported it")
    return directory, _finish(directory, collector, ended)


def _left(request: RunRequest, directory: Path, collector: Collector, error: Blamed) -> str:
    """Leave of a run that trouble has ended what can be gone on with, and nothing of a request that
    was wrong. What is said of it: how many tests it cost their verdicts, which are not listed."""
    if error.exit == Exit.USAGE and not request.resume:
        shutil.rmtree(directory, ignore_errors=True)
        return str(error)
    resumable = bool(request.resume) or error.exit == Exit.FARM
    with suppress(OSError):  # a full disk may have been the error
        status = "interrupted" if resumable else "refused"
        records.update_run(directory, status=status, finished=records.now(), exit=int(error.exit))
    missing = collector.without_verdict
    if not resumable or not missing:
        return str(error)
    return f"{error}\n{missing} tests have no verdict; when that is mended: farm run --resume {directory}"


def begin(results: Path, chosen: accel.Accelerator, **asked: Any) -> tuple[Path, Run]:
    """A new run: its directory, and the record of what was `asked` of which host."""
    directory = records.new_directory(results)
    run = Run(
        id=directory.name,
        command=sys.argv,
        accel=chosen.name,
        accel_reason=chosen.reason,
        host=host(),
        versions=versions(choose(load(Path(asked["matrix"])), asked["cells"])),
        started=records.now(),
        **asked,
    )
    try:
        records.save_run(directory, run)
    except OSError as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise refused(error, directory) from error
    return directory, run


def _build_and_test(request: RunRequest, run: Run, directory: Path, collector: Collector, watcher: Watcher) -> str:
    """Builder and workers side by side; the run's status then: finished, stopped, interrupted."""
    order = builder.Order(run.cells, request.tree, request.series, str(request.matrix), request.patches)
    process = builder.start(order)
    trouble: list[Exception] = []
    thread = threading.Thread(target=_follow_builder, args=(process, directory, run, watcher, trouble), daemon=True)
    thread.start()
    ended = "finished"
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a kill ends a run as Ctrl-C does
    try:
        status = run_pytest(_pytest_arguments(request, run, directory), collector)
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
        if ended == "interrupted" and not trouble:
            with suppress(OSError):  # it is as resumable as a run that was killed
                records.update_run(directory, status="interrupted", finished=records.now())
    if trouble:
        raise trouble[0]
    return ended


def _pytest_arguments(request: RunRequest, run: Run, directory: Path) -> list[str]:
    # PDEATHSIG through execnet's own idea of which python to start: a worker
    # does not outlive the controller, and its guests do not outlive a worker
    python = shlex.join(leashed([sys.executable]))
    arguments = collecting(request.suites, directory, request.select)
    arguments += [
        "--dist",
        "loadscope",
        "--no-loadscope-reorder",
        "--tx",
        f"{run.workers}*popen//python={python}",
        "--max-worker-restart=1000",
    ]
    return arguments + (["--exitfirst"] if request.stop else [])


#: By these a user tells pytest what to do with suites of his own; `farm` is no pytest to him.
_USERS_PYTEST = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD")


def run_pytest(arguments: list[str], plugin: object) -> int | pytest.ExitCode:
    """pytest over suites of the farm's, whatever the user's environment asks of pytest."""
    for name in _USERS_PYTEST:
        os.environ.pop(name, None)
    return pytest.main(arguments, plugins=[plugin])


def collecting(suites: Path, directory: Path, select: str) -> list[str]:
    """The arguments by which pytest finds the tests of a run."""
    arguments = [str(suites), "--strict-markers", "--rootdir", str(suites.parent), "-c", os.devnull]
    # or every directory above takes part in -k: with a checkout in ~/slots, `-k slots` would be all tests
    arguments += ["--confcutdir", str(suites)]
    arguments += ["-p", "farm.run.plugin", "-p", "no:cacheprovider", "-p", "no:terminal", "--farm-run", str(directory)]
    # pytest would keep what the watcher prints while it loads the suites, and show it at the end
    arguments += ["--capture=no"]
    return arguments + (["-k", select] if select else [])


def _follow_builder(
    process: "subprocess.Popen[str]", directory: Path, run: Run, watcher: Watcher, trouble: list[Exception]
) -> None:
    """Pass on what the builder tells; no cell is left without an answer, or the run ends."""
    try:
        _follow(process, directory, run, watcher, trouble)
    except Exception as error:  # a full disk, or a bug: no worker would ever hear of its kernel
        trouble.append(refused(error, directory) if isinstance(error, OSError) else error)
    if trouble:
        # this is no verdict of any test: end the run, not its tests. Not by
        # SIGINT, which is ignored where a shell has put the farm into the background
        signal.raise_signal(signal.SIGTERM)


def _follow(
    process: "subprocess.Popen[str]", directory: Path, run: Run, watcher: Watcher, trouble: list[Exception]
) -> None:
    open_cells = list(run.cells)
    #: failures that are the host's, as long as they may be those of every cell
    held: list[builder.Event] = []
    for event in builder.events(process):
        if event.kind == "progress":
            watcher.building(event.cell, event.text)
            continue
        open_cells.remove(event.cell)
        if event.log:
            _copy(Path(event.log), cellstate.directory(directory, event.cell) / "build.log")
        if event.exit == Exit.USAGE:
            trouble.append(UsageError(event.text))
        elif event.exit == Exit.FARM and len(held) + len(open_cells) + 1 == len(run.cells):
            held.append(event)
        else:
            while held:
                _tell_failed(directory, held.pop(0), watcher)
            _pass_on(directory, event, watcher, trouble)
    status = process.wait()
    if held and not open_cells:  # no cell has a kernel, and none is to blame for it
        trouble.append(FarmError("\n".join(dict.fromkeys(event.text for event in held))))
    elif open_cells and status == -signal.SIGKILL:  # nobody of the farm's did that
        trouble.append(FarmError(f"the builder was killed before it came to {', '.join(open_cells)}; see dmesg"))
    if trouble:
        return
    for event in held:
        _tell_failed(directory, event, watcher)
    for cell in open_cells:
        said = f"the builder ended with {status} before it came to this cell"
        _tell_failed(directory, builder.Event("failed", cell, said, Exit.FARM), watcher)


def _pass_on(directory: Path, event: builder.Event, watcher: Watcher, trouble: list[Exception]) -> None:
    """What came of the build of one cell."""
    before = cellstate.load_built(directory, event.cell)
    if event.built is None:
        _tell_failed(directory, event, watcher)
    elif before and before.kernel_key != event.built.kernel_key:
        trouble.append(UsageError(_CHANGED.format(directory, event.cell)))
    else:
        _keep_artifacts(event.built, directory)
        cellstate.tell_built(directory, event.built)
        watcher.built(event.cell, event.built.kernel_key)


def _tell_failed(directory: Path, event: builder.Event, watcher: Watcher) -> None:
    watcher.built(event.cell, f"failed: {event.text}")
    cellstate.tell_failed(directory, event)


def _keep_artifacts(built: builder.Built, directory: Path) -> None:
    """What a report wants to know of a kernel, beside the cell's other files."""
    where, kernel = cellstate.directory(directory, built.cell), locate(built.kernel, built.cell)
    for name in ("config", "dropped-options", "build.log", "metadata.json", "reproducer.sh"):
        _copy(kernel / name, where / name)


def _copy(source: Path, destination: Path) -> None:
    if source.exists():
        with naming(destination):
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


def versions(cells: Sequence[Cell]) -> dict[str, str]:
    """Of the programs that a run over these cells depends on."""
    return {"qemu": version_of(of(cells[0].arch).qemu), "python": platform.python_version()}


def host() -> dict[str, str]:
    name = platform.uname()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    return {
        "system": f"{name.system} {name.release}",
        "machine": name.machine,
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory} MiB",
    }
