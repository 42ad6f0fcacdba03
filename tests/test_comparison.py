# SPDX-License-Identifier: GPL-2.0
"""The kernel's own tests: what they say is read, and two kernels are compared by it."""

import json
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from farm import artifact
from farm.artifact import Ref
from farm.base.deadline import Deadline
from farm.base.errors import Exit, FarmError, UsageError
from farm.kernel.builder import Built
from farm.kernel.tree import from_user
from farm.record import records
from farm.record.records import VerdictRecord
from farm.record.verdict import Verdict
from farm.report.comparison import show
from farm.run import comparison
from farm.run.comparison import judge
from farm.worker import ftracetest, selftests
from farm.worker.ftracetest import Result, Suite
from farm.worker.selftests import BASE, PATCHED, RANK, Compared, Done, Job, worse
from tests.conftest import LINUX, Repository
from tests.test_records import RUN

DATA = Path(__file__).parent / "data" / "ftracetest"


def said(name: str) -> dict[str, Result]:
    return ftracetest.named("some/file.tc", (DATA / f"{name}.log").read_text())


# What ftracetest says.


def test_passed_also_in_an_instance() -> None:
    assert said("instance") == {"some/file": Result("PASS"), "some/file[instance]": Result("PASS")}


def test_failed() -> None:
    (result,) = said("failed").values()
    assert result.outcome == "FAIL"
    lines = result.log.splitlines()
    assert lines[0] == "execute: /tmp/ftracetest/test.d/dynevent/add_remove_uprobe.tc"
    assert lines[-1] == "+ grep -q myevent uprobe_events"


@pytest.mark.parametrize("name", ["unsupported", "unresolved"])
def test_not_run(name: str) -> None:
    (result,) = said(name).values()
    assert result == Result(name.upper())


def test_failed_and_then_passed_in_an_instance() -> None:
    text = "[1] Title of it\t[FAIL]\nexecute: x\n+ false\n[2] (instance)  Title of it\t[PASS]\n\n\n# of passed:  1\n"
    found = ftracetest.named("a.tc", text)
    assert found == {"a": Result("FAIL", "execute: x\n+ false"), "a[instance]": Result("PASS")}


@pytest.mark.parametrize("text", ["", "=== Ftrace unit tests ===\n[1] Title", "ftracetest: not found"])
def test_nothing_said(text: str) -> None:
    assert ftracetest.named("a.tc", text) == {}


FILES = {
    "test.d/a/one.tc": "#!/bin/sh\n# description: One\n# flags: instance\n",
    "test.d/a/two.tc": "#!/bin/sh\n# description: Two\n",
    "test.d/functions": "# no test\n",
}


@pytest.fixture
def tree(linux: Repository) -> Repository:
    linux.commit({f"{ftracetest.PATH}/{name}": text for name, text in FILES.items()})
    return linux


def test_suite_of_a_tree(tree: Repository, cache_root: Path) -> None:
    tests = ftracetest.suite(from_user(str(tree.path)))
    assert dict(tests.files) == {"a/one.tc": True, "a/two.tc": False}
    assert tests.names("a/one.tc") == ["a/one", "a/one[instance]"]
    assert tests.names("a/two.tc") == ["a/two"]
    with tarfile.open(artifact.locate(tests.archive) / "ftrace.tar") as tar:
        assert "test.d/functions" in tar.getnames()


def test_selected_of_a_suite(tree: Repository, cache_root: Path) -> None:
    assert list(ftracetest.suite(from_user(str(tree.path)), "two").files) == ["a/two.tc"]
    with pytest.raises(UsageError, match="-k 'three' selects no test"):
        ftracetest.suite(from_user(str(tree.path)), "three")


def test_tree_without_the_tests(linux: Repository, cache_root: Path) -> None:
    with pytest.raises(UsageError, match="has no tools/testing/selftests/ftrace"):
        ftracetest.suite(from_user(str(linux.path)))


# What is made of it.


@pytest.mark.parametrize(
    "base, patched, verdict, reason",
    [
        (["PASS"], ["PASS"], Verdict.PASS, ""),
        (["FAIL"], ["FAIL"], Verdict.PASS, "no worse: FAIL, and FAIL on the base"),
        (["FAIL"], ["PASS"], Verdict.PASS, "no worse: PASS, and FAIL on the base"),
        # tried again for the sake of its brother in an instance
        (["PASS"] * 2, ["PASS"] * 2, Verdict.PASS, ""),
        (["HANG"], ["FAIL"], Verdict.PASS, "no worse: FAIL, and HANG on the base"),
        (["UNSUPPORTED"], ["UNSUPPORTED"], Verdict.SKIP, "UNSUPPORTED, and UNSUPPORTED on the base"),
        (["UNRESOLVED"], ["UNRESOLVED"], Verdict.SKIP, "UNRESOLVED, and UNRESOLVED on the base"),
        (["PASS"] * 3, ["FAIL"] * 3, Verdict.FAIL, "3 times PASS on the base, 3 times FAIL with the series"),
        (["PASS"] * 3, ["UNSUPPORTED"] * 3, Verdict.FAIL, None),
        (["UNSUPPORTED"] * 3, ["FAIL"] * 3, Verdict.FAIL, None),
        (["FAIL"] * 3, ["CRASH"] * 3, Verdict.CRASH, None),
        (["PASS"] * 3, ["HANG", "CRASH", "HANG"], Verdict.HANG, None),
        (["PASS"] * 3, ["FAIL", "UNRESOLVED", "FAIL"], Verdict.FAIL, None),
        (
            ["PASS"] * 2,
            ["FAIL", "PASS"],
            Verdict.PASS,
            "not steady: 2 times PASS on the base, FAIL, PASS with the series",
        ),
        (
            ["PASS", "FAIL"],
            ["FAIL"] * 2,
            Verdict.PASS,
            "not steady: PASS, FAIL on the base, 2 times FAIL with the series",
        ),
    ],
)
def test_judge(base: list[str], patched: list[str], verdict: Verdict, reason: str | None) -> None:
    found, because = judge(base, patched)
    assert found == verdict
    assert reason is None or because == reason


def test_every_outcome_has_a_rank() -> None:
    """Those of ftracetest itself (test.d is of the kernel's), and the farm's own."""
    known = {"PASS", "FAIL", "UNRESOLVED", "UNTESTED", "UNSUPPORTED", "XFAIL", "UNDEFINED", "NONE", "HANG", "CRASH"}
    assert set(RANK) == known
    assert not worse(["PASS"], ["XFAIL"])


class Silent:
    """Nobody who watches."""

    def began(self, *_: object) -> None: ...
    def building(self, *_: object) -> None: ...
    def built(self, *_: object) -> None: ...
    def plan(self, *_: object) -> None: ...
    def notice(self, *_: object) -> None: ...
    def comparing(self, *_: object) -> None: ...
    def verdict(self, record: VerdictRecord) -> None: ...


def compared(outcomes: dict[str, tuple[list[str], list[str]]]) -> Iterator[Compared]:
    for name, (base, patched) in outcomes.items():
        log = "" if patched[0] == "PASS" else f"the log of {name}\n+ false"
        results = {name: Result(patched[0], log)}
        yield name, base, patched, Done(PATCHED, Job(f"{name}.tc"), results, "patched-1.log", (0, 0), 1.5)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    command = ["/usr/bin/farm", "selftests", "--base", "/linux@v6.12", "-k", "a/"]
    records.save_run(tmp_path, replace(RUN, cells=["x86_64-regs"], status="running", command=command))
    return tmp_path


def test_verdicts_and_report(directory: Path) -> None:
    outcomes = {
        "a/good": (["PASS"], ["PASS"]),
        "a/better": (["FAIL"], ["PASS"]),
        "a/none": (["UNSUPPORTED"], ["UNSUPPORTED"]),
        "a/worse[instance]": (["PASS"] * 3, ["FAIL"] * 3),
        "a/shaky": (["PASS"] * 2, ["FAIL", "PASS"]),
    }
    status = comparison.judge_all(directory, "x86_64-regs", compared(outcomes), Silent())
    assert status == Exit.KERNEL
    run, verdicts = records.load_run(directory), records.load_verdicts(directory)
    assert run.status == "finished"
    assert [record.verdict for record in verdicts] == ["PASS", "PASS", "SKIP", "FAIL", "PASS"]
    assert {record.suite for record in verdicts} == {"selftests"}
    console = Console(width=120, record=True, file=(directory / "screen").open("w"))
    show(console, directory, run, verdicts)
    text = console.export_text()
    assert "3 times PASS on the base, 3 times FAIL with the series" in text
    assert "+ false" in text
    assert "again: farm selftests --base /linux@v6.12 -k a/ -k a/worse\n" in text
    assert "a/better" in text
    assert "a/shaky" in text
    assert "a/good" not in text
    assert "base:    1 FAIL, 3 PASS, 1 UNSUPPORTED" in text
    assert "patched: 2 FAIL, 2 PASS, 1 UNSUPPORTED" in text
    assert "5 tests, 1 worse than on the base" in text


def test_a_base_that_passes_nothing_proves_nothing(directory: Path) -> None:
    with pytest.raises(FarmError, match="not one test passed on the base"):
        comparison.judge_all(directory, "x86_64-regs", compared({"a": (["FAIL"], ["FAIL"])}), Silent())


def test_interrupted(directory: Path) -> None:
    def broken_off() -> Iterator[Compared]:
        yield from compared({"a": (["PASS"], ["PASS"])})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        comparison.judge_all(directory, "x86_64-regs", broken_off(), Silent())
    assert records.load_run(directory).status == "interrupted"
    assert json.loads((directory / comparison.COMPARISON).read_text()) == {"a": {BASE: ["PASS"], PATCHED: ["PASS"]}}


def test_what_is_built(tree: Repository, cache_root: Path) -> None:
    """The base is the tree without the series, unless the series is in it already."""
    plain = comparison.orders(comparison.SelftestsRequest("x86_64-regs"))
    assert [(plain[kernel].tree, plain[kernel].series) for kernel in (BASE, PATCHED)] == [(None, "none"), (None, None)]
    path = str(tree.path)
    mine = comparison.orders(comparison.SelftestsRequest("x86_64-regs", tree=path))
    assert [(mine[kernel].tree, mine[kernel].series) for kernel in (BASE, PATCHED)] == [(path, "none"), (path, None)]
    tree.commit({**LINUX, "include/uapi/linux/bpf_ftrace.h": "struct bpf_ftrace_args;\n"})
    patched = comparison.orders(comparison.SelftestsRequest("x86_64-regs", tree=path))
    assert (patched[BASE].tree, patched[PATCHED].tree) == (None, path)
    named = comparison.orders(comparison.SelftestsRequest("x86_64-regs", tree=path, base=f"{path}@HEAD~1"))
    assert (named[BASE].tree, named[BASE].series) == (f"{path}@HEAD~1", "none")


def test_names_of_a_suite() -> None:
    tests = Suite(Ref("selftests", "x"), {"a/b.tc": True})
    assert tests.names("a/b.tc") == ["a/b", "a/b[instance]"]


def test_kernel_that_is_gone_leaves_no_run(tmp_path: Path, cache_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing ran, so there is nothing to go on with."""
    refs = Ref("kernels", "k"), Ref("programs", "p"), Ref("modules", "m")
    gone = Built("x86_64-regs", "s", "c", "t", "k", *refs, False)
    monkeypatch.setattr(comparison, "resolve", lambda *_: None)
    monkeypatch.setattr(ftracetest, "suite", lambda *_: Suite(Ref("selftests", "x"), {"a.tc": False}))
    request = comparison.SelftestsRequest("x86_64-regs", accel="tcg", results=tmp_path / "results")
    with pytest.raises(FarmError, match="has no kernels/k"):
        comparison.run(request, {BASE: gone, PATCHED: gone}, Silent())
    assert not list((tmp_path / "results").glob("*"))


def test_nobody_runs_on_for_a_comparison_that_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(kernel: str, *more: Any) -> None:
        jobs, answers = more[3], more[4]
        while (job := jobs.get()) is not None:
            answers.put(Done(kernel, job, {"a": Result("PASS"), "b": Result("PASS")}, "", (0, 0), 0.1))

    monkeypatch.setattr(selftests, "_serve", serve)
    before = threading.active_count()
    tests = Suite(Ref("selftests", "x"), {"a.tc": False, "b.tc": False})
    going = selftests._compare(dict.fromkeys((BASE, PATCHED)), tests, tmp_path, lambda done: None, print)  # type: ignore[arg-type]
    assert next(going)[0] == "a"
    assert threading.active_count() == before + 2
    going.close()  # type: ignore[attr-defined]
    assert any(threading.active_count() == before for _ in Deadline(10).poll())
