# SPDX-License-Identifier: GPL-2.0
"""What an executor tells of a run: into its directory, and to who looks on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farm.artifact import locate
from farm.base.atomic import naming
from farm.base.errors import Exit, FarmError, UsageError, refused
from farm.kernel.builder import Built, Event
from farm.record import cellstate, records
from farm.record.records import Planned, Run, VerdictRecord
from farm.record.verdict import Verdict
from farm.run.watcher import Watcher

_CHANGED = """\
{}: {} would go on with another kernel than it began with: the tree, the series, the
configuration or the compiler has changed since. Undo that, or start a new run"""


class Ledger:
    """The sink of a run (farm.execute.contract): all that it is told is kept, and no test is forgotten.

    `done` are the verdicts that an interrupted run had already.
    """

    def __init__(self, directory: Path, run: Run, watcher: Watcher, done: Sequence[VerdictRecord] = ()) -> None:
        self._directory = directory
        self._run = run
        self._watcher = watcher
        self._before = len(done)
        self._open = list(run.cells)
        #: failures that are the host's, as long as they may be those of every cell
        self._held: list[Event] = []
        self._planned: list[Planned] = []
        self.records: list[VerdictRecord] = list(done)

    def build_event(self, event: Event) -> None:
        """Raises UsageError and FarmError for what is wrong with each cell, OSError."""
        if event.kind == "progress":
            self._watcher.building(event.cell, event.text)
            return
        self._open.remove(event.cell)
        if event.log:
            _copy(Path(event.log), cellstate.directory(self._directory, event.cell) / "build.log")
        if event.exit == Exit.USAGE:
            raise UsageError(event.text)
        if event.exit == Exit.FARM and len(self._held) + len(self._open) + 1 == len(self._run.cells):
            self._held.append(event)
            if not self._open:  # no cell has a kernel, and none is to blame for it
                raise FarmError("\n".join(dict.fromkeys(event.text for event in self._held)))
            return
        while self._held:
            self._failed(self._held.pop(0))
        if event.built:
            self._built(event.built)
        else:
            self._failed(event)

    def _built(self, built: Built) -> None:
        before = cellstate.load_built(self._directory, built.cell)
        if before and before.kernel_key != built.kernel_key:
            raise UsageError(_CHANGED.format(self._directory, built.cell))
        where, kernel = cellstate.directory(self._directory, built.cell), locate(built.kernel, built.cell)
        for name in ("config", "dropped-options", "build.log", "metadata.json", "reproducer.sh"):
            _copy(kernel / name, where / name)
        cellstate.tell_built(self._directory, built)
        self._watcher.built(built.cell, built.kernel_key)

    def _failed(self, event: Event) -> None:
        self._watcher.built(event.cell, f"failed: {event.text}")
        cellstate.tell_failed(self._directory, event)

    def planned(self, tests: Sequence[Planned]) -> None:
        """Raises UsageError if there is no test, FarmError if the record cannot be written."""
        if not tests and not self.records:
            raise UsageError(f"-k {self._run.select!r} selects no test")
        self._planned = list(tests)
        self._watcher.plan([test.cell for test in tests])
        self._update(planned=len(tests) + len(self.records))

    def verdict(self, record: VerdictRecord) -> None:
        """Raises FarmError if it cannot be written."""
        records.append_verdict(self._directory, record)
        self.records.append(record)
        self._watcher.verdict(record)

    def distrusted(self, reason: str) -> None:
        """Say that a run which began under KVM goes on under TCG, and keep it with the run."""
        self._update(accel="tcg", accel_reason=reason, distrusted=reason)
        self._watcher.notice(f"KVM is distrusted, the run goes on under TCG: {reason}")

    @property
    def without_verdict(self) -> int:
        """How many planned tests have none yet."""
        return len(self._planned) - len({(r.test, r.suite, r.cell) for r in self.records[self._before :]})

    def account(self, reason: str) -> None:
        """Every planned test without a verdict is LOST."""
        # what counts is on disk: an interrupt may have come between there and the list
        self.records = list(records.load_verdicts(self._directory))
        have = {Planned(one.test, one.suite, one.cell, one.attempt) for one in self.records}
        for test in self._planned:
            if test not in have:
                self.verdict(
                    VerdictRecord(test.test, test.suite, test.cell, Verdict.LOST, 0.0, reason, attempt=test.attempt)
                )

    def _update(self, **changes: Any) -> None:
        try:
            records.update_run(self._directory, **changes)
        except OSError as error:  # as with a full disk
            raise refused(error) from error


def _copy(source: Path, destination: Path) -> None:
    if source.exists():
        with naming(destination):
            destination.write_bytes(source.read_bytes())
