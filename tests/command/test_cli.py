# SPDX-License-Identifier: GPL-2.0
"""The command line, as a process: what it prints and how it exits."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from farm.matrix import load
from tests import nights
from tests.conftest import Repository

pytestmark = pytest.mark.usefixtures("cache_root")

COMMANDS = [
    "doctor", "cells", "build", "boot", "exec", "run", "tests", "selftests", "series", "bisect", "config-bisect",
    "mutants", "nightly", "report", "compare", "export", "tell", "clean", "fetch",
]  # fmt: skip


def farm(*words: str, columns: int = 240) -> "subprocess.CompletedProcess[str]":
    argv = [str(Path(sys.executable).with_name("farm")), *words]
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "dumb", "NO_COLOR": "1"}
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment, timeout=60)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    done = farm(command, "--help")
    assert done.returncode == 0
    assert f"farm {command}" in done.stdout
    assert not done.stderr


def test_help_lists_every_command() -> None:
    """The list above is all there is, so that none goes without a test."""
    words = farm("--help").stdout.split()
    first = [words[i + 1] for i, word in enumerate(words) if word == "│"]
    assert {word for word in first if re.fullmatch(r"[a-z]+(-[a-z]+)*", word)} == set(COMMANDS)


@pytest.mark.parametrize(
    "words, said",
    [
        (["build", "nix"], "no cell 'nix'; `farm cells` lists them: x86_64-regs, "),
        (["run", "nix"], "no cell 'nix'"),
        (["boot", "nix"], "no cell 'nix'"),
        (["exec", "nix", "--", "true"], "no cell 'nix'"),
        (["run", "--no-such-option"], "No such option: --no-such-option"),
        (["no-such-command"], "No such command 'no-such-command'"),
        (["exec", "x86_64-regs"], "Missing argument"),
        (["boot"], "Missing argument 'CELL'"),
        (["run", "--accel", "nonsense"], "'nonsense' is none of auto, kvm, tcg"),
        (["boot", "x86_64-regs", "--accel", "nonsense"], "'nonsense' is none of auto, kvm, tcg"),
        (["run", "-n", "-1"], "Invalid value for '-n'"),
        (["bisect", "--good", "a"], "no bad end: give --bad REV, or --tree PATH@REV"),
        (["bisect", "--good", "a", "--bad", "b", "--tree", "/nonexistent"], "/nonexistent: no such directory"),
        (["bisect", "--good", "a", "--bad", "b", "--confidence", "1.5"], "--confidence 1.5: must be between 0 and 1"),
        (["cells", "--matrix", "/nonexistent"], "/nonexistent: No such file or directory"),
    ],
)
def test_wrong_usage(words: list[str], said: str) -> None:
    done = farm(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_tree_that_is_not_there() -> None:
    done = farm("build", "x86_64-regs", "--tree", "/nonexistent")
    assert done.returncode == 2
    assert "error: --tree /nonexistent: no such directory; give PATH or PATH@REV" in done.stderr
    assert "Traceback" not in done.stderr


def test_tree_that_is_no_kernel(tmp_path: Path) -> None:
    Repository(tmp_path / "mine").commit({"README": "mine\n"})
    done = farm("build", "x86_64-regs", "--tree", str(tmp_path / "mine"))
    assert done.returncode == 2
    assert "this is no Linux source, it has no Kconfig" in done.stderr


def test_series_that_does_not_apply(linux: Repository, tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    (tmp_path / "series/0001.patch").write_text("no patch\n")
    done = farm("build", "x86_64-regs", "--tree", str(linux.path), "--series", str(tmp_path / "series"))
    assert done.returncode == 2
    assert "0001.patch does not apply" in done.stderr


def test_external_commands_are_shown(linux: Repository) -> None:
    done = farm("build", "x86_64-regs", "--tree", f"{linux.path}@nix", "-v")
    assert done.returncode == 2
    assert f"+ git -C {linux.path} rev-parse --show-toplevel" in done.stderr


def test_cells_fit_a_terminal() -> None:
    """In 80 columns each has its name at the start of a line, whole, and all are two screens."""
    said = farm("cells", columns=80).stdout.splitlines()
    first = [line.split()[0] for line in said if not line.startswith(" ")]
    assert first == list(load().cells)
    assert max(map(len, said)) <= 80
    assert len(said) <= 48
    text = " ".join(" ".join(said).split())
    assert text.count("(main road)") == sum(cell.main for cell in load().cells.values())


def test_cells_in_detail() -> None:
    blocks = farm("cells", "-v").stdout.split("\n\n")
    for cell, block in zip(load().cells.values(), blocks, strict=False):
        words = block.split()
        assert words[0] == cell.name
        assert cell.supports <= set(words)
        assert {path.stem for path in cell.fragments} <= set(words)
        assert ("(main" in words, "(only" in words) == (cell.main, cell.machine is None)
    (one,) = farm("cells", "x86_64-static").stdout.strip().split("\n\n")
    assert one.startswith("x86_64-static")
    assert "fragments" in one


def test_clean_of_old_runs(tmp_path: Path) -> None:
    """A night in which nothing begins may go, once there is another to compare the next with."""
    for night in range(3):
        nights.write_night(tmp_path, night)
    idle, later = tmp_path / nights.NIGHTS[2], tmp_path / "20261231-020000"
    shutil.copytree(idle, later)
    run = json.loads((later / "run.json").read_text())
    (later / "run.json").write_text(json.dumps(run | {"id": later.name, "started": "2026-12-31T02:00:00+00:00"}))
    would = farm("clean", "--runs", "0", "--dry-run", "--results", str(tmp_path)).stdout
    assert f"would remove {idle.name}" in would
    assert idle.exists()
    said = farm("clean", "--runs", "0", "--results", str(tmp_path)).stdout
    assert f"removed {idle.name}" in said
    assert f"keeping {nights.NIGHTS[0]}: it is the last good one before a failure" in said
    assert {path.name for path in tmp_path.glob("2*")} == {*nights.NIGHTS[:2], later.name}


def test_doctor_names_what_is_missing(tmp_path: Path) -> None:
    """Every package of the list has a line; on a PATH without programs the remedy is named."""
    full = farm("doctor")
    assert full.returncode in (0, 3)
    for program in ("sh", "setpriv"):
        (tmp_path / program).symlink_to(f"/usr/bin/{program}")
    argv = [sys.executable, "-c", "from farm.cli import main; main()", "doctor"]
    environment = {**os.environ, "COLUMNS": "240", "PATH": str(tmp_path)}
    bare = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    assert bare.returncode == 3
    assert "sudo apt-get install flex" in bare.stdout
    assert "sudo apt-get install util-linux" not in bare.stdout
    assert "Traceback" not in bare.stderr
