# SPDX-License-Identifier: GPL-2.0
"""Runs the kernel's own tests on two kernels at once, and repeats those that end worse on one."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from farm.base.errors import BootFailed
from farm.guest import vm
from farm.guest.start import start
from farm.matrix import choose, load
from farm.worker import ftracetest
from farm.worker.ftracetest import Result, Suite
from farm.worker.spec import guest_spec
from farm.worker.unit import Pair

#: The two kernels.
BASE, PATCHED = "base", "patched"

#: Outcomes from good to bad. Those with the same number are equally good.
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

#: How often a test that ended worse is repeated in fresh guests of both kernels. Some of these
#: tests depend on timing and are flaky on one and the same kernel: tracer/wakeup passes three
#: times of four.
AGAIN = 4

#: After so many files that are worse in every attempt, one attempt is enough for the others.
ENOUGH = 10

#: Seconds between two reports of progress while no test ends. A boot or a test may take minutes.
REPORT_SECONDS = 1.0


def worse(base: Sequence[str], patched: Sequence[str]) -> bool:
    """Whether the best outcome of the patched kernel is worse than the worst of the base."""
    return min(RANK[outcome] for outcome in patched) > max(RANK[outcome] for outcome in base)


@dataclass(frozen=True)
class Job:
    """A file of tests to run. `again`: in a fresh guest."""

    file: str
    again: bool = False


@dataclass(frozen=True)
class Done:
    """The results of a job on one of the two kernels."""

    kernel: str
    job: Job
    results: Mapping[str, Result]
    console: str
    span: tuple[int, int]
    seconds: float


@dataclass
class Attempts:
    """The runs of a file so far, on each kernel, in order."""

    done: dict[str, list[Done]] = field(default_factory=lambda: {BASE: [], PATCHED: []})

    def outcomes(self, name: str) -> tuple[list[str], list[str]]:
        base, patched = ([done.results[name].outcome for done in self.done[kernel]] for kernel in (BASE, PATCHED))
        return base, patched


#: The name of a test, its outcomes on the base and on the patched kernel, and
#: the first run on the latter.
Compared = tuple[str, list[str], list[str], Done]


def compare(
    pair: Pair,
    consoles: Path,
    report: Callable[[Mapping[str, int]], None],
    notice: Callable[[str], None],
) -> Iterator[Compared]:
    """Run the tests on both kernels at once. Each test comes when it is decided how it ended.

    `report` is called with the number of tests that ran on each kernel, at least once in REPORT_SECONDS;
    `notice` if the guests of a kernel go on under TCG, because KVM does not run them. Raises FarmError
    at once if an artifact is missing; later FarmError, and BootFailed that names the kernel."""
    (cell,) = choose(load(Path(pair.matrix)), [pair.cell])
    specs = {kernel: guest_spec(cell, built, pair.accel) for kernel, built in pair.kernels.items()}
    return _compare(specs, pair.tests, consoles, report, notice)


def _compare(
    specs: Mapping[str, vm.Spec],
    tests: Suite,
    consoles: Path,
    report: Callable[[Mapping[str, int]], None],
    notice: Callable[[str], None],
) -> Iterator[Compared]:
    jobs: dict[str, queue.Queue[Job | None]] = {kernel: queue.Queue() for kernel in specs}
    answers: queue.Queue[Done | BaseException] = queue.Queue()
    for kernel, spec in specs.items():
        # daemon threads: a guest dies with the thread that started it, and the thread with the farm
        arguments = (kernel, spec, tests, consoles, jobs[kernel], answers, notice)
        threading.Thread(target=_serve, args=arguments, daemon=True).start()
    try:
        yield from _until_decided(tests, jobs, answers, report)
    finally:
        for waiting in jobs.values():
            with suppress(queue.Empty):
                while True:
                    waiting.get_nowait()
            waiting.put(None)


def _until_decided(
    tests: Suite,
    jobs: "Mapping[str, queue.Queue[Job | None]]",
    answers: "queue.Queue[Done | BaseException]",
    report: Callable[[Mapping[str, int]], None],
) -> Iterator[Compared]:
    open_files = {file: Attempts() for file in tests.files}
    for file in tests.files:
        for waiting in jobs.values():
            waiting.put(Job(file))
    confirmed, done = 0, dict.fromkeys(jobs, 0)
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


def _serve(
    kernel: str,
    spec: vm.Spec,
    tests: Suite,
    consoles: Path,
    jobs: "queue.Queue[Job | None]",
    answers: "queue.Queue[Done | BaseException]",
    notice: Callable[[str], None],
) -> None:
    """Run jobs in guests of one kernel. After a guest that died, boot the next one."""
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
