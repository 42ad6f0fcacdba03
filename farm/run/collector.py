# SPDX-License-Identifier: GPL-2.0
"""The controller's side of pytest and xdist: who runs which suite, and what is said of each test."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from farm.base.errors import Blamed, Exit, FarmError, refused
from farm.kernel.builder import as_error
from farm.record import cellstate, records
from farm.record.records import Planned, VerdictRecord
from farm.record.verdict import Verdict
from farm.run.plugin import planned
from farm.run.watcher import Watcher

#: So many guests in a row that the host did not start, and no other will be tried.
HOPELESS = 3

#: What is said of a worker that xdist could not even give its tests.
WORKER_GONE = (
    "a worker process was killed before it had a test, which is nothing of the kernel's: "
    "is the host short of memory? See `dmesg`"
)


class BySuite(LoadScopeScheduling):
    """xdist's scheduler, with a suite of a cell as the unit, once for each repetition:
    one worker takes it as a whole and keeps its guest for it."""

    def __init__(self, config: pytest.Config, log: Any, cells: list[str]) -> None:
        super().__init__(config, log)
        self._cells = cells

    def remove_node(self, node: WorkerController) -> str | None:
        """Take a worker's tests back when it died; the one that it died in, which has its verdict by that.
        xdist itself would run that one again, and it would have two."""
        units = self.assigned_work[node].values()
        unfinished = (nodeid for unit in units for nodeid, completed in unit.items() if not completed)
        crashed = next(unfinished, None)
        for unit in units:
            if crashed in unit:
                unit[crashed] = True
        super().remove_node(node)
        return crashed

    def _split_scope(self, nodeid: str) -> str:
        test = planned(nodeid, self._cells)
        return f"{test.cell}:{test.suite}:{test.attempt}"


#: Of what pytest says of itself, a screen with what is said besides.
TROUBLE_LINES = 18


class Collector:
    """The controller's side of pytest: reports in, verdicts out, none forgotten."""

    def __init__(self, directory: Path, cells: list[str], watcher: Watcher, done: Sequence[VerdictRecord] = ()) -> None:
        self._directory = directory
        self._cells = cells
        self._watcher = watcher
        self._seconds: dict[str, float] = {}
        self._detail: dict[str, str] = {}
        self.planned: dict[str, Planned] = {}
        self.records: list[VerdictRecord] = list(done)
        #: verdicts that an interrupted run had already
        self.before = len(done)
        self.trouble = ""
        self.error: Blamed | None = None
        self._hopeless = 0
        self._distrusted = False

    @pytest.hookimpl
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> BySuite:
        return BySuite(config, log, self._cells)

    @pytest.hookimpl
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        if not self.planned:
            self.planned = {nodeid: planned(nodeid, self._cells) for nodeid in ids}
            self._watcher.plan([test.cell for test in self.planned.values()])
            self._update(planned=len(self.planned) + len(self.records))

    @pytest.hookimpl
    def pytest_internalerror(self, excrepr: object, excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
        cause = excinfo.value
        if isinstance(cause, OSError) and "cannot send" in str(cause):  # execnet's words
            self.error = self.error or FarmError(WORKER_GONE)
        elif isinstance(cause, OSError):  # a disk that is full, and no error of pytest's
            self.error = self.error or refused(cause, self._directory)
        # the later ones follow from the first, and what went wrong stands at the end
        self.trouble = self.trouble or "\n".join(str(excrepr).splitlines()[-TROUBLE_LINES:])
        return True  # or pytest prints it as well

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.trouble = f"{report.nodeid}:\n{report.longreprtext}"

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: Any) -> None:
        nodeid = report.nodeid
        if report.when == "call":  # what comes before may be the wait for a kernel
            self._seconds[nodeid] = report.duration
        if report.failed:
            self._detail[nodeid] = "\n".join(filter(None, [self._detail.get(nodeid), report.longreprtext]))
        if hasattr(report, "farm"):
            hopeless = report.farm.pop("hopeless")
            # a further attempt has times and a traceback of its own
            seconds, detail = round(self._seconds.pop(nodeid, 0.0), 3), self._detail.pop(nodeid, "")
            self._notice_distrust()
            self.take(records.from_json({**report.farm, "seconds": seconds, "detail": detail}))
            if report.farm["verdict"] != Verdict.SKIP:
                self._consider(hopeless)
        elif report.when not in ("setup", "call"):  # xdist's own report of a worker that died
            missing = self._missing(nodeid, Verdict.INFRA, f"its worker died: {report.longreprtext}")
            # one that dies between a test's report and its next message leaves xdist with that test open
            if _planned(missing) not in map(_planned, self.records):
                self.take(missing)

    def take(self, record: VerdictRecord) -> None:
        try:
            records.append_verdict(self._directory, record)
        except FarmError as error:  # and so it would be with all that follow
            self.error = error
            pytest.exit(str(error))
        self.records.append(record)
        self._watcher.verdict(record)

    def _consider(self, hopeless: tuple[str, int] | None) -> None:
        """End the run where the other tests would get no guest either: at once if the user's
        input is wrong, else when some guests in a row were not started."""
        self._hopeless = self._hopeless + 1 if hopeless else 0
        if hopeless and (hopeless[1] == Exit.USAGE or self._hopeless == HOPELESS):
            self.error = as_error(hopeless[1])(hopeless[0])
            pytest.exit(hopeless[0])

    def _notice_distrust(self) -> None:
        """Say once that a run which began under KVM goes on under TCG, and keep it with the run."""
        if not self._distrusted and (reason := cellstate.distrust(self._directory)):
            self._distrusted = True
            self._update(accel="tcg", accel_reason=reason, distrusted=reason)
            self._watcher.notice(f"KVM is distrusted, the run goes on under TCG: {reason}")

    def _update(self, **changes: Any) -> None:
        """Change the record of the run. Ends it where the host refuses, as with a full disk."""
        try:
            records.update_run(self._directory, **changes)
        except OSError as error:
            self.error = refused(error)
            pytest.exit(str(self.error))

    def _missing(self, nodeid: str, verdict: Verdict, reason: str) -> VerdictRecord:
        test = self.planned.get(nodeid) or planned(nodeid, self._cells)
        return VerdictRecord(test.test, test.suite, test.cell, verdict, 0.0, reason, attempt=test.attempt)

    @property
    def without_verdict(self) -> int:
        """How many planned tests have none yet."""
        return len(self.planned) - len({(r.test, r.suite, r.cell) for r in self.records[self.before :]})

    def account(self, reason: str) -> None:
        """Every planned test without a verdict is LOST."""
        # what counts is on disk: an interrupt may have come between there and the list
        self.records = list(records.load_verdicts(self._directory))
        have = set(map(_planned, self.records))
        for nodeid, test in self.planned.items():
            if test not in have:
                self.take(self._missing(nodeid, Verdict.LOST, reason))


def _planned(record: VerdictRecord) -> Planned:
    return Planned(record.test, record.suite, record.cell, record.attempt)
