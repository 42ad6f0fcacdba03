# SPDX-License-Identifier: GPL-2.0
"""The records that a run leaves. Every report is made from them alone.

A run directory has `run.json` (Run), `verdicts.jsonl` (one VerdictRecord a line,
written as soon as it is known) and `cells/<cell>/`.
"""

import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from farm.base import atomic, stored
from farm.base.errors import Exit, FarmError, UsageError, refused
from farm.guest.splat import normal
from farm.matrix import MATRIX
from farm.record.verdict import MEANING, Verdict, is_bad

#: The schema of these files. It is raised when readers of the old one would go wrong.
SCHEMA = 1


@dataclass(frozen=True)
class Slot:
    """One row of the picture of the trampoline's frame: what each witness saw of
    one argument, or of another register that the trampoline saves. A value is
    None if that witness did not see it.

    `offset` is in bytes from the start of the saved registers. It is None for an
    argument without a slot in struct bpf_ftrace_args, if the stack was not read.
    `passed` is what the caller had in the register, and `raw` what QEMU's gdbstub
    read from the guest's memory.
    """

    name: str
    register: str
    offset: int | None
    passed: int
    program: int | None = None
    callee: int | None = None
    raw: int | None = None

    @property
    def wrong(self) -> bool:
        return any(value not in (None, self.passed) for value in (self.program, self.callee, self.raw))


@dataclass(frozen=True)
class VerdictRecord:
    """The verdict of one test in one cell.

    `console` names the log in the cell's directory, and `span` the bytes of it
    that belong to the test.
    """

    test: str
    suite: str
    cell: str
    verdict: Verdict
    seconds: float
    reason: str = ""
    detail: str = ""
    slots: tuple[Slot, ...] = ()
    attempt: int = 1
    console: str = ""
    span: tuple[int, int] = (0, 0)

    @property
    def bad(self) -> bool:
        return is_bad(self.verdict)


@dataclass(frozen=True)
class Planned:
    """A test in a cell, by its name in the records; `attempt` counts its repetitions."""

    test: str
    suite: str
    cell: str
    attempt: int = 1


@dataclass(frozen=True)
class Run:
    """What was asked, where it ran, and how it ended.

    `status` is running, finished, stopped (at the first failure, as requested),
    refused or interrupted. `planned` counts the tests that were to get a verdict,
    and is 0 until they are collected. `patches` are those on top of the series,
    and `pokes` the bugs that were planted on purpose (farm.guest.poke). `partial`
    says that the kernel has only part of the feature, `repeat` how often each test
    runs, and `first` which suites run before the others. `distrusted` says why a
    run that began under KVM continued under TCG; tests during which KVM broke then
    get another attempt.
    """

    id: str
    command: list[str]
    tree: str | None
    series: str | None
    select: str
    cells: list[str]
    accel: str
    accel_reason: str
    workers: int
    host: dict[str, str]
    versions: dict[str, str]
    matrix: str
    started: str
    status: str = "running"
    finished: str = ""
    planned: int = 0
    exit: int | None = None
    patches: list[str] = field(default_factory=list)
    pokes: list[str] = field(default_factory=list)
    partial: bool = False
    repeat: int = 1
    first: list[str] = field(default_factory=list)
    distrusted: str = ""
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    schema: int = SCHEMA


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def new_directory(results: Path, prefix: str = "") -> Path:
    """A directory for a new run. Two runs that start in the same second get one each.

    If the clock goes back, the stamp does not: sorted by stamp, runs stay in the order
    in which they began. Raises UsageError if no directory can be made there, FarmError
    if the host has no room for it.
    """
    try:
        return _new_directory(results, prefix)
    except OSError as error:
        known = refused(error, results, user=True)
        raise type(known)(f"--results {known}") from error


def _new_directory(results: Path, prefix: str) -> Path:
    results.mkdir(parents=True, exist_ok=True)
    there = (re.fullmatch(rf"{re.escape(prefix)}(\d{{8}}-\d{{6}})(-\d+)?", path.name) for path in results.iterdir())
    stamp = prefix + max([datetime.now(UTC).strftime("%Y%m%d-%H%M%S"), *(match[1] for match in there if match)])
    for number in range(1, 1000):
        directory = results / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            directory.mkdir()
        except FileExistsError:
            continue
        return directory
    raise UsageError(f"{results}: a thousand runs of the same second")


def save_run(directory: Path, run: Run) -> None:
    atomic.write(directory / "run.json", json.dumps(asdict(run), indent=1) + "\n")


def load_run(directory: Path) -> Run:
    """The record of a run. Raises UsageError if there is none, or if it was cut off or written by
    another farm; FarmError if it cannot be read."""
    try:
        return stored.load(directory / "run.json", Run, SCHEMA)
    except FileNotFoundError as error:
        raise UsageError(f"{directory}: no run, it has no run.json") from error
    except OSError as error:
        raise refused(error, user=True) from error


def update_run(directory: Path, **changes: Any) -> Run:
    run = replace(load_run(directory), **changes)
    save_run(directory, run)
    return run


def append_verdict(directory: Path, record: VerdictRecord) -> None:
    """Add a line to verdicts.jsonl. It is on disk when this returns. Raises FarmError if that fails."""
    path, line = directory / "verdicts.jsonl", json.dumps(asdict(record)) + "\n"
    try:
        with path.open("a") as handle:
            handle.write(line)
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        safe = f"the verdicts so far are safe, and `farm run --resume {directory}` goes on with them"
        raise FarmError(f"{path}: {error.strerror}; {safe}") from error


def load_verdicts(directory: Path) -> list[VerdictRecord]:
    """The verdicts of a run. A last line that was cut off is ignored. Raises UsageError for any
    other line that is no verdict, FarmError if they cannot be read."""
    path = directory / "verdicts.jsonl"
    try:
        *lines, _ = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise refused(error, user=True) from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(stored.parse(line, VerdictRecord))
        except ValueError as error:
            again = "remove that line, and `farm run --resume` runs its test again"
            raise UsageError(f"{path}:{number}: this is no verdict: {error}; {again}") from error
    return records


def from_json(raw: dict[str, Any]) -> VerdictRecord:
    slots = tuple(Slot(**slot) for slot in raw.pop("slots", ()))
    span = tuple(raw.pop("span", (0, 0)))
    return VerdictRecord(**{**raw, "verdict": Verdict(raw["verdict"])}, slots=slots, span=(span[0], span[1]))


def exit_status(records: Iterable[VerdictRecord]) -> Exit:
    """0, 1 or 3. If the farm failed, the other verdicts cannot be relied on, so 3 wins.

    A run without any verdict is the farm's failure too: zero tests prove nothing.
    """
    statuses = [MEANING[record.verdict].blame for record in records]
    return max(statuses, default=Exit.FARM)


def counts(records: Iterable[VerdictRecord]) -> Counter[Verdict]:
    return Counter(record.verdict for record in records)


def all_cells(run: Run, verdicts: Iterable[VerdictRecord]) -> list[str]:
    """The cells of a run, and then any other cells that its verdicts name."""
    return list(dict.fromkeys([*run.cells, *(record.cell for record in verdicts)]))


def title(run: Run, record: VerdictRecord) -> str:
    """The name of a test for other programs, which distinguishes its repetitions."""
    # in a comparison of kernels, the number says how many attempts it took to decide
    again = (run.repeat > 1 or run.distrusted) and record.attempt > 1
    return f"{record.test} (attempt {record.attempt})" if again else record.test


def find(results: Path, name: str) -> Path:
    """The directory of a run, named by its path or by its id below `results`.

    Raises UsageError if there is none."""
    for directory in (Path(os.path.expanduser(name)), results / name):
        if os.path.isfile(directory / "run.json"):
            return directory
    raise UsageError(f"no run {name}: neither {Path(name).resolve()} nor {(results / name).resolve()} has a run.json")


def said(record: VerdictRecord) -> str:
    """How a test failed, without addresses and values: the same for the same failure
    in another kernel."""
    return normal(record.reason.partition("\n")[0])


def signature(record: VerdictRecord) -> str:
    """What failed and how: the same for the same failure in another kernel."""
    return f"{record.verdict} {record.cell} {record.suite} {record.test}: {said(record)}"


def repeat_command(run: Run, cell: str, test: str = "") -> str:
    """The command that repeats a cell of a run, or only one test in it."""
    words = ["farm", "run", cell]
    if run.tree:
        words += ["--tree", run.tree]
    if run.series:
        words += ["--series", run.series]
    for patch in run.patches:
        words += ["--patch", patch]
    for poke in run.pokes:
        words += ["--poke", poke]
    if run.partial:
        words.append("--partial")
    if run.matrix != str(MATRIX):
        words += ["--matrix", run.matrix]
    if test:
        words += ["-k", test]
    return shlex.join(words)


def k_expression(record: VerdictRecord) -> str:
    """The -k expression for only this test: its name in pytest, which includes the cell."""
    name, bracket, parameters = record.test.partition("[")
    return f"{name}[{record.cell}-{parameters}" if bracket else f"{name}[{record.cell}]"
