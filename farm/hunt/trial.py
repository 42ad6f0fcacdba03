# SPDX-License-Identifier: GPL-2.0
"""One kernel under one selection of tests: what every hunt is made of."""

from dataclasses import dataclass
from pathlib import Path

from farm.guest.splat import normal
from farm.run import records, session
from farm.run.records import Verdict, VerdictRecord

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


def signature(record: VerdictRecord) -> str:
    """The same for the same failure of another kernel: what failed and how,
    without addresses and values."""
    reason = normal(record.reason.partition("\n")[0])
    return f"{record.verdict} {record.cell} {record.suite} {record.test}: {reason}"
