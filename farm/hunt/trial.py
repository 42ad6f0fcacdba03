# SPDX-License-Identifier: GPL-2.0
"""One kernel under one selection of tests: what every hunt is made of."""

from dataclasses import dataclass
from pathlib import Path

from farm.base import cache
from farm.base.errors import FarmError
from farm.kernel import builder, kconfig
from farm.run import records, session
from farm.run.records import Verdict, VerdictRecord, signature

#: What is said of a kernel that was tested. All else says that it could not be.
TESTED = frozenset({Verdict.PASS, Verdict.FAIL, Verdict.CRASH, Verdict.HANG, Verdict.SKIP})


@dataclass(frozen=True)
class Trial:
    """What came of one run; its directory has the rest."""

    directory: Path
    records: tuple[VerdictRecord, ...]

    @property
    def red(self) -> tuple[VerdictRecord, ...]:
        """What the kernel got wrong, in the order in which it was seen."""
        return tuple(record for record in self.records if record.bad and record.verdict in TESTED)

    @property
    def untested(self) -> str:
        """Why there is nothing to be said of the kernel: it was not built, it did
        not boot, the farm failed. Empty where it was tested."""
        first = next((record for record in self.records if record.verdict not in TESTED), None)
        return f"{first.verdict}: {first.reason.splitlines()[0] if first.reason else ''}" if first else ""


def attempt(request: session.Request, watcher: session.Watcher) -> Trial:
    """Build, boot and test. Raises UsageError and FarmError as `session.execute`
    does, KeyboardInterrupt where the run was interrupted."""
    directory, _ = session.execute(request, watcher)
    if records.load_run(directory).status == "interrupted":
        raise KeyboardInterrupt
    return Trial(directory, tuple(records.load_verdicts(directory)))


def marks(record: VerdictRecord) -> frozenset[str]:
    """The signature; where slots are wrong one for each of them, so that two bugs
    in one frame are told apart."""
    wrong = [slot for slot in record.slots if slot.wrong]
    if record.verdict is not Verdict.FAIL or not wrong:
        return frozenset([signature(record)])
    place = f"{record.verdict} {record.cell} {record.suite} {record.test}"
    return frozenset(f"{place}: wrong {slot.name} ({slot.register})" for slot in wrong)


def build(request: session.Request, watcher: session.Watcher) -> builder.Built:
    """Build the kernel of the one cell of a request. Raises BuildFailed, UsageError, FarmError."""
    order = builder.Order(request.cells, request.tree, request.series, str(request.matrix), request.patches)
    process = builder.start(order)
    try:
        for event in builder.events(process):
            if event.built:
                return event.built
            if event.kind == "failed":
                raise builder.as_error(event.exit)(event.text)
            watcher.building(event.cell, event.text)
        raise FarmError(f"the builder ended with {process.wait()} and said nothing")
    finally:
        process.terminate()
        process.wait()


def binary(request: session.Request, watcher: session.Watcher) -> str:
    """Build as `build` does; the hash of what is booted. Not of System.map and
    debugging information: a changed comment moves lines."""
    built = build(request, watcher)
    return cache.digest((Path(built.kernel) / "bzImage").read_bytes(), cache.digest_files(Path(built.module)))


def config(request: session.Request, watcher: session.Watcher) -> dict[str, str]:
    """Build as `build` does; the options that came out."""
    path = Path(build(request, watcher).kernel) / "config"
    return kconfig.parse(path.read_text(), str(path))
