# SPDX-License-Identifier: GPL-2.0
"""The plan of a night, a night that is killed, and the morning."""

import errno
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from farm.base.deadline import Deadline
from farm.base.errors import Exit, FarmError, UsageError
from farm.history import index, reading, store
from farm.history.model import Mutation
from farm.hunt import mutants
from farm.kernel import build as kernel_builds
from farm.kernel import series
from farm.kernel.tree import work_tree
from farm.matrix import CHECKOUT, MATRIX, load
from farm.nightly import builds, evening, morning, night, plan
from farm.nightly.night import Night, Step
from farm.record import records
from farm.record.verdict import Verdict
from farm.tell import config
from tests import nights
from tests.conftest import Repository
from tests.test_changes import run
from tests.test_history import write
from tests.test_records import RUN, record

HUNT = Mutation("mutants-1", "", "1", "finished", 100.0, {"a": "caught", "b": "survived", "c": "not run"})
names = st.lists(st.text("abcdef", min_size=1, max_size=3), unique=True, max_size=8)
times = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.floats(0, 5000), max_size=8)
a_build = st.builds(plan.Build, st.sampled_from("uvwxyz"), st.floats(0, 2000))
some_builds = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), a_build, max_size=8)
all_costs = st.builds(plan.Costs, times, some_builds, st.floats(0, 2000), st.lists(a_build, max_size=2), some_builds)


@given(names, all_costs, times, names, st.floats(0, 20000))
def test_a_plan_fits(
    cells: list[str], costs: plan.Costs, worth: dict[str, float], mutants: list[str], budget: float
) -> None:
    made = plan.plan(cells, costs, worth, mutants, [HUNT], budget)
    assert made.seconds <= budget + 1e-6
    lengths = [costs.cell(cell) for cell in made.cells]
    assert lengths == sorted(lengths, reverse=True)
    for cell in cells:  # each is run, or it is said why not
        assert (cell in made.cells) != any(said.startswith(f"{cell}: needs") for said in made.left)


def test_the_most_worth_goes_first_where_not_all_fits() -> None:
    costs = plan.Costs({"long": 600.0, "red": 300.0, "short": 100.0})
    made = plan.plan(["long", "short", "red"], costs, {"red": 10, "short": 5}, [], [], 450)
    assert made.cells == ("red", "short")
    assert made.left[0] == "long: needs 600 s, 50 s are left"
    everything = plan.plan(["short", "long", "red"], costs, {}, ["m"], [], 1e5)
    assert (everything.cells, everything.selftests, everything.mutants) == (("long", "red", "short"), True, ("m",))
    assert everything.left == ()


def test_what_has_to_be_built_counts() -> None:
    """Before tests of cells, the kernel's own tests and mutants, and once where two of them need it."""
    tests = {"a": 100.0, "b": 100.0}
    patched, base = plan.Build("patched b", 400.0), plan.Build("base b", 300.0)
    costs = plan.Costs(tests, {"b": patched}, 100.0, [base, patched], {"m": patched, "n": plan.Build("n", 200.0)})
    there = plan.plan(["a", "b"], plan.Costs(tests, own_tests=100.0), {}, ["m", "n"], [HUNT], 400.0)
    assert (there.cells, there.selftests, there.mutants, there.left) == (("a", "b"), True, ("m", "n"), ())
    tight = plan.plan(["a", "b"], costs, {}, ["m", "n"], [HUNT], 550.0)
    assert (tight.cells, tight.selftests, tight.mutants) == (("a",), False, ("m",))
    assert tight.left == (
        "b: needs 500 s, 400 s of them to build a kernel, 450 s are left",
        "the kernel's own tests: need 800 s, 700 s of them to build 2 kernels, 450 s are left",
        "1 of tonight's mutants: 0 s are left",
    )
    whole = plan.plan(["a", "b"], costs, {}, ["m", "n"], [HUNT], 1300.0)
    assert whole.expected == (600.0, 400.0, 50.0 + 250.0)
    assert (whole.cells, whole.left) == (("b", "a"), ())


def test_mutants_take_turns() -> None:
    assert plan.rotated(["a", "b", "c", "d"], [HUNT]) == ["c", "d", "a", "b"]
    later = replace(HUNT, outcomes={"c": "caught", "d": "caught"})
    assert plan.rotated(["a", "b", "c", "d"], [HUNT, later]) == ["a", "b", "c", "d"]
    assert plan.pace([HUNT]) == 50.0


def test_worth() -> None:
    """Never run before all; red before green; not seen for long before seen yesterday."""
    green, red = Counter({Verdict.PASS: 9}), Counter({Verdict.PASS: 8, Verdict.FAIL: 1})
    runs = [
        run(1, cells=("old",), counts={("old", "s"): green}),
        run(2, cells=("green", "red"), counts={("green", "s"): green, ("red", "s"): red}),
    ]
    found = plan.worth(["green", "old", "red", "new"], [], runs)
    assert sorted(found, key=lambda cell: -found[cell]) == ["new", "red", "old", "green"]


@pytest.mark.parametrize("text, seconds", [("6h", 21600), ("90m", 5400), ("0.5h", 1800)])
def test_budget(text: str, seconds: float) -> None:
    assert night.seconds(text) == seconds


@pytest.mark.parametrize("text", ["6", "h", "-1h", "6 h", ""])
def test_no_budget(text: str) -> None:
    with pytest.raises(UsageError, match="give hours or minutes"):
        night.seconds(text)


ASKED = ("--results", "/r")
STEPS = (
    Step("cells", ("run", "a", *ASKED), 600.0),
    Step("selftests", ("selftests", "a", *ASKED), 60.0),
    Step("mutants", ("mutants", "m", "n", *ASKED), 60.0),
)
NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)


def asked(results: Path) -> night.Asked:
    return night.Asked(results)


def begun(results: Path, started: str = "2026-01-01T00:00:00+00:00") -> tuple[Path, Night]:
    directory = results / "nightly-20260101-000000"
    directory.mkdir()
    words = asked(results).words
    return directory, night.save(directory, Night(directory.name, started, 3600.0, words, (), STEPS))


def hunted(results: Path, name: str, status: str, **outcomes: str) -> None:
    """What `farm mutants` leaves of its score."""
    scores = tuple(mutants.Score(name, mutants.Outcome(outcome), "x86_64-regs") for name, outcome in outcomes.items())
    (results / name).mkdir()
    mutants.keep(results / name, mutants.Scores(status, "2026-01-01T03:00:00+00:00", 60.0, scores))


class Farm:
    """A farm that keeps what it is asked, and ends as it is told: by step, 0 if nothing is told."""

    def __init__(self, **ends: int | BaseException) -> None:
        self.ends, self.asked = ends, list[tuple[str, ...]]()

    def __call__(self, words: Sequence[str], limit: float) -> int:
        self.asked.append(tuple(words))
        end = self.ends.get(words[0], 0)
        if isinstance(end, BaseException):
            raise end
        return end


def go_on(found: tuple[Path, Night], farm: night.Farm, seconds: float = 3600.0) -> Night:
    return night.go_on(*found, Deadline(seconds), farm, lambda said: None)


def test_a_killed_night_goes_on_where_it_was(tmp_path: Path) -> None:
    farm = Farm(run=1, selftests=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        go_on(begun(tmp_path), farm)
    found = night.left_open(asked(tmp_path), NOW)
    assert found
    assert [step.exit for step in found[1].steps] == [1, None, None]
    farm.ends.pop("selftests")
    ended = go_on(found, farm)
    assert [words[0] for words in farm.asked] == ["run", "selftests", "selftests", "mutants"]
    assert (ended.open, ended.exit) == (False, 1)
    assert night.left_open(asked(tmp_path), NOW) is None


def test_a_night_killed_before_its_morning_shows_it(tmp_path: Path) -> None:
    """All its steps have ended, and nobody has seen what came of them."""
    directory, made = begun(tmp_path)
    night.save(directory, replace(go_on((directory, made), Farm()), reported=False))
    found = night.left_open(asked(tmp_path), NOW)
    assert found
    farm = Farm()
    assert go_on(found, farm).exit == 0
    assert farm.asked == [], "nothing is run again"


def test_a_killed_run_is_resumed(tmp_path: Path) -> None:
    """By the run that this night left, and no other one."""
    directory, made = begun(tmp_path)
    command = ["farm", *STEPS[0].words]
    write(tmp_path, "20251231-000000", status="running", command=command)
    made = replace(made, last_run="20251231-000000")
    mine = write(tmp_path, "20260101-000002", status="running", command=command)
    write(tmp_path, "20260101-000003", status="running", command=["farm", "run", "b", *ASKED])
    farm = Farm()
    go_on((directory, made), farm)
    assert farm.asked[0] == ("run", "--resume", str(mine))
    other = replace(made, last_run=mine.name)
    go_on((directory, other), farm)
    assert farm.asked[3] == STEPS[0].words


def test_a_killed_run_whose_tree_has_changed_begins_anew(tmp_path: Path) -> None:
    """`farm run --resume` refuses it, every time."""
    mine = write(tmp_path, "20260101-000002", status="interrupted", command=["farm", *STEPS[0].words])
    asked: list[Sequence[str]] = []

    def farm(words: Sequence[str], limit: float) -> int:
        asked.append(words)
        if words[0] == "run" and "--resume" not in words:
            write(tmp_path, "20260101-000003", status="finished", command=["farm", *words])
        return 2 if "--resume" in words else 0

    ended = go_on(begun(tmp_path), farm)
    assert asked[:2] == [("run", "--resume", str(mine)), STEPS[0].words]
    assert (ended.open, ended.exit, ended.steps[0].run) == (False, 0, "20260101-000003")


def test_what_had_ended_is_not_run_again(tmp_path: Path) -> None:
    """If the night was killed between the end of a step and its own note of it."""
    write(tmp_path, "20260101-000002", status="finished", exit=1, command=["farm", *STEPS[0].words])
    hunted(tmp_path, "mutants-20260101-000003", "finished", m="caught", n="survived")
    farm = Farm()
    ended = go_on(begun(tmp_path), farm)
    assert [words[0] for words in farm.asked] == ["selftests"]
    assert [(step.run, step.exit) for step in ended.steps] == [
        ("20260101-000002", 1),
        ("", 0),
        ("mutants-20260101-000003", 1),
    ]


def test_mutants_go_on_with_the_next(tmp_path: Path) -> None:
    """Those that a kill left untried, and not those of an earlier night."""
    directory, made = begun(tmp_path)
    hunted(tmp_path, "mutants-20251231-000000", "finished", m="caught", n="caught")
    hunted(tmp_path, "mutants-20260101-000003", "running", m="caught", n="not run")
    farm = Farm()
    go_on((directory, replace(made, last_hunt="mutants-20251231-000000")), farm)
    assert farm.asked[-1] == ("mutants", "n", *ASKED)


@pytest.mark.parametrize("status", ["running", "interrupted"])
def test_a_step_that_was_killed_stays_open_and_the_others_go_on(tmp_path: Path, status: str) -> None:
    """Whether it had time to say so or not."""
    run = tmp_path / "20260101-000002"

    def farm(words: Sequence[str], limit: float) -> int:
        if words[0] == "run":
            write(tmp_path, run.name, status=status, command=["farm", *words])
            return -9 if status == "running" else 3
        return 0

    found = begun(tmp_path)
    ended = go_on(found, farm)
    assert [step.exit for step in ended.steps] == [None, 0, 0]
    assert "`farm nightly` goes on with it" in ended.steps[0].said
    assert (ended.exit, ended.steps[0].run) == (3, run.name)
    assert records.load_run(run).status == "interrupted"  # nobody waits for it
    again = night.left_open(asked(tmp_path), NOW)
    assert again
    asked_again: list[Sequence[str]] = []

    def farm_again(words: Sequence[str], limit: float) -> int:
        asked_again.append(words)
        records.update_run(run, status="finished")
        return 0

    assert go_on(again, farm_again).exit == 0
    assert asked_again == [("run", "--resume", str(run))]


def test_the_budget_is_kept(tmp_path: Path) -> None:
    """What overruns it is cut off, what does not fit any more is left out; both are said, and nothing of it
    is gone on with."""
    ended = go_on(begun(tmp_path), Farm(run=TimeoutError()))
    assert (ended.steps[0].exit, ended.steps[0].said) == (3, "cut off: the 60 min of --budget were over")
    farm = Farm()
    ended = go_on((tmp_path / ended.id, replace(ended, steps=STEPS)), farm, 40.0)
    assert [words[:2] for words in farm.asked] == [("run", "a"), ("mutants", "m")]
    assert [step.exit for step in ended.steps] == [0, 0, 0]
    assert ended.steps[1].said.startswith("left out: needs 60 s, ")
    assert ended.steps[2].said.startswith("1 left out: ")
    ended = go_on((tmp_path / ended.id, replace(ended, steps=STEPS[2:])), farm, 10.0)
    assert ended.steps[0].said.startswith("2 left out: ")
    assert len(farm.asked) == 2


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A farm that runs for a minute, and writes down that it was told to end."""
    script = tmp_path / "program"
    told, began = tmp_path / "told", tmp_path / "began"
    script.write_text(f"#!/bin/sh\ntrap 'echo \"$@\" > {told}; exit 3' TERM\n: > {began}\nsleep 60 & wait\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    return told


def test_a_command_is_ended_when_its_time_is_up(program: Path) -> None:
    with pytest.raises(TimeoutError):
        night.farm(("run", "a"), 3.0)
    assert program.read_text() == "-m farm run a\n"


def test_a_kill_is_passed_on(tmp_path: Path, program: Path) -> None:
    """The command under way can write down what it has; its step stays open."""

    def kill() -> None:
        assert any((tmp_path / "began").exists() for _ in Deadline(60).poll())
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=kill).start()
    with pytest.raises(KeyboardInterrupt):
        go_on(begun(tmp_path), night.farm)
    assert "run a" in program.read_text()
    found = night.left_open(asked(tmp_path), NOW)
    assert found
    assert found[1].steps == STEPS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_kill_in_the_moment_of_the_start_is_passed_on(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The command is there already, and nobody knows its process yet."""

    class Started(subprocess.Popen[bytes]):
        def __init__(self, *words: Any, **how: Any) -> None:
            super().__init__(*words, **how)
            assert any((tmp_path / "began").exists() for _ in Deadline(60).poll())
            os.kill(os.getpid(), number)

    monkeypatch.setattr(subprocess, "Popen", Started)
    with pytest.raises(KeyboardInterrupt):
        go_on(begun(tmp_path), night.farm)
    assert "run a" in program.read_text()


def test_an_old_night_is_left(tmp_path: Path) -> None:
    begun(tmp_path)
    started = datetime(2026, 1, 1, tzinfo=UTC)
    assert night.left_open(asked(tmp_path), started + night.STALE - timedelta(seconds=1))
    assert night.left_open(asked(tmp_path), started + night.STALE) is None
    assert night.left_open(asked(tmp_path), started - timedelta(days=9))  # the clock went back


def test_a_night_of_something_else_is_not_gone_on_with(tmp_path: Path) -> None:
    begun(tmp_path)
    assert night.left_open(night.Asked(tmp_path, tree="/home/me/linux"), NOW) is None


def test_a_second_night_says_so_and_leaves(tmp_path: Path) -> None:
    with (
        night.alone(tmp_path),
        pytest.raises(UsageError, match="another nightly is running, process"),
        night.alone(tmp_path),
    ):
        pass
    with night.alone(tmp_path):
        pass


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    with (
        pytest.raises(
            FarmError, match=r"/dev/full: No space left on device; the verdicts are safe, and `farm nightly`"
        ),
        night.alone(tmp_path),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/dev/full")


def test_a_run_that_nobody_goes_on_with_is_not_running(tmp_path: Path) -> None:
    """The next night says so, or it would be kept for good."""
    begun(tmp_path, started="2026-01-01T00:00:00+00:00")
    left = write(tmp_path, "20260101-000002", status="running", command=["farm", *STEPS[0].words])
    others = write(tmp_path, "20260101-000003", status="running", command=["farm", "run", "mine"])
    evening.begin(asked(tmp_path), 1e6)
    assert records.load_run(left).status == "interrupted"
    assert records.load_run(others).status == "running"


def test_a_first_night_is_planned_without_a_history(
    tmp_path: Path, cache_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, made = evening.begin(asked(tmp_path), 1e6)
    assert [step.name for step in made.steps] == [
        "cells", "selftests", "trees", "debian-7.3", "debian-6.1", "mutants",
    ]  # fmt: skip
    assert night.left_open(asked(tmp_path), datetime.now(UTC)) == (directory, made)
    said = list(night.told(made))
    assert said[0].startswith(f"{made.id}: ")
    assert said[1].startswith("  cells, ")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    with pytest.raises(UsageError, match="no cell fits into 0 min, the shortest needs 13 min"):
        evening.begin(asked(tmp_path), 1.0)


def test_a_tree_of_the_users(tmp_path: Path, cache_root: Path) -> None:
    _, made = evening.begin(night.Asked(tmp_path, tree="/home/me/linux", series="none"), 1e6)
    cells, selftests, tried = made.steps
    assert cells.words[-4:] == selftests.words[-4:] == ("--tree", "/home/me/linux", "--series", "none")
    assert tried.words[-2:] == ("--results", str(tmp_path))


#: The steps for the trees beside the first one.
OTHERS = ("trees", "debian-7.3", "debian-6.1")


def test_other_trees_get_what_is_left(tmp_path: Path, cache_root: Path) -> None:
    """Their newest kernels first, then the cells that the matrix names for each, as many as fit."""
    known = load()
    _, made = evening.begin(asked(tmp_path), 1e6)
    steps = {step.name: step for step in made.steps}
    assert steps["trees"].words == ("fetch", "debian-7.3", "debian-6.1")
    for name in OTHERS[1:]:
        assert steps[name].words == ("run", *known.trees[name].nightly, "--results", str(tmp_path), "--tree", name)
        assert {*known.trees[name].nightly} <= {cell.name for cell in series.for_tree(known, name)}
    spent = made.expected - steps["mutants"].expected - steps["debian-6.1"].expected
    _, tight = evening.begin(asked(tmp_path), spent + 1.0)
    assert [step.name for step in tight.steps] == ["cells", "selftests", "trees", "debian-7.3", "mutants"]
    assert [line for line in tight.left if line.startswith("x86_64-regs of debian-6.1: needs")]
    _, own = evening.begin(night.Asked(tmp_path, series="none"), 1e6)
    assert not {*OTHERS} & {step.name for step in own.steps}


@pytest.mark.parametrize(
    "cell, following, steps, said",
    [
        ("x86_64-kasan", "x86_64-mitigations", ["cells", "selftests", *OTHERS], "mutants: "),
        ("x86_64-regs", "x86_64-regs-fp", ["cells", *OTHERS], "the kernel's own tests: the matrix has no "),
    ],
)
def test_a_matrix_without_a_cell(tmp_path: Path, cell: str, following: str, steps: list[str], said: str) -> None:
    """What needs it is left out, and it is said; the rest is run."""
    matrix = tmp_path / "kconfigs/matrix.yaml"
    matrix.parent.mkdir()
    without = re.sub(rf"(?ms)^  {cell}:.*?(?=^  {following}:)", "", MATRIX.read_text())
    matrix.write_text(re.sub(rf"{cell},\s+", "", without))
    (matrix.parent / "x86_64").symlink_to(MATRIX.parent / "x86_64")
    (tmp_path / "patches").symlink_to(CHECKOUT / "patches")
    _, made = evening.begin(night.Asked(tmp_path / "results", matrix), 1e6)
    assert [step.name for step in made.steps] == steps
    assert any(line.startswith(said) and cell in line for line in made.left)


def took(results: Path, name: str, minutes: int, cells: dict[str, float], **more: object) -> None:
    """A run of so many minutes, with a test in each cell that took so many seconds."""
    tests = [record(Verdict.PASS, f"{cell}", cell=cell, seconds=seconds) for cell, seconds in cells.items()]
    write(
        results,
        name,
        tests,
        cells=list(cells),
        finished=f"{name[:4]}-{name[4:6]}-{name[6:8]}T00:{minutes:02}:00+00:00",
        **more,
    )


def test_costs_are_those_of_the_last_night(tmp_path: Path) -> None:
    """A cell's part of the run by the clock; not those of other commands, nor of a run that lay for hours."""
    took(tmp_path, "20260101-000000", 10, {"a": 30.0, "b": 10.0})
    took(tmp_path, "20260102-000000", 20, {"a": 30.0}, tree="/linux")
    took(tmp_path, "20260103-000000", 30, {"a": 30.0}, command=["farm", "selftests", "a"])
    took(tmp_path, "20260104-000000", 40, {"a": 30.0})
    (tmp_path / "20260104-000000/done.json").write_text("[]")
    index.index(tmp_path)
    line = reading.line_of("run", None, None, RUN.matrix)
    with store.reading(tmp_path) as db:
        runs = [run for run in store.runs(db) if run.line == line]
        assert [run.id for run in runs] == ["20260101-000000", "20260104-000000"]
        assert evening._tests(db, tmp_path, runs) == {"a": 450.0, "b": 150.0}


def test_another_tree_is_nearer_than_a_guess(tmp_path: Path, cache_root: Path) -> None:
    """The first night of a tree plans with what the cells took before, of whatever tree, and with all builds."""
    names = list(load().cells)
    took(tmp_path, "20260101-000000", 10, dict.fromkeys(names, 30.0))
    other = replace(asked(tmp_path), tree="/linux")
    whole = builds.GUESS_PROCESSOR / len(os.sched_getaffinity(0))
    _, made = evening.begin(other, 600.0 + whole * len(names) + 1)
    assert set(made.steps[0].words) == {"run", *names, *other.words}
    assert made.steps[0].expected == pytest.approx(600.0 + whole * len(names))
    assert f"the kernel's own tests: need {900 + whole:.0f} s, {whole:.0f} s of them to build a kernel" in made.left[0]


def built_before(results: Path, name: str, tree: str | None, **cells: float) -> None:
    """A run of a tree that took so many seconds to build each cell, and 30 s to test all cells."""
    took(results, name, 10, dict.fromkeys(load().cells, 30.0), tree=tree)
    for cell, seconds in cells.items():
        where = results / name / "cells" / cell
        where.mkdir(parents=True)
        (where / "built.json").write_text(json.dumps({"build_seconds": seconds}))


def test_a_new_tree_has_to_be_built(tmp_path: Path, cache_root: Path, linux: Repository) -> None:
    """Not the kernels that the cache has; a build directory that is there needs as long as the last time."""
    known, path = load(), str(linux.path)
    first, second, third = list(known.cells)[:3]
    built_before(tmp_path, "20260101-000000", None, **{first: 900.0, second: 800.0, third: 700.0})
    built_before(tmp_path, "20260102-000000", path, **{second: 70.0, third: 60.0})
    (cache_root / "kernels/of-another-tree").mkdir(parents=True)
    (cache_root / "kernels/of-another-tree/metadata.json").write_text('{"results": {"duration": {"build": 500.0}}}')
    index.index(tmp_path)
    with store.reading(tmp_path) as db:
        everything = store.runs(db)
    past = builds.past(everything, everything[1:])
    wanted = [builds.Wanted(cell, path, "none") for cell in known.cells.values()]
    lacking = {one.cell.name: build.seconds for one, build in builds.lacking(wanted, known, past).items()}
    assert lacking == {**dict.fromkeys(known.cells, 500.0), first: 900.0, second: 800.0, third: 700.0}
    plans = builds._plans(wanted, known)
    (cache_root / "kernels" / plans[wanted[0]].key).mkdir()
    directory = work_tree(plans[wanted[1]].source) / f"build-{second}"
    directory.mkdir(parents=True)
    (directory / kernel_builds.STAMP).write_text("another key")
    lacking = {one.cell.name: build.seconds for one, build in builds.lacking(wanted, known, past).items()}
    same = [one.cell.name for one, plan in plans.items() if plan.key == plans[wanted[0]].key]
    assert first in same
    expected = {**dict.fromkeys(known.cells, 500.0), second: 70.0, third: 700.0}
    assert lacking == {cell: seconds for cell, seconds in expected.items() if cell not in same}


def test_a_tight_budget_leaves_out_what_would_be_cut_off(tmp_path: Path, cache_root: Path) -> None:
    """A tree whose tests are quick and whose kernels are not there: only some of its cells, said before it begins."""
    names = list(load().cells)
    took(tmp_path, "20260101-000000", 10, dict.fromkeys(names, 30.0))
    whole = builds.GUESS_PROCESSOR / len(os.sched_getaffinity(0))
    _, made = evening.begin(replace(asked(tmp_path), tree="/linux"), 3 * (whole + 600.0 / len(names)) + 1)
    assert len(set(made.steps[0].words) & set(names)) == 3
    of_a_cell = f"needs {whole + 600 / len(names):.0f} s, {whole:.0f} s of them to build a kernel, 1 s are left"
    assert sum(line.endswith(of_a_cell) for line in made.left) == len(names) - 3


# The morning.


@pytest.fixture
def mails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user's sendmail puts all that it is given."""
    sendmail = tmp_path / "sendmail"
    sendmail.write_text(f"#!/bin/sh\ncat >> {tmp_path}/mails\n")
    sendmail.chmod(0o755)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    tell = config.default()
    tell.parent.mkdir(parents=True)
    tell.write_text(f"mail:\n  sender: farm@x\n  to: [me@x]\n  sendmail: {sendmail}\n")
    return tmp_path / "mails"


def a_night(results: Path, number: int, **cells: object) -> tuple[Path, Night]:
    """A night that has ended: its cells, the kernel's own tests, a hunt in which one more mutant survives."""
    before = {"last_hunt": f"mutants-2026030{number}-040000"} if number else {}
    run, own = nights.write_night(results, number), nights.write_own_tests(results, number)
    stamp = f"mutants-2026030{number + 1}-040000"
    hunted(results, stamp, "finished", m="survived", **({"n": "survived"} if number else {}), o="caught")
    steps = (
        replace(STEPS[0], **{"run": run.name, "exit": 1, **cells}),  # type: ignore[arg-type]
        replace(STEPS[1], run=own.name, exit=1),
        replace(STEPS[2], run=stamp, exit=1),
    )
    directory = results / f"nightly-2026030{number + 1}-020000"
    directory.mkdir()
    left = ("x86_64-kcfi: needs 900 s, 3 s are left",)
    return directory, Night(directory.name, "", 3600.0, ASKED, left, steps, **before)  # type: ignore[arg-type]


def in_the_morning(results: Path, of: tuple[Path, Night]) -> tuple[Exit, str]:
    out = Console(file=io.StringIO(), width=200)
    status = morning.show(out, results, *of)
    return status, out.file.getvalue()  # type: ignore[attr-defined]


def subjects(mails: Path) -> list[str]:
    return [line for line in mails.read_text().splitlines() if line.startswith("Subject: ")] if mails.exists() else []


def test_a_morning(tmp_path: Path, mails: Path) -> None:
    """What is worse on the screen, on the site and in a mail; and in the next one only what is new."""
    results = tmp_path / "results"
    in_the_morning(results, a_night(results, 0))
    mails.unlink()
    status, said = in_the_morning(results, a_night(results, 1))
    assert status == 1
    assert "20260302-020000 against 20260301-020000" in said
    assert "20260302-030000 against 20260301-030000" in said
    assert "nightly-20260302-020000: mutant n: survived in x86_64-regs" in said
    assert "nightly-20260302-020000: mutants: 1 of 3 caught" in said
    assert "mutant m" not in said
    assert f"{results}/site/index.html" in said
    assert subjects(mails) == [
        "Subject: [farm] WORSE: 3 new failures, mutant n: survived in x86_64-regs, 6",
        "Subject: [farm] WORSE: 1 new failure (20260302-030000)",
    ]
    assert "night:    left out: x86_64-kcfi: needs 900 s, 3 s are left" in mails.read_text()
    page = (results / "site/index.html").read_text()
    assert "left out: x86_64-kcfi" in page
    assert "1 of 3 caught" in page


def test_a_morning_after_a_step_that_left_nothing(tmp_path: Path, mails: Path) -> None:
    """No run of the cells: the mail says so, as there is nothing else to be told of."""
    results = tmp_path / "results"
    results.mkdir()
    directory, made = begun(results)
    ended = night.save(directory, replace(made, steps=(replace(STEPS[0], exit=3),)))
    nights.write_night(results, 0)
    status, said = in_the_morning(results, (directory, ended))
    assert status == 3
    assert "cells: `farm run` left no run; it ended with 3" in said
    assert "BROKEN: " in subjects(mails)[0]
    assert "night:    cells: `farm run` left no run; it ended with 3" in mails.read_text().replace("=\n", "")


def test_a_morning_on_a_full_disk(tmp_path: Path, mails: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdicts are there, the mail is sent, and both say what is missing."""
    results = tmp_path / "results"
    of = a_night(results, 0)

    def full(file: Path, anew: bool = False) -> NoReturn:
        raise store.broken(file, sqlite3.OperationalError("database or disk is full"))

    monkeypatch.setattr(store, "writing", full)
    status, said = in_the_morning(results, of)
    assert status == 3
    assert "database or disk is full; make room, then `farm report --reindex`" in said
    assert len(subjects(mails)) == 2
    assert "not compared: " in mails.read_text()
    assert len(records.load_verdicts(results / nights.NIGHTS[0])) == 48


@pytest.mark.parametrize("error", [FarmError("state.json: No space left"), ZeroDivisionError("a bug")])
def test_a_night_that_fails_itself_is_told_of(
    tmp_path: Path, mails: Path, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(type(error)), morning.told_of_failure(tmp_path):
        raise error
    assert "BROKEN: " in mails.read_text()
    assert f"night:    the night failed: {error}" in mails.read_text()
    mails.unlink()
    with pytest.raises(KeyboardInterrupt), morning.told_of_failure(tmp_path):
        raise KeyboardInterrupt
    assert not mails.exists()
    (tmp_path / "sendmail").unlink()
    with pytest.raises(type(error)), morning.told_of_failure(tmp_path):
        raise error
    assert "no message could be sent: mail.sendmail: " in capsys.readouterr().err


def test_a_step_that_was_cut_off_is_news(tmp_path: Path) -> None:
    directory, ended = a_night(tmp_path, 0, exit=3, said="cut off: the 60 min of --budget were over")
    index.index(tmp_path)
    told = morning.besides(tmp_path, ended)
    assert "cells: cut off: the 60 min of --budget were over" in told.news
    assert directory.name not in "".join(told.news)


# Three nights, by the command itself; only what it starts boots no guest.

NIGHTLY = "import sys; sys.executable, *sys.argv = sys.argv[1:]; from farm.cli import main; main()"


class Nights:
    def __init__(self, place: Path) -> None:
        self.results = place / "results"
        self.program = place / "python"
        self.program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.command.nightfarm "$@"\n')
        self.program.chmod(0o755)
        self.matrix = nights.one_tree(place)
        cache = place / "cache"
        self.environment = {
            **os.environ,
            "HOME": str(place),
            "XDG_CONFIG_HOME": str(place / "config"),
            "FTRACE_FARM_CACHE": str(cache),
        }

    def start(self, number: int, **more: str) -> "subprocess.Popen[str]":
        words = ["farm", "nightly", "--budget", "99h", "--results", str(self.results), "--matrix", str(self.matrix)]
        return subprocess.Popen(
            [sys.executable, "-c", NIGHTLY, str(self.program), *words],
            cwd=CHECKOUT,
            env={**self.environment, "NIGHT": str(number), **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, number: int) -> tuple[int, str]:
        with self.start(number) as process:
            said, _ = process.communicate(timeout=120)
            return process.returncode, said

    def headline(self) -> str:
        found = re.search("<h1>(.*)</h1>", (self.results / "site/index.html").read_text())
        assert found
        return found[1]


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "XZ"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_three_nights(tmp_path: Path, mails: Path, kill: signal.Signals) -> None:
    """The second with a regression and a flake, the third killed in the middle."""
    three, tried = Nights(tmp_path), set()
    for number, headline in enumerate(
        ["✗ 6 failures in the first run", "▼ Worse than before: 2 new failures, 1 flaky"]
    ):
        mails.unlink(missing_ok=True)
        status, said = three.run(number)
        assert status == 1, said
        assert three.headline().startswith(headline)
        tried |= {name for hunt in three.results.glob("mutants-*") for name in hunts_of(hunt)}
    assert len(tried) == 2 * plan.SAMPLE  # they take turns
    assert "[farm] WORSE: 2 new failures, 1 flaky, 6 still failing" in mails.read_text()
    half = tmp_path / "half"
    with three.start(2, SLOW=str(half)) as process:
        for _ in Deadline(60).poll():
            if half.exists() and half.read_text():
                break
        status, said = three.run(2)
        assert (status, "another nightly is running" in said) == (2, True)
        process.send_signal(kill)
        process.wait(60)
    assert any(gone(int(half.read_text())) for _ in Deadline(30).poll())
    (cut_off,) = [path for path in three.results.glob("2*") if records.load_run(path).status != "finished"]
    assert len([one for one in records.load_verdicts(cut_off) if one.verdict is not Verdict.LOST]) == 24
    status, said = three.run(2)
    assert status == 1, said
    assert f"going on with {cut_off.name}" in said
    verdicts = records.load_verdicts(cut_off)
    assert len({(one.cell, one.suite, one.test) for one in verdicts}) == len(verdicts) == 48
    assert len(list(three.results.glob("nightly-*"))) == 3
    assert three.headline() == "= Same as before: 8 still failing"
    assert "1 of 3 (6.1 to 79 %)" in (three.results / "site/index.html").read_text()


def hunts_of(directory: Path) -> list[str]:
    return [score.mutant for score in mutants.load_scores(directory).scores]
