# SPDX-License-Identifier: GPL-2.0
"""The plugin: tests over cells, and a verdict for each, whatever becomes of it."""

import json
from pathlib import Path

import pytest

from farm import artifact
from farm.artifact import Ref
from farm.base.errors import BootFailed, Exit, FarmError, UsageError
from farm.kernel.builder import Built, Event
from farm.record import cellstate, records
from farm.record.records import Planned, VerdictRecord
from farm.record.verdict import Verdict
from farm.run import resume
from farm.worker.plugin import planned
from farm.worker.unit import Limits
from tests.conftest import Suites
from tests.test_matrix import GOOD

CELLS = ["x86_64-regs", "x86_64-regs-fp", "x86_64"]

#: Artifacts that no cache has.
GONE = Ref("kernels", "k"), Ref("programs", "p"), Ref("modules", "m")


@pytest.mark.parametrize(
    "nodeid, test, suite, cell",
    [
        ("suites/test_slots.py::test_x[x86_64-regs]", "test_x", "slots", "x86_64-regs"),
        ("suites/test_slots.py::test_x[x86_64-regs-fp]", "test_x", "slots", "x86_64-regs-fp"),
        ("suites/test_slots.py::test_x[x86_64-regs-fp-1]", "test_x[1]", "slots", "x86_64-regs-fp"),
        ("suites/test_slots.py::test_x[x86_64-regs-fpu]", "test_x[fpu]", "slots", "x86_64-regs"),
        ("suites/test_slots.py::test_x[x86_64-regs-a-b]", "test_x[a-b]", "slots", "x86_64-regs"),
        ("suites/test_slots.py::test_x[x86_64-a[0]]", "test_x[a[0]]", "slots", "x86_64"),
        ("suites/sub/test_abi.py::test_x[x86_64-a::b]", "test_x[a::b]", "abi", "x86_64"),
    ],
)
def test_planned(nodeid: str, test: str, suite: str, cell: str) -> None:
    for cells in (CELLS, CELLS[::-1]):
        assert planned(nodeid, cells) == Planned(test, suite, cell)


def test_planned_of_a_repeated_test() -> None:
    assert planned("suites/test_a.py::test_x#3[x86_64-regs-1]", CELLS) == Planned("test_x[1]", "a", "x86_64-regs", 3)
    assert planned("suites/test_a.py::test_x#12[x86_64]", CELLS) == Planned("test_x", "a", "x86_64", 12)


def test_planned_of_a_test_without_a_cell() -> None:
    assert planned("suites/test_slots.py::test_x", CELLS) == Planned("test_x", "slots", "")
    assert planned("suites/test_slots.py::test_x[other-1]", CELLS).cell == ""


def test_cell_by_cell(suites: Suites) -> None:
    """One guest serves a cell's tests one after the other, so cells must not alternate."""
    text = "import pytest\n@pytest.mark.parametrize('x', [1, 2])\ndef test_x(cell, x): pass\ndef test_y(cell): pass\n"
    seen = suites(test_b=text, test_a="def test_z(cell): pass\n")
    each = ["a:test_z", "b:test_x[1]", "b:test_x[2]", "b:test_y"]
    assert seen.order == [f"{cell}:{test}" for cell in ("one", "two") for test in each]
    assert {verdict["verdict"] for verdict in seen.verdicts.values()} == {"PASS"}


def test_only_cells_without_a_guest(suites: Suites, tmp_path: Path) -> None:
    """They have the tests that want none, and those alone."""
    matrix = tmp_path / "kconfigs/matrix.yaml"
    matrix.write_text(GOOD.replace("{memory: 128, cpus: 1, cmdline: quiet, boot: 3}", "null"))
    suites.ask("two")
    seen = suites(test_a="def test_x(cell): pass\ndef test_y(cell, guest): pass\n")
    assert seen.order == ["two:a:test_x"]


def test_order_is_that_of_the_run(suites: Suites) -> None:
    suites.ask("two")
    assert suites(test_a="def test_x(cell): pass\n").order == ["two:a:test_x"]


def test_needs_and_absent(suites: Suites) -> None:
    seen = suites(
        test_a="""
        import pytest
        @pytest.mark.needs("with_regs")
        def test_needs(cell): pass
        @pytest.mark.absent("with_regs")
        def test_absent(cell): pass
        @pytest.mark.needs("with_regs", "bpf_ftrace")
        def test_both(cell): pass
        """
    )
    said = {name: (verdict["verdict"], verdict["reason"]) for name, verdict in seen.verdicts.items()}
    fact = "with_regs: the trampoline can save every register"
    assert said == {
        "one:a:test_needs": ("PASS", ""),
        "two:a:test_needs": ("SKIP", f"two declares no {fact}"),
        "one:a:test_absent": ("SKIP", f"one declares {fact}"),
        "two:a:test_absent": ("PASS", ""),
        "one:a:test_both": ("SKIP", "one declares no bpf_ftrace: BPF programs can filter ftrace"),
        "two:a:test_both": ("SKIP", f"two declares no {fact}"),
    }


@pytest.mark.parametrize("mark", ["needs", "absent"])
def test_unknown_fact(suites: Suites, mark: str) -> None:
    """A test that is written wrongly is neither skipped nor passed."""
    seen = suites(test_a=f"import pytest\n@pytest.mark.{mark}('magic')\ndef test_x(cell): pass\n")
    assert [verdict["verdict"] for verdict in seen.verdicts.values()] == ["INFRA", "INFRA"]
    assert "no fact 'magic'; there is: bpf_ftrace, " in seen.verdicts["one:a:test_x"]["reason"]


def test_name_that_cannot_be_selected(suites: Suites) -> None:
    """Each failure ends with a -k that repeats it; pytest has no quotes for what it cannot parse."""
    suites.ask("one")
    (said,) = suites(
        test_a="import pytest\n@pytest.mark.parametrize('x', ['a (b)'])\ndef test_x(cell, x): pass\n"
    ).verdicts.values()
    assert said["verdict"] == "INFRA"
    assert "-k cannot select this name" in said["reason"]


def test_without_a_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_a="def test_x(cell): pass\n")
    result = pytester.runpytest("-p", "farm.worker.plugin")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "suites need a run: start them with `farm run`" in result.stdout.str() + result.stderr.str()


GUEST = "def test_x(guest): pass\ndef test_y(agent): pass\ndef test_z(built): pass\n"


@pytest.mark.parametrize("status, verdict", [(Exit.KERNEL, "BUILD"), (Exit.FARM, "INFRA"), (Exit.USAGE, "INFRA")])
def test_cell_without_a_kernel(suites: Suites, status: Exit, verdict: str) -> None:
    for cell in ("one", "two"):
        cellstate.tell_failed(suites.directory, Event("failed", cell, f"{cell}: x.c:1: error: no", int(status)))
    seen = suites(test_a=GUEST)
    assert len(seen.verdicts) == 6
    for name, said in seen.verdicts.items():
        assert said["verdict"] == verdict
        assert f"{name.partition(':')[0]}: x.c:1: error: no" in said["reason"]


def test_cell_that_does_not_boot_is_not_tried_again(suites: Suites) -> None:
    suites.ask("one")
    cellstate.tell_built(suites.directory, Built("one", "", "", "", "", *GONE, False))
    path = cellstate.directory(suites.directory, "one") / "unbootable.json"
    path.write_text(json.dumps({"text": "its console stayed silent"}))
    seen = suites(test_a="def test_x(guest): pass\ndef test_y(guest): pass\n")
    said = [(verdict["verdict"], verdict["reason"]) for verdict in seen.verdicts.values()]
    assert said == [("BOOT", "its console stayed silent")] * 2


def test_artifacts_that_are_gone_are_the_farms_fault(suites: Suites, cache_root: Path) -> None:
    suites.ask("one")
    cellstate.tell_built(suites.directory, Built("one", "", "", "", "", *GONE, False))
    (said,) = suites(test_a="def test_x(guest): pass\n").verdicts.values()
    assert said["verdict"] == "INFRA"
    assert "one: the cache in" in said["reason"]
    assert "has no kernels/k; `farm build one` makes it again" in said["reason"]


def test_verdicts_of_what_is_raised(suites: Suites) -> None:
    suites.ask("one")
    seen = suites(
        test_a="""
        import pytest
        from farm.base.errors import GuestCrashed, GuestHung
        from farm.record.records import Slot
        from farm.worker.classify import SlotsDiffer

        def test_assertion(cell): assert 1 == 2
        def test_unknown(cell): raise KeyError("x")
        def test_hang(cell): raise GuestHung("no answer to `call`")
        def test_slots(cell): raise SlotsDiffer("call", [Slot("arg1", "rdi", 112, passed=1, program=2)])
        def test_fixture(cell, no_such_fixture): pass

        @pytest.fixture
        def crashing(cell):
            yield
            raise GuestCrashed("oops: BUG: x")

        def test_crash_explains(crashing): assert 1 == 2
        def test_crash_behind(crashing): pass

        @pytest.fixture
        def broken(cell):
            raise OSError("no")

        def test_broken(broken): pass
        """
    )
    said = {name.rpartition(":")[2]: verdict for name, verdict in seen.verdicts.items()}
    assert {name: verdict["verdict"] for name, verdict in said.items()} == {
        "test_assertion": "FAIL",
        "test_unknown": "INFRA",
        "test_hang": "HANG",
        "test_slots": "FAIL",
        "test_fixture": "INFRA",
        "test_crash_explains": "CRASH",
        "test_crash_behind": "CRASH",
        "test_broken": "INFRA",
    }
    assert said["test_unknown"]["reason"] == "KeyError: 'x'"
    assert said["test_crash_explains"]["reason"].startswith("oops: BUG: x\n")
    assert "assert 1 == 2" in said["test_crash_explains"]["reason"]
    assert said["test_slots"]["slots"] == [
        {"name": "arg1", "register": "rdi", "offset": 112, "passed": 1, "program": 2, "callee": None, "raw": None}
    ]
    assert said["test_slots"].pop("hopeless") is None
    assert records.from_json({**said["test_slots"], "seconds": 1.0}).slots[0].wrong


def test_every_fixture_that_fails_with_its_guest_is_a_cause(suites: Suites) -> None:
    """pytest makes one exception of them, and the kernel is still at fault."""
    seen = suites(
        test_a="""
        import pytest
        from farm.base.errors import GuestCrashed, GuestHung
        @pytest.fixture
        def outer():
            yield
            raise GuestCrashed("Oops")
        @pytest.fixture
        def inner(outer):
            yield
            raise GuestHung("no answer")
        def test_x(cell, inner): pass
        """
    )
    assert {said["verdict"] for said in seen.verdicts.values()} == {"CRASH"}
    assert {said["reason"] for said in seen.verdicts.values()} == {"Oops\nno answer"}


def test_repeated_as_often_as_asked(suites: Suites) -> None:
    suites.ask("one", repeat=3)
    seen = suites(
        "-k",
        "test_x[one-2]",
        test_a="""
        import pytest
        @pytest.mark.parametrize("n", [1, 2])
        def test_x(cell, n): pass
        def test_y(cell): pass
        """,
    )
    assert seen.order == ["one:a:test_x[2]"] * 3
    assert seen.attempts == [1, 2, 3]


def test_part_of_a_feature(suites: Suites, tmp_path: Path) -> None:
    """Where the cell declares it, neither what needs it nor what needs its absence."""
    suites.ask(partial=True)
    path = Path(records.load_run(suites.directory).matrix)
    path.write_text(path.read_text().replace("[with_regs]", "[bpf_ftrace]"))
    seen = suites(
        test_a="""
        import pytest
        @pytest.mark.needs("bpf_ftrace")
        def test_there(cell): assert False
        @pytest.mark.absent("bpf_ftrace")
        def test_absent(cell): pass
        def test_always(cell): pass
        def test_without(filterable): assert not filterable
        """
    )
    verdicts = {name.replace(":a:test_", " "): said["verdict"] for name, said in seen.verdicts.items()}
    assert verdicts == {
        "one there": "SKIP",
        "one absent": "SKIP",
        "one always": "PASS",
        "one without": "PASS",
        "two there": "SKIP",
        "two absent": "PASS",
        "two always": "PASS",
        "two without": "PASS",
    }
    assert "only a part of bpf_ftrace" in seen.verdicts["one:a:test_absent"]["reason"]


def test_whole_of_a_feature(suites: Suites) -> None:
    """Filters can be attached where the cell declares them, if nothing was said of a part."""
    path = Path(records.load_run(suites.directory).matrix)
    path.write_text(path.read_text().replace("[with_regs]", "[bpf_ftrace]"))
    seen = suites(test_a="def test_way(cell, filterable): assert filterable == (cell.name == 'one')")
    assert {said["verdict"] for said in seen.verdicts.values()} == {"PASS"}


def test_suites_that_go_first(suites: Suites) -> None:
    suites.ask(first=("c", "b"))
    seen = suites(**{f"test_{name}": "def test_x(cell): pass\n" for name in "abcd"})
    assert seen.order == [f"{cell}:{suite}:test_x" for cell in ("one", "two") for suite in "cbad"]


def test_loop_in_a_test_is_a_hang(suites: Suites) -> None:
    suites.ask("one", limits=Limits(test=1))
    (said,) = suites(test_a="def test_x(cell):\n    while True: pass\n").verdicts.values()
    assert said["verdict"] == "HANG"
    assert said["reason"].startswith("Timeout")


# What controller and workers tell one another.


def test_built_comes_back(run: Path) -> None:
    built = Built("one", "linux@v1", "c", "t", "k", *GONE, True)
    cellstate.tell_built(run, built)
    assert cellstate.wait_built(run, "one", 0.3) == built


def test_kernel_that_went_with_the_cache_is_waited_for(run: Path, cache_root: Path) -> None:
    """A run that is gone on with has what it was told before; the builder makes the kernel again."""
    known = Built("one", "linux@v1", "c", "t", "k", *GONE, True)
    cellstate.tell_built(run, known)
    cellstate.put_aside(run, "one")
    with pytest.raises(FarmError, match="gave neither a kernel nor an error"):
        cellstate.wait_built(run, "one", 0.3)
    assert cellstate.load_built(run, "one") == known, "what it was is remembered"
    there = artifact.make("kernels", "k", lambda directory: None)
    cellstate.tell_built(run, known)
    cellstate.put_aside(run, "one")
    assert not (run / "cells/one/built.json").exists(), "its module is gone"
    for ref in GONE[1:]:
        artifact.make(ref.kind, ref.key, lambda directory: None)
    cellstate.tell_built(run, known)
    cellstate.put_aside(run, "one")
    assert cellstate.wait_built(run, "one", 0.3).kernel == there, "a kernel that is there needs no builder"


def test_consoles_are_numbered(run: Path) -> None:
    assert [cellstate.new_console(run, "one").name for _ in range(3)] == [f"console-{n}.log" for n in (1, 2, 3)]
    assert cellstate.new_console(run, "two").name == "console-1.log"


def test_a_cell_that_booted_once_is_not_given_up(run: Path) -> None:
    cellstate.tell_booted(run, "one", 1.5)
    for cell in ("one", "two"):
        cellstate.tell_unbootable(run, cell, BootFailed("silent"))
    cellstate.check_bootable(run, "one")
    with pytest.raises(BootFailed, match="silent"):
        cellstate.check_bootable(run, "two")


def test_what_has_a_verdict_is_not_run_again(suites: Suites) -> None:
    """A run that was interrupted is gone on with; what the interruption said is dropped."""
    files = {"test_a": "def test_x(cell): pass\ndef test_y(cell): pass\ndef test_z(cell): pass\n"}
    records.update_run(suites.directory, cells=["one"], status="interrupted")
    for test, verdict in (("test_x", Verdict.FAIL), ("test_y", Verdict.LOST)):
        records.append_verdict(suites.directory, VerdictRecord(test, "a", "one", verdict, 1.0))
    with (suites.directory / "verdicts.jsonl").open("a") as handle:
        handle.write('{"test": "test_')
    run, done = resume.resume(suites.directory)
    assert (run.status, [one.test for one in done]) == ("running", ["test_x"])
    assert records.load_verdicts(suites.directory) == done
    suites.ask("one", done=tuple(Planned(one.test, one.suite, one.cell) for one in done))
    assert suites(**files).order == ["one:a:test_y", "one:a:test_z"]
    records.update_run(suites.directory, status="finished")
    with pytest.raises(UsageError, match="the run is finished, there is nothing to go on with"):
        resume.resume(suites.directory)
