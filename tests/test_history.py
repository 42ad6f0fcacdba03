# SPDX-License-Identifier: GPL-2.0
"""Run directories into the history and back, whatever state they are in."""

import json
import multiprocessing
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.base.errors import FarmError, UsageError
from farm.guest.splat import normal
from farm.history import index, reading, store
from farm.history.model import Case, Planted, Seen, Summary, order
from farm.history.reading import Unreadable
from farm.record import cellstate, records
from farm.record.records import VerdictRecord
from farm.record.verdict import Verdict
from farm.run.causes import headline
from tests.test_records import RUN, record, verdict_records


def write(results: Path, name: str, verdicts: Sequence[VerdictRecord] = (), **more: object) -> Path:
    """A run directory as the farm leaves it."""
    directory = results / name
    directory.mkdir(parents=True)
    stamp = f"{name[:4]}-{name[4:6]}-{name[6:8]}T{name[9:11]}:{name[11:13]}:{name[13:15]}+00:00"
    asked = {"id": name, "status": "finished", "started": stamp, "finished": stamp, "exit": 0, **more}
    records.save_run(directory, replace(RUN, **asked))  # type: ignore[arg-type]
    with (directory / "verdicts.jsonl").open("a") as handle:
        for one in verdicts:
            handle.write(json.dumps(asdict(one)) + "\n")
    return directory


def everything(results: Path) -> tuple[list[Summary], dict[str, dict[Case, Seen]]]:
    """All that can be read out of a history."""
    with store.reading(results) as db:
        runs = store.runs(db)
        return runs, {run.id: store.verdicts(db, run.id) for run in runs}


SOME = [
    record(Verdict.PASS),
    record(Verdict.FAIL, cell="x86_64-static"),
    record(Verdict.SKIP, "test_y"),
    record(Verdict.CRASH, "test_z", reason="oops: at 0xffffffff81000000\nmore"),
]


# Index, then read back.


@settings(deadline=None, max_examples=25)
@given(st.lists(verdict_records, max_size=6))
def test_verdicts_come_back(written: list[VerdictRecord]) -> None:
    """Whatever a test is called and whatever it says."""
    with tempfile.TemporaryDirectory() as directory:
        results = Path(directory)
        write(results, "20260101-000000", written)
        assert index.index(results).taken == ("20260101-000000",)
        (run,), seen = everything(results)
        back = seen[run.id]
        assert set(back) == {Case(one.cell, one.suite, one.test) for one in written}
        for one in written:
            case = back[Case(one.cell, one.suite, one.test)]
            mine = [r for r in written if (r.cell, r.suite, r.test) == (one.cell, one.suite, one.test)]
            assert case.verdict in {r.verdict for r in mine}
            assert case.is_bad == (case.bad > 0)
            if len(mine) == 1:
                assert case.reason == (normal(headline(one)) if one.bad else "")
                assert case.seconds == pytest.approx(one.seconds, abs=0.001)
        assert run.totals == Counter(case.verdict for case in back.values())


#: What may happen to a results directory between two indexes.
runs_of_a_day = st.lists(
    st.tuples(st.sampled_from("abc"), st.lists(st.sampled_from(Verdict), max_size=4), st.booleans()), max_size=6
)


@settings(deadline=None, max_examples=12)
@given(runs_of_a_day)
def test_reindex_is_the_same_as_index_after_index(days: list[tuple[str, list[Verdict], bool]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        results = Path(directory)
        for day, (cell, verdicts, cut) in enumerate(days, 1):
            ones = [record(verdict, f"test_{n}_{day % 2}", cell) for n, verdict in enumerate(verdicts)]
            where = write(
                results, f"202601{day:02}-000000", ones, cells=[cell], status="running" if cut else "finished"
            )
            if cut:
                path = where / "verdicts.jsonl"
                path.write_bytes(path.read_bytes()[:-7])
            index.index(results)
        index.index(results)
        before = everything(results)
        assert len(before[0]) == len(days)
        assert index.index(results).taken == ()
        assert index.reindex(results).skipped == ()
        assert everything(results) == before


def test_timelines_are_the_verdicts_turned(tmp_path: Path) -> None:
    for day, verdicts in enumerate((SOME[:2], SOME, SOME[1:]), 1):
        write(tmp_path, f"2026010{day}-000000", verdicts)
    index.index(tmp_path)
    with store.reading(tmp_path) as db:
        runs = store.runs(db)
        lines = store.timelines(db, runs)
        assert set(lines) == {case for run in runs for case in store.verdicts(db, run.id)}
        for position, run in enumerate(runs):
            seen = store.verdicts(db, run.id)
            assert {case: one for case, line in lines.items() if (one := line.seen(position))} == seen
        (only,) = store.timelines(db, runs, frozenset([Case("x86_64-regs", "slots", "test_z")])).values()
        assert [only.seen(n) is not None for n in range(3)] == [False, True, True]
        assert store.timelines(db, []) == {}


def test_kernel_and_times_are_kept(tmp_path: Path) -> None:
    directory = write(tmp_path, "20260101-000000", SOME)
    built = {"source": "linux@v1", "commit": "c", "content": "t", "kernel_key": "k", "build_seconds": 240.5}
    where = cellstate.directory(directory, "x86_64-regs")
    (where / "built.json").write_text(json.dumps(built))
    cellstate.tell_booted(directory, "x86_64-regs", 1.25)
    cellstate.tell_booted(directory, "x86_64-regs", 1.5)
    (cellstate.directory(directory, "x86_64-static") / "failed.json").write_text('{"text": "no compiler", "exit": 3}')
    index.index(tmp_path)
    ((run,), _) = everything(tmp_path)
    assert asdict(run.kernels["x86_64-regs"]) == {
        "source": "linux@v1",
        "commit": "c",
        "content": "t",
        "key": "k",
        "build_seconds": 240.5,
        "boot_seconds": (1.25, 1.5),
        "failure": "",
    }
    assert run.kernels["x86_64-static"].failure == "no compiler"


def test_older_farms_kept_no_times(tmp_path: Path) -> None:
    directory = write(tmp_path, "20260101-000000", SOME)
    where = cellstate.directory(directory, "x86_64-regs")
    (where / "built.json").write_text('{"kernel_key": "k"}')
    (where / "booted").touch()
    index.index(tmp_path)
    ((run,), _) = everything(tmp_path)
    assert (run.kernels["x86_64-regs"].build_seconds, run.kernels["x86_64-regs"].boot_seconds) == (0.0, ())


def test_attempts_are_counted(tmp_path: Path) -> None:
    """The first failure stands, and how often it was tried; what the farm broke is no attempt."""
    ends = [Verdict.PASS, Verdict.CRASH, Verdict.PASS, Verdict.FAIL, Verdict.LOST]
    write(tmp_path, "20260101-000000", [record(verdict, attempt=n) for n, verdict in enumerate(ends, 1)])
    index.index(tmp_path)
    (case,) = everything(tmp_path)[1]["20260101-000000"].values()
    assert (case.verdict, case.tries, case.bad) == (Verdict.CRASH, 4, 2)


def test_hunts_for_mutants_are_kept(tmp_path: Path) -> None:
    ends = {"a": "caught", "b": "caught otherwise", "c": "survived", "d": "equivalent", "e": "not run"}
    raw = {"status": "finished", "started": "2026-01-01", "seconds": 9.5}
    (tmp_path / "mutants-20260101-000000").mkdir()
    score = tmp_path / "mutants-20260101-000000" / "score.json"
    score.write_text(json.dumps({**raw, "scores": [{"mutant": m, "outcome": o} for m, o in ends.items()]}))
    assert index.index(tmp_path).taken == ("mutants-20260101-000000",)
    with store.reading(tmp_path) as db:
        (hunt,) = store.mutations(db)
    assert (hunt.outcomes, hunt.score, hunt.seconds) == (ends, 2 / 3, 9.5)
    assert index.index(tmp_path).known == 1
    index.reindex(tmp_path)
    with store.reading(tmp_path) as db:
        assert store.mutations(db) == [hunt]


# What was left half done.


def test_a_run_that_goes_on_is_taken_again(tmp_path: Path) -> None:
    directory = write(tmp_path, "20260101-000000", SOME[:1], status="running")
    index.index(tmp_path)
    assert everything(tmp_path)[0][0].status == "running"
    for one in SOME[1:]:
        records.append_verdict(directory, one)
    records.update_run(directory, status="finished")
    assert index.index(tmp_path).taken == ("20260101-000000",)
    (run,), seen = everything(tmp_path)
    assert (run.status, len(seen[run.id])) == ("finished", len(SOME))


@pytest.mark.parametrize("lost", [1, 30, 200])
def test_cut_off_in_mid_line(tmp_path: Path, lost: int) -> None:
    directory = write(tmp_path, "20260101-000000", SOME)
    path = directory / "verdicts.jsonl"
    path.write_bytes(path.read_bytes()[:-lost])
    index.index(tmp_path)
    (run,), seen = everything(tmp_path)
    assert len(seen[run.id]) == len(SOME) - 1
    assert run.troubles == ("verdicts.jsonl:4: cut off",)


def test_a_line_that_was_gone_on_behind(tmp_path: Path) -> None:
    """As a killed run leaves it that was gone on with; bytes that are no text; another farm's verdict."""
    directory = write(tmp_path, "20260101-000000", SOME[:1])
    path = directory / "verdicts.jsonl"
    whole = path.read_bytes()
    other = whole.replace(b"PASS", b"MAYBE")
    path.write_bytes(whole + whole[:40] + b"\n" + b"\xff\xfe\n" + other + b"[]\n" + whole.replace(b"test_x", b"test_w"))
    index.index(tmp_path)
    (run,), seen = everything(tmp_path)
    assert {case.test for case in seen[run.id]} == {"test_x", "test_w"}
    assert [trouble.partition(":")[2].partition(":")[0] for trouble in run.troubles[:3]] == ["2", "3", "4"]
    assert run.troubles[3] == "verdicts.jsonl: 1 more lines that cannot be read"


@pytest.mark.parametrize(
    "content, said",
    [
        ('{"schema": 99}', "schema 99, this farm reads 1"),
        ('{"id": "x"', "run.json: Expecting"),
        ("[]", "schema none"),
        ('{"schema": 1, "id": "x"}', "lacks accel, accel_reason"),
    ],
)
def test_runs_that_cannot_be_read_are_named(tmp_path: Path, content: str, said: str) -> None:
    write(tmp_path, "20260101-000000", SOME)
    directory = write(tmp_path, "20260102-000000", SOME)
    (directory / "run.json").write_text(content)
    done = index.index(tmp_path)
    assert done.taken == ("20260101-000000",)
    (skipped,) = done.skipped
    assert str(directory) in skipped
    assert said in skipped


def test_a_later_farm_of_the_same_schema(tmp_path: Path) -> None:
    directory = write(tmp_path, "20260101-000000", SOME)
    raw = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(json.dumps({**raw, "moon": "full"}))
    index.index(tmp_path)
    assert everything(tmp_path)[0][0].troubles == ("run.json: unknown to this farm: moon",)


def test_files_missing(tmp_path: Path) -> None:
    (write(tmp_path, "20260101-000000") / "verdicts.jsonl").unlink()
    (tmp_path / "20260102-000000").mkdir()
    (tmp_path / "bisect-20260102-000000").mkdir()
    assert index.index(tmp_path).skipped == ()
    (run,), _ = everything(tmp_path)
    assert run.troubles == ("no verdicts.jsonl: no test ended",)
    with pytest.raises(Unreadable, match=r"no run\.json"):
        reading.read(tmp_path / "20260102-000000")


def test_directories_that_went_are_remembered(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        write(tmp_path, f"2026010{day}-000000", SOME)
    index.index(tmp_path)
    (tmp_path / "20260101-000000" / "run.json").write_text("{")
    for path in [*(tmp_path / "20260102-000000").iterdir(), tmp_path / "20260102-000000"]:
        path.rmdir() if path.is_dir() else path.unlink()
    index.index(tmp_path)
    runs, seen = everything(tmp_path)
    assert [run.place for run in runs] == ["20260101-000000", "", "20260103-000000"]
    index.reindex(tmp_path)
    assert everything(tmp_path) == (runs, seen)
    assert all(len(of_run) == len(SOME) for of_run in seen.values())


def test_a_copy_of_a_run_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "20260101-000000", SOME)
    write(tmp_path, "20260102-000000", SOME, id="20260101-000000")
    (skipped,) = index.index(tmp_path).skipped
    assert "is run 20260101-000000, which 20260101-000000 is already" in skipped


# The clock.


def test_ids_do_not_go_back_with_the_clock(tmp_path: Path) -> None:
    (tmp_path / "20380119-031407-2").mkdir()
    (tmp_path / "series-20390101-000000").mkdir()
    made = [records.new_directory(tmp_path).name for _ in range(12)]
    assert made[0] == "20380119-031407"
    assert made[1:] == [f"20380119-031407-{n}" for n in range(3, 14)]
    later = [order(name, "2026-01-01T00:00:00+00:00") for name in made[1:]]
    assert later == sorted(later)


def test_a_clock_that_went_back_during_a_run_is_told(tmp_path: Path) -> None:
    write(tmp_path, "20260102-000000", SOME, finished="2026-01-01T00:00:00+00:00")
    index.index(tmp_path)
    (trouble,) = everything(tmp_path)[0][0].troubles
    assert trouble.startswith("the clock went back")


# Two at once, a full disk, ruins.


def _index(results: str, barrier: "multiprocessing.synchronize.Barrier", status: "multiprocessing.Queue[str]") -> None:
    barrier.wait()
    try:
        index.index(Path(results))
        status.put("")
    except BaseException as error:
        status.put(repr(error))


def test_two_indexers_at_once(tmp_path: Path) -> None:
    for day in range(1, 9):
        write(tmp_path, f"2026010{day}-000000", SOME)
    context = multiprocessing.get_context("spawn")
    barrier, status = context.Barrier(3), context.Queue()
    both = [context.Process(target=_index, args=(str(tmp_path), barrier, status)) for _ in range(3)]
    for one in both:
        one.start()
    assert [status.get(timeout=60) for _ in both] == ["", "", ""]
    for one in both:
        one.join()
    assert len(everything(tmp_path)[0]) == 8


def test_who_waits_too_long_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "20260101-000000", SOME)
    index.index(tmp_path)
    monkeypatch.setattr(store, "PATIENCE", 0.2)
    with (
        store.writing(store.path(tmp_path)),
        pytest.raises(FarmError, match=r"another farm has been writing"),
    ):
        index.index(tmp_path)


def test_readers_see_one_moment(tmp_path: Path) -> None:
    write(tmp_path, "20260101-000000", SOME)
    index.index(tmp_path)
    with store.reading(tmp_path) as db:
        assert len(store.runs(db)) == 1
        write(tmp_path, "20260102-000000", SOME)
        index.index(tmp_path)
        index.reindex(tmp_path)
        assert len(store.runs(db)) == 1
    assert len(everything(tmp_path)[0]) == 2


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own limit of pages stands for the disk's: it ends in the same error."""
    write(tmp_path, "20260101-000000", SOME)
    index.index(tmp_path)
    before = everything(tmp_path)
    write(tmp_path, "20260102-000000", [record(Verdict.FAIL, f"test_{n}", reason=f"{n}" * 99) for n in range(2000)])
    connect = sqlite3.connect

    def small(*arguments: object, **more: object) -> sqlite3.Connection:
        db = connect(*arguments, **more)  # type: ignore[call-overload]
        db.execute("PRAGMA max_page_count = 12")
        return db  # type: ignore[no-any-return]

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(FarmError, match=r"full; make room, then `farm report --reindex`; the verdicts are safe"):
        index.index(tmp_path)
    monkeypatch.undo()
    assert everything(tmp_path) == before
    assert index.index(tmp_path).taken == ("20260102-000000",)


@pytest.mark.parametrize("ruin", [b"no database at all, and long enough to be looked at" * 9, b""])
def test_ruins_are_told_and_made_anew(tmp_path: Path, ruin: bytes) -> None:
    write(tmp_path, "20260101-000000", SOME)
    store.path(tmp_path).write_bytes(ruin)
    with pytest.raises((FarmError, UsageError), match="farm report --reindex"), store.reading(tmp_path) as db:
        store.runs(db)
    index.reindex(tmp_path)
    assert len(everything(tmp_path)[0]) == 1


def test_runs_that_an_older_farm_could_not_compare(tmp_path: Path) -> None:
    """It kept no line of those that had something planted: they are read again, once."""
    write(tmp_path, "20260101-000000", SOME, patches=["/a.patch"], pokes=["f:00=01"], partial=True)
    write(tmp_path, "20260102-000000", SOME)
    index.index(tmp_path)
    runs, verdicts = everything(tmp_path)
    with store.writing(store.path(tmp_path)) as db:
        old = replace(runs[0], line="")
        store.put_run(db, old, store.stamps(db)[old.id], verdicts[old.id])
    assert index.index(tmp_path).taken == ("20260101-000000",)
    runs, _ = everything(tmp_path)
    assert runs[0].planted == Planted(("/a.patch",), ("f:00=01",), True)
    assert runs[0].clean_line == runs[1].clean_line == runs[1].line != runs[0].line
    assert index.index(tmp_path).taken == ()


def test_a_history_of_another_farm(tmp_path: Path) -> None:
    write(tmp_path, "20260101-000000", SOME)
    index.index(tmp_path)
    db = sqlite3.connect(store.path(tmp_path))
    db.execute("PRAGMA user_version = 77")
    db.close()
    for refused in (index.index, everything):
        with pytest.raises(UsageError, match=r"schema 77, this farm reads .*--reindex"):
            refused(tmp_path)
    index.reindex(tmp_path)
    assert len(everything(tmp_path)[0]) == 1


def test_no_history_yet(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no history yet; `farm report --reindex`"), store.reading(tmp_path):
        pass


def test_a_history_that_a_full_disk_kept_from_its_begin_is_none(tmp_path: Path) -> None:
    """SQLite makes the file before the tables."""
    db = sqlite3.connect(store.path(tmp_path))
    db.execute("PRAGMA journal_mode = WAL")
    db.close()
    with pytest.raises(UsageError, match=r"no history yet; `farm report --reindex`"), store.reading(tmp_path):
        pass
    write(tmp_path, "20260101-000000", SOME)
    index.index(tmp_path)
    assert len(everything(tmp_path)[0]) == 1


def test_a_run_whose_verdicts_cannot_be_had_now_is_taken_later(tmp_path: Path) -> None:
    """It would be known without them for good."""
    path = write(tmp_path, "20260101-000000", SOME) / "verdicts.jsonl"
    path.rename(tmp_path / "kept")
    path.mkdir()
    assert index.index(tmp_path).skipped == (f"{path}: Is a directory",)
    assert everything(tmp_path)[0] == []
    path.rmdir()
    (tmp_path / "kept").rename(path)
    assert index.index(tmp_path).taken == ("20260101-000000",)


def test_a_killed_indexer_leaves_the_old_history(tmp_path: Path) -> None:
    write(tmp_path, "20260101-000000", SOME)
    index.index(tmp_path)
    before = everything(tmp_path)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    one = context.Process(target=_half, args=(str(tmp_path), ready))
    one.start()
    assert ready.wait(60)
    one.kill()
    one.join()
    assert everything(tmp_path) == before
    write(tmp_path, "20260102-000000", SOME)
    assert index.index(tmp_path).taken == ("20260102-000000",)


def _half(results: str, ready: "multiprocessing.synchronize.Event") -> None:
    with store.writing(store.path(Path(results))) as db:
        store.clear(db)
        ready.set()
        time.sleep(60)


def test_who_makes_the_history_waits_for_who_makes_it_as_well(tmp_path: Path) -> None:
    """The first writer gives it its log, for which SQLite itself does not wait."""
    other = sqlite3.connect(store.path(tmp_path), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.5, other.execute, ["COMMIT"])
    timer.start()
    with store.writing(store.path(tmp_path)):
        pass
    timer.join()
    other.close()
