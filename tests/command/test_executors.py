# SPDX-License-Identifier: GPL-2.0
"""What every executor must do (farm.execute.contract). A new one is another parameter of `bench`."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from farm import artifact, execute
from farm.base.deadline import Deadline
from farm.base.errors import Exit, FarmError, UsageError
from farm.execute import local as local_executor
from farm.execute.contract import Ended, Executor
from farm.execute.local import Local
from farm.hunt import trial
from farm.hunt.judge import Question
from farm.kernel import builder
from farm.kernel.builder import Built, Event, Order, as_json
from farm.matrix import load
from farm.record import records
from farm.record.records import Planned, VerdictRecord
from farm.record.verdict import Verdict
from farm.run.ledger import Ledger
from farm.worker.unit import Unit
from tests.conftest import Watching
from tests.executors import Scripted, Test
from tests.test_matrix import GOOD, write
from tests.test_records import RUN

#: What a test does, as the body of a function.
PASSES, FAILS, DIES, WAITS = (
    "pass",
    "assert False, 'it fails'",
    "os.kill(os.getpid(), signal.SIGKILL)",
    "Path(PIDS, str(os.getpid())).touch(); time.sleep(600)",
)

#: For each suite its tests, and what they do.
Plan = Mapping[str, Mapping[str, str]]

CELLS = ("one", "two")

#: The file that keeps the builder of a bench from ending.
BUSY = "busy"

PLAN: Plan = {
    "a": {"test_one": PASSES, "test_two": PASSES},
    "b": {"test_one": PASSES, "test_two": FAILS, "test_three": PASSES},
}


def built(cell: str) -> Event:
    kernel, programs, module = (
        artifact.make(kind, f"of-{cell}", lambda directory: None) for kind in ("kernels", "programs", "modules")
    )
    return Event("built", cell, built=Built(cell, "s", "c", "t", f"of-{cell}", kernel, programs, module, False))


def left() -> list[str]:
    """The processes that this one has started and that do not end within seconds."""
    found: list[str] = []
    for _ in Deadline(10).poll():
        known = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        found = [one for one in known if b"-c" in Path(f"/proc/{one}/cmdline").read_bytes()]
        if not found:
            break
    return found


def failed(cell: str, status: Exit) -> Event:
    return Event("failed", cell, f"{cell}: why", int(status))


@dataclass
class Told(Ledger):
    """A ledger that also keeps the order of what it is told. `meanwhile` is called with each record."""

    directory: Path
    meanwhile: Callable[[VerdictRecord], None] = lambda record: None
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.directory, records.load_run(self.directory), Watching())

    def build_event(self, event: Event) -> None:
        self.calls.append(event.kind)
        super().build_event(event)

    def planned(self, tests: Sequence[Planned]) -> None:
        self.calls.append("planned")
        super().planned(tests)

    def verdict(self, record: VerdictRecord) -> None:
        super().verdict(record)
        self.calls.append(f"{record.cell}:{record.suite}:{record.test}")
        self.meanwhile(record)

    @property
    def tests(self) -> list[str]:
        """The calls with a verdict."""
        return [call for call in self.calls if ":" in call]

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """By suite and test; each only once."""
        told = records.load_verdicts(self.directory)
        names = [f"{one.cell}:{one.suite}:{one.test}" for one in told]
        assert len(names) == len(set(names))
        return {name: one.verdict for name, one in zip(names, told, strict=True)}


@dataclass
class Bench:
    """An executor, and the files of a run over the cells `one` and `two`."""

    executor: Executor
    place: Path

    def units(self, **more: Any) -> list[Unit]:
        matrix = str(self.place / "kconfigs/matrix.yaml")
        orders = [Order([cell], None, None, matrix) for cell in CELLS]
        return [Unit(order, str(self.place / "suites"), **more) for order in orders]

    def told(self, meanwhile: Callable[[VerdictRecord], None] = lambda record: None) -> Told:
        return Told(self.place / "run", meanwhile)

    def test(self, told: Told, guests: int = 2, stop: bool = False, **more: Any) -> Ended:
        return self.executor.test(self.units(**more), told.directory, told, guests, stop)

    @property
    def waiting(self) -> list[int]:
        """The processes in which a test waits. An executor without processes has none."""
        if isinstance(self.executor, Scripted):
            return [-1]
        return [int(path.name) for path in (self.place / "pids").iterdir()]


def alive(process: int) -> bool:
    return process > 0 and Path(f"/proc/{process}").exists()


def events(builds: Mapping[str, Event], order: Order) -> Iterator[Event]:
    for cell in order.cells:
        yield Event("progress", cell, "at work")
        yield builds[cell]


#: A builder: the events that it tells are lines of JSON. As long as a file is there, it waits behind them, or
#: before the last one if that is asked.
BUILDER = """\
import os, sys, time
def wait():
    while os.path.exists(sys.argv[1]):
        time.sleep(0.1)
*lines, last = sys.argv[3:]
for line in lines:
    print(line, flush=True)
if sys.argv[2] == "before":
    wait()
print(last, flush=True)
wait()
"""


def process(builds: Mapping[str, Event], busy: Path, waits: str, order: Order) -> "subprocess.Popen[str]":
    def line(event: Event) -> str:
        return json.dumps({**vars(event), "built": as_json(event.built) if event.built else None})

    lines = list(map(line, events(builds, order)))
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(busy), waits, *lines], stdout=subprocess.PIPE, text=True
    )


def scripted(plan: Plan, builds: Mapping[str, Event], unit: Unit) -> list[Test]:
    """The tests of a unit, and the verdicts that those of the suites get."""
    verdicts = {PASSES: Verdict.PASS, FAILS: Verdict.FAIL, DIES: Verdict.INFRA}

    def verdict(suite: str, test: str, does: str, _: Path) -> VerdictRecord:
        reason = {FAILS: "it fails", DIES: "its worker died"}.get(does, "")
        if builds[unit.cell].exit:
            return VerdictRecord(test, suite, unit.cell, Verdict.BUILD, 0.0, builds[unit.cell].text)
        return VerdictRecord(test, suite, unit.cell, verdicts[does], 0.1, reason)

    return [
        (Planned(test, suite, unit.cell), partial(verdict, suite, test, does))
        for suite, tests in plan.items()
        for test, does in tests.items()
        if unit.select in test
    ]


Make = Callable[..., Bench]


@pytest.fixture(params=["local", "scripted"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, cache_root: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a bench of suites, and of what becomes of the builds."""

    def make(plan: Plan = PLAN, waits: str = "", **builds: Event) -> Bench:
        ends = {cell: builds.get(cell) or built(cell) for cell in CELLS}
        write(tmp_path, GOOD)
        for directory in ("suites", "pids", "run"):
            (tmp_path / directory).mkdir()
        records.save_run(tmp_path / "run", replace(RUN, cells=list(CELLS)))
        for suite, tests in plan.items():
            text = f"import os, signal, time\nfrom pathlib import Path\nPIDS = {str(tmp_path / 'pids')!r}\n"
            text += "".join(f"def {test}(cell, built):\n    {does}\n" for test, does in tests.items())
            (tmp_path / f"suites/test_{suite}.py").write_text(text)
        if request.param == "scripted":
            return Bench(Scripted(partial(events, ends), partial(scripted, plan, ends)), tmp_path)
        if waits:
            (tmp_path / BUSY).touch()
        monkeypatch.setattr(builder, "start", partial(process, ends, tmp_path / BUSY, waits))
        return Bench(Local(), tmp_path)

    return make


def test_each_test_has_its_verdict(bench: Make) -> None:
    at = bench()
    told = at.told()
    assert at.test(told) is Ended.FINISHED
    expected = {
        f"{cell}:{suite}:{test}": Verdict.FAIL if does == FAILS else Verdict.PASS
        for cell in CELLS
        for suite, tests in PLAN.items()
        for test, does in tests.items()
    }
    assert told.verdicts == expected
    (failure,) = {one.reason.partition("\n")[0] for one in told.records if one.verdict is Verdict.FAIL}
    assert "it fails" in failure


def test_order(bench: Make) -> None:
    """Cells in the order of their units, the suites named first before the others, a suite in its own order."""
    at = bench()
    told = at.told()
    at.test(told, guests=1, first=("b",))
    suites = [f"{suite}:{test}" for suite in ("b", "a") for test in PLAN[suite]]
    assert told.tests == [f"{cell}:{test}" for cell in CELLS for test in suites]


def test_progress(bench: Make) -> None:
    """What is built is told, and all that is planned before the first verdict."""
    at = bench()
    told = at.told()
    at.test(told)
    assert [call for call in told.calls if call in ("progress", "built")] == ["progress", "built"] * 2
    assert told.calls.count("planned") == 1
    assert told.calls.index("planned") < told.calls.index(told.tests[0])
    assert records.load_run(told.directory).planned == 10


def test_repeated(bench: Make) -> None:
    at = bench({"a": {"test_one": PASSES}})
    told = at.told()
    at.test(told, repeat=3)
    assert sorted((one.cell, one.attempt) for one in told.records) == [(cell, n) for cell in CELLS for n in (1, 2, 3)]


def test_worker_that_dies_costs_its_test(bench: Make) -> None:
    at = bench({"a": {"test_one": PASSES, "test_two": DIES, "test_three": PASSES}})
    told = at.told()
    assert at.test(told) is Ended.FINISHED
    assert {name.partition(":")[2]: verdict for name, verdict in told.verdicts.items()} == {
        "a:test_one": Verdict.PASS,
        "a:test_two": Verdict.INFRA,
        "a:test_three": Verdict.PASS,
    }
    assert len(told.verdicts) == 6
    assert all("its worker died" in one.reason for one in told.records if one.bad)


def test_worker_that_dies_in_the_only_test_of_a_suite(bench: Make) -> None:
    """The one that replaces it goes on with the other suites."""
    at = bench({"a": {"test_one": DIES}, "b": {"test_one": DIES}, "c": {"test_one": PASSES}})
    told = at.told()
    assert at.test(told, guests=1) is Ended.FINISHED
    assert sorted(told.verdicts.values()) == [Verdict.INFRA] * 4 + [Verdict.PASS] * 2


def test_first_failure_stops(bench: Make) -> None:
    at = bench()
    told = at.told()
    assert at.test(told, guests=1, stop=True, first=("b",)) is Ended.STOPPED
    assert list(told.verdicts.values())[:2] == [Verdict.PASS, Verdict.FAIL]
    assert len(told.verdicts) < 10


def test_kernel_that_does_not_build_costs_its_cell(bench: Make) -> None:
    at = bench(one=failed("one", Exit.KERNEL))
    told = at.told()
    assert at.test(told) is Ended.FINISHED
    assert {verdict for name, verdict in told.verdicts.items() if name.startswith("one")} == {Verdict.BUILD}
    assert {verdict for name, verdict in told.verdicts.items() if name.startswith("two")} == {
        Verdict.PASS,
        Verdict.FAIL,
    }


@pytest.mark.parametrize("status, error", [(Exit.USAGE, UsageError), (Exit.FARM, FarmError)])
def test_build_that_nobody_can_do_ends_the_work(bench: Make, status: Exit, error: type[Exception]) -> None:
    at = bench(waits="behind", one=failed("one", status), two=failed("two", status))
    told = at.told()
    with pytest.raises(error, match="one: why"):
        at.test(told)
    assert not left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_and_resume(bench: Make, number: signal.Signals) -> None:
    """Nothing is left running; what has a verdict keeps it, and nothing has two."""

    def interrupt(record: VerdictRecord) -> None:
        for _ in Deadline(60).poll():
            if at.waiting:
                return signal.raise_signal(number)

    plan = {"a": {"test_one": PASSES, "test_two": PASSES}, "b": {"test_one": WAITS}}
    at = bench(plan, waits="behind")
    told = at.told(interrupt)
    assert at.test(told) is Ended.INTERRUPTED
    assert set(told.verdicts.values()) == {Verdict.PASS}
    assert not left()
    assert not any(map(alive, at.waiting))
    assert 0 < len(told.verdicts) < 6

    (at.place / BUSY).unlink(missing_ok=True)
    plan["b"]["test_one"] = PASSES
    (at.place / "suites/test_b.py").write_text("def test_one(built, cell): pass\n")
    before = list(told.verdicts)
    again = at.told()
    done = tuple(Planned(one.test, one.suite, one.cell) for one in told.records)
    assert at.test(again, done=done) is Ended.FINISHED
    assert set(again.verdicts.values()) == {Verdict.PASS}
    assert len(again.verdicts) == 6
    assert not set(again.tests) & set(before)


def test_selection(bench: Make) -> None:
    at = bench()
    told = at.told()
    at.test(told, select="test_two")
    assert sorted(told.verdicts) == [f"{cell}:{suite}:test_two" for cell in CELLS for suite in PLAN]


def test_what_the_sink_raises_ends_the_work(bench: Make) -> None:
    """As with a disk that is full."""

    def full(record: VerdictRecord) -> None:
        raise FarmError("No space left on device")

    at = bench(waits="behind")
    with pytest.raises(FarmError, match="No space left"):
        at.test(at.told(full))
    assert not left()


def test_builds_alone(bench: Make) -> None:
    at = bench(two=failed("two", Exit.KERNEL))
    with at.executor.build(Order(list(CELLS), None, None, "")) as told:
        assert [(event.kind, event.cell) for event in told] == [
            ("progress", "one"),
            ("built", "one"),
            ("progress", "two"),
            ("failed", "two"),
        ]


def test_capacity(bench: Make) -> None:
    at = bench()
    cells = list(load(at.place / "kconfigs/matrix.yaml").cells.values())
    offered = at.executor.capacity(cells, "tcg")
    assert (offered.accel, offered.accel_reason) == ("tcg", "asked for")
    assert offered.host["machine"]
    assert offered.versions["qemu"]


def test_hunts_use_the_executor_that_they_are_asked_for(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bisections of commits and of options build and test by these two."""
    at = bench({"a": {"test_one": PASSES, "test_two": FAILS}})
    monkeypatch.setitem(execute.EXECUTORS, "bench", at.executor)
    asked = Question(results=at.place, suites=at.place / "suites", matrix=at.place / "kconfigs/matrix.yaml", on="bench")
    request = asked.run("one", "", at.place / "hunt", None)
    assert trial.build(request, Watching()).kernel_key == "of-one"
    tried = trial.attempt(request, Watching())
    assert [record.test for record in tried.red] == ["test_two"]
    with pytest.raises(UsageError, match="no executor 'moon'; there is: local, bench"):
        trial.build(replace(request, on="moon"), Watching())


# Of `local` alone: its builder is a process, and its workers may be replaced.

local = pytest.mark.parametrize("bench", ["local"], indirect=True)


@local
def test_builds_that_nobody_waits_for_are_stopped(bench: Make) -> None:
    at = bench(waits="behind")
    with at.executor.build(Order(list(CELLS), None, None, "")) as told:
        next(told)
    assert not left()


@local
def test_builds_that_take_longer_than_the_tests_are_waited_for(bench: Make) -> None:
    at = bench({"a": {"test_one": PASSES}}, waits="before")
    (at.place / "suites/test_a.py").write_text("def test_one(cell): pass\n")
    later = threading.Timer(4.0, (at.place / BUSY).unlink)
    told = at.told(lambda record: None if later.is_alive() else later.start())
    assert at.test(told) is Ended.FINISHED
    assert told.calls.count("built") == 2


@local
def test_interrupted_build_has_not_failed(bench: Make) -> None:
    """The run is resumed, and the cell is built then."""
    at = bench({"a": {"test_one": PASSES}}, waits="before")
    told = at.told(lambda record: signal.raise_signal(signal.SIGINT))
    assert at.test(told) is Ended.INTERRUPTED
    assert told.calls.count("built") == 1
    assert "failed" not in told.calls
    assert not list(told.directory.glob("cells/*/failed.json"))


@local
def test_suite_that_cannot_be_loaded_is_the_farms_trouble(bench: Make) -> None:
    """It is no selection without tests, for which the user would be to blame."""
    at = bench({"a": {"test_one": PASSES}})
    (at.place / "suites/test_a.py").write_text("def test_one(:\n")
    with pytest.raises(FarmError, match="SyntaxError"):
        at.test(at.told(), select="test_one")


@local
def test_full_disk_at_the_units_names_the_file(bench: Make) -> None:
    at = bench()
    (at.place / "run/.units.json.partial").symlink_to("/dev/full")
    with pytest.raises(FarmError, match=r"units\.json: No space left on device"):
        at.test(at.told())


@pytest.mark.parametrize(
    "ends, said",
    [
        ("sys.exit(3)", "ended with 3"),
        ("os.kill(os.getpid(), 15)", "ended with -15"),
        ("os.kill(os.getpid(), 9)", "was killed"),
    ],
)
def test_builder_that_does_not_come_to_a_cell(
    bench_of_local: Callable[[str], Bench], monkeypatch: pytest.MonkeyPatch, ends: str, said: str
) -> None:
    """One message that names the cell ends the work: it can be gone on with."""
    monkeypatch.setattr(local_executor, "ENDING", 0.5)
    at = bench_of_local(ends)
    with pytest.raises(FarmError, match=f"the builder {said} before it came to two"):
        at.test(at.told())
    assert not left()


def test_builder_that_is_ended_with_the_farm_is_no_trouble(
    bench_of_local: Callable[[str], Bench], tmp_path: Path
) -> None:
    """As when a session ends: both get the signal, and the run is interrupted."""
    verdicts = tmp_path / "run/verdicts.jsonl"
    under_way = f"while not os.path.exists({str(verdicts)!r}): time.sleep(0.05)"
    at = bench_of_local(f"{under_way}\nos.kill(os.getppid(), 15)\nos.kill(os.getpid(), 15)")
    assert at.test(at.told()) is Ended.INTERRUPTED
    assert not left()


def test_builder_that_cannot_be_followed_ends_the_work(bench_of_local: Callable[[str], Bench]) -> None:
    """Whatever went wrong: nobody else would tell the workers of their kernels, and they wait for hours."""
    at = bench_of_local("print('no event')")
    with pytest.raises(json.JSONDecodeError):
        at.test(at.told())
    assert not left()


@pytest.fixture
def bench_of_local(tmp_path: Path, cache_root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Bench]:
    """Makes a bench whose builder builds the cell `one`, and then does something."""

    def make(then: str) -> Bench:
        write(tmp_path, GOOD)
        (tmp_path / "suites").mkdir()
        (tmp_path / "suites/test_a.py").write_text("def test_one(cell, built): pass\n")
        (tmp_path / "run").mkdir()
        records.save_run(tmp_path / "run", replace(RUN, cells=list(CELLS)))
        line = json.dumps({**vars(event := built("one")), "built": as_json(event.built) if event.built else None})

        def start(order: Order) -> "subprocess.Popen[str]":
            words = [sys.executable, "-c", f"import os, sys, time\nprint(sys.argv[1], flush=True)\n{then}", line]
            return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

        monkeypatch.setattr(builder, "start", start)
        return Bench(Local(), tmp_path)

    return make
