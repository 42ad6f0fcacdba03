# SPDX-License-Identifier: GPL-2.0
"""The plan of a night, and a night that is killed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.base.errors import FarmError, UsageError
from farm.history.model import Mutation
from farm.nightly import night, plan
from farm.nightly.night import Night, Step
from farm.run.records import Verdict
from tests.test_changes import run
from tests.test_history import write

HUNT = Mutation("mutants-1", "", "1", "finished", 100.0, {"a": "caught", "b": "survived", "c": "not run"})
names = st.lists(st.text("abcdef", min_size=1, max_size=3), unique=True, max_size=8)
times = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.floats(0, 5000), max_size=8)


@given(names, times, times, names, st.floats(0, 20000))
def test_a_plan_fits(
    cells: list[str], costs: dict[str, float], worth: dict[str, float], mutants: list[str], budget: float
) -> None:
    made = plan.plan(cells, costs, worth, mutants, [HUNT], budget)
    assert made.seconds <= budget + 1e-6
    lengths = [costs.get(cell, plan.GUESS_CELL) for cell in made.cells]
    assert lengths == sorted(lengths, reverse=True)
    for cell in cells:  # each is run, or it is said why not
        assert (cell in made.cells) != any(said.startswith(f"{cell}: needs") for said in made.left)


def test_the_most_worth_goes_first_where_not_all_fits() -> None:
    costs = {"long": 600.0, "red": 300.0, "short": 100.0}
    made = plan.plan(["long", "short", "red"], costs, {"red": 10, "short": 5}, [], [], 450)
    assert made.cells == ("red", "short")
    assert made.left[0] == "long: needs 600 s, 50 s are left"
    everything = plan.plan(["short", "long", "red"], costs, {}, ["m"], [], 1e5)
    assert (everything.cells, everything.selftests, everything.mutants) == (("long", "red", "short"), True, ("m",))
    assert everything.left == ()


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


def begun(results: Path, started: str = "2026-01-01T00:00:00+00:00") -> tuple[Path, Night]:
    directory = results / "nightly-20260101-000000"
    directory.mkdir()
    steps = (Step("cells", ("run", "a")), Step("selftests", ("selftests",)), Step("mutants", ("mutants", "m")))
    made = Night(directory.name, started, 3600.0, 1.0, (), steps)
    return directory, night._save(directory, made)


def test_a_killed_night_goes_on_where_it_was(tmp_path: Path) -> None:
    directory, made = begun(tmp_path)
    asked: list[Sequence[str]] = []

    def farm(words: Sequence[str]) -> int:
        asked.append(words)
        if words[0] == "selftests" and len(asked) == 2:
            raise KeyboardInterrupt
        return 1

    with pytest.raises(KeyboardInterrupt):
        night.go_on(directory, made, farm)
    now = datetime(2026, 1, 1, 1, tzinfo=UTC)
    found = night.left_open(tmp_path, now)
    assert found
    assert [step.exit for step in found[1].steps] == [1, None, None]
    ended = night.go_on(*found, farm)
    assert [words[0] for words in asked] == ["run", "selftests", "selftests", "mutants"]
    assert (ended.open, ended.exit) == (False, 1)
    assert night.left_open(tmp_path, now) is None


def test_a_killed_run_is_resumed(tmp_path: Path) -> None:
    """By the run that this night left, and no other one."""
    directory, made = begun(tmp_path)
    write(tmp_path, "20251231-000000", status="running", command=["farm", "run", "a"])
    write(tmp_path, "20260101-000001", status="running", command=["farm", "run", "b"])
    mine = write(tmp_path, "20260101-000002", status="running", command=["farm", "run", "a"])
    asked: list[Sequence[str]] = []

    def farm(words: Sequence[str]) -> int:
        asked.append(words)
        return 0

    ended = night.go_on(directory, made, farm, lambda said: None)
    assert asked[0] == ("run", "--resume", str(mine))
    assert ended.steps[0].run == mine.name


def test_a_step_that_was_killed_is_not_ended(tmp_path: Path) -> None:
    directory, made = begun(tmp_path)
    with pytest.raises(FarmError, match=r"ended with -9; `farm nightly` goes on with it"):
        night.go_on(directory, made, lambda words: -9)
    assert night.left_open(tmp_path, datetime(2026, 1, 1, 1, tzinfo=UTC))


def test_an_old_night_is_left(tmp_path: Path) -> None:
    begun(tmp_path)
    started = datetime(2026, 1, 1, tzinfo=UTC)
    assert night.left_open(tmp_path, started + night.STALE - timedelta(seconds=1))
    assert night.left_open(tmp_path, started + night.STALE) is None


def test_a_second_night_says_so_and_leaves(tmp_path: Path) -> None:
    with (
        night.alone(tmp_path),
        pytest.raises(UsageError, match="another nightly is running, process"),
        night.alone(tmp_path),
    ):
        pass
    with night.alone(tmp_path):
        pass


def test_a_first_night_is_planned_without_a_history(tmp_path: Path) -> None:
    directory, made = night.begin(tmp_path, 1e6)
    assert [step.name for step in made.steps] == ["cells", "selftests", "mutants"]
    assert night.left_open(tmp_path, datetime.now(UTC)) == (directory, made)
    with pytest.raises(UsageError, match="no cell fits into 1 s"):
        night.begin(tmp_path, 1.0)
