# SPDX-License-Identifier: GPL-2.0
"""What is said of two runs, and of those before them."""

import io
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from farm.base.errors import UsageError
from farm.history import changes, query, retention, steps, store
from farm.history.changes import Change, Comparison, Kind, Side, compare, last_comparable, rate
from farm.history.index import index, reindex
from farm.history.model import Case, Planted, RunKernel, Seen, Summary, Timeline
from farm.record import records
from farm.record.records import VerdictRecord
from farm.record.verdict import MEANING, Verdict
from farm.report import changes as report
from tests import nights
from tests.test_history import write
from tests.test_records import record

CASE = Case("regs", "slots", "test_x")

P, F, C, S, L = (
    Seen(Verdict.PASS),
    Seen(Verdict.FAIL, "why", bad=1),
    None,
    Seen(Verdict.SKIP),
    Seen(Verdict.LOST, bad=1),
)
CRASH = Seen(Verdict.CRASH, "oops", bad=1)


def run(day: int, **more: object) -> Summary:
    """A finished run of that day, of a kernel of its own."""
    made = Summary(
        id=f"202601{day:02}-000000",
        place="",
        line="[]",
        command=("farm", "run"),
        started="",
        finished="",
        status="finished",
        exit=0,
        tree=None,
        series=None,
        select="",
        cells=("regs",),
        accel="tcg",
        workers=1,
        planned=1,
        kernels={"regs": RunKernel(key=f"{day}")},
    )
    return replace(made, **more)  # type: ignore[arg-type]


def timeline(seen: Sequence[Seen | None]) -> Timeline:
    """As the store would turn it."""
    texts = ["", *sorted({one.reason for one in seen if one and one.reason})]
    one_each = store.unpack(
        store.pack(
            {
                n: (
                    MEANING[one.verdict].code,
                    round(one.seconds * 1000),
                    texts.index(one.reason),
                    one.tries,
                    one.bad,
                )
                for n, one in enumerate(seen)
                if one
            }
        )
    )
    missing = len(seen) - len(one_each["codes"])
    for column in one_each.values():
        column.extend([0] * missing)
    codes = one_each.pop("codes").tobytes()
    return Timeline(codes, **one_each, texts=texts)


def ends(seen: Sequence[Seen | None], same_kernel: bool = False) -> list[Change]:
    """What is said behind these nights of one case, the last against the one before."""
    kernel = {"regs": RunKernel(key="k")}
    runs = [run(day, **({"kernels": kernel} if same_kernel else {})) for day in range(1, len(seen) + 1)]
    old, new = seen[-2], seen[-1]
    before, after = Side(runs[-2], {CASE: old} if old else {}), Side(runs[-1], {CASE: new} if new else {})
    return list(compare(before, after, runs, {CASE: timeline(seen)}).changes)


def kind(*seen: Seen | None, same_kernel: bool = False) -> Kind | None:
    said = ends(seen, same_kernel)
    assert len(said) < 2
    return said[0].kind if said else None


@pytest.mark.parametrize(
    "nights, expected",
    [
        ((P, P, P), None),
        ((P, P, F), Kind.NEW_FAILURE),
        ((P, F, F), Kind.STILL),
        ((P, F, CRASH), Kind.OTHERWISE),
        ((P, F, P), Kind.FIXED),
        ((P, P, None), Kind.GONE),
        ((P, P, S), Kind.GONE),
        ((F, F, S), Kind.GONE),
        ((P, S, P), Kind.NEW),
        ((None, None, P), Kind.NEW),
        ((None, None, F), Kind.NEW_FAILURE),
        ((S, S, S), None),
        ((P, P, L), Kind.NEW_FAILURE),
        ((F, P, F), Kind.FLAKY),
        ((P, F, P, F, P), Kind.FLAKY),
        ((P, F, P, P, CRASH), Kind.NEW_FAILURE),  # not what was seen to come and go
        ((P, L, P, L, P), Kind.FIXED),  # the farm's own faults make no flake
    ],
)
def test_kinds(nights: tuple[Seen | None, ...], expected: Kind | None) -> None:
    assert kind(*nights) == expected


def test_one_kernel_that_passes_and_fails_is_flaky() -> None:
    assert kind(P, P, F) == Kind.NEW_FAILURE
    assert kind(P, P, F, same_kernel=True) == Kind.FLAKY
    assert kind(*[P] * 30, F, F, F, same_kernel=True) == Kind.STILL  # too often for a flake: the suites changed
    assert kind(P, F, P, same_kernel=True) == Kind.FLAKY
    (change,) = ends([P, F, P], same_kernel=True)
    assert change.rate
    assert (change.rate.bad, change.rate.tries, change.rate.runs) == (1, 3, 3)


def test_attempts_of_one_run_are_a_rate() -> None:
    (change,) = ends([P, Seen(Verdict.FAIL, "why", tries=100, bad=3)])
    assert change.kind in (Kind.FLAKY, Kind.NEW_FAILURE)
    assert change.rate
    assert (change.rate.bad, change.rate.tries) == (3, 101)


def test_a_flake_stays_a_number_and_is_news_once() -> None:
    (change,) = ends([P, F, P, F, P])
    assert change.news is False or change.kind is Kind.FLAKY
    (later,) = ends([P, F, P, F, P, P])
    assert (later.kind, later.news) == (Kind.FLAKY, False)


def test_a_flake_that_always_fails_is_a_failure() -> None:
    often = [F if night % 10 == 3 else P for night in range(30)]
    assert kind(*often, F) == Kind.FLAKY
    assert kind(*often, F, F, F, F, F, F) == Kind.STILL


def test_since_when() -> None:
    (change,) = ends([P, P, L, F, F, F])
    assert (change.last_good, change.first_bad) == ("20260102-000000", "20260104-000000")
    (change,) = ends([F, F, F])
    assert (change.last_good, change.first_bad) == ("", "")


def test_wilsons_interval() -> None:
    """The values of Brown, Cai and DasGupta's formula, worked out by hand for 1 of 10."""
    one = rate([(1, 10)])
    assert one.low == pytest.approx(0.0179, abs=2e-4)
    assert one.high == pytest.approx(0.4042, abs=2e-4)
    assert (rate([(0, 50)]).low, rate([(50, 50)]).high) == (0.0, 1.0)
    assert rate([(0, 50)]).high == pytest.approx(0.0713, abs=2e-4)


# What is compared with what.


def test_the_last_comparable_run() -> None:
    runs = [
        run(1),
        run(2),
        run(3, status="interrupted"),
        run(4, line=""),
        run(5, line="other"),
        run(6, cells=("off",)),
        run(7, select="slots"),
        run(9),
    ]
    assert last_comparable(runs, run(8)) == runs[1]
    assert last_comparable(runs, run(8, select="slots")) == runs[6]
    assert last_comparable(runs, run(8, cells=("regs", "off"))) == runs[6]  # none has both
    assert last_comparable(runs, run(8, cells=("new",))) is None
    assert last_comparable(runs, run(8, line="")) is None
    assert last_comparable(runs, run(1)) is None


def planted(day: int, **more: object) -> Summary:
    what: dict[str, object] = {"patches": [], "pokes": [], "partial": False, **more}
    return run(day, line=json.dumps(["run", None, None, "matrix", what]))


CLEAN = json.dumps(["run", None, None, "matrix"])


def test_what_is_planted_is_compared_with_the_clean() -> None:
    """And nothing is compared with it, were it the same again."""
    runs = [run(1, line=CLEAN), run(2, line=CLEAN, status="interrupted"), planted(3, pokes=["f:00=01"])]
    again = planted(4, pokes=["f:00=01"])
    assert last_comparable(runs, again) == runs[0]
    assert changes.past(runs, again) == [*runs[:2], again]
    assert last_comparable(runs, run(5, line=CLEAN)) == runs[0]
    assert changes.past(runs, run(5, line=CLEAN))[:-1] == runs[:2]
    assert query.latest([*runs, again]) == again
    assert again.planted == Planted(pokes=("f:00=01",))
    assert not runs[0].planted


@pytest.mark.parametrize(
    "nights, expected",
    [
        ((P, P, F), Kind.NEW_FAILURE),  # the same kernel passed: that is the poke, and no flake
        ((F, P, F), Kind.NEW_FAILURE),
        ((P, F, P, F, P, F), Kind.FLAKY),  # and it was one before
    ],
)
def test_a_poke_makes_no_flake(nights: tuple[Seen, ...], expected: Kind) -> None:
    same = {"regs": RunKernel(key="k")} if nights[0] is P and len(nights) == 3 else None
    runs = [run(day, line=CLEAN, **({"kernels": same} if same else {})) for day in range(1, len(nights))]
    poked = replace(planted(len(nights), pokes=["f:00=01"]), kernels=same or {})
    sides = Side(runs[-1], {CASE: nights[-2]}), Side(poked, {CASE: nights[-1]})
    (change,) = compare(*sides, [*runs, poked], {CASE: timeline(nights)}).changes
    assert change.kind is expected


def test_a_part_of_the_feature_misses_nothing() -> None:
    sides = Side(run(1, line=CLEAN), {CASE: P}), Side(planted(2, partial=True), {CASE: S})
    assert compare(*sides).changes == ()
    (gone,) = compare(sides[0], Side(planted(2, patches=["a.patch"]), {CASE: S})).changes
    assert gone.kind is Kind.GONE


def test_only_what_was_asked_for_is_missed() -> None:
    other = Case("regs", "slots", "test_y")
    elsewhere = Case("off", "slots", "test_x")
    both = {CASE: P, other: P, elsewhere: P}
    whole, part = run(1, cells=("regs", "off")), run(2, select="test_x")
    assert compare(Side(whole, both), Side(part, {CASE: P})).changes == ()
    assert compare(Side(part, {CASE: P}), Side(whole, both)).changes == ()
    full = replace(part, select="")
    (gone,) = compare(Side(whole, both), Side(full, {CASE: P})).changes
    assert (gone.kind, gone.case) == (Kind.GONE, other)
    assert compare(Side(whole, both), Side(replace(full, status="interrupted"), {CASE: P})).changes == ()


seen = st.builds(
    Seen,
    st.sampled_from(Verdict),
    st.text(max_size=3),
    st.floats(0, 100).map(lambda seconds: round(seconds, 3)),
).map(lambda one: replace(one, bad=int(one.is_bad)))
cases = st.dictionaries(st.builds(Case, st.just("regs"), st.sampled_from("ab"), st.text(max_size=3)), seen, max_size=8)


@settings(max_examples=50, deadline=None)
@given(cases)
def test_a_run_against_itself_has_no_news(one: Mapping[Case, Seen]) -> None:
    comparison = compare(Side(run(1), one), Side(run(1), one))
    assert comparison.news == ()
    assert {change.kind for change in comparison.changes} <= {Kind.STILL}
    assert len(comparison.changes) + comparison.same == len(one)


@settings(max_examples=50, deadline=None)
@given(cases, cases)
def test_there_and_back(one: Mapping[Case, Seen], other: Mapping[Case, Seen]) -> None:
    """What is fixed in one direction is a new failure in the other, what is new is gone."""
    there = compare(Side(run(1), one), Side(run(2), other))
    back = compare(Side(run(1), other), Side(run(2), one))
    assert there.same == back.same
    for kind, mirror in ((Kind.FIXED, Kind.NEW_FAILURE), (Kind.STILL, Kind.STILL), (Kind.OTHERWISE, Kind.OTHERWISE)):
        there_cases = {change.case for change in there.of(kind)}
        assert there_cases <= {change.case for change in back.of(mirror)}
    assert {change.case for change in there.of(Kind.NEW)} <= {change.case for change in back.of(Kind.GONE)}


# Durations.


def test_a_step_is_found_and_noise_is_not() -> None:
    chance = random.Random(1)
    noise = [[chance.lognormvariate(0, 0.3) for _ in range(60)] for _ in range(300)]
    assert not [one for one in noise if steps.find(one, 1e-4)]
    slower = [one[:48] + [3 * seconds for seconds in one[48:]] for one in noise]
    found = [steps.find(one, 1e-4) for one in slower]
    assert sum(one is not None for one in found) > 290
    assert all(one is None or (one.after > one.before and 40 <= one.position <= 52) for one in found)


def test_false_alarms_are_bounded() -> None:
    """In series without a step no more than the budget says, with ties as well."""
    chance = random.Random(2)
    for draw in (chance.random, lambda: chance.randrange(4)):
        alarms = sum(steps.find([draw() for _ in range(20)], 0.05) is not None for _ in range(1500))
        assert alarms <= 0.05 * 1500


def test_the_tail_is_exact() -> None:
    """Counted by hand: all orders of 2 and 2, and the clearest of 3 and 3."""
    assert [steps.tail(2, 2, pairs) for pairs in range(5)] == [1, 5 / 6, 4 / 6, 2 / 6, 1 / 6]
    assert steps.tail(3, 3, 9) == 1 / 20


def test_slower_is_news_once_and_says_since_when() -> None:
    chance = random.Random(3)
    nights = [replace(P, seconds=round(chance.gauss(1 if day < 20 else 2, 0.05), 3)) for day in range(1, 29)]
    said = {day: ends(nights[:day]) for day in range(2, 29)}
    first = next(day for day, found in said.items() if found)
    assert 22 <= first <= 26
    for day in range(first, 29):
        (change,) = said[day]
        assert (change.kind, change.news) == (Kind.SLOWER, day == first)
        assert change.step
        assert change.step.since == "20260120-000000"
        assert change.step.before == pytest.approx(1, abs=0.1)
        assert change.step.after == pytest.approx(2, abs=0.1)
    # another accelerator is another clock
    assert not [one for one in ends([replace(P, seconds=1.0)] * 20 + [replace(P, seconds=1.0)]) if one]


# Retention.


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([P, P, F, CRASH, S, L, None]), min_size=1, max_size=20))
def test_last_good_and_first_bad_are_kept(nights: list[Seen | None]) -> None:
    kept = {position for position, _ in retention.needed([timeline(nights)])}
    known = set()
    for position, one in enumerate(nights):
        if one is None or one in (P, S, L) or one in known:
            continue
        known.add(one)
        assert position in kept, "the first failure of its sort"
        if good := [before for before in range(position) if nights[before] == P]:
            assert good[-1] in kept, "the last good one before it"
    told = [(position, one == P) for position, one in enumerate(nights) if one in (P, F, CRASH)]
    if told and not told[-1][1]:
        passed = [position for position, passes in told if passes]
        assert min(position for position, _ in told if position > max(passed, default=-1)) in kept, "it still fails"
        assert not passed or passed[-1] in kept, "the last good one of all"


def test_pruning_of_hunts(tmp_path: Path) -> None:
    """What was not caught since stays, and so does the last; of what goes the outcomes are known, also when the
    history is made anew."""
    nights.write_score(tmp_path, "20200101-000000", {"a": "survived", "b": "survived"})
    nights.write_score(tmp_path, "20200102-000000", {"a": "caught"})
    nights.write_score(tmp_path, "20200103-000000", {"b": "survived"})
    nights.write_score(tmp_path, "20200104-000000", {"a": "not run", "c": "caught"})
    index(tmp_path)
    before = outcomes(tmp_path)
    went = retention.prune(tmp_path, 30)
    assert [one.id for one in went] == ["mutants-20200101-000000", "mutants-20200102-000000"]
    left = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert left == ["mutants-20200103-000000", "mutants-20200104-000000"]
    assert outcomes(tmp_path) == before
    reindex(tmp_path)
    assert outcomes(tmp_path) == before
    assert not retention.prune(tmp_path, 30)


def outcomes(results: Path) -> list[tuple[str, dict[str, str]]]:
    with store.reading(results) as db:
        return [(hunt.id, dict(hunt.outcomes)) for hunt in store.mutations(db)]


def test_pruning(tmp_path: Path) -> None:
    nights = [Verdict.PASS, Verdict.PASS, Verdict.FAIL, Verdict.FAIL, Verdict.FAIL, Verdict.PASS, Verdict.PASS]
    for day, verdict in enumerate(nights, 1):
        write(tmp_path, f"2020010{day}-000000", [record(verdict)])
    write(tmp_path, "20200108-000000", [record(Verdict.PASS)], status="running")
    write(tmp_path, "20200109-000000", [record(Verdict.FAIL)], pokes=["x=00"])
    write(tmp_path, "20990101-000000", [record(Verdict.PASS)])
    index(tmp_path)
    with store.reading(tmp_path) as db:
        plan = retention.plan(db, 30)
    went = ["20200101-000000", "20200104-000000", "20200105-000000", "20200106-000000", "20200107-000000"]
    assert [one.id for one in plan.prunable] == [*went, "20200109-000000"]
    assert {one.id: why for one, why in plan.kept} == {
        "20200102-000000": "it is the last good one before a failure",
        "20200103-000000": "a failure began here",
        "20200108-000000": "it is running, or was killed",
    }
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and path.name in went]
    assert [one.id for one in retention.prune(tmp_path, 30)] == [*went, "20200109-000000"]
    assert not [path.name for path in tmp_path.iterdir() if path.name in went]
    with store.reading(tmp_path) as db:
        runs = store.runs(db)
        assert [run.place == "" for run in runs].count(True) == len(went) + 1
        assert store.verdicts(db, went[1])
    assert not retention.prune(tmp_path, 30)


def old_runs(results: Path) -> list[str]:
    """Three that may go: they passed long ago, and others came after them."""
    names = [f"2020010{day}-000000" for day in range(1, 4)]
    for name in (*names, "20990101-000000"):
        write(results, name, [record(Verdict.PASS)])
    return names


def test_pruning_asks_what_is_there_now(tmp_path: Path) -> None:
    """What the history knows is not what is in the directories by now."""
    names = old_runs(tmp_path)
    index(tmp_path)
    records.update_run(tmp_path / names[0], status="running")  # by `farm run --resume`
    (tmp_path / names[1]).rename(tmp_path.with_name("elsewhere"))
    (tmp_path / names[1]).symlink_to(tmp_path.with_name("elsewhere"))
    planned = retention.ready(tmp_path, 30)
    assert {one.id: why for one, why in planned.kept} == {
        names[0]: "it is running, or was killed",
        names[1]: f"{tmp_path / names[1]} is not a directory of {tmp_path}, it only leads to one",
    }
    assert [one.id for one in planned.prunable] == [names[2]]
    assert [one.id for one in retention.prune(tmp_path, 30)] == [names[2]]
    assert (tmp_path.with_name("elsewhere") / "run.json").exists()
    assert sorted(path.name for path in tmp_path.glob("2*")) == [*names[:2], "20990101-000000"]


def test_run_that_is_resumed_while_others_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = old_runs(tmp_path)
    index(tmp_path)
    whole = retention.ready(tmp_path, 30)
    assert [one.id for one in whole.prunable] == names
    records.update_run(tmp_path / names[1], status="running")
    monkeypatch.setattr(retention, "ready", lambda results, days: whole)  # looked before that
    assert [one.id for one in retention.prune(tmp_path, 30)] == [names[0], names[2]]
    assert (tmp_path / names[1] / "run.json").exists()


def test_hunt_that_goes_on_is_not_pruned(tmp_path: Path) -> None:
    for stamp in ("20200101-000000", "20200102-000000", "20200103-000000"):
        nights.write_score(tmp_path, stamp, {"a": "caught"})
    path = tmp_path / "mutants-20200101-000000/score.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "running"}))
    assert [one.id for one in retention.prune(tmp_path, 30)] == ["mutants-20200102-000000"]
    with store.reading(tmp_path) as db:
        why = {one.id: why for one, why in retention.plan(db, 30).kept}
    assert why[path.parent.name] == "it is running, or was killed"


def test_pruning_that_was_killed(tmp_path: Path) -> None:
    """What it left is no run any more, and goes with the next."""
    names = old_runs(tmp_path)
    (tmp_path / ".removing-x").mkdir()
    (tmp_path / names[0]).rename(tmp_path / ".removing-x" / names[0])
    assert not [one for one in index(tmp_path).taken if one == names[0]]
    assert [one.id for one in retention.prune(tmp_path, 30)] == names[1:]
    assert not list(tmp_path.glob(".removing-*"))


# As a person asks for it.


def told(comparison: Comparison) -> str:
    screen = io.StringIO()
    report.show(Console(file=screen, width=200), comparison)
    return screen.getvalue()


def test_compare_by_name(tmp_path: Path) -> None:
    write(tmp_path, "20260101-000000", [record(Verdict.PASS), record(Verdict.FAIL, cell="x86_64-static")])
    two = write(tmp_path, "20260102-000000", [record(Verdict.FAIL), record(Verdict.FAIL, cell="x86_64-static")])
    comparison = query.named(tmp_path, "20260101-000000", str(two))
    assert comparison.counts == {Kind.NEW_FAILURE: 1, Kind.STILL: 1}
    assert comparison.worse
    cells = query.named(tmp_path, "20260101-000000:x86_64-static", "20260101-000000:x86_64-regs")
    assert cells.counts == {Kind.FIXED: 1}
    assert not cells.worse
    assert not query.named(tmp_path, "20260102-000000", "20260102-000000").worse
    with store.reading(tmp_path) as db:
        latest = query.latest(store.runs(db))
        assert latest
        assert query.compared(db, latest) == comparison


@pytest.mark.parametrize(
    "before, after, said",
    [
        ("nothing", "20260101-000000", "nothing: neither a run directory nor a run of"),
        ("20260101-000000:x86_64-regs", "20260101-000000", "name a cell of both runs or of neither"),
        ("20260101-000000:moon", "20260101-000000:moon", "has no cell moon; it has x86_64-regs, x86_64-static"),
    ],
)
def test_what_is_no_run(tmp_path: Path, before: str, after: str, said: str) -> None:
    write(tmp_path, "20260101-000000", [record(Verdict.PASS)])
    with pytest.raises(UsageError, match=said):
        query.named(tmp_path, before, after)


def test_a_run_of_elsewhere_needs_no_history(tmp_path: Path) -> None:
    one = write(tmp_path / "a", "20260101-000000", [record(Verdict.PASS)])
    two = write(tmp_path / "b", "20260102-000000", [record(Verdict.FAIL)])
    assert query.named(tmp_path / "none", str(one), str(two)).counts == {Kind.NEW_FAILURE: 1}
    assert not (tmp_path / "none").exists()


def test_cells_that_take_turns(tmp_path: Path) -> None:
    """What broke in the night between, which had not all of tonight's cells, is not new; what was gone in it
    is not gone again."""

    def of(cell: str, **verdicts: Verdict) -> list[VerdictRecord]:
        return [record(verdict, test, cell=cell) for test, verdict in verdicts.items()]

    good, bad = Verdict.PASS, Verdict.FAIL
    write(tmp_path, "20260101-000000", [*of("a", x=good), *of("b", x=good, gone=good)], cells=["a", "b"])
    write(tmp_path, "20260102-000000", [*of("b", x=bad), *of("c", x=good)], cells=["b", "c"])
    write(tmp_path, "20260103-000000", [*of("a", x=bad), *of("b", x=bad)], cells=["a", "b"])
    index(tmp_path)
    with store.reading(tmp_path) as db:
        found = query.compared(db, store.runs(db)[-1])
    assert found.before
    assert found.before.id == "20260101-000000"
    assert {(change.case.cell, change.kind) for change in found.changes} == {
        ("a", Kind.NEW_FAILURE),
        ("b", Kind.STILL),
    }
    assert "what was tested again since 20260101-000000 is compared with the last of 20260102-000000" in found.notes


NASTY = 'test_é["<b>`|*[red]\\'


def test_names_are_shown_as_text(tmp_path: Path) -> None:
    write(tmp_path, "20260101-000000", [record(Verdict.PASS, NASTY)])
    write(tmp_path, "20260102-000000", [record(Verdict.FAIL, NASTY, reason="<script>|a|\n[bold]")])
    comparison = query.named(tmp_path, "20260101-000000", "20260102-000000")
    assert NASTY in told(comparison)
    assert "1 new failure, 0 as before" in told(comparison)
    row = next(line for line in report.markdown(comparison).splitlines() if "new failure |" in line)
    assert r"FAIL: \<script\>\|a\|" in row
    assert row.replace(r"\|", "").count("|") == 7


def test_a_kernel_that_does_not_boot_is_one_line(tmp_path: Path) -> None:
    names = [f"test_{n}" for n in range(50)]
    write(tmp_path, "20260101-000000", [record(Verdict.PASS, name) for name in names])
    write(tmp_path, "20260102-000000", [record(Verdict.BOOT, name, reason="silent") for name in names])
    comparison = query.named(tmp_path, "20260101-000000", "20260102-000000")
    (group,) = changes.grouped(comparison.changes)
    assert len(group.changes) == 50
    assert "and 47 more" in report.markdown(comparison)
    assert report.verdict_line(comparison) == "50 new failure, 0 as before"


def test_one_cause_in_two_cells_is_one_group_and_has_its_values(tmp_path: Path) -> None:
    cells = ["x86_64-regs", "x86_64-static"]
    both = [record(Verdict.FAIL, f"test_{n}", cell, reason=f"{n} calls") for cell in cells for n in (1, 2)]
    write(tmp_path, "20260101-000000", [replace(one, verdict=Verdict.PASS) for one in both])
    write(tmp_path, "20260102-000000", both)
    comparison = query.named(tmp_path, "20260101-000000", "20260102-000000")
    (group,) = changes.grouped(comparison.changes)
    assert (group.cells, group.reason) == (tuple(cells), "1 calls")
    assert "PASS → FAIL: 1 calls" in told(comparison)
    assert "new failure  x86_64-regs, x86_64-static" in told(comparison)


ACTED_ON = "test_x[[red]bold[/red]-\x1b[31m-\u202eabc-\ud800-ü尺|*_<b>]"


def test_names_do_nothing_to_a_terminal() -> None:
    """On the screen and as Markdown: no markup of rich's, nothing that a terminal acts on."""
    case = Case("[b]regs[/b]", "slots", ACTED_ON)
    new = Side(run(2, cells=(case.cell,), id="[i]2[/i]"), {case: replace(F, reason=ACTED_ON)})
    found = compare(Side(run(1, cells=(case.cell,)), {case: P}), new)
    out = io.StringIO()
    report.show(Console(file=out, width=300), found)
    visible = ACTED_ON.replace("\x1b", "\ufffd").replace("\u202e", "\ufffd").replace("\ud800", "\ufffd")
    for text in (visible, "[b]regs[/b]", "[i]2[/i] against 20260101-000000"):
        assert text in out.getvalue()
    told = report.markdown(found)
    assert "test\\_x\\[\\[red\\]bold" in told
    assert "\\|\\*\\_\\<b\\>" in told
    assert all(line.isprintable() for line in (out.getvalue() + told).split("\n"))
