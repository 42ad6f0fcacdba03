# SPDX-License-Identifier: GPL-2.0
"""Runs one night that farm.nightly.evening has planned. Each step is on disk before and after it runs.

Each step is a `farm` command of its own. If a night was killed, the next one within STALE continues it:
the run of the cells with the next test, the mutants with the next mutant, and the kernel's own tests,
which take about ten minutes, from their beginning.
"""

import fcntl
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from farm.base import stored
from farm.base.atomic import save_json
from farm.base.command import leashed
from farm.base.deadline import Deadline
from farm.base.errors import Blamed, Exit, FarmError, UsageError
from farm.base.interrupt import kill_interrupts
from farm.history.model import order
from farm.hunt import mutants as hunts
from farm.hunt.mutants import Outcome, Score
from farm.matrix import MATRIX
from farm.record import records
from farm.record.records import Run

SCHEMA = 2
PREFIX = "nightly-"
STATE = "state.json"

#: An older night is not continued.
STALE = timedelta(hours=20)

#: How long a step may take to save its results when its time is up or the night is ended. It is less
#: than systemd gives the night (farm.timer).
GRACE = 45.0


@dataclass(frozen=True)
class Step:
    """A command of the farm. `expected` are its planned seconds, `run` its directory once there is one,
    and `exit` its status, None before it ended. `said` is why it did not end by itself, or did not
    begin."""

    name: str
    words: tuple[str, ...]
    expected: float = 0.0
    run: str = ""
    exit: int | None = None
    said: str = ""


@dataclass(frozen=True)
class Night:
    """What was planned, and how far it got. `asked` is its request, in words of the command line: a night is
    continued only by the same request. `last_run` and `last_hunt` are the newest ones before it. `reported`
    says that its morning was shown; older farms did not record that."""

    id: str
    started: str
    budget: float
    asked: tuple[str, ...]
    left: tuple[str, ...]
    steps: tuple[Step, ...]
    last_run: str = ""
    last_hunt: str = ""
    reported: bool = True
    schema: int = SCHEMA

    @property
    def open(self) -> bool:
        """Whether something is left to do, even if it is only the report."""
        return not self.reported or any(step.exit is None for step in self.steps)

    @property
    def exit(self) -> Exit:
        return Exit(max((Exit.FARM if step.exit is None else step.exit for step in self.steps), default=0))

    @property
    def expected(self) -> float:
        return sum(step.expected for step in self.steps if step.exit is None)


def seconds(budget: str) -> float:
    """The seconds of a time like 6h or 90m. Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([hm])", budget)
    if not match:
        raise UsageError(f"--budget {budget!r}: give hours or minutes, as in 6h or 90m")
    return float(match[1]) * {"h": 3600, "m": 60}[match[2]]


@contextmanager
def alone(results: Path) -> Iterator[None]:
    """Allow one night at a time in a results directory. Raises UsageError if another one is running, and
    FarmError for what the host refuses in the block, for example on a full disk."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        with (results / ".nightly.lock").open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                raise UsageError(f"{results}: another nightly is running, process {handle.read().strip()}") from None
            handle.truncate(0)
            handle.write(f"{os.getpid()}\n")
            handle.flush()
            yield
    except OSError as error:
        said = f"{error.filename or results}: {error.strerror}"
        raise FarmError(f"{said}; the verdicts are safe, and `farm nightly` goes on once that is mended") from error


@dataclass(frozen=True)
class Asked:
    """What the command line requests from a night."""

    results: Path
    matrix: Path = MATRIX
    tree: str | None = None
    series: str | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The same for `farm run` and `farm selftests`."""
        tree = ("--tree", self.tree) if self.tree else ()
        series = ("--series", self.series) if self.series else ()
        return (*self.place, *tree, *series)

    @property
    def place(self) -> tuple[str, ...]:
        """The same for a command that takes no tree."""
        return ("--results", str(self.results), *self.of_matrix)

    @property
    def of_matrix(self) -> tuple[str, ...]:
        return () if self.matrix == MATRIX else ("--matrix", str(self.matrix))


def left_open(asked: Asked, now: datetime) -> tuple[Path, Night] | None:
    """The last night, if it was killed, was asked for the same and is not stale."""
    found = last(asked.results)
    if found is None:
        return None
    _, night = found
    fresh = now - datetime.fromisoformat(night.started) < STALE
    return found if night.open and fresh and night.asked == asked.words else None


def last(results: Path) -> tuple[Path, Night] | None:
    """The last night; None if there is none, or if it cannot be read."""
    directory = max(results.glob(f"{PREFIX}*"), key=lambda path: order(path.name, ""), default=None)
    if directory is None:
        return None
    try:
        night = stored.load(directory / STATE, Night, SCHEMA)
        dated = datetime.fromisoformat(night.started).tzinfo is not None
    except (OSError, UsageError, ValueError):
        return None
    return (directory, night) if dated else None


def told(night: Night, goes_on: bool = False) -> Iterator[str]:
    """What will run and what will not, as lines to print before it runs."""
    begins = f"{night.expected / 60:.0f} of {night.budget / 60:.0f} min expected"
    yield f"{night.id}: {'goes on' if goes_on else begins}"
    for step in night.steps:
        if step.exit is None:
            yield f"  {step.name}, {step.expected / 60:.0f} min: farm {shlex.join(step.words)}"
    yield from (f"  left out: {one}" for one in night.left)


Farm = Callable[[Sequence[str], float], int]


def farm(words: Sequence[str], limit: float) -> int:
    """Run a command of the farm, which dies with this process. Returns its exit status. Raises TimeoutError
    if it had to be ended after `limit` seconds."""
    # a group of its own: Ctrl-C goes only to this process
    argv = leashed([sys.executable, "-m", "farm", *words])
    with _interrupts_held() as let_go, subprocess.Popen(argv, process_group=0, stdin=subprocess.DEVNULL) as process:
        try:
            let_go()
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            _end(process)
            raise TimeoutError from None
        except BaseException:
            _end(process)
            raise


@contextmanager
def _interrupts_held() -> Iterator[Callable[[], None]]:
    """Hold back Ctrl-C and kills until they are released, or the block ends. One that comes between the start
    of a command and the line that can pass it on would never reach the command. They are not masked,
    because the command would inherit that."""
    came: list[int] = []
    before = {one: signal.signal(one, lambda number, _: came.append(number)) for one in (signal.SIGINT, signal.SIGTERM)}

    def let_go() -> None:
        for one, handler in before.items():
            signal.signal(one, handler)
        while came:
            signal.raise_signal(came.pop())

    try:
        yield let_go
    finally:
        let_go()


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()  # it saves its results
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()


def _say(line: str) -> None:
    print(line, flush=True)


def go_on(
    directory: Path, night: Night, deadline: Deadline, run: Farm = farm, say: Callable[[str], None] = _say
) -> Night:
    """Run all steps that have not ended, in order, within the remaining time. A step that was killed or
    interrupted stays open, and the next call continues there."""
    with kill_interrupts():
        for number, step in enumerate(night.steps):
            if step.exit is not None:
                continue
            say(
                f"{night.id}: step {number + 1} of {len(night.steps)}, {step.name}, {deadline.left() / 60:.0f} min left"
            )
            done = _do(directory.parent, night, step, deadline, run, say)
            night = save(directory, replace(night, steps=(*night.steps[:number], done, *night.steps[number + 1 :])))
            if done.said:
                say(f"{night.id}: {done.name}: {done.said}")
    return night


def _do(results: Path, night: Night, step: Step, deadline: Deadline, run: Farm, say: Callable[[str], None]) -> Step:
    """Run one step, as far as it gets."""
    there = _made(results, night, step)
    words, besides = step.words, ""
    if step.name == "mutants":
        done = tried(results, night)
        words, besides = _mutants_left(step, done, deadline.left())
        if set(_names(step)) <= set(done):
            return replace(step, run=left_by(results, night, step), exit=_status(done.values()), said="")
    elif (
        there and there.status == "finished"
    ):  # the night was killed after the step had finished, before it was recorded
        return replace(step, run=there.id, exit=there.exit, said="")
    elif step.words[0] == "run" and there and there.status in ("running", "interrupted"):
        words = ("run", "--resume", str(results / there.id))
        say(f"{night.id}: going on with {there.id}")
    elif step.name == "selftests" and deadline.left() < step.expected:
        words, besides = (), f"left out: needs {step.expected:.0f} s, {deadline.left():.0f} s of the budget are left"
    if not words:
        return replace(step, exit=int(Exit.PASSED), said=besides)
    said = ""
    try:
        status = run(words, deadline.left())
        if words[1] == "--resume" and status == Exit.USAGE:
            say(f"{night.id}: what it began with is no longer there, {step.name} start again")
            status = run(step.words, deadline.left())
        if status not in list(Exit):
            said = f"`farm {words[0]}` ended with {status}"
        elif _interrupted(results, night, step):
            said = "it was interrupted"
    except TimeoutError:
        status, besides = int(Exit.FARM), f"cut off: the {deadline.seconds / 60:.0f} min of --budget were over"
    name = left_by(results, night, step)
    if said:
        return replace(step, run=name, said=f"{said}; `farm nightly` goes on with it")
    return replace(step, run=name, exit=status, said=besides)


def _mutants_left(step: Step, done: Mapping[str, Score], left: float) -> tuple[tuple[str, ...], str]:
    """The command for the mutants without an outcome, as many as fit, and a note about the others. No words
    if none fits."""
    names = _names(step)
    rest = [name for name in names if name not in done]
    fitting = rest[: int(left // max(1.0, step.expected / len(names)))]
    said = f"{len(rest) - len(fitting)} left out: {left:.0f} s of the budget were left" if fitting != rest else ""
    return ("mutants", *fitting, *step.words[len(names) + 1 :]) if fitting else (), said


def _names(step: Step) -> tuple[str, ...]:
    """The mutants that a step should try."""
    return step.words[1 : step.words.index("--results")]


def _status(scores: Iterable[Score]) -> int:
    return max(score.exit or Exit.KERNEL * (score.outcome is Outcome.SURVIVED) for score in scores)


def tried(results: Path, night: Night) -> dict[str, Score]:
    """The outcomes of the mutants that this night has tried so far."""
    found: dict[str, Score] = {}
    for directory in reversed(newer(results, "score.json", night.last_hunt)):
        try:
            scores = hunts.load_scores(directory).scores
        except (OSError, UsageError):
            continue
        found |= {score.mutant: score for score in scores if score.outcome is not Outcome.LEFT}
    return found


def newer(results: Path, file: str, than: str) -> list[Path]:
    """The directories with that file that are newer than the one called `than`, the newest first. This goes
    by their names, which do not go back when the clock does."""
    found = [path.parent for path in results.glob(f"*/{file}")]
    newer = [path for path in found if order(path.name, "") > order(than, "")]
    return sorted(newer, key=lambda path: order(path.name, ""), reverse=True)


def _made(results: Path, night: Night, step: Step) -> Run | None:
    """The run that a step of this night made; the last one if there are several."""
    for path in newer(results, "run.json", night.last_run):
        try:
            run = records.load_run(path)
        except Blamed:
            continue
        if tuple(run.command[1:]) == step.words:
            return run
    return None


def left_by(results: Path, night: Night, step: Step) -> str:
    """The directory that a step has left. A run in it that will not continue is no longer marked as running."""
    if step.name == "mutants":
        return next((path.name for path in newer(results, "score.json", night.last_hunt)), "")
    made = _made(results, night, step)
    if made and made.status == "running":
        records.update_run(results / made.id, status="interrupted", finished=records.now())
    return made.id if made else ""


def _interrupted(results: Path, night: Night, step: Step) -> bool:
    """Whether a command that ended by itself had been interrupted."""
    if step.name == "mutants":
        newest = next(iter(newer(results, "score.json", night.last_hunt)), None)
        try:
            return newest is not None and hunts.load_scores(newest).status == "interrupted"
        except (OSError, UsageError):
            return False
    made = _made(results, night, step)
    return made is not None and made.status == "interrupted"


def save(directory: Path, night: Night) -> Night:
    """Save how far the night is."""
    save_json(directory / STATE, asdict(night))
    return night
