# SPDX-License-Identifier: GPL-2.0
"""The farm as its users have it: commands, on kernels that are right and wrong."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from farm.base import cache
from farm.base.command import run
from farm.base.deadline import Deadline
from farm.base.errors import Exit
from farm.kernel import series
from farm.kernel.tree import IDENTITY, Source
from farm.matrix import CHECKOUT, MATRIX, choose, load
from farm.record.records import Run, VerdictRecord, load_run, load_verdicts, update_run
from farm.record.verdict import Verdict
from farm.run import session
from tests.test_comparison import Silent

FARM = Path(sys.executable).with_name("farm")
SUITES = CHECKOUT / "suites"

#: Longest that one command may take, from nothing: four kernels.
LIMIT = 2400


@dataclass(frozen=True)
class Ran:
    """A run that ended."""

    status: int
    said: str
    run: Run
    verdicts: list[VerdictRecord]
    directory: Path

    def counts(self, cell: str = "") -> Counter[Verdict]:
        return Counter(record.verdict for record in self.verdicts if cell in ("", record.cell))


def farm_run(results: Path, *words: str, status: int | None = None) -> Ran:
    argv = [str(FARM), "run", "--results", str(results), *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, check=False)
    said = done.stdout + done.stderr
    assert status in (None, done.returncode), f"exit {done.returncode}\n{said}"
    (directory,) = results.iterdir()
    return Ran(done.returncode, said, load_run(directory), load_verdicts(directory), directory)


def refused(*words: str) -> str:
    """What the farm says of a wrong request, which must be exit status 2."""
    done = subprocess.run([str(FARM), *words], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(scope="session")
def patched() -> Source:
    """The source of the first cell, with the series."""
    matrix = load()
    (cell,) = choose(matrix, ["x86_64-regs"])
    return series.resolve(cell, matrix.trees, None, None)


@pytest.fixture
def user_tree(patched: Source) -> Path:
    """A repository like a user's, with the patched source and nothing checked out.

    Always at the same place: the farm knows a tree by its path, and builds the
    next change of it on top of the last.
    """
    top = cache.root() / "test-trees" / "linux"
    git = ["git", "-C", str(top)]
    run(["git", "init", "--quiet", top])
    (top / ".git/objects/info/alternates").write_text(f"{patched.store}/objects\n")
    run([*git, "update-ref", "refs/heads/master", patched.commit])
    run([*git, "symbolic-ref", "HEAD", "refs/heads/master"])
    return top


def change(top: Path, file: str, before: str, after: str) -> str:
    """Commit one change of one file; `PATH@REV` of it."""
    git = ["git", "-C", str(top)]
    text = run([*git, "show", f"HEAD:{file}"])
    assert text.count(before) >= 1, f"{file} has no {before!r}"
    blob = run([*git, "hash-object", "-w", "--stdin"], stdin=text.replace(before, after, 1)).strip()
    index = {"GIT_INDEX_FILE": str(top / ".git/changed-index"), **IDENTITY}
    run([*git, "read-tree", "HEAD"], env=index)
    run([*git, "update-index", "--cacheinfo", f"100644,{blob},{file}"], env=index)
    content = run([*git, "write-tree"], env=index).strip()
    commit = run([*git, "commit-tree", content, "-p", "HEAD", "-m", "A change"], env=index).strip()
    return f"{top}@{commit}"


def running_guests(marker: str) -> list[str]:
    """Processes with a file below `marker` open or in their arguments."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = [os.readlink(link) for link in (process / "fd").iterdir()]
            line = (process / "cmdline").read_text()
        except OSError:
            continue
        if marker in line or any(link.startswith(marker) for link in links):
            found.append(line.replace("\0", " "))
    return found


def test_all_suites_pass(tmp_path: Path) -> None:
    """One cell, every suite, not one red."""
    done = farm_run(tmp_path, "x86_64-regs", status=0)
    assert {record.suite for record in done.verdicts} == {path.stem[5:] for path in SUITES.glob("test_*.py")}
    assert set(done.counts()) == {Verdict.PASS, Verdict.SKIP}
    assert len(done.verdicts) == done.run.planned
    # what a guest has traced it never forgets: of those that traced much, nothing but the like comes after
    guests = defaultdict(list)
    for record in sorted(done.verdicts, key=lambda record: record.span):
        guests[record.console].append("much_more" in record.test)
    assert any(any(much) for console, much in guests.items() if console)
    assert all(much == sorted(much) for console, much in guests.items() if console), guests


def test_all_cells_pass(tmp_path: Path) -> None:
    """The four kernels of the main road, and the suites that say whether the feature
    is there, whether it may be, and whether it sees what is passed."""
    done = farm_run(tmp_path, "-k", "abi or absence or build or interface or registers or slots", status=0)
    main = [cell.name for cell in choose(load(), [])]
    assert {record.cell for record in done.verdicts} == set(main)
    assert set(done.counts()) == {Verdict.PASS, Verdict.SKIP}
    assert len(done.verdicts) == done.run.planned
    for cell in main:
        assert done.counts(cell)[Verdict.PASS] >= 5
        files = {path.name for path in (done.directory / "cells" / cell).iterdir()}
        assert {"config", "dropped-options", "build.log", "console-1.log", "reproduce"} <= files
    assert (done.directory / "junit.xml").exists()
    # where the feature is, nothing may be skipped for its want; where not, absence is shown
    for record in done.verdicts:
        present = "bpf_ftrace" in load().cells[record.cell].supports
        if record.suite in ("interface", "abi"):
            assert (record.verdict is Verdict.PASS) == present, record
        if record.suite == "absence":
            traced = "function_graph" not in record.reason  # which static ftrace does not have
            assert (record.verdict is Verdict.PASS) == (traced and not present), record


def test_kernel_without_the_series_is_not_asked_for_it(tmp_path: Path) -> None:
    """What needs the feature is skipped by name; that it is absent, and all else, is tested."""
    done = farm_run(tmp_path, "x86_64-regs", "--series", "none", "-k", "interface or absence or slots", status=0)
    of_the_feature = [record for record in done.verdicts if record.suite == "interface"]
    assert {record.verdict for record in of_the_feature} == {Verdict.SKIP}
    assert all("x86_64-regs declares no bpf_ftrace" in record.reason for record in of_the_feature)
    assert {record.suite for record in done.verdicts if record.verdict is Verdict.PASS} >= {"absence", "slots"}


def test_bug_in_the_trampoline_is_named(user_tree: Path, tmp_path: Path) -> None:
    """rdx is saved where rcx belongs: arg4 is wrong, and the slot is said."""
    spec = change(user_tree, "arch/x86/kernel/ftrace_64.S", "movq %rcx, RCX(%rsp)", "movq %rdx, RCX(%rsp)")
    done = farm_run(tmp_path / "results", "x86_64-regs", "--tree", spec, "-k", "test_arguments", status=1)
    failed = [record for record in done.verdicts if record.verdict is Verdict.FAIL]
    assert failed
    for record in failed:
        wrong = [slot for slot in record.slots if slot.wrong]
        assert [(slot.name, slot.register, slot.offset) for slot in wrong] == [("arg4", "rcx", 88)]
        assert [slot.raw for slot in wrong] == [slot.program for slot in wrong], "as QEMU read it from the stack"
    assert "arg4 (rcx, 88(%rsp)) was passed as" in " ".join(done.said.split())
    assert "-k 'test_arguments[x86_64-regs-" in done.said


def test_compile_error_is_told(user_tree: Path, tmp_path: Path) -> None:
    spec = change(user_tree, "kernel/trace/trace_functions.c", "#include", "oops\n#include")
    done = farm_run(tmp_path / "results", "x86_64-regs", "--tree", spec, "-k", "abi", status=1)
    assert set(done.counts()) == {Verdict.BUILD}
    for words in ("x86_64-regs", "kernel/trace/trace_functions.c:", "error: ", "log in "):
        assert words in done.verdicts[0].reason
    assert (done.directory / "cells/x86_64-regs/build.log").exists()


def test_dropped_option_stops_the_cell(tmp_path: Path) -> None:
    """WITH_REGS has no prompt on x86 without the testing patch."""
    text = MATRIX.read_text().replace("    patches: [patches/testing]\n", "")
    matrix = tmp_path / "checkout/kconfigs/matrix.yaml"
    matrix.parent.mkdir(parents=True)
    matrix.write_text(text)
    (matrix.parent / "x86_64").symlink_to(MATRIX.parent / "x86_64")
    (matrix.parent.parent / "patches").symlink_to(MATRIX.parent.parent / "patches")
    done = farm_run(tmp_path / "results", "x86_64-noregs", "--matrix", str(matrix), status=1)
    assert set(done.counts()) == {Verdict.BUILD, Verdict.SKIP}
    for record in done.verdicts:
        if record.verdict is Verdict.BUILD:
            assert "DYNAMIC_FTRACE_WITH_REGS=n (from noregs.config) came out as y" in record.reason
            assert "no prompt" in record.reason


def test_patch_that_does_not_apply(tmp_path: Path) -> None:
    patch = tmp_path / "bad/0001-bad.patch"
    patch.parent.mkdir()
    patch.write_text(
        "From: A <a@b>\nDate: Sat, 1 Jan 2000 00:00:00 +0000\nSubject: [PATCH] bad\n\n---\n"
        "--- a/kernel/trace/ftrace.c\n+++ b/kernel/trace/ftrace.c\n@@ -100,3 +100,3 @@\n a\n-b\n+c\n d\n-- \n2\n"
    )
    said = refused("run", "x86_64-regs", "--series", str(patch.parent), "--results", str(tmp_path / "results"))
    assert "0001-bad.patch does not apply" in said
    assert "kernel/trace/ftrace.c: the hunk at line 100" in said


def test_selection_of_nothing(tmp_path: Path) -> None:
    said = refused("run", "x86_64-regs", "-k", "no_such_test", "--results", str(tmp_path))
    assert "'no_such_test' selects no test" in said


def test_stop_at_the_first_failure(tmp_path: Path) -> None:
    wrong_slot = "ftrace_caller:4889742468=48897c2468"
    ran = farm_run(tmp_path, "x86_64-regs", "-k", "slots or absence", "--stop", "--poke", wrong_slot, status=1)
    assert ran.run.status == "stopped"
    bad = [record for record in ran.verdicts if record.bad]
    assert {record.verdict for record in bad} == {Verdict.FAIL}, "what was left away is not LOST"
    assert len(bad) <= ran.run.workers
    assert "stopped at the first failure" in ran.said


def test_interrupted_run_keeps_its_verdicts(tmp_path: Path) -> None:
    argv = [str(FARM), "run", "x86_64-regs", "--results", str(tmp_path)]
    process = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # a shell that has put these tests into the background has it ignored
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout
    verdicts = None
    for line in process.stdout:
        if line.startswith("run "):
            verdicts = Path(line.removeprefix("run ").strip()) / "verdicts.jsonl"
        if "kernel" in line:
            break
    assert verdicts
    for _ in Deadline(LIMIT).poll(0.1):
        if process.poll() is not None or (verdicts.exists() and '"PASS"' in verdicts.read_text()):
            break
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 3, said
    assert load_run(verdicts.parent).status == "interrupted"
    records = load_verdicts(verdicts.parent)
    assert any(record.verdict is Verdict.PASS for record in records)
    assert any(record.verdict is Verdict.LOST for record in records)
    assert len(records) == load_run(verdicts.parent).planned
    assert running_guests(str(tmp_path)) == []


def test_killed_run_leaves_nothing_running(tmp_path: Path) -> None:
    argv = [str(FARM), "run", "x86_64-regs", "--results", str(tmp_path)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    for _ in Deadline(LIMIT).poll(0.1):
        if process.poll() is not None or list(tmp_path.glob("*/cells/*/booted")):
            break
    process.kill()
    process.wait()
    for _ in Deadline(15).poll():
        if running_guests(str(tmp_path)) == []:
            break
    else:
        pytest.fail(f"still running: {running_guests(str(tmp_path))}")
    (directory,) = tmp_path.iterdir()
    assert json.loads((directory / "run.json").read_text())["status"] == "running"
    load_verdicts(directory)


def test_worker_that_dies_costs_one_test(tmp_path: Path) -> None:
    """The one that it died in gets one verdict and is not run again; the others of its suite are run."""
    suite = tmp_path / "suites/test_dies.py"
    suite.parent.mkdir()
    suite.write_text(
        "import os, signal\n\n\ndef test_before(cell): ...\n\n\n"
        "def test_dies(cell):\n    os.kill(os.getpid(), signal.SIGKILL)\n\n\ndef test_behind(cell): ...\n"
    )
    asked = session.RunRequest(["x86_64-regs"], accel="tcg", results=tmp_path / "results", suites=suite.parent)
    directory, status = session.execute(asked, Silent())
    found = sorted((record.test, record.verdict) for record in load_verdicts(directory))
    assert found == [("test_before", "PASS"), ("test_behind", "PASS"), ("test_dies", "INFRA")]
    assert status is Exit.FARM


def test_resumed_run_has_the_same_kernel(tmp_path: Path) -> None:
    """What a run was asked for holds when it is gone on with, patches on top of the series too."""
    bug = CHECKOUT / "mutants/trampoline/S-save-rdi-rsi-swapped.patch"
    words = ("x86_64-regs", "-n", "1", "-k", "test_arguments and ftrace_caller-function]", "--patch", str(bug))
    first = farm_run(tmp_path, *words, status=1)
    built = first.directory / "cells/x86_64-regs/built.json"
    kernel = json.loads(built.read_text())["kernel_key"]
    assert (first.directory / f"patches/01-{bug.name}").read_bytes() == bug.read_bytes()
    update_run(first.directory, status="interrupted")
    (first.directory / "verdicts.jsonl").write_text("")
    built.unlink()
    again = farm_run(tmp_path, "--resume", str(first.directory), status=1)
    assert json.loads(built.read_text())["kernel_key"] == kernel
    assert [record.test for record in again.verdicts] == [record.test for record in first.verdicts]
    verdicts = (first.directory / "verdicts.jsonl").read_text()
    update_run(first.directory, status="interrupted", patches=[])  # as if the tree had been mended since
    other = farm_run(tmp_path, "--resume", str(first.directory), status=2)
    assert "x86_64-regs would go on with another kernel than it began with" in other.said
    assert load_run(first.directory).status == "interrupted"
    assert (first.directory / "verdicts.jsonl").read_text() == verdicts


def test_two_runs_at_once(tmp_path: Path) -> None:
    words = ["run", "x86_64-regs", "-k", "test_life_of_an_event", "--results"]
    runs = [subprocess.Popen([str(FARM), *words, str(tmp_path)], stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(LIMIT) for process in runs] == [0, 0]
    assert len(list(tmp_path.iterdir())) == 2


def test_exec_passes_output_and_status() -> None:
    argv = [str(FARM), "exec", "x86_64-regs", "--", "uname -s; exit 5"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stdout) == (5, "Linux\n"), done.stderr
