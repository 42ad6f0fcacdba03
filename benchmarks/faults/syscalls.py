# SPDX-License-Identifier: GPL-2.0
"""Each system call that writes fails once, in what writes records, states and the history.

An operation runs in a process of its own, with strace attached when all is loaded; strace
makes its Nth call of one name fail, for N from 1 until there is none left. An error must then
come out of the operation, and what is on disk be as before it or as after it; the same
operation must bring it to its end when it is done again.
"""

import json
import mmap
import os
import shutil
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.faults.ground import Ground
from benchmarks.faults.outcome import Point, Row, say
from farm.base import cache
from farm.base.deadline import Deadline
from farm.base.errors import Blamed, FarmError, UsageError
from farm.history import index, store
from farm.hunt import evidence, mutants
from farm.hunt.mutants import Outcome, Score, Scores
from farm.nightly import night
from farm.nightly.night import Night, Step
from farm.record import records
from farm.record.records import Run, VerdictRecord
from farm.record.verdict import Verdict
from farm.report import export
from farm.run import resume

#: Calls that change what is on disk, with the error that each is to end with.
CALLS = {
    "openat": "ENOSPC",
    "write": "ENOSPC",
    "pwrite64": "EIO",
    "fsync": "EIO",
    "fdatasync": "EIO",
    "ftruncate": "EIO",
    "mkdir": "ENOSPC",
    "rename": "ENOSPC",
    "unlink": "EIO",
    "chmod": "EIO",
}

#: For one operation; it takes milliseconds.
SECONDS = 60.0

#: How an operation ended: well, with an error that is said, with one that nobody takes.
WELL, SAID, BUG = 0, 3, 4

RUN = Run(
    id="20260101-000000",
    command=["farm", "run"],
    tree=None,
    series=None,
    select="",
    cells=["x86_64-regs"],
    accel="tcg",
    accel_reason="asked for",
    workers=2,
    host={"machine": "x86_64"},
    versions={"qemu": "7.2"},
    matrix="kconfigs/matrix.yaml",
    started="2026-01-01T00:00:00+00:00",
    planned=4,
)


@dataclass(frozen=True)
class Operation:
    """`prepare` makes the state before, `act` the one after, and `state` reads what is there."""

    name: str
    prepare: Callable[[Path], object]
    act: Callable[[Path], object]
    state: Callable[[Path], object]


def _verdict(number: int) -> VerdictRecord:
    return VerdictRecord(f"test_{number}", "slots", "x86_64-regs", Verdict.PASS, 1.0, detail="x" * 9000)


def _a_run(results: Path) -> Path:
    directory = results / RUN.id
    directory.mkdir()
    records.save_run(directory, RUN)
    for number in range(2):
        records.append_verdict(directory, _verdict(number))
    return directory


def _left_run(results: Path) -> None:
    """A run that was killed in the middle of a line."""
    directory = _a_run(results)
    with (directory / "verdicts.jsonl").open("a") as handle:
        handle.write('{"test": "test_')


def _run_and_verdicts(results: Path) -> object:
    return records.load_run(results / RUN.id), records.load_verdicts(results / RUN.id)


def _history(results: Path) -> object:
    try:
        with store.reading(results) as db:
            return [(run.id, run.status, store.verdicts(db, run.id)) for run in store.runs(db)]
    except UsageError as error:
        if "no history yet" not in str(error):
            raise
        return []


def _index(results: Path) -> None:
    """As the commands do: they say what was not taken."""
    if skipped := index.index(results).skipped:
        raise FarmError("\n".join(skipped))


def _reindex(results: Path) -> None:
    if skipped := index.reindex(results).skipped:
        raise FarmError("\n".join(skipped))


def _indexed(results: Path) -> None:
    """A history of one run, and a second run that it does not know yet."""
    first = _a_run(results)
    records.update_run(first, status="finished")
    index.index(results)
    shutil.copytree(first, results / "20260102-000000")
    records.update_run(results / "20260102-000000", id="20260102-000000")


NIGHT = Night("nightly-20260101-000000", RUN.started, 60.0, ("x",), (), (Step("cells", ("run", "a")),))
HUNT = evidence.Hunt("bisect-1", ["farm"], "t", "g", "b", "good", "bad", "c", None, "", 0.99, 1, 0, RUN.started)
SCORES = Scores("running", RUN.started, 1.0, (Score("m", Outcome.CAUGHT),))


def _exported(directory: Path) -> None:
    export.write(directory / "junit.xml", export.FORMATS["junit"](directory, RUN, [_verdict(0)]))


def _filled(results: Path) -> object:
    found = sorted(path.name for path in results.glob("kernels/[!.]*"))
    return [(name, (results / "kernels" / name / "file").read_text()) for name in found]


def _fill(results: Path) -> None:
    os.environ["FTRACE_FARM_CACHE"] = str(results)

    def make(directory: Path) -> None:
        (directory / "file").write_text("x" * 9000)

    cache.fill("kernels", "key", make)


OPERATIONS = (
    Operation(
        "a run begins", _a_run, lambda at: records.save_run(at / RUN.id, replace(RUN, workers=1)), _run_and_verdicts
    ),
    Operation(
        "a verdict falls", _a_run, lambda at: records.append_verdict(at / RUN.id, _verdict(2)), _run_and_verdicts
    ),
    Operation("a run ends", _a_run, lambda at: records.update_run(at / RUN.id, status="finished"), _run_and_verdicts),
    Operation("a run is resumed", _left_run, lambda at: resume.resume(at / RUN.id), _run_and_verdicts),
    Operation("a history begins", _a_run, _index, _history),
    Operation("a history goes on", _indexed, _index, _history),
    Operation("a history is made anew", _indexed, _reindex, _history),
    Operation(
        "a night's step ends",
        lambda at: night.save(at, NIGHT),
        lambda at: night.save(at, replace(NIGHT, budget=1.0)),
        lambda at: json.loads((at / night.STATE).read_text()),
    ),
    Operation(
        "a hunt goes on",
        lambda at: evidence.save(at, HUNT),
        lambda at: evidence.save(at, replace(HUNT, tried=3)),
        evidence.load,
    ),
    Operation(
        "a mutant is scored",
        lambda at: mutants.keep(at, SCORES),
        lambda at: mutants.keep(at, replace(SCORES, status="finished")),
        mutants.load_scores,
    ),
    Operation(
        "an export is written",
        lambda at: None,
        _exported,
        lambda at: {name: (at / name).read_text() for name in ("junit.xml",) if (at / name).exists()},
    ),
    Operation("an artifact is made", lambda at: None, _fill, _filled),
)


def rows(ground: Ground, most: int) -> Iterator[Row]:
    """All operations, each with all of its calls; `most` of them if it is given, spread over all."""
    if shutil.which("strace") is None:
        say("system calls: no strace; install it: sudo apt-get install strace")
        return
    before = os.environ.get("FTRACE_FARM_CACHE")
    try:
        for operation in OPERATIONS:
            row = Row(f"a write fails while {operation.name}", "strace, real files")
            row.points += list(points(ground, operation, most // len(OPERATIONS) + 1))
            say(f"{row.what}: {len(row.points)} points, {sum(not point.good for point in row.points)} bad")
            yield row
    finally:
        os.environ.pop("FTRACE_FARM_CACHE") if before is None else os.environ.update(FTRACE_FARM_CACHE=before)


def points(ground: Ground, operation: Operation, most: int) -> Iterator[Point]:
    made = 0
    with _prepared(ground, operation) as at:
        old = operation.state(at)
        operation.act(at)  # and all that it imports is loaded
        new = operation.state(at)
    assert old != new or operation.name == "a run is resumed", f"{operation.name}: nothing changes"
    for call, error in CALLS.items():
        for number in range(1, 1000):
            with _prepared(ground, operation) as at:
                hit, point = _failing(operation, at, call, error, number, old, new)
            if not hit or made == most:
                break
            made += 1
            yield point


@contextmanager
def _prepared(ground: Ground, operation: Operation) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=ground.place) as place:
        operation.prepare(Path(place))
        yield Path(place)


def _failing(
    operation: Operation, at: Path, call: str, error: str, number: int, old: object, new: object
) -> tuple[bool, Point]:
    """Whether there was an Nth call to fail, and what came of it."""
    log = at.with_name(f"{at.name}.strace")
    status, said = _under_strace(operation, at, f"inject={call}:error={error}:when={number}", log)
    hit = "(INJECTED)" in log.read_text()
    where = f"{operation.name}: {call} number {number}"
    log.unlink()
    try:
        left = operation.state(at)
    except Exception as unreadable:
        return hit, Point(trouble=(f"{where}: unreadable after it: {type(unreadable).__name__}: {unreadable}",))
    trouble = []
    if left not in (old, new):
        trouble.append(f"{where}: neither the old state nor the new one")
    if status == WELL and left != new:
        trouble.append(f"{where}: no error, and not written")
    if status not in (WELL, SAID):
        trouble.append(f"{where}: {said}")
    try:
        operation.act(at)
        if operation.state(at) not in (new, _twice(operation, new)):
            trouble.append(f"{where}: another state when it was done again")
    except Exception as again:
        trouble.append(f"{where}: fails when it is done again: {type(again).__name__}: {again}")
    return hit, Point(trouble=tuple(trouble))


def _twice(operation: Operation, new: object) -> object:
    """What an operation leaves that was done again though it had been done: a verdict is written twice."""
    if operation.name != "a verdict falls":
        return new
    assert isinstance(new, tuple)
    return new[0], [*new[1], new[1][-1]]


def _under_strace(operation: Operation, at: Path, inject: str, log: Path) -> tuple[int, str]:
    """Run an operation in a child, of which strace has hold when it begins; how it ended, and what it said."""
    said = mmap.mmap(-1, 1 << 16)  # to write into it takes no system call
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(ready, 1)
        status = WELL
        try:
            operation.act(at)
        except (Blamed, OSError) as error:
            status, text = SAID, str(error)
            said.write(text.encode(errors="replace")[:60000])
        except BaseException:
            status = BUG
            said.write(traceback.format_exc(limit=-3).encode(errors="replace")[:60000])
        os._exit(status)
    tracer = subprocess.Popen(
        [
            "strace",
            "-p",
            str(child),
            "-o",
            str(log),
            "-e",
            f"trace={inject.partition('=')[2].partition(':')[0]}",
            "-e",
            inject,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in Deadline(SECONDS).poll(0.005):
            if "TracerPid:\t0\n" not in Path(f"/proc/{child}/status").read_text():
                break
        os.write(go, b"x")
        _, waited = os.waitpid(child, 0)
    finally:
        tracer.terminate()
        tracer.wait()
        os.close(ready)
        os.close(go)
    text = said[:].rstrip(b"\0").decode(errors="replace")
    return os.waitstatus_to_exitcode(waited), text
