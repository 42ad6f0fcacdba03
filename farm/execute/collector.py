# SPDX-License-Identifier: GPL-2.0
"""The controller's side of pytest and xdist: who runs which suite, and what is said of each test."""

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

#: So many guests in a row that the host did not start, and no other will be tried.
HOPELESS = 3

#: What is said of a worker that xdist could not even give its tests.
WORKER_GONE = (
    "a worker process was killed before it had a test, which is nothing of the kernel's: "
    "is the host short of memory? See `dmesg`"
)

#: Of what pytest says of itself, a screen with what is said besides.
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

    def _split_scope(self, nodeid: str) -> str:
        test = planned(nodeid, self._cells)
        return f"{test.cell}:{test.suite}:{test.attempt}"


class Collector:
    """A plugin of the controller's pytest: reports in, verdicts out to a sink.

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
        self.planned: dict[str, Planned] = {}
        #: whether a test went wrong
        self.bad = False
        #: what pytest said when it failed itself
        self.trouble = ""
        #: what ended the run
        self.error: Blamed | None = None

    @pytest.hookimpl
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> BySuite:
        return BySuite(config, log, self._cells)

    @pytest.hookimpl
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        if not self.planned:
            self.planned = {nodeid: planned(nodeid, self._cells) for nodeid in ids}
            self._tell(self._sink.planned, list(self.planned.values()))

    @pytest.hookimpl
    def pytest_internalerror(self, excrepr: object, excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
        cause = excinfo.value
        if isinstance(cause, OSError) and "cannot send" in str(cause):  # execnet's words
            self.error = self.error or FarmError(WORKER_GONE)
        elif isinstance(cause, OSError):  # a disk that is full, and no error of pytest's
            self.error = self.error or refused(cause)
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
            self._take(records.from_json({**report.farm, "seconds": seconds, "detail": detail}))
            if report.farm["verdict"] != Verdict.SKIP:
                self._consider(hopeless)
        elif report.when not in ("setup", "call"):  # xdist's own report of a worker that died
            self._died(self.planned.get(nodeid) or planned(nodeid, self._cells), report.longreprtext)

    def _died(self, test: Planned, said: str) -> None:
        # one that dies between a test's report and its next message leaves xdist with that test open
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
        """End the run where the other tests would get no guest either: at once if the user's
        input is wrong, else when some guests in a row were not started."""
        self._hopeless = self._hopeless + 1 if hopeless else 0
        if hopeless and (hopeless[1] == Exit.USAGE or self._hopeless == HOPELESS):
            self.error = as_error(hopeless[1])(hopeless[0])
            pytest.exit(hopeless[0])

    def _notice_distrust(self) -> None:
        if not self._distrusted and (reason := self._distrust()):
            self._distrusted = True
            self._tell(self._sink.distrusted, reason)

    def _tell(self, call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Tell the sink. What it raises would be raised by each of the other tests too: it ends the run."""
        try:
            call(*args, **kwargs)
        except Blamed as error:
            self.error = self.error or error
            pytest.exit(str(error))
