# SPDX-License-Identifier: GPL-2.0
"""Mutants: their headers, whether they still apply, how they are scored, and one
that is really built and caught."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from farm.base.errors import Exit, UsageError
from farm.hunt.mutant import Mutant, Symptom, choose, load, parse
from farm.hunt.mutants import Outcome, Score, Scores, clean, judge, keep, load_scores, pace, settle
from farm.matrix import load as load_matrix
from farm.record.records import VerdictRecord
from farm.record.verdict import Verdict
from farm.report import mutants as report

MATRIX = load_matrix()

TEXT = """From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: A <a@localhost>
Date: Tue, 24 Nov 2026 00:00:00 +0000
Subject: [PATCH] x86/ftrace: Swap two slots

What it breaks.

Cells: x86_64-regs x86_64-regs-fp
Suites: slots frame
Symptom: FAIL arg1 \\(rdi
Symptom: CRASH
 general protection
---
 file | 2 +-
"""


def mutant_of(text: str) -> Mutant:
    return parse(Path("S-mine.patch"), text, MATRIX, ["slots", "frame"])


def record(verdict: Verdict, reason: str = "", test: str = "test_one") -> VerdictRecord:
    return VerdictRecord(test, "slots", "x86_64-regs", verdict, 1.0, reason)


def test_header() -> None:
    mutant = mutant_of(TEXT)
    assert (mutant.name, mutant.title) == ("S-mine", "x86/ftrace: Swap two slots")
    assert mutant.cells == ("x86_64-regs", "x86_64-regs-fp")
    assert mutant.suites == ("slots", "frame")
    assert list(map(str, mutant.symptoms)) == [r"FAIL arg1 \(rdi", "CRASH general protection"]
    assert mutant.equivalent == ""
    assert mutant_of(TEXT.replace("\n---", "\nEquivalent: nobody\n looks\n---")).equivalent == "nobody looks"


@pytest.mark.parametrize(
    "old, new, says",
    [
        ("Cells: x86_64-regs x86_64-regs-fp\n", "", "Cells: is missing"),
        ("Cells: x86_64-regs x86_64-regs-fp", "Cells:  ", "Cells: names nothing"),
        ("x86_64-regs-fp", "x86_64-rags", "Cells: no 'x86_64-rags'; there is: x86_64-regs, "),
        ("slots frame", "slot", "Suites: no 'slot'; there is: slots, frame"),
        ("Suites:", "Suite:", "Suite: there is no such trailer"),
        ("Suites:", "Cells: x86_64-off\nSuites:", "Cells: stands more than once"),
        ("FAIL arg1", "PASS arg1", "Symptom: 'PASS' is none of FAIL, CRASH, HANG, BOOT, BUILD"),
        (r"FAIL arg1 \(rdi", "FAIL arg1 (rdi", "Symptom: 'arg1 (rdi' is no regular expression: "),
        (r"FAIL arg1 \(rdi", "FAIL .*", "Symptom: '.*' fits every reason"),
        (r"FAIL arg1 \(rdi", "FAIL", "Symptom: '' fits every reason"),
        ("\n---\n", "\n", "not a patch as `git format-patch` writes it"),
        ("Subject: ", "Title: ", "not a patch as `git format-patch` writes it"),
    ],
)
def test_wrong_header(old: str, new: str, says: str) -> None:
    assert old in TEXT
    with pytest.raises(UsageError) as caught:
        mutant_of(TEXT.replace(old, new))
    assert str(caught.value).startswith("S-mine.patch: ")
    assert says in str(caught.value)


def test_choose() -> None:
    mutants = load(MATRIX)
    assert choose(mutants, []) == mutants
    (one,) = choose(mutants, ["S-r10-not-restored"])
    assert one.path.parent.name == "trampoline"
    assert {mutant.path.parent.name for mutant in choose(mutants, ["perf"])} == {"perf"}
    assert choose(mutants, ["S-r1*-not-restored", one.name]) == choose(mutants, ["S-r15-not-restored", one.name])
    with pytest.raises(UsageError, match="no mutant 'S-r10-not-restord'; there is: S-r10-not-restored, "):
        choose(mutants, ["S-r10-not-restord"])


def test_two_of_one_name(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "S-mine.patch").write_text(TEXT)
    with pytest.raises(UsageError, match=r"b/S-mine.patch: .*a/S-mine.patch has the same name"):
        load(MATRIX, tmp_path)


def test_no_two_are_the_same() -> None:
    changes = Counter(re.sub(r"(?s).*?^diff ", "diff ", m.path.read_text(), flags=re.M) for m in load(MATRIX))
    assert max(changes.values()) == 1


FITS = record(Verdict.FAIL, "target_args6: arg1 (rdi, 112(%rsp)) was passed as 1", "test_fits")
OTHER = record(Verdict.CRASH, "BUG: something else", "test_other")


@pytest.mark.parametrize(
    "verdicts, outcome, test",
    [
        ([record(Verdict.PASS), FITS], Outcome.CAUGHT, "test_fits"),
        ([OTHER, FITS], Outcome.CAUGHT, "test_fits"),
        ([record(Verdict.PASS), OTHER], Outcome.OTHERWISE, "test_other"),
        ([record(Verdict.INFRA, "no QEMU"), OTHER], Outcome.OTHERWISE, "test_other"),
        ([record(Verdict.CRASH, "general protection fault")], Outcome.CAUGHT, "test_one"),
        ([record(Verdict.FAIL, "general protection fault")], Outcome.OTHERWISE, "test_one"),
        ([record(Verdict.PASS), record(Verdict.SKIP, "no fact")], Outcome.SURVIVED, ""),
        ([record(Verdict.SKIP, "no fact")], Outcome.ERROR, ""),
        ([], Outcome.ERROR, ""),
        ([record(Verdict.BUILD, "file.c:1: error")], Outcome.ERROR, "test_one"),
        ([record(Verdict.BOOT, "no `farm: ready`")], Outcome.ERROR, "test_one"),
        ([record(Verdict.PASS), record(Verdict.INFRA, "no QEMU")], Outcome.ERROR, "test_one"),
    ],
)
def test_judge(verdicts: list[VerdictRecord], outcome: Outcome, test: str) -> None:
    score = judge(mutant_of(TEXT), verdicts)
    assert (score.outcome, score.test) == (outcome, test)
    assert bool(score.exit) == (outcome is Outcome.ERROR)


def test_failed_builds_count_where_they_are_expected() -> None:
    expected = replace(mutant_of(TEXT), symptoms=(Symptom(Verdict.BUILD, re.compile("undefined reference")),))
    assert judge(expected, [record(Verdict.BUILD, "undefined reference to x")]).outcome is Outcome.CAUGHT
    assert judge(expected, [record(Verdict.BUILD, "syntax error")]).exit == Exit.USAGE
    assert judge(expected, [record(Verdict.INFRA, "undefined reference to x")]).exit == Exit.FARM


def test_equivalents_must_survive() -> None:
    mutant = replace(mutant_of(TEXT), equivalent="nobody looks")
    assert settle(mutant, judge(mutant, [record(Verdict.PASS)])).outcome is Outcome.EQUIVALENT
    seen = settle(mutant, judge(mutant, [FITS]))
    assert (seen.outcome, seen.exit) == (Outcome.ERROR, Exit.USAGE)
    assert "it is not, slots test_fits sees it" in seen.reason


def scores(*some: Score, status: str = "finished") -> Scores:
    return Scores(status, "2026-11-24T00:00:00+00:00", 100.0, some)


CAUGHT = Score("a", Outcome.CAUGHT, "x86_64-regs", "slots", "test_a", "FAIL", "why", test_seconds=9.0, seconds=40.0)
SURVIVED = Score("b", Outcome.SURVIVED, "x86_64-regs", test_seconds=20.0, seconds=60.0, run="b/1")


def test_exit_status() -> None:
    assert scores(CAUGHT, Score("c", Outcome.EQUIVALENT)).exit == Exit.PASSED
    assert scores(CAUGHT, SURVIVED).exit == Exit.KERNEL
    assert scores(SURVIVED, Score("c", Outcome.ERROR, exit=Exit.USAGE)).exit == Exit.USAGE
    assert scores(CAUGHT, status="interrupted").exit == Exit.FARM


def test_scores_are_kept(tmp_path: Path) -> None:
    assert pace(tmp_path) == 60.0
    directory = tmp_path / "mutants-20261124-000000"
    directory.mkdir()
    keep(directory, scores(CAUGHT, SURVIVED, Score("c", Outcome.EQUIVALENT)))
    assert load_scores(directory) == scores(CAUGHT, SURVIVED, Score("c", Outcome.EQUIVALENT))
    assert pace(tmp_path) == 50.0


def test_survivors_are_told_last(tmp_path: Path) -> None:
    console = Console(width=200, record=True, force_terminal=True, file=(tmp_path / "out").open("w"))
    mutants = [replace(mutant_of(TEXT), name=name) for name in "ab"]
    report.show(console, tmp_path, scores(SURVIVED, CAUGHT), mutants)
    said = console.export_text(styles=False)
    assert said.index("slots test_a") < said.index("SURVIVED") < said.index("b survived: x86/ftrace: Swap two slots")
    assert f"{tmp_path}/b/1" in said
    assert "1 caught, 1 survived, in 2 min, 50 s from patch to verdict on average" in said


def test_table_on_a_narrow_terminal(tmp_path: Path) -> None:
    """Who saw it keeps its room; what an interruption left is only counted."""
    left = [Score(f"left-{n}", Outcome.LEFT, reason="the hunt was interrupted") for n in range(9)]
    mutants = [replace(mutant_of(TEXT), name="a")]
    console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
    report.show(console, tmp_path, scores(CAUGHT, *left, status="interrupted"), mutants)
    said = console.export_text(styles=False)
    assert re.search(r"^ a +slots test_a +0 \+ 9 s *$", said, re.M), said
    assert "left-0" not in said
    assert "interrupted: 1 caught, 9 not run" in said


def test_clean_kernel_over_the_same_cells() -> None:
    mutants = [mutant_of(TEXT), mutant_of(TEXT.replace("x86_64-regs-fp", "x86_64-off"))]
    asked = clean(mutants, [], 7)
    assert (asked.cells, asked.repeat, asked.stop) == (["x86_64-regs", "x86_64-regs-fp", "x86_64-off"], 7, False)
    assert clean(mutants, ["x86_64-regs"], 7).cells == ["x86_64-regs"]
