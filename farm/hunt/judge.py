# SPDX-License-Identifier: GPL-2.0
"""What a hunt looks for, and how it judges one kernel.

A hunt searches the points between a good and a bad end. Points are revisions or
configurations. The bad end decides what is hunted: one failure of one test, which is
recognised by its mark. A point is bad if the test fails with that mark. It is good if the
test passes often enough (farm.hunt.sequential). Otherwise it is skipped: its kernel was not
built or did not boot, the farm failed, or the test fails in another way, which may hide the
hunted failure. Other red tests do not count.

The state is on disk before the next step begins. The same command continues a hunt that was
killed.
"""

import errno
import fcntl
import math
import os
import shutil
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from farm.base import cache
from farm.base.errors import BuildFailed, Exit, FarmError, UsageError
from farm.hunt import evidence
from farm.hunt.evidence import Answer, Evidence, Failure, Hunt, Role, Status
from farm.hunt.sequential import FEW, MANY, passes_needed, rarest_seen, share
from farm.hunt.trial import Config, Trial, attempt, binary, config, marks
from farm.kernel.build import NEEDED_BYTES
from farm.kernel.tree import disk_left, need_disk
from farm.matrix import CHECKOUT, MATRIX, RESULTS, load
from farm.record import records
from farm.record.records import VerdictRecord
from farm.record.verdict import MEANING, Verdict
from farm.run import session
from farm.run.watcher import Watcher

#: Expected seconds for a test, on two cores without KVM, until one was measured.
TEST_GUESS = 20.0

#: How long a batch of attempts may take: a kill loses at most one.
BATCH_SECONDS = 120.0

#: After so many failures of the farm in a row, the hunt ends.
ACCIDENTS = 3

#: After so many attempts that were neither a pass nor the hunted failure, a revision is skipped.
OTHERS = 10

#: Disk space for the records of a trial.
RECORDS_BYTES = 64 << 20

#: A build that took less time found its kernel in the cache.
CACHED_SECONDS = 5.0

#: Attempts in one run, until it is known how long one takes.
FIRST_BATCH = 20

#: If a failure was seen once in n attempts, the hunt gives up after PATIENCE * n attempts without
#: it. The chance that this is wrong is exp(-8).
PATIENCE = 8

#: Which of several failures is hunted, the first ones rather: an assertion costs less time than a hang.
EAGER = [Verdict.FAIL, Verdict.CRASH, Verdict.HANG]

#: The verdicts for failures of the farm.
ACCIDENTAL = tuple(verdict for verdict, meaning in MEANING.items() if meaning.blame == Exit.FARM)

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the command line asks of every hunt.

    `patches` go on top of the series at each point. If the bad end has several failures,
    `failure` is a text in the mark of the one to hunt. `confidence` is the wanted probability
    that the result is right. The bad end may pass `tries` times before it counts as good.
    """

    series: str | None = None
    patches: Sequence[str] = ()
    select: str = ""
    failure: str = ""
    confidence: float = 0.99
    tries: int = 50
    accel: str = "auto"
    workers: int = 0
    restart: bool = False
    results: Path = RESULTS
    suites: Path = CHECKOUT / "suites"
    matrix: Path = MATRIX
    on: str = "local"

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise UsageError(f"--confidence {self.confidence}: must be between 0 and 1, as 0.99")

    def run(
        self, cell: str, select: str, hunt: Path, tree: str | None, matrix: Path | None = None
    ) -> session.RunRequest:
        """The request for one run of the hunt."""
        return session.RunRequest(
            cells=[cell],
            tree=tree,
            series=self.series,
            patches=list(self.patches),
            select=select,
            accel=self.accel,
            workers=self.workers,
            results=hunt / evidence.RUNS,
            suites=self.suites,
            matrix=matrix or self.matrix,
            on=self.on,
        )

    @property
    def key(self) -> str:
        """Identifies the question: equal for the same tests of the same series, judged in the same way."""
        asked = [repr(self.series), self.select, self.failure, str(self.confidence), self.accel, str(self.matrix)]
        named = (
            [Path(os.path.expanduser(self.series))]
            if self.series
            else [t.series for t in load(self.matrix).trees.values() if t.series]
        )
        series = [path for directory in named for path in sorted(directory.glob("*.patch"))]
        series += [Path(patch) for patch in self.patches]
        files = [
            part for path in [*series, *sorted(self.suites.glob("*.py"))] for part in (path.name, path.read_bytes())
        ]
        return cache.digest(*asked, *files)


@dataclass(frozen=True)
class Bench:
    """How kernels are built and tested. The farm's own tests replace it."""

    build: Callable[[session.RunRequest, Watcher], str] = binary
    attempt: Callable[[session.RunRequest, Watcher], Trial] = attempt
    config: Callable[[session.RunRequest, Watcher], Config] = config


class Judge(ABC):
    """A hunt in progress."""

    #: Advice for the user if the good end is bad.
    elsewhere = "take another one"
    #: Expected seconds for a build after a step, on two cores, until one was measured.
    build_guess = 60.0

    def __init__(
        self, question: Question, directory: Path, hunt: Hunt, watcher: Watcher, tell: Tell, bench: Bench
    ) -> None:
        self.question, self.directory, self.hunt = question, directory, hunt
        self.watcher, self.tell, self.bench = watcher, tell, bench
        #: Seconds for one attempt of the hunted test, with its share of the run's overhead; 0 if not measured.
        self.attempt_seconds = 0.0
        #: The most recent points, as long as the farm failed at each of them.
        self.accidents: list[Evidence] = []

    @abstractmethod
    def ask(self, point: str, select: str) -> session.RunRequest:
        """The request to run these tests at a point."""

    @abstractmethod
    def subject(self, point: str) -> str:
        """A point in one line."""

    @property
    @abstractmethod
    def steps_left(self) -> int:
        """An estimate of how many points are still to be tested."""

    def save(self) -> None:
        evidence.save(self.directory, self.hunt)

    def forecast(self) -> str:
        """An estimate of the remaining seconds, from the measurements so far."""
        done = [one for one in self.hunt.evidence if one.answer is not Answer.TESTING]
        # the first build of a tree is a full one: it does not predict the others
        builds = [one.build_seconds for one in done if one.build_seconds and one.role is not Role.BAD_END]
        tests = [one.test_seconds for one in done if one.test_seconds and one.role is not Role.BAD_END]
        seconds = statistics.median(builds or [self.build_guess]) + statistics.median(tests or [TEST_GUESS])
        kernels = self.steps_left + 2 - sum(one.role in (Role.BAD_END, Role.GOOD_END) for one in done) + 1
        basis = "" if builds and tests else ", at a guess"
        return f"some {max(1, round(kernels * seconds / 60))} min{basis}"

    def evidence_of(self, role: Role, point: str) -> Evidence:
        """The evidence of a point. Creates it if there is none."""
        found = self.hunt.of(role, point)
        if found is None:
            found = Evidence(role, point, self.subject(point))
            self.hunt.evidence.append(found)
        return found

    def _need_disk(self) -> None:
        need_disk(NEEDED_BYTES)
        if disk_left(self.directory) < RECORDS_BYTES:
            raise FarmError(f"disk full: less than {RECORDS_BYTES >> 20} MiB left below {self.directory}; free some")

    def _build(self, one: Evidence, asked: session.RunRequest) -> None:
        self._need_disk()
        started = time.monotonic()
        try:
            one.binary = self.bench.build(asked, self.watcher)
        finally:
            seconds = time.monotonic() - started
            one.build_seconds = round(seconds, 1) if seconds > CACHED_SECONDS else 0.0

    def _try(self, one: Evidence, asked: session.RunRequest) -> Trial:
        """Do one run, and record it."""
        self._need_disk()
        started = time.monotonic()
        trial = self.bench.attempt(asked, self.watcher)
        seconds = time.monotonic() - started
        one.test_seconds = round(one.test_seconds + seconds, 1)
        one.runs.append(trial.directory.name)
        self.attempt_seconds = seconds / max(1, len({record.attempt for record in trial.records}))
        return trial

    def _batch(self, wanted: float) -> int:
        """How many attempts the next run makes: as many as wanted, within BATCH_SECONDS."""
        most = BATCH_SECONDS / self.attempt_seconds if self.attempt_seconds else FIRST_BATCH
        return max(1, min(math.ceil(wanted), int(most)))

    def _count(self, one: Evidence, trial: Trial, most: int = 0) -> None:
        """Count the attempts of the hunted test, in order. Stops at `most` failures, if given."""
        failure = self.hunt.failure
        assert failure
        for record in sorted(trial.records, key=lambda record: record.attempt):
            if (record.suite, record.test) != (failure.suite, failure.test):
                continue
            if record.verdict is Verdict.PASS:
                one.passes += 1
            elif failure.mark in marks(record):
                one.failures += 1
                one.why = _said(record)
            else:
                one.others += 1
                one.why = one.why if one.failures else f"{record.verdict}: {_said(record)}"
            if one.failures == most > 0:
                return

    def find_failure(self) -> None:
        """Run the selected tests at both ends, and decide what is hunted."""
        hunt, tries = self.hunt, self.question.tries
        hunt.evidence.clear()  # the hunt was interrupted before it knew what it hunts
        bad, at_bad = self.evidence_of(Role.BAD_END, hunt.bad), self.ask(hunt.bad, hunt.select)
        self.tell(f"bad end {hunt.bad[:12]} {bad.subject}")
        trial = self._try_end(hunt.bad_name, bad, at_bad)  # at first, because it refuses a wrong -k before it builds
        self._build(bad, at_bad)
        known = self._known(bad) if hunt.good else set()
        hunt.tried, hunt.tests = 1, max(1, len({(one.suite, one.test) for one in trial.records if _ran(one)}))
        while not (new := _new(trial, known)) and hunt.tried < tries:
            self.tell(f"the bad end has passed {hunt.tried} of up to {tries} times")
            asked = replace(at_bad, repeat=self._batch(tries - hunt.tried), stop=not known)
            trial = self._try(bad, asked)
            seen = {record.attempt for record in trial.records if marks(record) - known and record in trial.red}
            hunt.tried += min(seen, default=asked.repeat)
        if not new:
            raise UsageError(self._no_failure(trial, known))
        hunt.failure = self._choose(new, known)
        for one in hunt.evidence:
            one.test_seconds = 0.0  # from here on, only the hunted test counts
        self.tell(f"hunted: {hunt.failure.mark}")
        if hunt.failure.others:
            self.tell(
                f"and {len(hunt.failure.others)} more failures that the good end has not; --failure TEXT takes another"
            )
        self.save()

    def _known(self, bad: Evidence) -> set[str]:
        """The marks of what fails at the good end as well."""
        hunt = self.hunt
        good, at_good = self.evidence_of(Role.GOOD_END, hunt.good), self.ask(hunt.good, hunt.select)
        self.tell(f"good end {hunt.good[:12]} {good.subject}")
        try:
            self._build(good, at_good)
        except (BuildFailed, UsageError) as error:
            raise UsageError(f"{hunt.good_name} cannot be tested:\n{error}") from error
        if good.binary == bad.binary:
            raise UsageError(
                f"{hunt.good_name} and {hunt.bad_name} give the same kernel in {hunt.cell}, byte by byte: a test "
                "that tells them apart does so by chance"
            )
        return {mark for record in self._try_end(hunt.good_name, good, at_good).red for mark in marks(record)}

    def _try_end(self, name: str, one: Evidence, asked: session.RunRequest) -> Trial:
        trial = self._try(one, asked)
        verdicts = {record.verdict for record in trial.records}
        if trial.untested.startswith(ACCIDENTAL):
            raise FarmError(f"{name} was not tested: {trial.untested}")
        if not any(MEANING[verdict].of_test for verdict in verdicts):
            raise UsageError(f"{name} cannot be tested: {trial.untested or 'no test gave a verdict'}")
        if verdicts == {Verdict.SKIP}:
            raise UsageError(f"-k {asked.select!r} selects only tests that {self.hunt.cell} skips")
        return trial

    def _no_failure(self, trial: Trial, known: set[str]) -> str:
        hunt, tried = self.hunt, self.hunt.tried
        if trial.red:
            return (
                f"{hunt.good_name} is bad: it fails in all the ways in which {hunt.bad_name} does, as "
                f"{sorted(known)[0]}; {self.elsewhere}"
            )
        rare = rarest_seen(tried, hunt.confidence)
        return (
            f"{hunt.bad_name} is good: it passed {tried} times. A failure that shows more often than once in "
            f"{1 / rare:.0f} would have been seen; for a rarer one give --tries"
        )

    def _choose(self, new: list[VerdictRecord], known: set[str]) -> Failure:
        """Choose the failure to hunt among those of the bad end."""
        found: dict[str, VerdictRecord] = {}
        for record in new:
            for mark in sorted(marks(record) - known):
                found.setdefault(mark, record)
        wanted = [mark for mark in found if self.question.failure in mark]
        if not wanted:
            listed = "\n".join(f"  {mark}" for mark in found)
            raise UsageError(f"--failure {self.question.failure!r}: the bad end fails so in no test, but:\n{listed}")
        # an assertion costs less time than a hang and tells more
        mark = min(wanted, key=lambda mark: EAGER.index(found[mark].verdict))
        record = found[mark]
        others = tuple(other for other in found if other != mark)
        select = records.k_expression(record)
        return Failure(mark, record.suite, record.test, _said(record), select, others)

    def measure(self) -> None:
        """Measure how often the bad end fails: test it until it has failed often enough."""
        hunt = self.hunt
        bad = self.evidence_of(Role.BAD_END, hunt.bad)
        if bad.answer is Answer.BAD:
            return
        while bad.answer is Answer.TESTING:
            failure = hunt.failure
            assert failure
            wanted = FEW if hunt.tried == 1 else MANY
            rate = bad.failures / bad.attempts if bad.failures else 1 / hunt.tried
            asked = self.ask(hunt.bad, failure.select)
            before = bad.attempts
            trial = self._try(bad, replace(asked, repeat=self._batch((wanted - bad.failures) / rate)))
            self._count(bad, trial, wanted)
            if bad.failures == wanted:
                bad.answer = Answer.BAD
            elif bad.attempts == before and bad.others >= OTHERS:
                raise UsageError(f"{hunt.bad_name}: the hunted test ends in too many ways, as {bad.why}")
            elif not bad.failures and bad.attempts >= self._patience:
                if failure.select == hunt.select:
                    raise UsageError(f"{hunt.bad_name}: failed once, and then passed {bad.attempts} times")
                self.tell(f"alone the test does not fail: from here all that -k {hunt.select!r} selects is run")
                hunt.failure = replace(failure, select=hunt.select)
                bad.passes = bad.others = 0
            self.save()
        self.tell(f"the bad end failed {bad.failures} of {bad.attempts} times")

    @property
    def _patience(self) -> int:
        """After how many attempts without a failure to give up. The first run had all tests, and one
        of them failed. The hunted test alone may fail much more rarely."""
        assert self.hunt.failure
        tests = 1 if self.hunt.failure.select == self.hunt.select else self.hunt.tests
        return PATIENCE * self.hunt.tried * tests

    def check_good_end(self) -> None:
        hunt = self.hunt
        good = self.evidence_of(Role.GOOD_END, hunt.good)
        if good.answer is Answer.TESTING:
            assert hunt.failure
            self._judge(good, self.ask(hunt.good, hunt.failure.select))
        self.tell(f"good end: {told(good)}")
        if good.answer is Answer.BAD:
            raise UsageError(
                f"{hunt.good_name} is bad: it failed as the bad end does, the {good.attempts}. time that it was "
                f"tried; {self.elsewhere}\n{good.why}"
            )
        if good.answer is Answer.SKIP:
            raise UsageError(f"{hunt.good_name} cannot be tested: {good.why}")

    def _judge(self, one: Evidence, asked: session.RunRequest) -> None:
        """Test until it fails, or until it passed as often as the error bound demands."""
        bad = self.evidence_of(Role.BAD_END, self.hunt.bad)
        number = 1 + sum(other.answer is Answer.GOOD and not other.same_as for other in self.hunt.evidence)
        expected = self.hunt.steps + 2  # the good end and the revert
        one.needed = passes_needed(bad.failures, bad.attempts, share(number, expected, 1 - self.hunt.confidence))
        while one.answer is Answer.TESTING:
            before = one.passes
            trial = self._try(one, replace(asked, repeat=self._batch(one.needed - one.passes), stop=True))
            self._count(one, trial)
            if one.failures:
                one.answer = Answer.BAD
            elif one.passes >= one.needed:
                one.answer, one.why = Answer.GOOD, ""
            elif one.passes == before or one.others >= OTHERS:
                one.answer = Answer.SKIP
                one.why = trial.untested or one.why or "the test gave no verdict"
            self.save()

    @property
    def select(self) -> str:
        """The request that runs the hunted test."""
        assert self.hunt.failure
        return self.hunt.failure.select

    def build_and_judge(self, one: Evidence, asked: session.RunRequest) -> None:
        try:
            self._build(one, asked)
        except (BuildFailed, UsageError) as error:  # the latter: the series does not fit on it
            one.answer, one.why = Answer.SKIP, f"{Verdict.BUILD}: {error}"
        except FarmError as error:
            self._need_disk()
            one.answer, one.why = Answer.SKIP, f"{Verdict.INFRA}: {error}"
        else:
            answered = (Answer.GOOD, Answer.BAD)
            same = [other for other in self.hunt.evidence if other.binary == one.binary and other.answer in answered]
            if same:
                one.answer, one.same_as = same[0].answer, same[0].same_as or same[0].commit
            else:
                self._judge(one, asked)
        self._allow_accidents(one)
        self.save()

    def _allow_accidents(self, last: Evidence) -> None:
        """Raise FarmError if the farm itself failed at the last points. Forget those points."""
        self.accidents = [*self.accidents, last] if last.why.startswith(ACCIDENTAL) else []
        if len(self.accidents) == ACCIDENTS:
            self.hunt.evidence = [one for one in self.hunt.evidence if one not in self.accidents]
            self.save()
            raise FarmError(f"{ACCIDENTS} times in a row it was the farm that failed, at last: {last.why}")


@contextmanager
def alone(directory: Path, restart: bool) -> Iterator[None]:
    """Lock the directory of a hunt. With `restart` it is emptied. Raises UsageError if another
    process hunts there."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_name(f".{directory.name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"{directory}: this hunt is going on already, by another command") from error
        if restart:
            shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(exist_ok=True)
        try:
            yield
        except UsageError:
            if not (directory / evidence.STATE).exists():  # the hunt was refused before it began
                shutil.rmtree(directory, ignore_errors=True)
            raise


def left(directory: Path, tell: Tell) -> Hunt | None:
    """Load the hunt that an earlier command left in a directory, if any."""
    if not (directory / evidence.STATE).exists():
        return None
    hunt = evidence.load(directory)
    if hunt.status is Status.RUNNING:
        tell(f"going on with {directory}, begun at {hunt.started}; --restart begins anew")
    else:
        tell(f"this hunt has ended at {hunt.finished}; --restart begins anew")
    return hunt


@contextmanager
def kept(directory: Path, tell: Tell) -> Iterator[None]:
    """If something ends the hunt early, say how to continue it. Raises FarmError for a full disk."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, UsageError):
            tell(f"stopped; what is known is kept in {directory}, and the same command goes on from there")
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise FarmError(f"disk full while writing below {directory}") from error
        raise


def _new(trial: Trial, known: set[str]) -> list[VerdictRecord]:
    """The failures whose marks are not known."""
    return [record for record in trial.red if marks(record) - known]


def _ran(record: VerdictRecord) -> bool:
    return MEANING[record.verdict].of_test and record.verdict is not Verdict.SKIP


def _said(record: VerdictRecord) -> str:
    return record.reason.partition("\n")[0]


def told(one: Evidence) -> str:
    """An answer and its reason in one line."""
    if one.same_as:
        return f"{one.answer}: the same binary as {one.same_as[:12]}"
    if one.answer is Answer.GOOD:
        return f"{one.answer}: passed {one.passes} times, {one.needed} were needed"
    if one.answer is Answer.BAD:
        return f"{one.answer}: failed {one.failures} of {one.attempts} times"
    return f"{one.answer}: {one.reason}"
