# SPDX-License-Identifier: GPL-2.0
"""A few points of benchmarks/faults, which has thousands: that its faults hit, and that it sees what is lost."""

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from benchmarks.faults import outcome, processes, syscalls
from benchmarks.faults.ground import Ground
from farm.record import records
from farm.record.verdict import Verdict
from tests.test_records import RUN, record


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path, "a-mark", "x86_64-regs", "slots", "tcg", 1)


@pytest.mark.parametrize("name", ["a verdict falls", "a run ends"])
def test_a_write_that_fails_loses_nothing(ground: Ground, name: str) -> None:
    """Each call that writes is made to fail by strace, and was made at all."""
    (operation,) = (one for one in syscalls.OPERATIONS if one.name == name)
    points = list(syscalls.points(ground, operation, 100))
    assert len(points) >= 3
    assert [point.trouble for point in points if not point.good] == []


def test_a_write_that_is_half_is_seen(ground: Ground) -> None:
    """By an operation that writes one file after the other, as nothing of the farm's does."""

    def write(text: str, at: Path) -> None:
        for name in ("one", "other"):
            (at / name).write_text(text)

    def state(at: Path) -> list[str]:
        return [(at / name).read_text() for name in ("one", "other")]

    careless = syscalls.Operation("x", partial(write, "old"), partial(write, "new"), state)
    points = list(syscalls.points(ground, careless, 100))
    assert any("neither the old state nor the new one" in said for point in points for said in point.trouble)


def test_lost_and_doubled_verdicts_are_counted(tmp_path: Path) -> None:
    records.save_run(tmp_path, RUN)
    names = ("test_once", "test_twice", "test_twice")
    for name in names:
        records.append_verdict(tmp_path, record(Verdict.PASS, name))
    expected = outcome.verdicts(tmp_path)
    assert outcome.lost(tmp_path, expected) == 1
    missing = records.Planned("test_missing", "slots", "x86_64-regs")
    assert outcome.lost(tmp_path, [*expected, missing]) == 2
    found = {**expected, missing: Verdict.LOST}
    assert outcome.differing(expected, found) == ("x86_64-regs slots test_missing: LOST instead of nothing",)


def test_a_process_that_is_left_is_found(ground: Ground) -> None:
    """Though its parent is gone; not one of another mark."""
    orphan = "import subprocess, sys; subprocess.Popen(['sleep', '60'])"
    for made in (ground, replace(ground, mark="another")):
        subprocess.run([sys.executable, "-c", orphan], env=made.environment(), check=True)
    assert [said.partition(" ")[2] for said in processes.left(ground.mark, 0.2)] == ["sleep 60"]
    for mark in (ground.mark, "another"):
        processes.kill_all(mark)
        assert processes.left(mark, 0) == ()
