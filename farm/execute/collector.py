# SPDX-License-Identifier: GPL-2.0
"""The controller's side of pytest and xdist: distributes suites, and collects verdicts."""

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from farm.base.errors import Blamed, Exit, FarmError, refused
from farm.execute.contract import Sink
from farm.kernel.builder import as_error
from farm.record import records
from farm.record.records import Planned, VerdictRecord
from farm.record.verdict import Verdict
from farm.worker.plugin import planned

#: After so many guests in a row that the host could not start, the run ends.
HOPELESS = 3

#: The message if a worker died before xdist could give it tests.
WORKER_GONE = (
    "a worker process was killed before it had a test, which is nothing of the kernel's: "
    "is the host short of memory? See `dmesg`"
)

#: How many lines of an internal error are kept. With the message around them they fit on a screen.
TROUBLE_LINES = 18

P = ParamSpec("P")


class BySuite(LoadScopeScheduling):
    """xdist's scheduler. One worker takes a suite of a cell as a whole, once for each repetition, and
    keeps its guest for it."""

    def __init__(self, config: pytest.Config, log: Any, cells: Sequence[str]) -> None:
        super().__init__(config, log)
        self._cells = cells

    def remove_node(self, node: WorkerController) -> str | None:
        """Take the tests of a dead worker back, but not the one that it died in: that has its verdict.
        xdist itself would run it again, and it would have two."""
        units = self.assigned_work[node].values()
        unfinished = (nodeid for unit in units for nodeid, completed in unit.items() if not completed)
        crashed = next(unfinished, None)
        for unit in units:
            if crashed in unit:
                unit[crashed] = True
        super().remove_node(node)
        return crashed

    def _reschedule(self, node: WorkerController) -> None:
        """Give a worker more tests, or tell it that there are none.

        xdist 3.8 forgets two things of a worker that replaces a dead one. It may not have collected its
        tests yet. And a worker begins a test only when it knows the next one, or that it is the last.
        """
        if node not in self.registered_collections:
            return
        super()._reschedule(node)
        while not node.shutting_down and self._pending_of(self.assigned_work[node]) < 2:
            super()._reschedule(node)

    def _split_scope(self, nodeid: str) -> str:
        test = planned(nodeid, self._cells)
        return f"{test.cell}:{test.suite}:{test.attempt}"


class Collector:
    """A plugin for the controller's pytest. It receives reports and tells verdicts to a sink.

    `distrust` says why KVM is distrusted in this run, and is empty if it is not.
    """

    def __init__(self, cells: Sequence[str], sink: Sink, distrust: Callable[[], str]) -> None:
        self._cells = cells
        self._sink = sink
        self._distrust = distrust
        self._seconds: dict[str, float] = {}
        self._detail: dict[str, str] = {}
        self._told: set[Planned] = set()
        self._hopeless = 0
        self._distrusted = False
        self._planned = False
        #: whether a test has failed
        self.bad = False
        #: what pytest printed when pytest itself failed
        self.trouble = ""
        #: what ended the run
        self.error: Blamed | None = None

    @pytest.hookimpl
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> BySuite:
        return BySuite(config, log, self._cells)

    @pytest.hookimpl
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        # each worker has collected the same; no test may be the consequence of a suite that cannot be loaded
        if not self._planned and (ids or not self.trouble):
            self._planned = True
            self._tell(self._sink.planned, [planned(nodeid, self._cells) for nodeid in ids])

    @pytest.hookimpl
    def pytest_internalerror(self, excrepr: object, excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
        cause = excinfo.value
        if isinstance(cause, OSError) and "cannot send" in str(cause):  # the message of execnet
            self.error = self.error or FarmError(WORKER_GONE)
        elif isinstance(cause, OSError):  # such as a full disk; not an error of pytest
            self.error = self.error or refused(cause)
        # later errors follow from the first one; the reason is at its end
        self.trouble = self.trouble or "\n".join(str(excrepr).splitlines()[-TROUBLE_LINES:])
        return True  # otherwise pytest prints it as well

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.trouble = f"{report.nodeid}:\n{report.longreprtext}"

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: Any) -> None:
        nodeid = report.nodeid
        if report.when == "call":  # setup may include the wait for a kernel
            self._seconds[nodeid] = report.duration
        if report.failed:
            self._detail[nodeid] = "\n".join(filter(None, [self._detail.get(nodeid), report.longreprtext]))
        if hasattr(report, "farm"):
            hopeless = report.farm.pop("hopeless")
            # a further attempt has its own time and traceback
            seconds, detail = round(self._seconds.pop(nodeid, 0.0), 3), self._detail.pop(nodeid, "")
            self._notice_distrust()
            self._take(records.from_json({**report.farm, "seconds": seconds, "detail": detail}))
            if report.farm["verdict"] != Verdict.SKIP:
                self._consider(hopeless)
        elif report.when not in ("setup", "call"):  # xdist's report of a worker that died
            self._died(planned(nodeid, self._cells), report.longreprtext)

    def _died(self, test: Planned, said: str) -> None:
        # if a worker dies after the report of a test, xdist may still believe that the test runs
        if test not in self._told:
            reason = f"its worker died: {said}"
            self._take(
                VerdictRecord(test.test, test.suite, test.cell, Verdict.INFRA, 0.0, reason, attempt=test.attempt)
            )

    def _take(self, record: VerdictRecord) -> None:
        self._told.add(Planned(record.test, record.suite, record.cell, record.attempt))
        self.bad = self.bad or record.bad
        self._tell(self._sink.verdict, record)

    def _consider(self, hopeless: tuple[str, int] | None) -> None:
        """End the run if the other tests would get no guest either: at once if the user's input is
        wrong, otherwise after HOPELESS guests in a row."""
        self._hopeless = self._hopeless + 1 if hopeless else 0
        if hopeless and (hopeless[1] == Exit.USAGE or self._hopeless == HOPELESS):
            self.error = as_error(hopeless[1])(hopeless[0])
            pytest.exit(hopeless[0])

    def _notice_distrust(self) -> None:
        if not self._distrusted and (reason := self._distrust()):
            self._distrusted = True
            self._tell(self._sink.distrusted, reason)

    def _tell(self, call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Tell the sink. An error of the sink ends the run, because every other test would meet it too."""
        try:
            call(*args, **kwargs)
        except Blamed as error:
            self.error = self.error or error
            pytest.exit(str(error))
