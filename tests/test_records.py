# SPDX-License-Identifier: GPL-2.0
"""Records and what is made from them: round trips, JUnit, the screen."""

import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from farm.base.deadline import Deadline
from farm.base.errors import Exit, UsageError
from farm.matrix import MATRIX
from farm.record import records
from farm.record.records import Run, Slot, VerdictRecord, exit_status, repeat_command
from farm.record.verdict import MEANING, Verdict
from farm.report import frame, junit, terminal
from farm.report.live import Live
from farm.worker.classify import SlotsDiffer

RUN = Run(
    id="20260101-000000",
    command=["farm", "run"],
    tree=None,
    series=None,
    select="",
    cells=["x86_64-regs", "x86_64-static"],
    accel="tcg",
    accel_reason="asked for",
    workers=2,
    host={"machine": "x86_64"},
    versions={"qemu": "QEMU emulator version 7.2"},
    matrix=str(MATRIX),
    started="2026-01-01T00:00:00+00:00",
)

SLOTS = (
    Slot("arg1", "rdi", 112, passed=0x1111, program=0x1111, callee=0x1111),
    Slot("arg3", "rdx", 96, passed=0x123456789ABCDD3, program=0, callee=0x123456789ABCDD3),
    Slot("arg6", "r9", None, passed=0x6666, callee=0x6666),
)


def record(verdict: Verdict, test: str = "test_x", cell: str = "x86_64-regs", **more: object) -> VerdictRecord:
    return replace(VerdictRecord(test, "slots", cell, verdict, 1.5, reason="why"), **more)  # type: ignore[arg-type]


# Round trips.

#: Whatever a kernel's log or an exception can hold, lone surrogates too.
texts = st.text(st.characters(exclude_categories=()))
values = st.none() | st.integers(0, 2**64 - 1)
slots = st.builds(
    Slot,
    texts,
    texts,
    st.none() | st.integers(0, 1000),
    st.integers(0, 2**64 - 1),
    program=values,
    callee=values,
    raw=values,
)
verdict_records = st.builds(
    VerdictRecord,
    texts,
    texts,
    texts,
    st.sampled_from(Verdict),
    st.floats(0, 1e6),
    reason=texts,
    detail=texts,
    slots=st.lists(slots, max_size=3).map(tuple),
    attempt=st.integers(1, 9),
    console=texts,
    span=st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 40)),
)


@given(st.lists(verdict_records, max_size=4))
def test_verdicts_come_back(written: list[VerdictRecord]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for one in written:
            records.append_verdict(Path(directory), one)
        assert records.load_verdicts(Path(directory)) == written


@given(verdict_records, st.integers(1, 400))
def test_cut_off_last_line_is_left_away(written: VerdictRecord, lost: int) -> None:
    """As a SIGKILL or a full disk leaves it, wherever it cuts."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "verdicts.jsonl"
        records.append_verdict(Path(directory), written)
        whole = path.read_bytes()
        records.append_verdict(Path(directory), written)
        path.write_bytes(path.read_bytes()[: -min(lost, len(whole))])
        assert records.load_verdicts(Path(directory)) == [written]


def test_cut_off_in_the_middle_is_an_error(tmp_path: Path) -> None:
    records.append_verdict(tmp_path, record(Verdict.PASS))
    path = tmp_path / "verdicts.jsonl"
    path.write_text(path.read_text()[:20] + "\n" + path.read_text())
    with pytest.raises(UsageError, match=r"verdicts.jsonl:1: this is no verdict: not JSON"):
        records.load_verdicts(tmp_path)


def test_slots_of_older_farms_are_read(tmp_path: Path) -> None:
    """They had no raw memory."""
    records.append_verdict(tmp_path, record(Verdict.FAIL, slots=SLOTS))
    path = tmp_path / "verdicts.jsonl"
    raw = json.loads(path.read_text())
    for slot in raw["slots"]:
        assert slot.pop("raw") is None
    path.write_text(json.dumps(raw) + "\n")
    assert records.load_verdicts(tmp_path)[0].slots == SLOTS


def test_no_verdicts_yet(tmp_path: Path) -> None:
    assert records.load_verdicts(tmp_path) == []


def test_run_comes_back_and_is_updated(tmp_path: Path) -> None:
    records.save_run(tmp_path, RUN)
    assert records.load_run(tmp_path) == RUN
    assert records.update_run(tmp_path, planned=7) == replace(RUN, planned=7) == records.load_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_other_schema_is_refused(tmp_path: Path) -> None:
    records.save_run(tmp_path, replace(RUN, schema=records.SCHEMA + 1))
    with pytest.raises(UsageError, match=f"schema {records.SCHEMA + 1}, this farm reads {records.SCHEMA}"):
        records.load_run(tmp_path)


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no run, it has no run\.json"):
        records.load_run(tmp_path)


def test_new_directories_differ(tmp_path: Path) -> None:
    made = [records.new_directory(tmp_path / "results") for _ in range(3)]
    assert len(set(made)) == 3
    assert all(path.is_dir() for path in made)


# Exit status and the command that repeats.


@pytest.mark.parametrize(
    "verdicts, status",
    [
        ([], Exit.FARM),
        ([Verdict.PASS, Verdict.SKIP], Exit.PASSED),
        ([Verdict.PASS, Verdict.FAIL], Exit.KERNEL),
        ([Verdict.FAIL, Verdict.INFRA, Verdict.PASS], Exit.FARM),
        ([Verdict.LOST], Exit.FARM),
        *(([verdict], Exit.KERNEL) for verdict in Verdict if MEANING[verdict].blame == Exit.KERNEL),
    ],
)
def test_exit_status(verdicts: list[Verdict], status: Exit) -> None:
    assert exit_status(record(verdict) for verdict in verdicts) == status


def test_whose_fault_each_verdict_is() -> None:
    """docs/verdicts.md, the first table there."""
    table = (Path(__file__).parent.parent / "docs/verdicts.md").read_text().split("\n\n")[1]
    rows = [[field.strip() for field in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    assert {row[0]: int(row[2]) for row in rows[1:]} == {
        str(verdict): int(meaning.blame) for verdict, meaning in MEANING.items()
    }


def test_repeat_command() -> None:
    assert repeat_command(RUN, "x86_64-regs") == "farm run x86_64-regs"
    run = replace(RUN, tree="/home/u/my linux@v1", series="none")
    assert repeat_command(run, "c", "test_x[c-a]") == (
        "farm run c --tree '/home/u/my linux@v1' --series none -k 'test_x[c-a]'"
    )
    assert repeat_command(replace(RUN, matrix="mine.yaml"), "c") == "farm run c --matrix mine.yaml"


def test_k_expression() -> None:
    assert records.k_expression(record(Verdict.FAIL, "test_x")) == "test_x[x86_64-regs]"
    assert records.k_expression(record(Verdict.FAIL, "test_x[a-b]")) == "test_x[x86_64-regs-a-b]"


# JUnit.


def written_junit(tmp_path: Path, verdicts: list[VerdictRecord]) -> ElementTree.Element:
    return ElementTree.fromstring(junit.text(tmp_path, RUN, verdicts).encode())


def test_junit_counts(tmp_path: Path) -> None:
    every = [record(verdict, f"test_{verdict}") for verdict in Verdict]
    root = written_junit(tmp_path, [*every, record(Verdict.PASS, cell="x86_64-static")])
    first, second = root
    assert (first.get("name"), second.get("name")) == ("x86_64-regs", "x86_64-static")
    assert {key: first.get(key) for key in ("tests", "failures", "skipped", "errors")} == {
        "tests": "9", "failures": "1", "skipped": "1", "errors": "6",
    }  # fmt: skip
    assert {key: second.get(key) for key in ("tests", "failures", "errors")} == {
        "tests": "1", "failures": "0", "errors": "0",
    }  # fmt: skip
    said = {case.get("name"): [(child.tag, child.get("type")) for child in case] for case in first.iter("testcase")}
    assert said["test_PASS"] == []
    assert said["test_SKIP"] == [("skipped", "SKIP")]
    assert said["test_FAIL"] == [("failure", "FAIL")]
    assert said["test_CRASH"] == [("error", "CRASH")]


def test_junit_carries_any_text(tmp_path: Path) -> None:
    """Markup, control characters, colours, half a surrogate pair: all of it comes from consoles."""
    reason = 'a < b & c > d "quoted" ]]> \x00\x1b[31mred\x1b[0m \ud800 \ufffe ünïcode 𝄞'
    root = written_junit(tmp_path, [record(Verdict.CRASH, "test_x[<&>]", reason=reason, detail=f"{reason}\n<b/>")])
    (case,) = root.iter("testcase")
    assert case.get("name") == "test_x[<&>]"
    (error,) = case
    message = error.get("message") or ""
    assert message.startswith('a < b & c > d "quoted" ]]> ')
    assert message.endswith("ünïcode 𝄞")
    assert "\x1b" not in message
    assert "\n<b/>\n" in (error.text or "")
    assert len(error) == 0


def test_junit_says_first_what_went_wrong(tmp_path: Path) -> None:
    error = "kernel/fork.c:7:2: error: 'x' undeclared"
    reason = f"x86_64-regs: target kernel failed, log in /cache/x/build.log\n  {error}"
    build = record(Verdict.BUILD, "test_build", reason=reason, detail="Traceback")
    slots = record(Verdict.FAIL, "test_slots", slots=SLOTS)
    first, second = [case[0] for case in written_junit(tmp_path, [build, slots]).iter("testcase")]
    assert (first.get("message") or "").splitlines()[0] == f"the kernel does not build: {error}"
    assert (first.text or "").splitlines()[0] == f"the kernel does not build: {error}"
    assert (second.get("message") or "").splitlines() == ["arg3's slot holds 0", "why"]
    assert (second.text or "").splitlines()[0] == "arg3's slot holds 0"


@given(texts, texts, texts)
def test_junit_always_parses(test: str, reason: str, detail: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        written_junit(Path(directory), [record(Verdict.FAIL, test, reason=reason, detail=detail)])


# The screen.


def screen(tmp_path: Path, verdicts: list[VerdictRecord], run: Run = RUN, width: int = 120) -> str:
    console = Console(record=True, width=width, file=(tmp_path / "screen").open("w"))
    terminal.show(console, tmp_path, run, verdicts)
    return console.export_text()


def row(text: str, first: str) -> list[str]:
    """The fields of the table row that begins with a word."""
    (line,) = [line for line in text.splitlines() if line.strip(" │").split(" ")[0] == first]
    return re.split(r"\s*│\s*|\s{2,}", line.strip(" │"))


def test_screen_shows_the_wrong_slot(tmp_path: Path) -> None:
    text = screen(tmp_path, [record(Verdict.FAIL, "test_arguments[args6]", slots=SLOTS)])
    wrong = ["arg3", "rdx", "96", "01234567 89abcdd3", "00000000 00000000!", "01234567 89abcdd3"]
    assert row(text, "arg3") == wrong
    assert row(text, "arg1")[3:] == ["00000000 00001111"] * 3
    assert row(text, "arg6")[2:] == ["none", "00000000 00006666", "-", "00000000 00006666"]
    assert text.count("!") == 1


@pytest.mark.parametrize("cells", [4, 18])
def test_screen_shows_as_many_cells_as_there_are(tmp_path: Path, cells: int) -> None:
    """Side by side where they fit, else below one another; nothing is cut off."""
    names = [f"x86_64-cell{n}" for n in range(1, cells + 1)]
    verdicts = [record(Verdict.PASS, cell=name) for name in names]
    verdicts[2] = replace(verdicts[2], verdict=Verdict.FAIL)
    text = screen(tmp_path, [*verdicts, record(Verdict.PASS, cell=names[2], suite="abi")], replace(RUN, cells=names))
    assert "…" not in text
    if cells == 4:
        assert row(text, "slots") == ["slots", "1", "1", "1 FAIL", "1"]
    else:
        assert row(text, names[2]) == [names[2], "1 ok, 1 FAIL", "slots 1 FAIL"]
        assert row(text, names[17]) == [names[17], "1"]


def test_screen_counts_what_an_interruption_left(tmp_path: Path) -> None:
    """There may be thousands of them; what failed is told, and how to go on."""
    left = [record(Verdict.LOST, f"test_left[{n}]") for n in range(20)]
    verdicts = [record(Verdict.FAIL, "test_bad"), *left]
    live = Live(Console(record=True, width=120, file=(tmp_path / "live").open("w")))
    live.cells(RUN.cells)
    for one in verdicts:
        live.verdict(one)
    text = screen(tmp_path, verdicts, replace(RUN, status="interrupted")) + (tmp_path / "live").read_text()
    assert "test_bad" in text
    assert "test_left" not in text
    assert row(text, "slots")[1] == "20 LOST, 1 FAIL"
    assert f"go on: farm run --resume {tmp_path}" in text


def test_screen_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no terminal to redraw: a cell's end, and after a while how far it got."""

    def said(*verdicts: Verdict) -> str:
        with (tmp_path / "live").open("w") as file:
            live = Live(Console(width=120, file=file))
            live.cells(RUN.cells)
            live.plan(["x86_64-regs"] * 3)
            for verdict in verdicts:
                live.verdict(record(verdict))
        return (tmp_path / "live").read_text()

    assert said(Verdict.PASS, Verdict.SKIP) == ""
    assert said(Verdict.PASS, Verdict.PASS, Verdict.PASS) == "x86_64-regs: 3 of 3 tests done\n"
    assert said(Verdict.PASS, Verdict.PASS, Verdict.FAIL).endswith(" s)\nx86_64-regs: 3 of 3 tests done\n")
    assert said(Verdict.PASS, Verdict.LOST, Verdict.LOST) == (
        "x86_64-regs: 1 of 3 tests done, 2 without a verdict\n"
    )  # nobody has done them
    monkeypatch.setattr("farm.report.live.QUIET_SECONDS", -1)
    assert said(Verdict.PASS, Verdict.SKIP).endswith("x86_64-regs: 2 of 3 tests done\n")


def test_screen_tells_how_far_a_comparison_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least every 30 s, also while no test is decided."""
    clock = [1000.0]
    monkeypatch.setattr("farm.report.live.time.monotonic", lambda: clock[-1])
    with (tmp_path / "live").open("w") as file:
        live = Live(Console(width=40, file=file))
        live.cells(RUN.cells)
        live.plan(["x86_64-regs"] * 9)
        for second in range(61):
            clock.append(1000.0 + second)
            live.comparing("x86_64-regs", {"base": second // 10, "patched": second // 20})
    assert (tmp_path / "live").read_text() == (
        "x86_64-regs: of 9 tests 2 on the base kernel, 1 on the patched kernel\n"
        "x86_64-regs: of 9 tests 5 on the base kernel, 2 on the patched kernel\n"
    )


def test_screen_is_never_silent_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no terminal: booting is told, and how long the rest will take."""
    clock = [1000.0]
    monkeypatch.setattr("farm.report.live.QUIET_SECONDS", 30.0)
    monkeypatch.setattr("farm.report.live.time.monotonic", lambda: clock[0])
    with (tmp_path / "live").open("w") as file:
        live = Live(Console(width=80, file=file))
        live.began(tmp_path, replace(RUN, cells=["x86_64-regs"]))
        clock[0] += 31
        live.remind()
        live.built("x86_64-regs", "abc")
        live.plan(["x86_64-regs"] * 100)
        (tmp_path / "cells/x86_64-regs").mkdir(parents=True)
        (tmp_path / "cells/x86_64-regs/console-1.log").touch()
        clock[0] += 31
        live.remind()
        live.remind()  # that was just now
        (tmp_path / "cells/x86_64-regs/booted").write_text("31.0\n")
        for _ in range(20):
            clock[0] += 3
            live.verdict(record(Verdict.PASS, seconds=3.0))
        clock[0] += 31
        live.remind()
    assert (tmp_path / "live").read_text().splitlines()[2:] == [
        "waiting for a kernel",
        "x86_64-regs: kernel abc",
        "x86_64-regs: booting",
        "x86_64-regs: 11 of 100 tests done; about 5 min left",
        "x86_64-regs: 20 of 100 tests done; about 7 min left",
    ]


def test_screen_reminds_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.report.live.QUIET_SECONDS", 0.1)
    with (tmp_path / "live").open("w") as file, Live(Console(width=80, file=file)) as live:
        live.cells(["x86_64-regs"])
        for _ in Deadline(10).poll():
            if (tmp_path / "live").read_text():
                break
            file.flush()
    assert "waiting for a kernel\n" in (tmp_path / "live").read_text()


def test_screen_is_silent_where_a_build_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long behind the tests of the kernel before, as in a bisection; it tells of it after a while."""
    clock = [1000.0]
    monkeypatch.setattr("farm.report.live.time.monotonic", lambda: clock[-1])
    with (tmp_path / "live").open("w") as file:
        live = Live(Console(width=120, file=file))
        live.cells(RUN.cells)
        live.plan(["x86_64-regs"])
        for seconds, step in ((1100.0, "first"), (1120.0, "second"), (1131.0, "third")):
            clock.append(seconds)
            live.building("x86_64-regs", step)
    assert (tmp_path / "live").read_text() == "x86_64-regs: building for 31 s, 3 steps, now: third\n"


def test_screen_shows_raw_memory(tmp_path: Path) -> None:
    frame = (
        replace(SLOTS[1], raw=SLOTS[1].passed),
        replace(SLOTS[2], offset=64, raw=0x7777),
        Slot("orig_rax", "orig_rax", 120, passed=0, raw=0),
    )
    text = screen(tmp_path, [record(Verdict.FAIL, slots=frame)])
    arg3, arg6, zero = "01234567 89abcdd3", "00000000 00006666", "00000000 00000000"
    assert row(text, "arg3")[3:] == [arg3, arg3, f"{zero}!", arg3]
    assert row(text, "arg6")[2:] == ["64", arg6, "00000000 00007777!", "-", arg6]
    assert row(text, "orig_rax")[2:] == ["120", zero, zero, "-", "-"]
    assert text.count("!") == 2


def test_witness_who_saw_nothing_has_no_column(tmp_path: Path) -> None:
    text = screen(tmp_path, [record(Verdict.FAIL, slots=[Slot("rbx", "rbx", 40, passed=1, raw=2)])])
    assert "raw memory" in text
    assert "program saw" not in text
    assert "callee received" not in text
    assert row(text, "rbx")[3:] == ["00000000 00000001", "00000000 00000002!"]


def test_screen_tells_how_to_repeat(tmp_path: Path) -> None:
    failed = record(Verdict.FAIL, "test_arguments[args6-function]")
    text = screen(tmp_path, [failed], replace(RUN, tree="/home/u/linux"))
    assert "test: x86_64-regs slots test_arguments[args6-function]" in text.splitlines()
    again = "farm run x86_64-regs --tree /home/u/linux -k 'test_arguments[x86_64-regs-args6-function]'"
    assert f"again: {again}" in text.splitlines()


def test_screen_takes_no_markup_from_outside(tmp_path: Path) -> None:
    failed = record(Verdict.INFRA, "test_x[red]", reason="[bold]no[/bold] [/nonsense]", detail="x[0] [/]")
    text = screen(tmp_path, [failed], replace(RUN, tree="/home/[u]/linux"))
    assert "test_x[red]" in text
    assert "[bold]no[/bold] [/nonsense]" in text
    assert "x[0] [/]" in text
    assert "--tree '/home/[u]/linux'" in text


def test_screen_has_the_matrix(tmp_path: Path) -> None:
    verdicts = [record(Verdict.PASS), record(Verdict.PASS), record(Verdict.CRASH), record(Verdict.LOST)]
    text = screen(tmp_path, [*verdicts, record(Verdict.SKIP, cell="x86_64-static", suite="abi")])
    assert row(text, "suite") == ["suite", "regs", "static"]
    assert row(text, "abi") == ["abi", "-", "1 SKIP"]
    assert row(text, "slots") == ["slots", "2 ok, 1 LOST, 1 CRASH", "-"]
    assert row(text, "all") == ["all", "2 ok, 1 LOST, 1 CRASH", "1 SKIP"]
    assert text.splitlines()[-1] == "2 PASS, 1 CRASH, 1 SKIP, 1 LOST"


def test_screen_of_nothing(tmp_path: Path) -> None:
    assert screen(tmp_path, [], replace(RUN, status="interrupted")).splitlines()[-1] == "interrupted: no verdicts"


def causes(number: int) -> list[VerdictRecord]:
    return [record(Verdict.FAIL, f"test_{n}", reason="x" * (n + 1)) for n in range(number)]


def test_screen_counts_what_it_does_not_tell(tmp_path: Path) -> None:
    text = screen(tmp_path, causes(terminal.MOST + terminal.MOST_LINES + 3))
    assert f"… and 3 more causes, in {tmp_path}/verdicts.jsonl" in text.replace("\n", "")
    assert len(re.findall("^again: ", text, re.M)) == terminal.MOST
    assert text.count("; again: ") == terminal.MOST_LINES


def wrong_slot(number: int) -> list[VerdictRecord]:
    """As a trampoline leaves them that saves rsi where rdi belongs."""
    slots = (
        Slot("arg1", "rdi", 112, 0x1032547698BADCF1, 0x23016745AB89EFC2, 0x23016745AB89EFC2, 0x23016745AB89EFC2),
        Slot("arg2", "rsi", 104, 0x23016745AB89EFC2, 0x23016745AB89EFC2, 0x23016745AB89EFC2, 0x23016745AB89EFC2),
        Slot("arg3", "rdx", 96, 0x3210765498FEDC93, 0x3210765498FEDC93, 0x3210765498FEDC93, 0x3210765498FEDC93),
    )
    tests = [f"test_arguments[args{n}-ftrace_caller-function_graph]" for n in range(number)]
    reason = str(SlotsDiffer("target_args3, distinct, function by ftrace_caller", slots))
    return [record(Verdict.FAIL, test, slots=slots, reason=reason) for test in tests]


@pytest.mark.parametrize("width", [80, 120])
def test_one_wrong_slot_takes_one_screen(tmp_path: Path, width: int) -> None:
    """However many tests see it; the matrix above, no value wrapped."""
    text = screen(tmp_path, [*wrong_slot(20), *[record(Verdict.PASS, f"test_{n}") for n in range(4)]], width=width)
    lines = text.splitlines()
    assert len(lines) < 40
    assert row(text, "slots") == ["slots", "4 ok, 20 FAIL", "-"]
    assert lines.index("FAIL  arg1's slot holds rsi (arg2)") > lines.index(next(x for x in lines if "4 ok" in x))
    assert "20 tests in x86_64-regs: slots 20" in lines
    assert row(text, "arg1")[3:5] == ["10325476 98badcf1", "23016745 ab89efc2!"]
    assert "and 13 more" in text
    assert not [
        line for line in lines if len(line.rstrip()) > width and not line.startswith(("again:", "log:", "one of"))
    ]


def test_narrow_picture_leaves_away_what_says_nothing() -> None:
    slots = wrong_slot(1)[0].slots
    assert [heading for heading in frame.WITNESSES.values() if heading in frame.picture(slots)[0]] == list(
        frame.WITNESSES.values()
    )
    wide, narrow = frame.picture(slots, 120), frame.picture(slots, 80)
    assert max(map(len, narrow)) <= 80 < max(map(len, wide))
    assert narrow[-3].split()[3:] == ["10325476", "98badcf1", "23016745", "ab89efc2!"]  # all three saw the same
    # a program that saw the right values has no column, where there is no room for it
    right = [replace(slot, program=slot.passed, callee=slot.passed ^ 1) for slot in slots]
    assert "program" not in "\n".join(frame.picture(right, 80))
    assert "raw memory" in "\n".join(frame.picture(right, 80))
    listed = frame.picture(slots, 50)
    assert max(map(len, listed)) <= 50
    assert [re.split(r"\s{2,}", line.strip()) for line in listed] == [
        ["arg1 (rdi, 112(%rsp))"],
        ["expected", "10325476 98badcf1"],
        *([witness, "23016745 ab89efc2!"] for witness in frame.WITNESSES.values()),
    ]


def test_a_kernel_that_does_not_build_is_one_entry(tmp_path: Path) -> None:
    error = "kernel/fork.c:7:2: error: 'x' undeclared"
    (tmp_path / "cells/x86_64-regs").mkdir(parents=True)
    (tmp_path / "cells/x86_64-regs/build.log").write_text(error)
    reason = f"x86_64-regs: target kernel failed, log in /cache/x/build.log\n  {error}\n  kernel/fork.c:9:1: error: so"
    text = screen(tmp_path, [record(Verdict.BUILD, f"test_{n}", reason=reason) for n in range(70)])
    assert f"BUILD  the kernel does not build: {error}" in text.splitlines()
    assert "70 tests in x86_64-regs" in text.splitlines()
    assert "kernel/fork.c:9:1: error: so" in text
    assert text.count("again: ") == 1
    assert f"log:   {tmp_path}/cells/x86_64-regs/build.log" in text.splitlines()
    assert "test_1" not in text


def test_what_has_no_verdict_is_counted(tmp_path: Path) -> None:
    lost = [record(Verdict.LOST, f"test_{n}", reason="no worker reported it") for n in range(7)]
    text = screen(tmp_path, [record(Verdict.PASS), *lost])
    assert "without a verdict: 7 tests; no worker reported it" in text.splitlines()
    assert "test_1" not in text


def test_screen_shows_the_consoles_end(tmp_path: Path) -> None:
    log = tmp_path / "cells/x86_64-regs/console-1.log"
    log.parent.mkdir(parents=True)
    before = b"[    1.000000] farm: mark 1\r\n"
    mine = b"[    2.000000] BUG: mine\r\n[    2.100000] farm: mark 2\r\n"
    log.write_bytes(before + mine + b"[    3.000000] of another test\r\n")
    crashed = record(Verdict.CRASH, console="console-1.log", span=(len(before), len(before + mine)))
    assert terminal.console_excerpt(tmp_path, crashed) == ["BUG: mine"]
    text = screen(tmp_path, [crashed])
    assert "  BUG: mine" in text
    assert "of another test" not in text
    assert f"log:   {log}" in text.splitlines()


def test_screen_takes_no_orders(tmp_path: Path) -> None:
    """Of consoles and names nothing reaches the terminal but text: no colours, no markup of rich's."""
    log = tmp_path / "cells/x86_64-regs/console-1.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"BUG: \x1b[2J[red]mine[/nothing]\r\n")
    reason = "first \x1b[31m[bold]\nsecond \x07[/]"
    odd = replace(record(Verdict.CRASH, reason=reason, console="console-1.log", span=(0, 0)), suite="[i]odd[/i]")
    screen(tmp_path, [odd])
    raw = (tmp_path / "screen").read_text()
    assert "\x1b" not in raw
    assert "\x07" not in raw
    for text in ("first \ufffd[31m[bold]", "second \ufffd[/]", "BUG: \ufffd[2J[red]mine[/nothing]"):
        assert text in raw
    assert raw.count("[i]odd[/i]") == 2, "above the reason, and in the table"
