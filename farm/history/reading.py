# SPDX-License-Identifier: GPL-2.0
"""What a run directory says, whatever state it was left in.

A night that was killed, a disk that was full and a farm of last year leave
directories that are not as this farm would write them. What can be read is read,
and what could not is said.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from farm.guest.splat import normal
from farm.history.model import Case, Mutation, Planted, RunKernel, Seen, Summary
from farm.record import records
from farm.record.records import Run, VerdictRecord
from farm.record.verdict import Verdict
from farm.run.causes import headline

#: Of broken lines so many are named, the rest is counted.
MOST = 3

#: The file by which a run of the kernel's own tests is known (farm.run.comparison).
SELFTESTS = "comparison.json"


#: What a night leaves in the directory of its run.
NIGHT = "night.json"


class Unreadable(Exception):
    """Nothing can be made of a directory; the message says why."""


@dataclass(frozen=True)
class Reading:
    """A run directory as far as it could be read; `troubles` say what could not."""

    run: Run
    verdicts: tuple[VerdictRecord, ...]
    troubles: tuple[str, ...]


@dataclass(frozen=True)
class Besides:
    """What is to be said of the night that a run was part of, in lines: bad `news`, and what is only `notes`."""

    news: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def besides(directory: Path) -> Besides:
    """What a night left with its run; nothing with a run that was not part of one."""
    raw = _json(directory / NIGHT)
    news, notes = (raw.get(name) for name in ("news", "notes"))
    return Besides(*(tuple(map(str, lines)) if isinstance(lines, list) else () for lines in (news, notes)))


def read(directory: Path) -> Reading:
    """All of a run. Raises Unreadable where it cannot be told what the run was."""
    run, troubles = read_run(directory)
    verdicts, broken = _verdicts(directory / "verdicts.jsonl")
    return Reading(run, tuple(verdicts), (*troubles, *broken, *_doubts(run)))


def read_run(directory: Path) -> tuple[Run, list[str]]:
    """What a run was, and what of that could not be read. Raises Unreadable."""
    path = directory / "run.json"
    try:
        raw = json.loads(path.read_text(errors="replace"))
    except FileNotFoundError:
        raise Unreadable(f"{directory}: no run.json") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path}: {error}") from error
    if not isinstance(raw, dict) or raw.get("schema") != records.SCHEMA:
        found = raw.get("schema") if isinstance(raw, dict) else "none"
        raise Unreadable(f"{path}: schema {found}, this farm reads {records.SCHEMA}")
    known = {one.name for one in fields(Run)}
    needed = {one.name for one in fields(Run) if one.default is MISSING and one.default_factory is MISSING}
    if lacking := sorted(needed - set(raw)):
        raise Unreadable(f"{path}: lacks {', '.join(lacking)}")
    strange = sorted(set(raw) - known)
    run = Run(**{name: value for name, value in raw.items() if name in known})
    if wrong := _unfit(run):
        raise Unreadable(f"{path}: {wrong}")
    return run, [f"run.json: unknown to this farm: {', '.join(strange)}"] if strange else []


def _doubts(run: Run) -> Iterator[str]:
    if run.finished and run.finished < run.started:
        yield f"the clock went back: started {run.started}, finished {run.finished}"


def _verdicts(path: Path) -> tuple[list[VerdictRecord], list[str]]:
    """The verdicts that are whole, and what is to be said of the others. Raises Unreadable for a file that
    the host does not give: tomorrow it may, and a run that was taken without its verdicts would stay so."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return [], ["no verdicts.jsonl: no test ended"]
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    found, broken = [], []
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if not line and number == len(lines):
            break  # behind the last line's end
        try:
            if number == len(lines):
                raise ValueError("cut off")
            found.append(verdict(line))
        except ValueError as error:
            broken.append(f"verdicts.jsonl:{number}: {error}")
    if len(broken) > MOST:
        broken = [*broken[:MOST], f"verdicts.jsonl: {len(broken) - MOST} more lines that cannot be read"]
    return found, broken


def verdict(line: str | bytes) -> VerdictRecord:
    """The record of a line of verdicts.jsonl. Raises ValueError."""
    try:
        record = records.from_json(json.loads(line))
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(str(error)) from error
    if wrong := _unfit(record):
        raise ValueError(wrong)
    return record


def _unfit(record: Any) -> str:
    """What of a record is not of the type that its field has, as another farm may have left it."""
    kind: Any = type(record)
    wrong = (name for name, hint in _hints(kind).items() if not _fits(getattr(record, name), hint))
    return next((f"{name} cannot be {getattr(record, name)!r:.80}" for name in wrong), "")


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, as far as the records have types."""
    whole, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if whole is UnionType:
        return any(_fits(value, part) for part in parts)
    if whole is dict:
        of_key, of_value = parts
        return isinstance(value, dict) and all(_fits(k, of_key) and _fits(v, of_value) for k, v in value.items())
    if whole is list or (whole is tuple and parts[-1] is ...):
        return isinstance(value, whole) and all(_fits(one, parts[0]) for one in value)
    if whole is tuple:
        return isinstance(value, tuple) and len(value) == len(parts) and all(map(_fits, value, parts))
    if not isinstance(value, (int, float) if hint is float else hint):
        return False
    return not is_dataclass(value) or not _unfit(value)


def summary(directory: Path, reading: Reading, cases: Mapping[Case, Seen]) -> Summary:
    """The run without its verdicts, as the history has it; `cases` is what `seen` makes of them."""
    run = reading.run
    tally: dict[tuple[str, str], Counter[Verdict]] = {}
    for case, one in cases.items():
        tally.setdefault((case.cell, case.suite), Counter())[one.verdict] += 1
    return Summary(
        id=run.id,
        place=directory.name,
        line=line(directory, run),
        command=tuple(run.command),
        started=run.started,
        finished=run.finished,
        status=run.status,
        exit=run.exit,
        tree=run.tree,
        series=run.series,
        select=run.select,
        cells=tuple(run.cells),
        accel=run.accel,
        workers=run.workers,
        planned=run.planned,
        kernels={cell: kernel(directory, cell) for cell in run.cells},
        counts=tally,
        troubles=reading.troubles,
    )


def line(directory: Path, run: Run) -> str:
    """The same for runs that may be compared without being named (farm.history.changes). A run with something
    planted adds that to the line of the clean runs that it is compared with."""
    # of one that was killed the command alone tells
    of_kernel = (directory / SELFTESTS).exists() or run.command[1:2] == ["selftests"]
    clean = line_of("selftests" if of_kernel else "run", run.tree, run.series, run.matrix)
    planted = Planted(tuple(run.patches), tuple(run.pokes), run.partial)
    return json.dumps([*json.loads(clean), asdict(planted)]) if planted else clean


def line_of(kind: str, tree: str | None, series: str | None, matrix: str) -> str:
    """The line of runs of the suites ("run"), or of the kernel's own tests ("selftests")."""
    # where the checkout lies says nothing: the farm's own matrix is the same in each
    return json.dumps([kind, tree, series, "/".join(Path(matrix).parts[-2:])])


def own_tests(line: str) -> str:
    """The line of the kernel's own tests that goes with one of the suites; empty if there is none."""
    return line.replace('["run"', '["selftests"', 1) if line.startswith('["run"') else ""


def seen(verdicts: Iterable[VerdictRecord]) -> dict[Case, Seen]:
    """What came of each case; several records of one are its attempts. The farm's own
    faults are no attempts, unless there is nothing else."""
    by_case: dict[Case, list[VerdictRecord]] = {}
    for record in verdicts:
        by_case.setdefault(Case(record.cell, record.suite, record.test), []).append(record)
    return {case: _judge(ones) for case, ones in by_case.items()}


def _judge(attempts: list[VerdictRecord]) -> Seen:
    last = {record.attempt: record for record in attempts}  # an interrupted one that was made up for
    ones = list(last.values())
    ones = [one for one in ones if one.verdict not in (Verdict.LOST, Verdict.INFRA)] or ones
    bad = [record for record in ones if record.bad]
    chosen = bad[0] if bad else ones[0]
    seconds = [one.seconds for one in ones if one.verdict is chosen.verdict]
    mean = sum(seconds) / len(seconds)
    mean = mean if 0 <= mean < 4e6 else 0.0  # also what is not a number
    line = headline(chosen) if chosen.bad else ""
    return Seen(chosen.verdict, normal(line), round(mean, 3), len(ones), len(bad), line)


def kernel(directory: Path, cell: str) -> RunKernel:
    """What a cell ran, by the files in its directory."""
    where = directory / "cells" / cell
    built, failed = _json(where / "built.json"), _json(where / "failed.json")
    return RunKernel(
        source=str(built.get("source", "")),
        commit=str(built.get("commit", "")),
        content=str(built.get("content", "")),
        key=str(built.get("kernel_key", "")),
        build_seconds=_number(built.get("build_seconds", 0.0)),
        boot_seconds=tuple(_boots(where / "booted")),
        failure="" if built else str(failed.get("text", "")),
    )


def _boots(path: Path) -> Iterator[float]:
    """Seconds of each boot; none in the runs of older farms."""
    try:
        words = path.read_text(errors="replace").split()
    except (OSError, ValueError):  # a name that no file can have
        return
    yield from (seconds for word in words if (seconds := _number(word)))


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 0.0
    return number if 0 <= number < 1e9 else 0.0


def _json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(errors="replace"))
    except (OSError, ValueError):
        return {}
    return raw if isinstance(raw, dict) else {}


def mutation(directory: Path) -> Mutation:
    """A hunt for mutants (farm.hunt.mutants). Raises Unreadable."""
    raw = _json(directory / "score.json")
    try:
        outcomes = {str(score["mutant"]): str(score["outcome"]) for score in raw["scores"]}
        return Mutation(
            directory.name, directory.name, str(raw["started"]), str(raw["status"]), _number(raw["seconds"]), outcomes
        )
    except (KeyError, TypeError) as error:
        raise Unreadable(f"{directory}/score.json: cannot be read, {error!r}") from error
