# SPDX-License-Identifier: GPL-2.0
"""Reads a run directory, in any state.

A killed night, a full disk or an older farm may leave directories that this farm would
write differently. This module reads what it can, and reports the rest.
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

#: How many broken lines are named; the rest is counted.
MOST = 3

#: The file that marks a run of the kernel's own tests (farm.run.comparison).
SELFTESTS = "comparison.json"


#: What a night leaves in the directory of its run.
NIGHT = "night.json"


class Unreadable(Exception):
    """A directory cannot be read as a run; the message says why."""


@dataclass(frozen=True)
class Reading:
    """A run directory as far as it could be read; `troubles` say what could not be."""

    run: Run
    verdicts: tuple[VerdictRecord, ...]
    troubles: tuple[str, ...]


@dataclass(frozen=True)
class Besides:
    """What else happened in the night that a run was part of, in lines: bad `news`, and mere `notes`."""

    news: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def besides(directory: Path) -> Besides:
    """What a night left with its run; empty for a run that was not part of one."""
    raw = _json(directory / NIGHT)
    news, notes = (raw.get(name) for name in ("news", "notes"))
    return Besides(*(tuple(map(str, lines)) if isinstance(lines, list) else () for lines in (news, notes)))


def read(directory: Path) -> Reading:
    """Everything of a run. Raises Unreadable if its own record cannot be read."""
    run, troubles = read_run(directory)
    verdicts, broken = _verdicts(directory / "verdicts.jsonl")
    return Reading(run, tuple(verdicts), (*troubles, *broken, *_doubts(run)))


def read_run(directory: Path) -> tuple[Run, list[str]]:
    """The record of a run, and what in it could not be read. Raises Unreadable."""
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
    """The complete verdicts, and complaints about the others. Raises Unreadable if the host cannot read the
    file: it may be able to tomorrow, but a run that was added without its verdicts would stay that way."""
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
            break  # after the end of the last line
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
    """Which field of a record has a value of the wrong type, as another farm may have left it."""
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
    """The run without its verdicts, in the form of the history; `cases` comes from `seen`."""
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
    """A line that is the same for runs that are compared by default (farm.history.changes). A run with something
    planted adds that to the line of the clean runs that it is compared with."""
    # for a killed run, only the command shows it
    of_kernel = (directory / SELFTESTS).exists() or run.command[1:2] == ["selftests"]
    clean = line_of("selftests" if of_kernel else "run", run.tree, run.series, run.matrix)
    planted = Planted(tuple(run.patches), tuple(run.pokes), run.partial)
    return json.dumps([*json.loads(clean), asdict(planted)]) if planted else clean


def line_of(kind: str, tree: str | None, series: str | None, matrix: str) -> str:
    """The line of runs of the suites ("run"), or of the kernel's own tests ("selftests")."""
    # the place of the checkout does not matter: the farm's own matrix is the same in each
    return json.dumps([kind, tree, series, "/".join(Path(matrix).parts[-2:])])


def own_tests(line: str) -> str:
    """The line of the kernel's own tests that belongs to a line of the suites; empty if there is none."""
    return line.replace('["run"', '["selftests"', 1) if line.startswith('["run"') else ""


def seen(verdicts: Iterable[VerdictRecord]) -> dict[Case, Seen]:
    """The result of each case. Several records of a case are its attempts. The farm's own
    failures do not count as attempts, unless there is nothing else."""
    by_case: dict[Case, list[VerdictRecord]] = {}
    for record in verdicts:
        by_case.setdefault(Case(record.cell, record.suite, record.test), []).append(record)
    return {case: _judge(ones) for case, ones in by_case.items()}


def _judge(attempts: list[VerdictRecord]) -> Seen:
    last = {record.attempt: record for record in attempts}  # a resumed run may have repeated an interrupted one
    ones = list(last.values())
    ones = [one for one in ones if one.verdict not in (Verdict.LOST, Verdict.INFRA)] or ones
    bad = [record for record in ones if record.bad]
    chosen = bad[0] if bad else ones[0]
    seconds = [one.seconds for one in ones if one.verdict is chosen.verdict]
    mean = sum(seconds) / len(seconds)
    mean = mean if 0 <= mean < 4e6 else 0.0  # NaN too
    line = headline(chosen) if chosen.bad else ""
    return Seen(chosen.verdict, normal(line), round(mean, 3), len(ones), len(bad), line)


def kernel(directory: Path, cell: str) -> RunKernel:
    """The kernel that a cell ran, from the files in its directory."""
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
    except (OSError, ValueError):  # no file can have such a name
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
