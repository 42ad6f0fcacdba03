# SPDX-License-Identifier: GPL-2.0
"""The cache: whole artifacts or none, made once."""

import subprocess
import sys
from pathlib import Path

import pytest

from farm.base import cache

#: Fills the entry `logs/key`, saying so when it begins; ends as the argument says.
FILLER = """
import os, signal, sys, time
from farm.base import cache

def make(directory):
    (directory / "half").write_text("half")
    print("making", flush=True)
    if sys.argv[1] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[1] == "slow":
        time.sleep(0.7)
    (directory / "whole").write_text("whole")

print(cache.fill("logs", "key", make))
"""


def filler(how: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", FILLER, how], stdout=subprocess.PIPE, text=True)


def artifacts(root: Path) -> list[str]:
    """What could be taken for an artifact: the temporary ones and locks begin with a dot."""
    return [path.name for path in (root / "logs").iterdir() if not path.name.startswith(".")]


def write(directory: Path) -> None:
    (directory / "whole").write_text("whole")


def test_filled_once(cache_root: Path) -> None:
    made = []

    def make(directory: Path) -> None:
        made.append(directory)
        write(directory)

    first = cache.fill("logs", "key", make)
    assert first == cache_root / "logs" / "key" == cache.fill("logs", "key", make)
    assert (first / "whole").read_text() == "whole"
    assert len(made) == 1
    assert first.stat().st_mode & 0o777 == 0o755, "a guest that runs as nobody must be able to read it"


def test_exception_leaves_nothing(cache_root: Path) -> None:
    def fail(directory: Path) -> None:
        write(directory)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.fill("logs", "key", fail)
    assert artifacts(cache_root) == []
    assert not list(cache_root.glob("logs/.partial-*")), "an exception cleans up behind itself"
    assert cache.fill("logs", "key", write).is_dir()


def test_sigkill_leaves_no_artifact(cache_root: Path) -> None:
    with filler("die") as killed:
        assert killed.wait(30) == -9
    assert artifacts(cache_root) == []
    assert list(cache_root.glob("logs/.partial-*/half")), "it was killed in the middle"
    with filler("good") as second:  # neither the lock nor the half directory is in its way
        assert second.communicate(timeout=30)[0].startswith("making\n")
    assert artifacts(cache_root) == ["key"]
    assert sorted(path.name for path in (cache_root / "logs/key").iterdir()) == ["half", "whole"]


def test_two_at_once_make_once(cache_root: Path) -> None:
    with filler("slow") as first, filler("slow") as second:
        said = [process.communicate(timeout=30)[0] for process in (first, second)]
    assert sorted(text.count("making") for text in said) == [0, 1]
    assert all(text.splitlines()[-1] == str(cache_root / "logs/key") for text in said)


def test_digest_knows_the_borders_of_its_parts() -> None:
    assert cache.digest("ab", "c") != cache.digest("a", "bc") != cache.digest("abc")
    assert cache.digest("a") != cache.digest("a", "")
    assert cache.digest("ä") == cache.digest("ä".encode())
    assert len(cache.digest()) == 20


def test_digest_files(tmp_path: Path) -> None:
    def key() -> str:
        return cache.digest_files(tmp_path)

    (tmp_path / "a").write_text("1")
    keys = [key()]
    (tmp_path / "a").write_text("2")
    keys.append(key())
    (tmp_path / "a").rename(tmp_path / "b")
    keys.append(key())
    (tmp_path / "b").chmod(0o755)
    keys.append(key())
    (tmp_path / "d").mkdir()
    (tmp_path / "b").rename(tmp_path / "d/b")
    keys.append(key())
    assert len(set(keys)) == 5, "content, name, mode and place each count"
    assert key() == keys[-1]


def test_scratch_is_gone_after_the_block(cache_root: Path) -> None:
    with cache.scratch("logs") as directory:
        write(directory)
    assert list((cache_root / "logs").iterdir()) == []
