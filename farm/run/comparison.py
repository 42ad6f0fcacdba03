# SPDX-License-Identifier: GPL-2.0
"""The kernel's own tests of ftrace on a kernel and on its base, test by test:
with the series no test may end worse than without."""

import json
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from farm.base.errors import BootFailed, Exit, FarmError, UsageError
from farm.guest import accel, vm
from farm.guest.start import start
from farm.kernel.builder import Built, Order
from farm.kernel.series import resolve
from farm.kernel.tree import from_user
from farm.matrix import MATRIX, RESULTS, choose, load
from farm.record import cellstate, records
from farm.record.records import VerdictRecord
from farm.record.verdict import Verdict
from farm.run import ftracetest, session
from farm.run.ftracetest import Result, Suite
from farm.run.spec import guest_spec
from farm.run.watcher import Watcher as RunWatcher

SUITE = "selftests"
COMPARISON = "comparison.json"

#: The two kernels.
BASE, PATCHED = "base", "patched"

#: From good to bad. Those of the same number are as good as one another.
RANK = {
    "PASS": 0,
    "XFAIL": 0,
    "UNTESTED": 1,
    "UNSUPPORTED": 1,
    "UNRESOLVED": 2,
    "FAIL": 3,
    "UNDEFINED": 3,
    "NONE": 3,
    "HANG": 4,
    "CRASH": 5,
}

#: How often a test that ended worse is tried again in fresh guests of both
#: kernels. Some of these tests depend on the time that things take, and end
#: now so, now so, on one and the same kernel: tracer/wakeup, three times of four.
AGAIN = 4

#: Files that are worse whenever they are tried, after which one attempt is enough.
ENOUGH = 10

#: Seconds between two reports of progress while no test ends: a boot or a test may take minutes.
REPORT_SECONDS = 1.0


class Watcher(RunWatcher, Protocol):
    """Who wants to know how a comparison goes on. `done` counts the tests that ran on each kernel."""

    def comparing(self, cell: str, done: Mapping[str, int]) -> None: ...


def worse(base: Sequence[str], patched: Sequence[str]) -> bool:
    """Whether the best that the patched kernel did is worse than the worst of the base."""
    return min(RANK[outcome] for outcome in patched) > max(RANK[outcome] for outcome in base)


def told(outcomes: Sequence[str]) -> str:
    """The outcomes of one test on one kernel, in short."""
    same = len(outcomes) > 1 and len(set(outcomes)) == 1
    return f"{len(outcomes)} times {outcomes[0]}" if same else ", ".join(outcomes)


def judge(base: Sequence[str], patched: Sequence[str]) -> tuple[Verdict, str]:
    """The verdict on the outcomes of one test, all attempts of it, and the reason."""
    first, last = base[0], patched[0]
    if worse(base, patched):
        verdict = Verdict(last) if last in ("CRASH", "HANG") else Verdict.FAIL
        return verdict, f"{told(base)} on the base, {told(patched)} with the series"
    if len(base) > 1 and len({*base, *patched}) > 1:
        return Verdict.PASS, f"not steady: {told(base)} on the base, {told(patched)} with the series"
    if first == last == "PASS":
        return Verdict.PASS, ""
    if RANK[last] in (1, 2):
        return Verdict.SKIP, f"{last}, and {first} on the base"
    return Verdict.PASS, f"no worse: {last}, and {first} on the base"


@dataclass(frozen=True)
class Job:
    """A file of tests to be run; again: in a fresh guest."""

    file: str
    again: bool = False


@dataclass(frozen=True)
class Done:
    """A job that was run on one of the two kernels."""

    kernel: str
    job: Job
    results: Mapping[str, Result]
    console: str
    span: tuple[int, int]
    seconds: float


@dataclass
class Attempts:
    """What is known of a file so far: the runs on each kernel, in order."""

    done: dict[str, list[Done]] = field(default_factory=lambda: {BASE: [], PATCHED: []})

    def outcomes(self, name: str) -> tuple[list[str], list[str]]:
        base, patched = ([done.results[name].outcome for done in self.done[kernel]] for kernel in (BASE, PATCHED))
        return base, patched


#: The name of a test, its outcomes on the base and on the patched kernel, and
#: the first run on the latter.
Compared = tuple[str, list[str], list[str], Done]


def compare(
    specs: Mapping[str, vm.Spec],
    tests: Suite,
    consoles: Path,
    report: Callable[[Mapping[str, int]], None],
    notice: Callable[[str], None],
) -> Iterator[Compared]:
    """Run the tests on both kernels at once, and say of each what came of it when it is decided.

    `report` is called with the number of tests that ran on each kernel, at least once a REPORT_SECONDS;
    `notice` if a kernel's guests go on under TCG, as KVM does not run them."""
    jobs: dict[str, queue.Queue[Job | None]] = {kernel: queue.Queue() for kernel in specs}
    answers: queue.Queue[Done | BaseException] = queue.Queue()
    for kernel, spec in specs.items():
        # daemons: a guest dies with the thread that started it, and that with the farm
        arguments = (kernel, spec, tests, consoles, jobs[kernel], answers, notice)
        threading.Thread(target=_serve, args=arguments, daemon=True).start()
    open_files = {file: Attempts() for file in tests.files}
    for file in tests.files:
        for waiting in jobs.values():
            waiting.put(Job(file))
    confirmed, done = 0, dict.fromkeys(specs, 0)
    while open_files:
        report(done)
        try:
            answer = answers.get(timeout=REPORT_SECONDS)
        except queue.Empty:
            continue
        if isinstance(answer, BaseException):
            raise answer
        file = answer.job.file
        done[answer.kernel] += 0 if answer.job.again else len(tests.names(file))
        attempts = open_files[file]
        attempts.done[answer.kernel].append(answer)
        if len(attempts.done[BASE]) != len(attempts.done[PATCHED]):
            continue
        is_worse = any(worse(*attempts.outcomes(name)) for name in tests.names(file))
        if is_worse and len(attempts.done[BASE]) <= AGAIN and confirmed < ENOUGH:
            for waiting in jobs.values():
                waiting.put(Job(file, again=True))
            continue
        confirmed += is_worse
        del open_files[file]
        for name in tests.names(file):
            yield (name, *attempts.outcomes(name), attempts.done[PATCHED][0])
    for waiting in jobs.values():
        waiting.put(None)


def _serve(
    kernel: str,
    spec: vm.Spec,
    tests: Suite,
    consoles: Path,
    jobs: "queue.Queue[Job | None]",
    answers: "queue.Queue[Done | BaseException]",
    notice: Callable[[str], None],
) -> None:
    """Run jobs in guests of one kernel, the next one after each that went down."""
    number = 0

    def log() -> Path:
        nonlocal number
        number += 1
        return consoles / f"{kernel}-{number}.log"

    with ExitStack() as stack:
        guest: vm.Guest | None = None
        try:
            while (job := jobs.get()) is not None:
                if guest is None or job.again:
                    stack.close()
                    guest, distrust = start(stack, spec, log)
                    if distrust:
                        spec = replace(spec, accel="tcg")
                        notice(f"KVM is distrusted, the {kernel} kernel goes on under TCG: {distrust}")
                    ftracetest.install(guest, tests)
                started = time.monotonic()
                results, span = ftracetest.run(guest, tests, job.file)
                seconds = round(time.monotonic() - started, 3)
                answers.put(Done(kernel, job, results, f"{kernel}-{number}.log", span, seconds))
                if any(result.outcome in ("CRASH", "HANG") for result in results.values()):
                    guest = None
        except BootFailed as error:
            answers.put(BootFailed(f"the {kernel} kernel: {error}"))
        except BaseException as error:
            answers.put(error)


@dataclass(frozen=True)
class SelftestsRequest:
    """What the command line asks to be compared."""

    cell: str
    select: str = ""
    tree: str | None = None
    series: str | None = None
    base: str | None = None
    patches: Sequence[str] = ()
    accel: str = "auto"
    results: Path = RESULTS
    matrix: Path = MATRIX


def orders(request: SelftestsRequest) -> dict[str, Order]:
    """What has to be built for it. The base of a tree that has the feature
    already is the farm's own source, unless the user names another; patches are put on
    the other kernel. Raises UsageError for a cell without a guest."""
    (cell,) = choose(load(request.matrix), [request.cell])
    if cell.machine is None:
        raise UsageError(f"{cell.name} is only built, it has no guest; see `farm cells`")
    base = request.base
    if not base and request.tree and not from_user(request.tree).has_feature:
        base = request.tree
    cells, matrix = [request.cell], str(request.matrix)
    return {
        BASE: Order(cells, base, "none", matrix),
        PATCHED: Order(cells, request.tree, request.series, matrix, list(request.patches)),
    }


def execute(request: SelftestsRequest, built: Mapping[str, Built], watcher: Watcher) -> tuple[Path, Exit]:
    """Compare the kernels that were built; the run directory and the exit status."""
    matrix = load(request.matrix)
    (cell,) = choose(matrix, [request.cell])
    assert cell.machine, "orders() refuses others"
    source = resolve(cell, matrix.trees[cell.tree], request.tree, request.series, request.patches)
    tests = ftracetest.suite(source, request.select)
    chosen = accel.choose(request.accel)
    specs = {kernel: guest_spec(cell, one, chosen.name) for kernel, one in built.items()}
    names = [name for file in tests.files for name in tests.names(file)]
    directory, run = session.begin(
        request.results,
        chosen,
        tree=request.tree,
        series=request.series,
        select=request.select,
        cells=[cell.name],
        workers=len(specs),
        matrix=str(request.matrix),
        planned=len(names),
        patches=list(request.patches),
    )
    watcher.began(directory, run)
    cellstate.tell_built(directory, built[PATCHED])
    for kernel, one in built.items():
        watcher.built(cell.name, f"{one.kernel_key}, {kernel}: {one.source}")
    watcher.plan([cell.name] * len(names))
    compared = compare(
        specs,
        tests,
        cellstate.directory(directory, cell.name),
        lambda done: watcher.comparing(cell.name, done),
        watcher.notice,
    )
    return directory, judge_all(directory, cell.name, compared, watcher)


def judge_all(directory: Path, cell: str, compared: Iterator[Compared], watcher: Watcher) -> Exit:
    comparison: dict[str, dict[str, list[str]]] = {}
    verdicts = []
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # a kill ends it as Ctrl-C does
    try:
        for name, base, patched, done in compared:
            comparison[name] = {BASE: base, PATCHED: patched}
            verdict, reason = judge(base, patched)
            log = done.results[name].log if verdict not in (Verdict.PASS, Verdict.SKIP) else ""
            record = VerdictRecord(
                name, SUITE, cell, verdict, done.seconds, reason, log, (), len(patched), done.console, done.span
            )
            records.append_verdict(directory, record)
            verdicts.append(record)
            watcher.verdict(record)
    except BaseException:
        records.update_run(directory, status="interrupted", finished=records.now())
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        (directory / COMPARISON).write_text(json.dumps(comparison, indent=1) + "\n")
    if not any("PASS" in outcomes[BASE] for outcomes in comparison.values()):
        raise FarmError("not one test passed on the base: there is nothing to compare with")
    status = records.exit_status(verdicts)
    records.update_run(directory, status="finished", finished=records.now(), exit=int(status))
    return status


def load_comparison(directory: Path) -> dict[str, dict[str, list[str]]]:
    """For each test the outcomes on both kernels, by what `execute` left."""
    return dict(json.loads((directory / COMPARISON).read_text()))


def tally(comparison: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, Counter[str]]:
    """How often each outcome was the first of a test, for both kernels."""
    return {kernel: Counter(outcomes[kernel][0] for outcomes in comparison.values()) for kernel in (BASE, PATCHED)}
