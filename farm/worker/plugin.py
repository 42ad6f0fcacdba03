# SPDX-License-Identifier: GPL-2.0
"""The farm's pytest plugin: runs the tests of `suites/` in cells.

A test takes the fixture `guest` (a machine that is ready) or `agent` (a session in it). It runs
once in each cell. Marks:

`needs(fact, …)`   only in cells that declare the facts (farm.matrix.FACTS)
`absent(fact, …)`  only in cells that declare none of them
`spoils_guest`     the guest cannot be used after this test: the next test gets a
                   fresh one
"""

import re
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from farm.base import cache
from farm.base.errors import FarmError, GuestCrashed, KernelError, UsageError
from farm.guest import complaints, vm
from farm.guest.agent import Agent
from farm.kernel.builder import Built
from farm.matrix import FACTS, FEATURE, Cell, choose, of_version, without_feature
from farm.matrix import load as load_matrix
from farm.record import cellstate
from farm.record.records import Planned
from farm.record.verdict import Verdict
from farm.version import parse
from farm.worker import unit
from farm.worker.classify import Finding, causes, classify, gravest
from farm.worker.stall import NoGuest, Stall
from farm.worker.unit import Unit

#: Names that `-k` accepts as one word, so that each failure can be repeated alone.
SELECTABLE = re.compile(r"[\w\[\].:+/-]+")

#: Between the name of a test and the number of a repetition.
_ATTEMPT = "#"

_UNITS = pytest.StashKey[dict[str, Unit]]()
_FINDINGS = pytest.StashKey[list[Finding]]()
_CHARGED = pytest.StashKey[tuple[str, tuple[int, int]]]()
_STALL = pytest.StashKey[Stall]()
#: Why a test got no guest, if the next test will get none either: message and exit status.
_HOPELESS = pytest.StashKey[tuple[str, int]]()
#: How many attempts of a test KVM has broken.
_BROKEN = pytest.StashKey[int]()
#: How many further attempts of a test were made because of that.
_FURTHER = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--farm-run", metavar="DIR", required=False, help="run directory, made by `farm run`")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Keep compiled bytecode in the cache, not in the checkout, whatever the user's environment
    says. To compile the suites and hypothesis takes seconds."""
    sys.pycache_prefix = str(cache.root() / "bytecode")
    sys.dont_write_bytecode = False


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(fact, ...): the cell must declare these facts")
    config.addinivalue_line("markers", "absent(fact, ...): the cell must declare none of these facts")
    config.addinivalue_line("markers", "spoils_guest: the next test gets a fresh guest")


def _run_directory(config: pytest.Config) -> Path:
    directory = config.getoption("--farm-run")
    if not directory:
        raise pytest.UsageError("suites need a run: start them with `farm run`, not with pytest alone")
    return Path(directory)


def _units(config: pytest.Config) -> dict[str, Unit]:
    """The units of this worker, by cell."""
    if _UNITS not in config.stash:
        config.stash[_UNITS] = {one.cell: one for one in unit.load(_run_directory(config))}
    return config.stash[_UNITS]


def _unit(item: pytest.Item) -> Unit:
    return _units(item.config)[_cell(item).name]


# Collection: every test in every cell, in the order in which the cells are built.


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" in metafunc.fixturenames:
        asked = _units(metafunc.config).values()
        cells = [_cell_of(one) for one in asked]
        # a cell that is only built has no test that needs a guest, not even a skipped one
        wants_guest = "guest" in metafunc.fixturenames
        cells = [cell for cell in cells if cell.machine or not wants_guest]
        metafunc.parametrize("cell", cells, ids=[cell.name for cell in cells], scope="session")


def _cell_of(one: Unit) -> Cell:
    """The cell of a unit, without what its tree is not to have."""
    (cell,) = choose(load_matrix(Path(one.order.matrix)), [one.cell])
    version = parse(one.version)
    cell = of_version(cell, version) if version else cell
    return without_feature(cell) if one.bare else cell


@pytest.hookimpl(trylast=True)  # after -k, which uses the original names
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = _units(config)
    cells = list(asked)
    done = {test for one in asked.values() for test in one.done}

    def place(item: pytest.Item) -> tuple[int, int, int]:
        test = planned(item.nodeid, cells)
        first = asked[test.cell].first
        rank = first.index(test.suite) if test.suite in first else len(first)
        return cells.index(test.cell), test.attempt, rank

    items[:] = [item for item in items if not _of_no_cell(item)]
    items += [_again(item, attempt) for item in items for attempt in range(2, _unit(item).repeat + 1)]
    items[:] = sorted((item for item in items if planned(item.nodeid, cells) not in done), key=place)
    for item in items:
        # for the test function only: its fixtures may wait until a kernel is built
        item.add_marker(pytest.mark.timeout(_unit(item).limits.test, method="signal", func_only=True))


def _again(item: pytest.Item, attempt: int) -> pytest.Function:
    """The same test once more, under a name of its own."""
    assert isinstance(item, pytest.Function)
    assert item.parent
    original = f"{item.originalname}{_ATTEMPT}{attempt}"
    return pytest.Function.from_parent(
        item.parent,
        name=item.name.replace(item.originalname, original, 1),
        callspec=item.callspec,
        callobj=item.obj,
        fixtureinfo=item._fixtureinfo,
        keywords=item.keywords,
        originalname=original,
    )


def _of_no_cell(item: pytest.Item) -> bool:
    """Whether this is pytest's placeholder for a guest test when no cell has a guest."""
    callspec = getattr(item, "callspec", None)
    return callspec is not None and not isinstance(callspec.params.get("cell"), Cell)


def _cell(item: pytest.Item) -> Cell:
    cell = item.callspec.params["cell"]  # type: ignore[attr-defined]
    assert isinstance(cell, Cell)
    return cell


def _check(item: pytest.Item) -> None:
    """Raise UsageError if a test has a mistake. Called in setup, where the message is kept."""
    if not SELECTABLE.fullmatch(item.name.replace(_ATTEMPT, "")):
        raise UsageError(f"{item.nodeid}: -k cannot select this name; give its parameters plain ids")
    for mark in (*item.iter_markers("needs"), *item.iter_markers("absent")):
        for fact in mark.args:
            if fact not in FACTS:
                raise UsageError(f"{item.nodeid}: no fact {fact!r}; there is: {', '.join(FACTS)}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests by the facts that the cell declares. The kernel under test is not asked."""
    _check(item)
    cell = _cell(item)
    names = [fact for mark in (*item.iter_markers("needs"), *item.iter_markers("absent")) for fact in mark.args]
    if FEATURE in names and FEATURE in cell.supports and _unit(item).partial:
        pytest.skip(f"the tree has only a part of {FEATURE}: {FACTS[FEATURE]}")
    for mark in item.iter_markers("needs"):
        for fact in mark.args:
            if fact not in cell.supports:
                pytest.skip(f"{cell.name} declares no {fact}: {FACTS[fact]}")
    for mark in item.iter_markers("absent"):
        for fact in mark.args:
            if fact in cell.supports:
                pytest.skip(f"{cell.name} declares {fact}: {FACTS[fact]}")


# Guests: each worker has one at a time, and keeps it as long as it is in order.


@pytest.fixture(scope="session")
def stall(request: pytest.FixtureRequest) -> Stall:
    """Keeps the guest of this worker. It outlives the fixtures, because the verdict of the last test
    depends on the state of its guest."""
    keeper = Stall(_run_directory(request.config), _units(request.config))
    request.session.stash[_STALL] = keeper
    return keeper


def pytest_sessionfinish(session: pytest.Session) -> None:
    if keeper := session.stash.get(_STALL, None):
        keeper.clear()


@pytest.fixture
def built(request: pytest.FixtureRequest, cell: Cell) -> Built:
    """The kernel, payload and source of the cell. Waits until they are built."""
    limit = _units(request.config)[cell.name].limits.build
    return cellstate.wait_built(_run_directory(request.config), cell.name, limit)


@pytest.fixture
def filterable(request: pytest.FixtureRequest, cell: Cell) -> bool:
    """Whether filters can be attached: the cell declares the feature, and the tree has all of it.
    For tests that also work without; other tests use the mark `needs`."""
    return FEATURE in cell.supports and not _units(request.config)[cell.name].partial


@pytest.fixture
def guest(request: pytest.FixtureRequest, stall: Stall, cell: Cell) -> Iterator[vm.Guest]:
    """A machine of the cell, for this test alone while it runs.

    A mark in the kernel's log ends each test. What the kernel says between two marks is charged
    to the test. A guest that may not be in order is thrown away.
    """
    machine = stall.guest(cell)
    seconds = _units(request.config)[cell.name].limits.test * machine.scale
    request.node.add_marker(pytest.mark.timeout(seconds, method="signal", func_only=True), append=False)
    start = machine.marked or machine.mark()
    yield machine
    request.node.stash[_CHARGED] = (machine.console.log.name, (start, machine.console.size))
    end = machine.mark()
    request.node.stash[_CHARGED] = (machine.console.log.name, (start, end))
    if complained := _complaints(machine.console.text(start, end)):
        raise GuestCrashed(complained)


def _complaints(log: str) -> str:
    return "\n".join(complaints.told(log))


@pytest.fixture
def agent(guest: vm.Guest) -> Iterator[Agent]:
    """A session with the agent in the guest. What the agent opened is closed after the test."""
    with guest.agent() as session:
        yield session


# Verdicts: made in the worker, where the exception is, and sent with the report.


def failed(item: pytest.Item) -> bool:
    """Whether a test has failed so far: leftovers are then expected."""
    findings = item.stash.get(_FINDINGS, [])
    return any(finding.verdict not in (Verdict.PASS, Verdict.SKIP) for finding in findings)


def spoils_guest(item: pytest.Item) -> bool:
    """Whether a test has the mark `spoils_guest`."""
    return item.get_closest_marker("spoils_guest") is not None


def _explained(error: BaseException, machine: vm.Guest) -> BaseException:
    """The error of a test that had a guest, replaced by its cause if that is known."""
    if isinstance(error, FarmError) and machine.console.wait_closed(machine.deadline(0.5)):
        error = GuestCrashed(str(error))  # QEMU answers nothing after the end of a guest
    return machine.explain(error) if isinstance(error, KernelError) else error


def _late(item: pytest.Item, machine: vm.Guest) -> Iterator[Finding]:
    """Complaints after the mark that ended a test. They are charged to the test."""
    if machine.console.complaint and (complained := _complaints(machine.console.text(machine.marked))):
        name, (start, _) = item.stash[_CHARGED]
        item.stash[_CHARGED] = (name, (start, machine.console.size))
        yield Finding(Verdict.CRASH, complained)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    findings = item.stash.setdefault(_FINDINGS, [])
    machine = getattr(item, "funcargs", {}).get("guest")
    if call.excinfo is not None:
        for error in causes(call.excinfo.value):
            if call.when == "setup" and isinstance(error, (NoGuest, UsageError)):
                item.stash[_HOPELESS] = (str(error), int(error.exit))
            findings.append(classify(_explained(error, machine) if machine else error))
    if call.when == "teardown":
        if machine:
            findings += _afterwards(item, machine)
        report.farm = _said(item, gravest(findings))
    return report


def _afterwards(item: pytest.Item, machine: vm.Guest) -> Iterator[Finding]:
    """Findings after the end of a test. A guest that may not be in order is thrown away."""
    if not failed(item):
        yield from _late(item, machine)
    keeper = item.session.stash[_STALL]
    if machine.accel == "kvm" and _speechless(item, machine):
        if why := keeper.kvm_broke(_cell(item)):
            item.stash[_BROKEN] = item.stash.get(_BROKEN, 0) + 1
            yield Finding(Verdict.INFRA, f"KVM broke under the test, which is repeated under TCG: {why}")
    elif failed(item) or machine.console.complaint or spoils_guest(item):
        keeper.clear()  # its leftovers may fail the next test


def _speechless(item: pytest.Item, machine: vm.Guest) -> bool:
    """Whether a guest hung or died, and its kernel gave no reason."""
    gone = any(finding.verdict in (Verdict.HANG, Verdict.CRASH) for finding in item.stash[_FINDINGS])
    return gone and not machine.console.complaint


def _said(item: pytest.Item, decided: Finding) -> dict[str, Any]:
    """The verdict that is sent to the controller with pytest's report: the fields of a record, and
    `hopeless`, the reason if the other tests will get no guest either."""
    console, span = item.stash.get(_CHARGED, ("", (0, 0)))
    test = planned(item.nodeid, [_cell(item).name])
    further = item.stash.get(_FURTHER, 0) * _unit(item).repeat
    return {
        **asdict(replace(test, attempt=test.attempt + further)),
        "verdict": str(decided.verdict),
        "reason": decided.reason,
        "slots": [vars(slot) for slot in decided.slots],
        "console": console,
        "span": list(span),
        "hopeless": item.stash.get(_HOPELESS, None),
    }


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, Any]:
    """If KVM broke during a test, repeat the test as a further attempt."""
    done = yield
    while item.stash.get(_BROKEN, 0) > item.stash.get(_FURTHER, 0):
        item.stash[_FURTHER] = item.stash.get(_FURTHER, 0) + 1
        item.stash[_FINDINGS] = []
        item.stash[_CHARGED] = ("", (0, 0))
        item._initrequest()  # type: ignore[attr-defined]
        runtestprotocol(item, nextitem=nextitem)
    return done


def planned(nodeid: str, cells: Sequence[str]) -> Planned:
    """The parts of a node id, `…/test_SUITE.py::TEST[CELL-…]`, with one of `cells`.

    The name of the test has no cell: it is the same in every cell.
    """
    path, _, name = nodeid.partition("::")
    function, _, parameters = name.partition("[")
    # the name of a cell may be the beginning of another one: take the longest that fits
    fitting = [cell for cell in cells if re.match(rf"{re.escape(cell)}[-\]]", parameters)]
    cell = max(fitting, key=len, default="")
    function, _, attempt = function.partition(_ATTEMPT)
    rest = parameters.removeprefix(cell).removeprefix("-").removesuffix("]")
    test = f"{function}[{rest}]" if rest else function
    return Planned(test, Path(path).stem.removeprefix("test_"), cell, int(attempt or 1))
