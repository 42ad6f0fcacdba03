# SPDX-License-Identifier: GPL-2.0
"""What other programs read of a run, by the programs that own the formats."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kcidb_io.schema.v05_00 import Version as Oldest
from kcidb_io.schema.v05_03 import Version as Newest

from farm.artifact import Ref
from farm.base.atomic import save_json
from farm.base.errors import Exit, FarmError, UsageError
from farm.cli import main
from farm.kernel.builder import Built, Event
from farm.kernel.tree import from_package
from farm.matrix import CHECKOUT, load
from farm.record import cellstate, records
from farm.record.records import Run, Slot, VerdictRecord
from farm.record.verdict import MEANING, Verdict
from farm.report import export, jsonl, junit, kcidb, ktap
from tests.test_records import RUN, SLOTS, record, texts, verdict_records

KERNEL = Ref("kernels", "k"), Ref("programs", "p"), Ref("modules", "m")
BUILT = Built("x86_64-regs", "debian-6.12 + series (7 patches)", "c" * 40, "d" * 40, "0123", *KERNEL, False)

#: Names that mean something to one format or another.
NASTY = [
    "test_x[<&>\"']",
    "test_x[]]>]",
    "test # SKIP not really",
    "test\n    ok 1 forged",
    "test\x00\x07\x1b[31m\x85\u2028\u202e",
    "- test ",
    "tëst 日本 𝄞",
    "\ud800",
    "back\\slash \\x23 \\n",
    "1..3",
    "# Subtest: x",
    "reboot: System halted",
    "\u3000",
]
names = st.sampled_from([*NASTY, "slots", "x86_64-regs", "a"]) | texts
nasty_records = st.builds(
    lambda base, test, suite, cell, reason: replace(base, test=test, suite=suite, cell=cell, reason=reason),
    verdict_records,
    names,
    st.sampled_from(["slots", "a", *NASTY]),
    st.sampled_from(["x86_64-regs", "x86_64-static", *NASTY]),
    names,
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A run with a cell that was built, a console, and one that was not."""
    records.save_run(tmp_path, replace(RUN, status="finished"))
    cellstate.tell_built(tmp_path, BUILT)
    cellstate.tell_failed(tmp_path, Event("failed", "x86_64-static", "x.c:1: error: no\0 luck", Exit.KERNEL))
    (tmp_path / "cells/x86_64-regs/console-1.log").write_bytes(
        b"[    1.0] BUG: mine\r\n[    1.1] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n"
    )
    metadata = {
        "build": {"target_arch": "x86_64", "reproducer_cmdline": ["tuxmake", "a b"]},
        "compiler": {"version_full": "gcc 12"},
        "results": {"duration": {"build": 60.5}},
    }
    save_json(tmp_path / "cells/x86_64-regs/metadata.json", metadata)
    return tmp_path


CRASH = record(Verdict.CRASH, "test_crash", console="console-1.log", reason="BUG: mine\nand more")
EVERY = [
    *(record(verdict, f"test_{verdict}") for verdict in Verdict),
    record(Verdict.SKIP, cell="x86_64-static", suite="abi", reason="x86_64-static declares no smp"),
    record(Verdict.FAIL, "test_frame", suite="frame", slots=SLOTS),
    replace(CRASH, suite="frame"),
]


# KTAP, by the kernel's own parser.


@pytest.fixture(scope="module")
def kunit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tools/testing/kunit of the kernel."""
    source = from_package(load().trees["debian-6.12"])
    place = tmp_path_factory.mktemp("kernel")
    for path in source.git("ls-tree", "-r", "--name-only", source.commit, "tools/testing/kunit").splitlines():
        if path.endswith(".py"):
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(source.git("show", f"{source.commit}:{path}") + "\n")
    return place / "tools/testing/kunit"


@pytest.fixture(scope="module")
def parser(kunit: Path) -> Iterator[Any]:
    """kunit_parser, a module that prints as it parses."""
    sys.path.insert(0, str(kunit))
    try:
        module: Any = import_module("kunit_parser")
        module.stdout = import_module("kunit_printer").Printer(io.StringIO())
        yield module
    finally:
        sys.path.remove(str(kunit))


#: A test as the parser or the records have it: name, status, what it consists of.
Tree = tuple[str, str, list[Any]]


def parsed(parser: Any, text: str) -> tuple[list[Tree], int]:
    def tree(test: Any) -> Tree:
        return plain(test.name), test.status.name, [tree(each) for each in test.subtests]

    main = parser.parse_run_tests(text.splitlines())  # as kunit.py splits a file
    return [tree(each) for each in main.subtests], main.counts.errors


def plain(name: str) -> str:
    """A name without its escapes."""
    code = r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})|\\U([0-9a-f]{8})"
    return re.sub(code, lambda found: chr(int(next(filter(None, found.groups())), 16)), name)


def expected(run: Run, verdicts: Sequence[VerdictRecord]) -> list[Tree]:
    status = {Verdict.PASS: "SUCCESS", Verdict.SKIP: "SKIPPED"}

    def group(name: str, mine: Sequence[VerdictRecord], inner: list[Tree]) -> Tree:
        said = {status.get(each.verdict, "FAILURE") for each in mine}
        of_all = next(each for each in ("FAILURE", "SUCCESS", "SKIPPED") if each in said)
        return name or "?", of_all, inner

    trees = []
    for cell in dict.fromkeys([*run.cells, *(each.cell for each in verdicts)]):
        mine = [each for each in verdicts if each.cell == cell]
        suites: list[Tree] = []
        for suite in dict.fromkeys(each.suite for each in mine):
            tests = [each for each in mine if each.suite == suite]
            leaves: list[Tree] = [(each.test or "?", status.get(each.verdict, "FAILURE"), []) for each in tests]
            suites.append(group(suite, tests, leaves))
        trees.append(group(cell, mine, suites) if mine else (cell, "FAILURE", []))
    return trees


@given(st.lists(nasty_records, max_size=6))
def test_ktap_comes_back(parser: Any, verdicts: list[VerdictRecord]) -> None:
    run = replace(RUN, status="interrupted")
    text = ktap.text(Path("/nonexistent"), run, verdicts)
    assert parsed(parser, text) == (expected(run, verdicts), 0)


def test_ktap_of_every_verdict(directory: Path, parser: Any) -> None:
    run = records.load_run(directory)
    text = ktap.text(directory, run, EVERY)
    assert parsed(parser, text) == (expected(run, EVERY), 0)
    lines = text.splitlines()
    assert "    ok 1 test_PASS" in lines
    assert "    not ok 2 test_FAIL" in lines
    assert "    not ok 3 test_CRASH # ERROR CRASH why" in lines
    assert "    not ok 4 test_HANG # TIMEOUT why" in lines
    assert "    ok 7 test_SKIP # SKIP why" in lines
    assert "    not ok 9 test_LOST # ERROR LOST why" in lines
    assert "ok 2 x86_64-static # SKIP" in lines


def test_ktap_diagnostics_tell_of_the_failure(directory: Path) -> None:
    text = ktap.text(directory, records.load_run(directory), EVERY)
    above = text.partition("    not ok 1 test_frame")[0].splitlines()[-7:]
    assert above[0] == "    # FAIL: why"
    assert any(re.match(r"    # +arg3 +rdx +96 .* 00000000 00000000!", line) for line in above)
    assert above[-1] == "    #   again: farm run x86_64-regs -k 'test_frame[x86_64-regs]'"
    crashed = text.partition("    not ok 2 test_crash")[0].splitlines()[-5:]
    assert crashed[:3] == ["    # CRASH: BUG: mine", "    #   and more", "    #     BUG: mine"]
    assert "Kernel panic - not syncing: VFS:" not in text  # there the parser would stop


@pytest.mark.parametrize(
    "status, said",
    [
        ("finished", "ok 2 x86_64-static # SKIP no test is for this cell"),
        ("stopped", "ok 2 x86_64-static # SKIP no test is for this cell"),
        ("interrupted", "not ok 2 x86_64-static # ERROR no verdict, the run is interrupted"),
    ],
)
def test_ktap_of_a_cell_without_verdicts(status: str, said: str, tmp_path: Path) -> None:
    run = replace(RUN, status=status)
    assert ktap.text(tmp_path, run, [record(Verdict.PASS)]).splitlines()[-1] == said
    assert "\nnot ok 1 " in ktap.text(tmp_path, run, [])


def test_kunit_itself_reads_it(directory: Path, kunit: Path) -> None:
    """As somebody types it, from the file that a run leaves."""
    run = records.load_run(directory)
    assert export.leave(directory, run, EVERY) == []

    def parse() -> "subprocess.CompletedProcess[str]":
        argv = [sys.executable, str(kunit / "kunit.py"), "parse", str(directory / "results.ktap")]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment, cwd=kunit.parents[2])

    bad = parse()
    assert bad.returncode == 1
    assert "Testing complete. Ran 12 tests: passed: 1, failed: 9, skipped: 2" in bad.stdout
    assert "ERROR" not in bad.stdout.replace("# ERROR", "")
    assert export.leave(directory, run, EVERY[:1]) == []
    good = parse()
    assert good.returncode == 0, good.stdout + good.stderr
    assert "Testing complete. Ran 2 tests: passed: 1, skipped: 1" in good.stdout


# KCIDB, by kcidb-io.


def kcidb_document(directory: Path, run: Run, verdicts: Sequence[VerdictRecord], origin: str = "mine") -> Any:
    document = json.loads(kcidb.text(directory, run, verdicts, origin))
    Oldest.validate(document)
    assert Oldest.is_compatible(document)
    assert Newest.is_valid(Newest.upgrade(document))
    ids = [each["id"] for kind in ("checkouts", "builds", "tests") for each in document[kind]]
    assert len(ids) == len(set(ids))
    assert {each["checkout_id"] for each in document["builds"]} == {each["id"] for each in document["checkouts"]}
    assert {each["build_id"] for each in document["tests"]} <= {each["id"] for each in document["builds"]}
    return document


@given(st.lists(nasty_records, max_size=6))
def test_kcidb_is_valid_for_any_text(verdicts: list[VerdictRecord]) -> None:
    document = kcidb_document(Path("/nonexistent"), RUN, verdicts)
    for told, each in zip(document["tests"], verdicts, strict=True):
        assert told["misc"]["test"] == re.sub("[\0\ud800-\udfff]", "\ufffd", each.test)
        assert told["misc"]["verdict"] == each.verdict


def test_kcidb_of_every_verdict(directory: Path) -> None:
    document = kcidb_document(directory, records.load_run(directory), EVERY)
    statuses = {each["misc"]["test"]: each["status"] for each in document["tests"]}
    assert statuses == {
        "test_PASS": "PASS", "test_FAIL": "FAIL", "test_CRASH": "FAIL", "test_HANG": "FAIL", "test_BOOT": "FAIL",
        "test_BUILD": "MISS", "test_SKIP": "SKIP", "test_INFRA": "ERROR", "test_LOST": "MISS",
        "test_x": "SKIP", "test_frame": "FAIL", "test_crash": "FAIL",
    }  # fmt: skip
    good, failed = document["builds"]
    assert good == {
        "id": "mine:20260101-000000:x86_64-regs",
        "checkout_id": f"mine:20260101-000000:{'c' * 40}",
        "origin": "mine",
        "config_name": "x86_64-regs",
        "misc": {"again": "farm run x86_64-regs", "kernel": "0123"},
        "status": "PASS",
        "architecture": "x86_64",
        "command": "tuxmake 'a b'",
        "compiler": "gcc 12",
        "duration": 60.5,
    }
    assert (failed["status"], failed["log_excerpt"]) == ("FAIL", "x.c:1: error: no\ufffd luck")
    source, unknown = document["checkouts"]
    assert (source["git_commit_hash"], source["comment"]) == ("c" * 40, BUILT.source)
    assert "git_commit_hash" not in unknown
    frame = next(each for each in document["tests"] if each["misc"]["test"] == "test_frame")
    assert frame["path"] == "ftrace_farm.frame.test_frame"
    assert "00000000 00000000!" in frame["log_excerpt"]


@pytest.mark.parametrize("exit, status", [(Exit.KERNEL, "FAIL"), (Exit.FARM, "ERROR"), (Exit.USAGE, "ERROR")])
def test_kcidb_blames_a_build(tmp_path: Path, exit: Exit, status: str) -> None:
    cellstate.tell_failed(tmp_path, Event("failed", "x86_64-regs", "no", exit))
    first, second = kcidb_document(tmp_path, RUN, [])["builds"]
    assert (first["status"], second["status"]) == (status, "MISS")


def test_kcidb_path_has_the_parameters(tmp_path: Path) -> None:
    (told,) = kcidb_document(tmp_path, RUN, [record(Verdict.PASS, "test_x[args6-a.b c]", suite="9p.x")])["tests"]
    assert told["path"] == "ftrace_farm.9p_x.test_x.args6-a_b_c"


def test_kcidb_excerpt_is_bounded(tmp_path: Path) -> None:
    (told,) = kcidb_document(tmp_path, RUN, [record(Verdict.FAIL, reason="x" * 100_000)])["tests"]
    assert len(told["log_excerpt"]) == kcidb.EXCERPT


@pytest.mark.parametrize("origin", ["", "Mine", "a:b", "a b", "mine\n"])
def test_kcidb_refuses_an_origin(tmp_path: Path, origin: str) -> None:
    with pytest.raises(UsageError, match="KCIDB takes lower-case letters, digits and _ only"):
        kcidb.text(tmp_path, RUN, [], origin)


# JUnit.


def test_junit_tells_what_was_tested(directory: Path) -> None:
    root = ElementTree.fromstring(junit.text(directory, records.load_run(directory), EVERY).encode())
    assert (root.get("tests"), root.get("failures"), root.get("errors"), root.get("skipped")) == ("12", "2", "7", "2")
    properties = {each.get("name"): each.get("value") for each in root[0].iter("property")}
    assert properties == {
        "run.status": "finished",
        "accelerator": "tcg",
        "kernel": "0123",
        "source": BUILT.source,
        "commit": "c" * 40,
        "again": "farm run x86_64-regs",
    }
    text = {case.get("name"): "".join(case.itertext()) for case in root.iter("testcase")}
    assert re.search(r"arg3 +rdx +96 .* 00000000 00000000!", text["test_frame"])
    assert text["test_frame"].strip().endswith("again: farm run x86_64-regs -k 'test_frame[x86_64-regs]'")
    assert "BUG: mine\nKernel panic" in text["test_crash"]


def test_junit_keeps_verdicts_of_no_cell(tmp_path: Path) -> None:
    """A worker that died on a test whose cell nobody knows."""
    root = ElementTree.fromstring(junit.text(tmp_path, RUN, [record(Verdict.INFRA, cell="")]))
    assert [suite.get("tests") for suite in root] == ["0", "0", "1"]


def test_repetitions_have_names_of_their_own(tmp_path: Path) -> None:
    attempts = [record(Verdict.PASS, "test_x[a]", attempt=number) for number in (1, 2, 3)]
    once, often = RUN, replace(RUN, repeat=3)

    def said(run: Run) -> list[str | None]:
        return [
            case.get("name") for case in ElementTree.fromstring(junit.text(tmp_path, run, attempts)).iter("testcase")
        ]

    assert said(often) == ["test_x[a]", "test_x[a] (attempt 2)", "test_x[a] (attempt 3)"]
    assert said(once) == ["test_x[a]"] * 3  # of selftests the number says how many it took
    assert "\n    ok 2 test_x[a] (attempt 2)\n" in ktap.text(tmp_path, often, attempts)


# JSON lines.


@given(st.lists(nasty_records, max_size=6))
def test_jsonl_comes_back(verdicts: list[VerdictRecord]) -> None:
    text = jsonl.text(Path("/nonexistent"), RUN, verdicts)
    assert text.isascii()
    lines = [json.loads(line) for line in text.splitlines()]
    for raw, each in zip(lines, verdicts, strict=True):
        own = {name: raw[name] for name in (field.name for field in fields(VerdictRecord))}
        for slot in own["slots"]:
            assert slot.pop("wrong") == Slot(**{**slot, **_numbers(slot)}).wrong
            slot |= _numbers(slot)
        assert records.from_json(own) == each
        assert raw["bad"] == each.bad


def _numbers(slot: dict[str, Any]) -> dict[str, int | None]:
    return {name: slot[name] and int(slot[name], 16) for name in ("passed", "program", "callee", "raw")}


def test_jsonl_has_the_run_in_each_line(directory: Path) -> None:
    lines = [json.loads(line) for line in jsonl.text(directory, records.load_run(directory), EVERY).splitlines()]
    assert {line["run_id"] for line in lines} == {RUN.id}
    assert {(line["cell"], line["kernel"], line["commit"]) for line in lines} == {
        ("x86_64-regs", "0123", "c" * 40),
        ("x86_64-static", None, None),
    }
    assert lines[1]["again"] == "farm run x86_64-regs -k 'test_FAIL[x86_64-regs]'"
    assert lines[10]["slots"][1]["passed"] == "0x0123456789abcdd3"


# The files, the command, and what may be wrong.


def test_cell_files_that_are_cut_off(directory: Path) -> None:
    for name in ("built.json", "failed.json", "metadata.json"):
        for cell in ("x86_64-regs", "x86_64-static"):
            path = directory / "cells" / cell / name
            if path.exists():
                path.write_text(path.read_text()[:-9])
    run = records.load_run(directory)
    assert [each["status"] for each in kcidb_document(directory, run, EVERY)["builds"]] == ["MISS", "MISS"]
    for make in export.FORMATS.values():
        assert make(directory, run, EVERY)


def test_cell_files_of_another_farm(directory: Path) -> None:
    save_json(directory / "cells/x86_64-regs/built.json", {"commit": "c" * 40, "colour": "blue"})
    (told, _) = kcidb_document(directory, records.load_run(directory), [])["checkouts"]
    assert told["git_commit_hash"] == "c" * 40


def test_full_disk_is_told(directory: Path) -> None:
    """What stands for it: /dev/full takes no byte."""
    (directory / ".junit.xml.partial").symlink_to("/dev/full")
    (complaint,) = export.leave(directory, RUN, EVERY)
    assert f"{directory}/junit.xml: not written: No space left on device" in complaint
    assert f"later: farm export {directory} --format junit -o {directory}/junit.xml" in complaint
    assert (directory / "results.ktap").exists()
    assert not (directory / "junit.xml").exists()
    assert not (directory / ".junit.xml.partial").is_symlink()


def test_write_replaces_as_a_whole(tmp_path: Path) -> None:
    export.write(tmp_path / "x", "old")
    export.write(tmp_path / "x", "nëw")
    assert (tmp_path / "x").read_bytes() == "nëw".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    with pytest.raises(FarmError, match="nix/x: not written: No such file or directory"):
        export.write(tmp_path / "nix/x", "new")


def test_write_keeps_the_mode_and_follows_links(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "new").symlink_to("later")
    export.write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    export.write(tmp_path / "new", "new")
    assert (tmp_path / "new").is_symlink()
    assert (tmp_path / "later").read_text() == "new"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FarmError, match="loop: not written: Too many levels of symbolic links"):
        export.write(tmp_path / "loop", "new")
    with pytest.raises(UsageError, match="this is a directory"):
        export.write(tmp_path, "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "later", "link", "loop", "new"]


def test_write_into_what_is_no_file(tmp_path: Path) -> None:
    """A device and a pipe stay what they are."""
    (tmp_path / "null").symlink_to("/dev/null")
    export.write(tmp_path / "null", "new")
    assert (tmp_path / "null").is_char_device()
    os.mkfifo(tmp_path / "fifo")
    with subprocess.Popen(["cat", tmp_path / "fifo"], stdout=subprocess.PIPE) as reader:
        export.write(tmp_path / "fifo", "nëw")
        assert reader.communicate(timeout=60)[0] == "nëw".encode()
    with subprocess.Popen(["head", "-c", "1", tmp_path / "fifo"], stdout=subprocess.PIPE) as reader:
        export.write(tmp_path / "fifo", "x" * 1_000_000)
        assert reader.communicate(timeout=60)[0] == b"x", "it has enough, and that is no error"
    assert (tmp_path / "fifo").is_fifo()
    with pytest.raises(FarmError, match="/dev/full: not written: No space left on device"):
        export.write(Path("/dev/full"), "new")
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize(
    "script, said",
    [
        ('"$@" -o >(wc -l); wait $!', "2\n"),
        ('"$@" -o /dev/stdout | wc -l', "2\n"),
        ('(echo first; "$@" -o /dev/stdout) >FILE; wc -l <FILE', "3\n"),
    ],
)
def test_output_that_the_shell_made(directory: Path, script: str, said: str) -> None:
    for _ in range(2):
        records.append_verdict(directory, record(Verdict.PASS))
    farm = [sys.executable, "-m", "farm", "export", str(directory), "--format", "jsonl"]
    argv = ["bash", "-o", "pipefail", "-ec", script.replace("FILE", str(directory / "out")), "bash", *farm]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: bytes
    stderr: bytes


@pytest.fixture
def farm(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Done]:
    """`farm export`, in this process: a new one takes seconds to begin."""

    def call(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["farm", "export", *words])
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(ended.value.code or 0), *capfdbinary.readouterr())

    return call


@pytest.mark.parametrize("format", export.FORMATS)
def test_command(directory: Path, farm: Callable[..., Done], format: str) -> None:
    for each in EVERY:
        records.append_verdict(directory, each)
    by_path = farm(str(directory), "--format", format)
    assert (by_path.returncode, by_path.stderr) == (0, b"")
    assert (by_path.stdout.decode(), ()) == export.text(directory, format)
    by_name = ["--results", str(directory.parent), "-o", str(directory / "out")]
    assert farm(directory.name, "--format", format, *by_name).returncode == 0
    assert (directory / "out").read_bytes() == by_path.stdout


@pytest.mark.parametrize("format", export.FORMATS)
def test_run_that_was_cut_off(directory: Path, farm: Callable[..., Done], format: str) -> None:
    """In mid-line, twice: by a kill, and by a disk that was full for a while."""
    for each in EVERY[:3]:
        records.append_verdict(directory, each)
    path = directory / "verdicts.jsonl"
    first, second, third = path.read_text().splitlines()
    path.write_text(f"{first}\n{second[:40]}\n{third}\n{second[:30]}")
    done = farm(str(directory), "--format", format)
    assert done.returncode == 0
    whole = export.FORMATS[format](directory, records.load_run(directory), [EVERY[0], EVERY[2]])
    assert done.stdout.decode() == whole
    assert b"verdicts.jsonl:2: " in done.stderr
    assert b"verdicts.jsonl:4: cut off" in done.stderr


def test_run_of_another_farm(directory: Path, farm: Callable[..., Done]) -> None:
    run = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(json.dumps({**run, "schema": records.SCHEMA + 1}))
    done = farm(str(directory), "--format", "ktap")
    assert done.returncode == 2
    assert f"run.json: schema {records.SCHEMA + 1}, this farm reads {records.SCHEMA}" in done.stderr.decode()


def test_command_takes_the_origin(directory: Path, farm: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTRACE_FARM_ORIGIN", "by_environment")
    done = farm(str(directory), "--format", "kcidb")
    assert json.loads(done.stdout)["builds"][0]["origin"] == "by_environment"
    done = farm(str(directory), "--format", "kcidb", "--origin", "by_option")
    assert json.loads(done.stdout)["builds"][0]["origin"] == "by_option"


@pytest.mark.parametrize(
    "words, said",
    [
        (["nix", "--format", "ktap"], "error: no run nix: neither "),
        (["{}", "--format", "yaml"], "error: --format yaml: there is junit, ktap, kcidb, jsonl"),
        (["{}", "--format", "kcidb", "--origin", "Me"], "error: --origin Me: KCIDB takes"),
    ],
)
def test_command_refuses(directory: Path, farm: Callable[..., Done], words: list[str], said: str) -> None:
    done = farm(*(word.format(directory) for word in words))
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_reader_may_leave(directory: Path) -> None:
    """As a process, in a locale that has no letters but ASCII's."""
    for _ in range(2000):
        records.append_verdict(directory, replace(EVERY[0], reason="ü" * 100))
    script = f"{sys.executable} -c 'from farm.cli import main; main()' export {directory} --format kcidb | head -n 1"
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=False, timeout=120, env=environment)
    assert (done.stdout, done.stderr) == (b"{\n", b"")


# docs/formats.md.


def documented(section: str) -> list[list[str]]:
    """The rows of the first table of a section."""
    text = (CHECKOUT / "docs/formats.md").read_text()
    (body,) = re.findall(rf"^#+ {re.escape(section)}\n(.*?)(?=^#|\Z)", text, re.DOTALL | re.MULTILINE)
    rows = [line.strip("|").split("|") for line in body.splitlines() if line.startswith("|")]
    return [[field.strip() for field in row] for row in rows[2:]]


def named(section: str) -> list[str]:
    return [name for row in documented(section) for name in re.findall(r"`(\w+)`", row[0])]


@pytest.mark.parametrize(
    "section, kind",
    [("run.json", Run), ("verdicts.jsonl", VerdictRecord), ("Slots", Slot), ("Files of a cell", Built)],
)
def test_fields_are_documented(section: str, kind: type) -> None:
    assert named(section) == [field.name for field in fields(kind)]


def test_json_lines_are_documented() -> None:
    (line,) = jsonl.text(Path("/nonexistent"), RUN, [record(Verdict.FAIL, slots=SLOTS)]).splitlines()
    own = {field.name for field in fields(VerdictRecord)}
    assert set(named("JSON lines")) == json.loads(line).keys() - own


def test_schemas_are_documented() -> None:
    text = (CHECKOUT / "docs/formats.md").read_text()
    tables = {
        int(row[1]) for section in ("run.json", "JSON lines") for row in documented(section) if "schema" in row[0]
    }
    assert tables == {records.SCHEMA, jsonl.SCHEMA}
    assert f"ended; one object, schema {records.SCHEMA}." in text
    assert f"One object a verdict, schema {jsonl.SCHEMA}, each" in text
    assert f"Schema {kcidb.VERSION['major']}.{kcidb.VERSION['minor']} of kcidb-io" in text


def test_verdicts_of_each_format_are_documented(tmp_path: Path) -> None:
    def in_junit(verdict: Verdict) -> str:
        (case,) = ElementTree.fromstring(junit.text(tmp_path, RUN, [record(verdict)])).iter("testcase")
        return " ".join(f"`{child.tag}`" for child in case)

    def in_ktap(verdict: Verdict) -> str:
        (line,) = [line for line in ktap.text(tmp_path, RUN, [record(verdict)]).splitlines() if " test_x" in line[4:]]
        found = re.match(r" {4}(not ok|ok) 1 test_x(?: (# \w+))?", line)
        assert found
        return f"`{' … '.join(filter(None, found.groups()))}`"

    formats: list[Callable[[Verdict], str]] = [str, in_junit, in_ktap, lambda verdict: MEANING[verdict].kcidb]
    rows = {row[0]: row for row in documented("Verdicts in each format")}
    assert list(rows) == ["PASS", "SKIP", *(str(each) for each in Verdict if each not in ("PASS", "SKIP"))]
    for verdict in Verdict:
        assert rows[verdict] == [make(verdict) for make in formats]


def test_formats_are_documented() -> None:
    text = (CHECKOUT / "docs/formats.md").read_text()
    assert f"--format {'|'.join(export.FORMATS)} " in text
    for name in export.LEFT:
        assert f"Every run leaves `{name}`" in text
