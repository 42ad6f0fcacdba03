# SPDX-License-Identifier: GPL-2.0
"""Wrong input gets one message that names it and says what to do: the table, in one process."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from farm.cli import main
from farm.matrix import load
from tests.command import bad_input

#: What fits on a screen.
SCREEN = 24


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bad")
    bad_input.make(directory)
    return directory


@pytest.fixture(scope="session")
def names(place: Path) -> Mapping[str, str]:
    """What stands for the names in braces."""
    only_built = next(name for name, cell in load().cells.items() if cell.machine is None)
    tree = f"x86_64-regs --series none --tree {place}"
    return {
        "place": str(place),
        "linux": str(place / "linux"),
        "results": str(place / "results"),
        "matrices": str(place / "matrices"),
        "only-built": only_built,
        "one": f"{tree}/linux",
        "patched": f"{tree}/patched",
        "long": "/tmp/" + "l" * 300,
    }


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory, a cache, a configuration and a width of the test's own."""
    monkeypatch.setenv("FTRACE_FARM_CACHE", str(place / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.delenv("FARM_VERBOSE", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("typed, status, said", bad_input.ROWS, ids=[row[0] for row in bad_input.ROWS])
def test_row(
    typed: str,
    status: int,
    said: str,
    names: Mapping[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = shlex.split(_filled(typed, names))
    takes_results = words[0] in ("run", "selftests", "series", "bisect", "config-bisect", "mutants", "nightly")
    if takes_results and "--results" not in words:
        words += ["--results", str(tmp_path / "results")]
    before = _runs(tmp_path, Path(names["results"]))
    monkeypatch.setattr(sys, "argv", ["farm", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()
    assert ended.value.code == status, err
    assert _filled(said, names) in err
    assert "Traceback" not in out + err
    assert "bug of the farm" not in out + err
    lines = (out + err).splitlines()
    assert len(lines) <= SCREEN, f"{len(lines)} lines"
    assert len(lines) == len(set(lines)) or lines.count("") > 1, "something is said twice"
    assert _runs(tmp_path, Path(names["results"])) == before, "a run directory is left"


def _filled(text: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        text = text.replace("{" + name + "}", value)
    return text


def _runs(*results: Path) -> list[Path]:
    """All that is a run, or was to become one."""
    found = [path for directory in results for path in directory.rglob("run.json")]
    # beside hidden files, which are locks
    return sorted([*found, *(path for directory in results for path in directory.glob("results/[!.]*"))])


def test_the_table_is_long_enough() -> None:
    assert len(bad_input.ROWS) >= 150
    assert len({row[0] for row in bad_input.ROWS}) >= len(bad_input.ROWS) - 1, "a row stands twice"
