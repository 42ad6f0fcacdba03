# SPDX-License-Identifier: GPL-2.0
"""The hunt for mutants: each is built, tested until a test fails, and scored.

While one mutant is tested, the next one is built. The score is on disk after each mutant.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Protocol

from farm.base import stored
from farm.base.atomic import save_json
from farm.base.errors import Blamed, Exit, UsageError
from farm.base.interrupt import kill_interrupts
from farm.execute import named
from farm.hunt.mutant import Mutant
from farm.hunt.trial import attempt
from farm.kernel import builder
from farm.matrix import MATRIX, RESULTS
from farm.record import records
from farm.record.records import VerdictRecord
from farm.record.verdict import MEANING, Verdict
from farm.run import session
from farm.run.watcher import Watcher as RunWatcher

#: Expected seconds for a mutant, until one was measured here.
GUESS_SECONDS = 60.0

PREFIX = "mutants-"


class Outcome(StrEnum):
    """The outcome of a mutant, in the order of urgency."""

    CAUGHT = "caught"  # a test failed as the symptom says
    OTHERWISE = "caught otherwise"  # a test failed in another way
    EQUIVALENT = "equivalent"  # no test can notice it, and none did
    LEFT = "not run"
    ERROR = "error"  # it was not tested: it does not apply, build or boot, or the farm failed
    SURVIVED = "survived"


@dataclass(frozen=True)
class Score:
    """The outcome of a mutant, and the test that noticed it.

    For a survivor, `cell` names all cells in which it was tried. `build` and `test_seconds` are
    the seconds for the build and for the tests. `seconds` is the time since the previous score;
    it is less than the sum, because the next kernel is built during a test. For an error, `exit`
    says who is to blame, as an exit status. `run` is the directory of the run.
    """

    mutant: str
    outcome: Outcome
    cell: str = ""
    suite: str = ""
    test: str = ""
    verdict: str = ""
    reason: str = ""
    build: float = 0.0
    test_seconds: float = 0.0
    seconds: float = 0.0
    exit: int = 0
    run: str = ""


@dataclass(frozen=True)
class Scores:
    """The contents of `score.json`. `status` is running, finished or interrupted."""

    status: str
    started: str
    seconds: float
    scores: tuple[Score, ...]

    @property
    def tested(self) -> tuple[Score, ...]:
        """The mutants whose kernel was tested."""
        return tuple(score for score in self.scores if score.test_seconds)

    @property
    def exit(self) -> Exit:
        """0: all were caught. 1: some survived. 2, 3: some were not tested."""
        if self.status != "finished":
            return Exit.FARM
        survived = any(score.outcome is Outcome.SURVIVED for score in self.scores)
        return Exit(max([*(score.exit for score in self.scores), Exit.KERNEL if survived else Exit.PASSED]))


@dataclass(frozen=True)
class MutantsRequest:
    """What the command line asks. With `cells`, only these are used.

    With `equivalents`, mutants that are said to be equivalent run as well, to check that.
    """

    mutants: Sequence[Mutant]
    cells: Sequence[str] = ()
    equivalents: bool = False
    accel: str = "auto"
    workers: int = 0
    results: Path = RESULTS
    matrix: Path = MATRIX
    on: str = "local"


class Watcher(RunWatcher, Protocol):
    """Is told about the progress of a hunt."""

    def hunt(self, directory: Path, mutants: int, seconds: float) -> None: ...
    def trying(self, mutant: Mutant, cell: str) -> None: ...
    def scored(self, score: Score) -> None: ...


def judge(mutant: Mutant, verdicts: Sequence[VerdictRecord]) -> Score:
    """Score a mutant by the verdicts of one run. BUILD and BOOT mean that the kernel was not tested:
    they count only if the symptom expects them."""
    bad = [record for record in verdicts if record.bad]
    for record in bad:
        if any(symptom.fits(record) for symptom in mutant.symptoms):
            return _score(mutant, Outcome.CAUGHT, record)
    for record in bad:
        if MEANING[record.verdict].of_test:
            return _score(mutant, Outcome.OTHERWISE, record)
    for record in bad:
        blame = MEANING[record.verdict].blame
        return replace(_score(mutant, Outcome.ERROR, record), exit=Exit.USAGE if blame == Exit.KERNEL else blame)
    if not any(record.verdict is Verdict.PASS for record in verdicts):
        return Score(mutant.name, Outcome.ERROR, reason="no test of this cell ran", exit=Exit.USAGE)
    return Score(mutant.name, Outcome.SURVIVED)


def _score(mutant: Mutant, outcome: Outcome, record: VerdictRecord) -> Score:
    return Score(
        mutant.name, outcome, record.cell, record.suite, record.test, str(record.verdict), record.reason.strip()
    )


def settle(mutant: Mutant, score: Score) -> Score:
    """The final score. A mutant that is said to be equivalent must have survived."""
    if not mutant.equivalent or score.outcome is Outcome.ERROR:
        return score
    if score.outcome is Outcome.SURVIVED:
        return replace(score, outcome=Outcome.EQUIVALENT, reason=mutant.equivalent)
    said = f"{mutant.path}: Equivalent: it is not, {score.suite} {score.test} sees it: {score.reason}"
    return replace(score, outcome=Outcome.ERROR, reason=said, exit=Exit.USAGE)


class _Ahead:
    """Builds the kernel of the next mutant in the background, into the cache. A failure is ignored
    here: the run of that mutant will meet it."""

    def __init__(self, request: MutantsRequest, mutant: Mutant, cell: str) -> None:
        self.seconds = 0.0
        self.step = "waiting"
        self._stack = ExitStack()
        order = builder.Order([cell], None, None, str(request.matrix), [str(mutant.path)])
        events = self._stack.enter_context(named(request.on).build(order))
        self._thread = threading.Thread(target=self._follow, args=(events,), daemon=True)
        self._thread.start()

    def _follow(self, events: Iterator[builder.Event]) -> None:
        started = time.monotonic()
        with suppress(Blamed):  # the run will meet it
            for event in events:
                self.step = event.text if event.kind == "progress" else event.kind
        self.seconds = time.monotonic() - started

    def wait(self, watcher: Watcher, cell: str) -> float:
        """Wait for the build. Returns the seconds that it took."""
        while self._thread.is_alive():
            watcher.building(cell, self.step)
            self._thread.join(0.5)
        self._stack.close()
        return self.seconds

    def stop(self) -> None:
        self._stack.close()
        self._thread.join(10)


def hunt(request: MutantsRequest, watcher: Watcher) -> tuple[Path, Scores]:
    """Build and test each mutant. Returns the hunt's directory and the scores. The directory has
    score.json and a run for each tested kernel. An interruption ends the hunt early."""
    directory = records.new_directory(request.results, PREFIX)
    plan = [(mutant, _cells(request, mutant)) for mutant in request.mutants]
    todo = [(mutant, cells) for mutant, cells in plan if cells]
    watcher.hunt(directory, len(todo), pace(request.results) * len(todo))
    done = Scores("running", records.now(), 0.0, tuple(_untried(mutant) for mutant, cells in plan if not cells))
    began = time.monotonic()
    ahead = None
    with kill_interrupts():
        try:
            ahead = _Ahead(request, todo[0][0], todo[0][1][0]) if todo else None
            for number, (mutant, cells) in enumerate(todo):
                assert ahead
                watcher.trying(mutant, cells[0])
                build = ahead.wait(watcher, cells[0])
                following = todo[number + 1 : number + 2]
                ahead = next((_Ahead(request, following_, first[0]) for following_, first in following), None)
                score = replace(_test(request, mutant, cells, directory, watcher), build=round(build, 1))
                passed = time.monotonic() - began
                score = replace(score, seconds=round(passed - done.seconds, 1))
                done = keep(directory, replace(done, seconds=round(passed, 1), scores=(*done.scores, score)))
                watcher.scored(score)
            done = replace(done, status="finished")
        except KeyboardInterrupt:
            missing = [m for m, _ in todo if m.name not in {score.mutant for score in done.scores}]
            left = tuple(Score(mutant.name, Outcome.LEFT, reason="the hunt was interrupted") for mutant in missing)
            done = replace(done, status="interrupted", scores=done.scores + left)
        finally:
            if ahead:
                ahead.stop()
    return directory, keep(directory, done)


def listed(mutants: Sequence[Mutant]) -> Iterator[str]:
    """One line for each mutant, below its folder: name and subject."""
    for folder, ones in groupby(mutants, key=lambda mutant: mutant.path.parent.name):
        yield f"{folder}:"
        for mutant in ones:
            yield f"  {mutant.name}: {mutant.title}{' (equivalent)' * bool(mutant.equivalent)}"


def planned(request: MutantsRequest) -> Iterator[str]:
    """One line for each mutant: the cells that it would be tried in, and the suites that would run first."""
    tried = 0
    for mutant in request.mutants:
        cells = _cells(request, mutant)
        tried += bool(cells)
        where = f"{', then '.join(cells)}; first {' '.join(mutant.suites)}" if cells else "not tried"
        yield f"{mutant.name}: {where}" + (f": {_untried(mutant).reason}" if not cells else "")
    minutes = pace(request.results) * tried / 60
    yield f"{tried} mutants of {len(request.mutants)}, about {minutes:.0f} min; nothing was built"


def _cells(request: MutantsRequest, mutant: Mutant) -> list[str]:
    """The cells in which a mutant is tried, the likeliest first."""
    if mutant.equivalent and not request.equivalents:
        return []
    return [cell for cell in mutant.cells if cell in request.cells or not request.cells]


def _untried(mutant: Mutant) -> Score:
    if mutant.equivalent:
        return Score(mutant.name, Outcome.EQUIVALENT, reason=mutant.equivalent)
    return Score(mutant.name, Outcome.LEFT, reason=f"it shows in {' '.join(mutant.cells)}")


def _test(request: MutantsRequest, mutant: Mutant, cells: Sequence[str], directory: Path, watcher: Watcher) -> Score:
    """Test a mutant cell by cell, until one shows it."""
    started = time.monotonic()
    score = Score(mutant.name, Outcome.LEFT)
    for cell in cells:
        if cell != cells[0]:
            watcher.trying(mutant, cell)
        asked = session.RunRequest(
            cells=[cell],
            accel=request.accel,
            workers=request.workers,
            patches=[str(mutant.path)],
            stop=True,
            first=list(mutant.suites),
            results=directory / mutant.name,
            matrix=request.matrix,
            on=request.on,
        )
        try:
            trial = attempt(asked, watcher)
            score = replace(judge(mutant, trial.records), run=str(trial.directory.relative_to(directory)))
        except Blamed as error:
            score = Score(mutant.name, Outcome.ERROR, cell, reason=str(error), exit=error.exit)
        if score.outcome is not Outcome.SURVIVED:
            break
    else:
        score = replace(score, cell=" ".join(cells))
    return replace(settle(mutant, score), test_seconds=round(time.monotonic() - started, 1))


def keep(directory: Path, scores: Scores) -> Scores:
    """Write score.json."""
    save_json(directory / "score.json", asdict(scores))
    return scores


def load_scores(directory: Path) -> Scores:
    """The scores in the directory of a hunt. Raises UsageError if they cannot be read, OSError."""
    return stored.load(directory / "score.json", Scores)


def pace(results: Path) -> float:
    """The seconds per mutant in the last hunt that tested any."""
    for directory in sorted(results.glob(f"{PREFIX}*"), reverse=True):
        try:
            tested = load_scores(directory).tested
        except (OSError, UsageError):
            continue  # the hunt was killed before the first score, or the disk was full
        if tested:
            return sum(score.seconds for score in tested) / len(tested)
    return GUESS_SECONDS


def clean(mutants: Sequence[Mutant], cells: Sequence[str], times: int) -> session.RunRequest:
    """The request for a run without any mutant, in the same cells: every failure is a false alarm."""
    shown = dict.fromkeys(cell for mutant in mutants for cell in mutant.cells if cell in cells or not cells)
    return session.RunRequest(cells=list(shown), repeat=times)
