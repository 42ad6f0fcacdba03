# SPDX-License-Identifier: GPL-2.0
"""Mutants and a real kernel: all of them apply, and one goes from patch to verdict."""

import re
import subprocess
from pathlib import Path

from farm.hunt.mutant import load
from farm.hunt.mutants import Outcome, load_scores
from farm.kernel import series
from farm.kernel.tree import IDENTITY
from farm.matrix import load as load_matrix
from tests.guest.test_run import FARM, LIMIT

MATRIX = load_matrix()


def test_all_apply(tmp_path: Path) -> None:
    """Each of them, alone, to the series; in an index, as 85,000 files take a minute to write."""
    cell = MATRIX.cells["x86_64-regs"]
    source = series.resolve(cell, MATRIX.trees, None, None)
    env = {**IDENTITY, "GIT_DIR": str(source.store), "GIT_INDEX_FILE": str(tmp_path / "index")}
    subprocess.run(["git", "read-tree", source.commit], env=env, check=True)
    mutants = load(MATRIX)
    assert len(mutants) >= 60
    wrong = []
    for mutant in mutants:
        argv = ["git", "apply", "--check", "--cached", str(mutant.path)]
        done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        wrong += [f"{mutant.path}: {done.stderr}"] if done.returncode else []
    assert not wrong


def test_mutant_is_caught(tmp_path: Path) -> None:
    """From patch to verdict, with the command."""
    name = "S-r10-not-restored"
    argv = [str(FARM), "mutants", name, "--cell", "x86_64-regs", "-n", "1", "--results", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (directory,) = tmp_path.iterdir()
    (score,) = load_scores(directory).scores
    assert (score.outcome, score.suite) == (Outcome.CAUGHT, "registers")
    assert re.search(r"\br10 is", score.reason)
    assert (directory / score.run / "verdicts.jsonl").is_file()
