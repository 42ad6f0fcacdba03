# SPDX-License-Identifier: GPL-2.0
"""The controller's side of pytest: reports in, verdicts out."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console
from xdist.remote import Producer
from xdist.workermanage import WorkerController

from farm.base.errors import FarmError
from farm.execute.collector import BySuite, Collector
from farm.record import records
from farm.record.records import VerdictRecord
from farm.record.verdict import Verdict
from farm.report.live import Live
from farm.run.ledger import Ledger
from tests.test_records import RUN, record

IDS = [f"suites/test_slots.py::test_{name}[x86_64-regs]" for name in ("done", "open")]


class Full(Ledger):
    """On a disk that is full."""

    def verdict(self, record: VerdictRecord) -> None:
        raise FarmError("No space left on device")


def collector(directory: Path, kind: type[Ledger] = Ledger, distrust: str = "") -> Collector:
    records.save_run(directory, RUN)
    live = Live(Console(file=(directory / "screen").open("w")))
    live.cells(RUN.cells)
    return Collector(RUN.cells, kind(directory, RUN, live), lambda: distrust)


def of_a_worker(nodeid: str) -> pytest.TestReport:
    """What a worker says of a test that passed."""
    passed = replace(record(Verdict.PASS, "test_done"), suite="slots")
    said = {**vars(passed), "slots": [], "hopeless": None}
    return pytest.TestReport(nodeid, ("", None, ""), {}, "passed", None, "teardown", farm=said)


def of_xdist(nodeid: str) -> pytest.TestReport:
    """What xdist says of a worker that died."""
    return pytest.TestReport(nodeid, ("", None, ""), {}, "failed", "worker 'gw0' crashed", "???")  # type: ignore[arg-type]


def test_worker_that_dies_after_its_report_says_nothing_more(tmp_path: Path) -> None:
    """Of a test that has its verdict; xdist may not know that yet. One without gets INFRA."""
    seen = collector(tmp_path)
    seen.pytest_xdist_node_collection_finished(IDS)
    seen.pytest_runtest_logreport(of_a_worker(IDS[0]))
    for nodeid in IDS:
        seen.pytest_runtest_logreport(of_xdist(nodeid))
    found = [(one.test, one.verdict) for one in records.load_verdicts(tmp_path)]
    assert found == [("test_done", Verdict.PASS), ("test_open", Verdict.INFRA)]
    assert seen.bad


def test_what_the_sink_raises_is_kept_and_ends_pytest(tmp_path: Path) -> None:
    seen = collector(tmp_path, Full)
    with pytest.raises(pytest.exit.Exception, match="No space left"):
        seen.pytest_runtest_logreport(of_a_worker(IDS[0]))
    assert str(seen.error) == "No space left on device"


def test_worker_that_dies_before_it_begins_is_told_in_a_line(tmp_path: Path) -> None:
    """xdist ends then, by an error inside of it; of another one all is kept."""
    gone, bug = OSError("cannot send (already closed?)"), RuntimeError("a bug")
    for raises, error in ((gone, "a worker process was killed before"), (bug, "None")):
        seen = collector(tmp_path)
        with pytest.raises(type(raises)) as raised:
            raise raises
        assert seen.pytest_internalerror(raised.getrepr(), raised)
        assert str(seen.error).startswith(error)
        assert str(raises) in seen.trouble


def test_distrust_of_kvm_is_told_once(tmp_path: Path) -> None:
    """Before the verdict of the test that found it out."""
    seen = collector(tmp_path, distrust="it stayed silent")
    for nodeid in IDS:
        seen.pytest_runtest_logreport(of_a_worker(nodeid))
    run = records.load_run(tmp_path)
    assert (run.accel, run.distrusted) == ("tcg", "it stayed silent")
    assert (tmp_path / "screen").read_text().count("KVM is distrusted") == 1


@dataclass(eq=False)
class Node:
    """As much of a worker as xdist's scheduler asks for."""

    id: str
    shutting_down: bool = False
    units: list[list[int]] = field(default_factory=list)

    @property
    def gateway(self) -> "Node":
        return self

    def send_runtest_some(self, indices: list[int]) -> None:
        self.units.append(indices)

    def shutdown(self) -> None:
        self.shutting_down = True


def test_worker_that_has_not_collected_gets_no_suite() -> None:
    """If two die at once, the first one's replacement may be so far when the second is noticed."""
    config = SimpleNamespace(getvalue=lambda name: ["2*popen"], option=SimpleNamespace(loadscopereorder=False))
    suites = BySuite(cast(pytest.Config, config), Producer(""), RUN.cells)
    first, second, new = cast(list[WorkerController], [Node("gw0"), Node("gw1"), Node("gw2")])
    ids = [f"suites/test_{suite}.py::test_x[x86_64-regs]" for suite in "abcdef"]
    for node in (first, second):
        suites.add_node(node)
        suites.add_node_collection(node, ids)
    suites.schedule()
    crashed = [suites.remove_node(first)]
    suites.add_node(new)
    crashed.append(suites.remove_node(second))
    assert cast(Node, new).units == []
    suites.add_node_collection(new, ids)
    suites.schedule()
    while True:  # it does all that is left, one suite after the other
        pending = [index for unit in cast(Node, new).units for index in unit]
        for index in pending:
            suites.mark_test_complete(new, index)
        if [index for unit in cast(Node, new).units for index in unit] == pending:
            break
    assert {ids[index] for index in pending} == {*ids} - {*crashed}
