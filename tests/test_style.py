# SPDX-License-Identifier: GPL-2.0
"""What the kernel's tools say of the farm's shell, C and patches."""

import re
import subprocess
from pathlib import Path

import pytest

from farm.kernel.tree import from_package
from farm.matrix import CHECKOUT, load

#: Files that begin with a license line. Patches, logs and lists do not.
LICENSED = re.compile(r"\.(py|c|h|S|sh|yaml|config|md|toml)$|(^|/)(Makefile|Kbuild)$|^\.ci/run$")

#: checkpatch.pl and what it reads beside itself.
CHECKPATCH = ("checkpatch.pl", "spelling.txt", "const_structs.checkpatch")


def tracked() -> list[str]:
    argv = ["git", "-C", str(CHECKOUT), "ls-files"]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()


def test_license_lines() -> None:
    files = [name for name in tracked() if LICENSED.search(name) and (CHECKOUT / name).is_file()]
    assert len(files) > 50
    wrong = []
    for name in files:
        head = (CHECKOUT / name).read_text().splitlines()[:3]
        if not any("SPDX-License-Identifier: GPL-2.0" in line for line in head):
            wrong.append(name)
    assert not wrong


def test_shellcheck() -> None:
    files = [CHECKOUT / name for name in tracked() if (CHECKOUT / name).is_file()]
    scripts = [str(path) for path in files if path.read_bytes()[:4] == b"#!/b"]
    assert {Path(script).name for script in scripts} >= {"init.sh", "run"}
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="session")
def checkpatch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script of the kernel under test. The first use imports its source."""
    directory = tmp_path_factory.mktemp("scripts")
    source = from_package(load().trees["debian-6.12"])
    for name in CHECKPATCH:
        (directory / name).write_text(source.git("show", f"{source.commit}:scripts/{name}") + "\n")
    return directory / "checkpatch.pl"


def complaints(script: Path, *words: str) -> str:
    argv = ["perl", str(script), "--strict", "--no-tree", "--terse", "--no-summary", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("series", ["patches/v6.12", "patches/testing"])
def test_patches(checkpatch: Path, series: str) -> None:
    patches = sorted(map(str, (CHECKOUT / series).glob("*.patch")))
    assert patches
    assert not complaints(checkpatch, *patches)


def test_module(checkpatch: Path) -> None:
    files = sorted(str(path) for path in (CHECKOUT / "payload/module").iterdir() if path.suffix in (".c", ".h", ".S"))
    assert files
    assert not complaints(checkpatch, "--file", *files)
