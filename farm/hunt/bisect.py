# SPDX-License-Identifier: GPL-2.0
"""Which commit broke a test: `git bisect`, steered by runs of one cell.

Both ends are tested first. The bad end decides what is hunted: one failure of
one test, known again by its mark. A revision is bad if the test fails with
that mark, good if it passes often enough (farm.hunt.sequential), and skipped
if it does neither: it was not built, did not boot, the farm failed, or the test
fails in another way, behind which the hunted failure may hide. Whatever else
is red says nothing.

The state is on disk before the next step begins, so that a hunt which was
killed is resumed by the same command.
"""

import errno
import fcntl
import math
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from farm.base import cache
from farm.base.command import CommandFailed, run
from farm.base.errors import BuildFailed, FarmError, UsageError
from farm.hunt import evidence, steering
from farm.hunt.evidence import Answer, Evidence, Failure, Hunt, Role, Status
from farm.hunt.sequential import FEW, MANY, passes_needed, rarest_seen, share
from farm.hunt.trial import TESTED, Trial, attempt, build, marks
from farm.kernel.build import NEEDED_BYTES
from farm.kernel.tree import Source, disk_left, from_user, need_disk
from farm.matrix import CHECKOUT, MATRIX, choose, load
from farm.run import records, session
from farm.run.records import Verdict, VerdictRecord
from farm.run.session import Watcher

#: What the command line says when nothing was measured yet: seconds of a build
#: after a small change, and of a test, on two cores without KVM.
BUILD_GUESS, TEST_GUESS = 60.0, 20.0

#: A batch of attempts is as long as what a kill may cost.
BATCH_SECONDS = 120.0

#: Failures of the farm's own, one after the other, until it is no accident.
ACCIDENTS = 3

#: A revision whose test ends so often in ways that say nothing is given up.
OTHERS = 10

#: What a trial's records take.
RECORDS_BYTES = 64 << 20

#: A build that took less had its kernel in the cache.
CACHED_SECONDS = 5.0

#: Attempts for one run before it is known how long one takes.
FIRST_BATCH = 20

#: The bad end failed once in n attempts: so many times n without a failure say
#: that something else was needed for it, of which the chance is exp(-8).
PATIENCE = 8

#: What is hunted first where there is a choice.
EAGER = [Verdict.FAIL, Verdict.CRASH, Verdict.HANG]

#: The farm's own failures.
ACCIDENTAL = [Verdict.INFRA, Verdict.LOST]

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What the command line asks of a hunt.

    `failure` is text in the mark of the failure to hunt, where the bad end has
    several; `confidence` that the commit found is the first bad one; the bad
    end may pass `tries` times before it is called good.
    """

    good: str
    bad: str
    tree: str = "."
    cell: str = "x86_64-regs"
    series: str | None = None
    select: str = ""
    failure: str = ""
    confidence: float = 0.99
    tries: int = 50
    accel: str = "auto"
    workers: int = 0
    restart: bool = False
    results: Path = CHECKOUT / "results"
    suites: Path = CHECKOUT / "suites"
    matrix: Path = MATRIX


@dataclass(frozen=True)
class Bench:
    """How a kernel is built and tried: the farm's way, unless a test has one of its own."""

    build: Callable[[session.Request, Watcher], str] = build
    attempt: Callable[[session.Request, Watcher], Trial] = attempt


def bisect(request: Request, watcher: Watcher, tell: Tell, bench: Bench = Bench()) -> tuple[Path, Hunt]:
    """Hunt to the end, or go on with a hunt that was left; its directory and state.

    Raises UsageError for ends and tests that allow no hunt, FarmError where the
    farm cannot go on, KeyboardInterrupt; the state so far is kept in each case.
    """
    top, good, bad = _ends(request)
    directory = request.results / f"bisect-{_key(request, top, good.commit, bad.commit)}"
    if request.restart and directory.exists():
        with _alone(directory):
            shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with _alone(directory):
        git = steering.open_repository(directory / "steering.git", *_objects(top))
        if (directory / evidence.STATE).exists():
            hunt = evidence.load(directory)
            if hunt.status is not Status.RUNNING:
                tell(f"this hunt has ended at {hunt.finished}; --restart begins anew")
                return directory, hunt
            tell(f"going on with {directory}, begun at {hunt.started}; --restart begins anew")
        else:
            hunt = _begin(request, directory.name, git, top, good.commit, bad.commit)
        steering.start(git, hunt.good, hunt.bad)
        try:
            _Hunter(request, directory, hunt, git, watcher, tell, bench).go()
        except BaseException as error:
            if not isinstance(error, UsageError):
                tell(f"stopped; what is known is kept in {directory}, and the same command goes on from there")
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise FarmError(f"disk full while writing below {directory}") from error
            raise
        return directory, hunt


def _ends(request: Request) -> tuple[Path, Source, Source]:
    """The top of the user's tree, and the sources of both ends."""
    if not 0 < request.confidence < 1:
        raise UsageError(f"--confidence {request.confidence}: must be between 0 and 1, as 0.99")
    (cell,) = choose(load(request.matrix), [request.cell])
    if cell.machine is None:
        raise UsageError(f"--cell {cell.name}: it is only built, it has no guest; see `farm cells`")
    path = Path(request.tree).expanduser()
    if not path.is_dir():
        raise UsageError(f"--tree {request.tree}: no such directory; the revisions are --good and --bad")
    try:
        top = Path(run(["git", "-C", path, "rev-parse", "--show-toplevel"]).strip())
    except CommandFailed as error:
        raise UsageError(
            f"--tree {request.tree}: no git repository that can be read:\n{error.output.strip()}"
        ) from error
    return top, from_user(f"{top}@{request.good}"), from_user(f"{top}@{request.bad}")


def _objects(top: Path) -> tuple[Path, Path]:
    """The user's objects, and the file that says where a shallow clone ends."""
    words = ["git", "-C", str(top), "rev-parse", "--path-format=absolute"]
    return Path(run([*words, "--git-path", "objects"]).strip()), Path(run([*words, "--git-path", "shallow"]).strip())


def _key(request: Request, top: Path, good: str, bad: str) -> str:
    """The same for the same question: ends, cell, series, tests and how they are judged."""
    asked = [str(top), good, bad, request.cell, repr(request.series), request.select, request.failure]
    asked += [str(request.confidence), request.accel, str(request.matrix)]
    suites = [part for path in sorted(request.suites.glob("*.py")) for part in (path.name, path.read_bytes())]
    return cache.digest(*asked, *suites)[:8]


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Nobody else hunts in this directory. Raises UsageError if somebody does."""
    with directory.with_name(f".{directory.name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"{directory}: this hunt is going on already, by another command") from error
        yield


def _begin(request: Request, name: str, git: steering.Steering, top: Path, good: str, bad: str) -> Hunt:
    """A new hunt. Raises UsageError for ends between which there is nothing to find."""
    if good == bad:
        raise UsageError(f"--good {request.good} and --bad {request.bad} are the same commit, {good[:12]}")
    if not steering.is_ancestor(git, good, bad):
        raise UsageError(_unrelated(request, git, good, bad))
    commits = int(git.git("rev-list", "--count", bad, f"^{good}"))
    return Hunt(
        id=name,
        command=sys.argv,
        tree=str(top),
        good=good,
        bad=bad,
        good_name=request.good,
        bad_name=request.bad,
        cell=request.cell,
        series=request.series,
        select=request.select,
        confidence=request.confidence,
        commits=commits,
        steps=math.ceil(math.log2(commits)) if commits > 1 else 0,
        started=records.now(),
    )


def _unrelated(request: Request, git: steering.Steering, good: str, bad: str) -> str:
    if steering.is_ancestor(git, bad, good):
        return (
            f"--good {request.good} descends from --bad {request.bad}: what is hunted here is where a test broke, "
            "not where it was repaired; were they swapped?"
        )
    base = steering.merge_base(git, good, bad)
    if not base:
        return f"--good {request.good} and --bad {request.bad} have no ancestor in common"
    return (
        f"--good {request.good} is no ancestor of --bad {request.bad}; they parted at {base[:12]} "
        f"({git.subject(base)}): if that one is good, hunt with --good {base[:12]}"
    )


class _Hunter:
    """One hunt while it goes on."""

    def __init__(
        self,
        request: Request,
        directory: Path,
        hunt: Hunt,
        git: steering.Steering,
        watcher: Watcher,
        tell: Tell,
        bench: Bench,
    ) -> None:
        self.request, self.directory, self.hunt, self.git = request, directory, hunt, git
        self.watcher, self.tell, self.bench = watcher, tell, bench
        #: Of an attempt of the hunted test, the share in its run's included; 0: not measured.
        self.attempt_seconds = 0.0

    def go(self) -> None:
        hunt = self.hunt
        self.tell(f"hunt {self.directory}")
        status = run(["git", "-C", hunt.tree, "--no-optional-locks", "status", "--porcelain", "--untracked-files=no"])
        if status:
            self.tell(f"{hunt.tree} has uncommitted changes: they are in no revision, and stay as they are")
        self.save()
        self.tell(
            f"{hunt.commits} commits: both ends, about {hunt.steps} steps and a test of the revert, "
            f"{self._forecast()}; a tree's first build takes some minutes more"
        )
        if hunt.failure is None:
            self._find_failure()
        self._measure()
        self._check_good_end()
        self._steer()
        if len(hunt.candidates) == 1:
            self._confirm(hunt.candidates[0])
        hunt.status = Status.FOUND if len(hunt.candidates) == 1 else Status.UNDECIDED
        hunt.finished = records.now()
        self.save()

    def save(self) -> None:
        evidence.save(self.directory, self.hunt)

    def _forecast(self) -> str:
        """How long it will still take, from what was measured so far."""
        done = [one for one in self.hunt.evidence if one.answer is not Answer.TESTING]
        # the first build of a tree is a full one, and says nothing of the others
        builds = [one.build_seconds for one in done if one.build_seconds and one.role is not Role.BAD_END]
        tests = [one.test_seconds for one in done if one.test_seconds and one.role is not Role.BAD_END]
        seconds = statistics.median(builds or [BUILD_GUESS]) + statistics.median(tests or [TEST_GUESS])
        kernels = self._steps_left + 2 - sum(one.role in (Role.BAD_END, Role.GOOD_END) for one in done) + 1
        basis = "" if builds and tests else ", at a guess"
        return f"some {max(1, round(kernels * seconds / 60))} min{basis}"

    @property
    def _steps_left(self) -> int:
        """Answers that git will still ask for, if none is a skip."""
        left = self.git.left
        return math.ceil(math.log2(left)) if left > 1 else 0

    # Trials

    def _ask(self, commit: str, select: str) -> session.Request:
        return session.Request(
            cells=[self.request.cell],
            tree=f"{self.hunt.tree}@{commit}",
            series=self.request.series,
            select=select,
            accel=self.request.accel,
            workers=self.request.workers,
            results=self.directory / evidence.RUNS,
            suites=self.request.suites,
            matrix=self.request.matrix,
        )

    def _evidence(self, role: Role, commit: str) -> Evidence:
        """What is known of a revision, begun if nothing is."""
        found = self.hunt.of(role, commit)
        if found is None:
            found = Evidence(role, commit, self.git.subject(commit))
            self.hunt.evidence.append(found)
        return found

    def _need_disk(self) -> None:
        need_disk(NEEDED_BYTES)
        if disk_left(self.directory) < RECORDS_BYTES:
            raise FarmError(f"disk full: less than {RECORDS_BYTES >> 20} MiB left below {self.directory}; free some")

    def _build(self, one: Evidence, asked: session.Request) -> None:
        self._need_disk()
        started = time.monotonic()
        try:
            one.binary = self.bench.build(asked, self.watcher)
        finally:
            seconds = time.monotonic() - started
            one.build_seconds = round(seconds, 1) if seconds > CACHED_SECONDS else 0.0

    def _try(self, one: Evidence, asked: session.Request) -> Trial:
        """One run, written down."""
        self._need_disk()
        started = time.monotonic()
        trial = self.bench.attempt(asked, self.watcher)
        seconds = time.monotonic() - started
        one.test_seconds = round(one.test_seconds + seconds, 1)
        one.runs.append(trial.directory.name)
        self.attempt_seconds = seconds / max(1, len({record.attempt for record in trial.records}))
        return trial

    def _batch(self, wanted: float) -> int:
        """Attempts for one run: those wanted, and no more than a kill may cost."""
        most = BATCH_SECONDS / self.attempt_seconds if self.attempt_seconds else FIRST_BATCH
        return max(1, min(math.ceil(wanted), int(most)))

    def _count(self, one: Evidence, trial: Trial, most: int = 0) -> None:
        """Add the attempts of the hunted test in their order, up to `most` failures if given."""
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

    # The ends

    def _find_failure(self) -> None:
        """Run what the user selected at both ends, and decide what is hunted."""
        hunt, request = self.hunt, self.request
        hunt.evidence.clear()  # of a hunt that was left before it knew what it hunts
        bad, good = self._evidence(Role.BAD_END, hunt.bad), self._evidence(Role.GOOD_END, hunt.good)
        at_bad, at_good = self._ask(hunt.bad, hunt.select), self._ask(hunt.good, hunt.select)
        self.tell(f"bad end {hunt.bad[:12]} {bad.subject}")
        trial = self._try_end(f"--bad {request.bad}", bad, at_bad)  # first: it refuses a wrong -k before it builds
        self._build(bad, at_bad)
        self.tell(f"good end {hunt.good[:12]} {good.subject}")
        try:
            self._build(good, at_good)
        except (BuildFailed, UsageError) as error:
            raise UsageError(f"--good {request.good} cannot be tested:\n{error}") from error
        if good.binary == bad.binary:
            raise UsageError(
                f"--good {request.good} and --bad {request.bad} give the same kernel in {request.cell}, byte by "
                "byte: a test that tells them apart does so by chance"
            )
        known = {
            mark for record in self._try_end(f"--good {request.good}", good, at_good).red for mark in marks(record)
        }
        hunt.tried = 1
        while not (new := _new(trial, known)) and hunt.tried < request.tries:
            self.tell(f"the bad end has passed {hunt.tried} of up to {request.tries} times")
            asked = replace(at_bad, repeat=self._batch(request.tries - hunt.tried), stop=not known)
            trial = self._try(bad, asked)
            seen = {record.attempt for record in trial.records if marks(record) - known and record in trial.red}
            hunt.tried += min(seen, default=asked.repeat)
        if not new:
            raise UsageError(self._no_failure(trial, known))
        hunt.failure = self._choose(new, known)
        bad.test_seconds = good.test_seconds = 0.0  # what is counted from here is the hunted test alone
        self.tell(f"hunted: {hunt.failure.mark}")
        if hunt.failure.others:
            self.tell(
                f"and {len(hunt.failure.others)} more failures that the good end has not; --failure TEXT takes another"
            )
        self.save()

    def _try_end(self, name: str, one: Evidence, asked: session.Request) -> Trial:
        trial = self._try(one, asked)
        verdicts = {record.verdict for record in trial.records}
        if trial.untested.startswith(tuple(ACCIDENTAL)):
            raise FarmError(f"{name} was not tested: {trial.untested}")
        if not verdicts & TESTED:
            raise UsageError(f"{name} cannot be tested: {trial.untested or 'no test gave a verdict'}")
        if verdicts == {Verdict.SKIP}:
            raise UsageError(f"-k {asked.select!r} selects only tests that {self.request.cell} skips")
        return trial

    def _no_failure(self, trial: Trial, known: set[str]) -> str:
        request, tried = self.request, self.hunt.tried
        if trial.red:
            return (
                f"--good {request.good} is bad: it fails in all the ways in which --bad {request.bad} does, as "
                f"{sorted(known)[0]}; go further back"
            )
        rare = rarest_seen(tried, request.confidence)
        return (
            f"--bad {request.bad} is good: it passed {tried} times. A failure that shows more often than once in "
            f"{1 / rare:.0f} would have been seen; for a rarer one give --tries"
        )

    def _choose(self, new: list[VerdictRecord], known: set[str]) -> Failure:
        """What to hunt of the bad end's failures."""
        found: dict[str, VerdictRecord] = {}
        for record in new:
            for mark in sorted(marks(record) - known):
                found.setdefault(mark, record)
        wanted = [mark for mark in found if self.request.failure in mark]
        if not wanted:
            listed = "\n".join(f"  {mark}" for mark in found)
            raise UsageError(f"--failure {self.request.failure!r}: the bad end fails so in no test, but:\n{listed}")
        # an assertion costs less time than a hang, and says more
        mark = min(wanted, key=lambda mark: EAGER.index(found[mark].verdict))
        record = found[mark]
        others = tuple(other for other in found if other != mark)
        select = records.k_expression(record)
        return Failure(mark, record.suite, record.test, _said(record), select, others)

    def _measure(self) -> None:
        """How often the bad end fails: test it until it has failed often enough."""
        hunt = self.hunt
        bad = self._evidence(Role.BAD_END, hunt.bad)
        if bad.answer is Answer.BAD:
            return
        while bad.answer is Answer.TESTING:
            failure = hunt.failure
            assert failure
            wanted = FEW if hunt.tried == 1 else MANY
            rate = bad.failures / bad.attempts if bad.failures else 1 / hunt.tried
            asked = self._ask(hunt.bad, failure.select)
            before = bad.attempts
            trial = self._try(bad, replace(asked, repeat=self._batch((wanted - bad.failures) / rate)))
            self._count(bad, trial, wanted)
            if bad.failures == wanted:
                bad.answer = Answer.BAD
            elif bad.attempts == before and bad.others >= OTHERS:
                raise UsageError(f"--bad {self.request.bad}: the hunted test ends in too many ways, as {bad.why}")
            elif not bad.failures and bad.attempts >= PATIENCE * hunt.tried:
                if failure.select == hunt.select:
                    raise UsageError(f"--bad {self.request.bad}: failed once, and then passed {bad.attempts} times")
                self.tell(f"alone the test does not fail: from here all that -k {hunt.select!r} selects is run")
                hunt.failure = replace(failure, select=hunt.select)
                bad.passes = bad.others = 0
            self.save()
        self.tell(f"the bad end failed {bad.failures} of {bad.attempts} times")

    def _check_good_end(self) -> None:
        hunt = self.hunt
        good = self._evidence(Role.GOOD_END, hunt.good)
        if good.answer is Answer.TESTING:
            assert hunt.failure
            self._judge(good, self._ask(hunt.good, hunt.failure.select))
        self.tell(f"good end: {told(good)}")
        if good.answer is Answer.BAD:
            raise UsageError(
                f"--good {self.request.good} is bad: it failed as the bad end does, the "
                f"{good.attempts}. time that it was tried; go further back\n{good.why}"
            )
        if good.answer is Answer.SKIP:
            raise UsageError(f"--good {self.request.good} cannot be tested: {good.why}")

    # The steps

    def _judge(self, one: Evidence, asked: session.Request) -> None:
        """Test until one failure, or as many passes as the error bound wants."""
        bad = self._evidence(Role.BAD_END, self.hunt.bad)
        number = 1 + sum(other.answer is Answer.GOOD and not other.same_as for other in self.hunt.evidence)
        expected = self.hunt.steps + 2  # the good end and the revert
        one.needed = passes_needed(bad.failures, bad.attempts, share(number, expected, 1 - self.request.confidence))
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

    def _steer(self) -> None:
        """Answer git's questions until it has none."""
        hunt, git = self.hunt, self.git
        accidents: list[Evidence] = []
        while not git.candidates:
            one = self._evidence(Role.STEP, git.next)
            if one.answer is Answer.TESTING:
                self.tell(f"{git.left} commits left, {self._forecast()}; next: {one.commit[:12]} {one.subject}")
                self._build_and_judge(one, self._ask(one.commit, self._select))
                self.tell(f"  {told(one)}")
            accidents = [*accidents, one] if one.why.startswith(tuple(ACCIDENTAL)) else []
            if len(accidents) == ACCIDENTS:
                hunt.evidence = [other for other in hunt.evidence if other not in accidents]
                self.save()
                raise FarmError(f"{ACCIDENTS} times in a row it was the farm that failed, at last: {one.why}")
            git.answer(one.commit, one.answer)
            (self.directory / evidence.LOG).write_text(git.log)
        (self.directory / evidence.LOG).write_text(git.log)
        for commit in git.candidates:
            hunt.subjects[commit] = git.subject(commit)
        hunt.candidates = git.candidates

    @property
    def _select(self) -> str:
        assert self.hunt.failure
        return self.hunt.failure.select

    def _build_and_judge(self, one: Evidence, asked: session.Request) -> None:
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
        self.save()

    def _confirm(self, culprit: str) -> None:
        """Test the bad end with the culprit reverted."""
        hunt = self.hunt
        patch = steering.revert(self.git, culprit, hunt.bad)
        if not patch:
            hunt.confirmed = "not confirmed: it does not revert from the bad end"
            return
        file = self.directory / evidence.REVERT
        file.write_text(patch)
        one = self._evidence(Role.REVERTED, culprit)
        if one.answer is Answer.TESTING:
            self.tell(f"the bad end with {culprit[:12]} reverted")
            self._build_and_judge(one, replace(self._ask(hunt.bad, self._select), patches=[str(file)]))
            self.tell(f"  {told(one)}")
        hunt.confirmed = {
            Answer.GOOD: f"confirmed: with it reverted the bad end is {told(one)}",
            Answer.BAD: f"not confirmed: with it reverted the bad end still fails: {told(one)}",
        }.get(one.answer, f"not confirmed: with it reverted the bad end cannot be tested: {one.why}")


def _new(trial: Trial, known: set[str]) -> list[VerdictRecord]:
    """What is red, and not in a way that is known."""
    return [record for record in trial.red if marks(record) - known]


def _said(record: VerdictRecord) -> str:
    return record.reason.partition("\n")[0]


def told(one: Evidence) -> str:
    """An answer and what it rests on, in a line."""
    if one.same_as:
        return f"{one.answer}: the same binary as {one.same_as[:12]}"
    if one.answer is Answer.GOOD:
        return f"{one.answer}: passed {one.passes} times, {one.needed} were needed"
    if one.answer is Answer.BAD:
        return f"{one.answer}: failed {one.failures} of {one.attempts} times"
    return f"{one.answer}: {one.why.partition(chr(10))[0]}"
