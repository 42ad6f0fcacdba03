# SPDX-License-Identifier: GPL-2.0
"""What the kernel's tools say of the farm's shell, C and patches."""

import re
import subprocess
from pathlib import Path

import pytest

from farm.kernel.checkpatch import complaints
from farm.kernel.tree import Source, from_package
from farm.matrix import CHECKOUT, load

#: Files that begin with a license line. Patches, logs and lists do not.
LICENSED = re.compile(r"\.(py|c|h|S|sh|yaml|config|md|toml)$|(^|/)(Makefile|Kbuild)$|^\.ci/run$")


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
def source() -> Source:
    """The kernel under test. The first use imports it."""
    return from_package(load().trees["debian-6.12"])


@pytest.mark.parametrize("series", ["patches/v6.12", "patches/testing"])
def test_patches(source: Source, series: str) -> None:
    patches = sorted(map(str, (CHECKOUT / series).glob("*.patch")))
    assert patches
    assert not complaints(source, *patches)


def test_module(source: Source) -> None:
    files = sorted(str(path) for path in (CHECKOUT / "payload/module").iterdir() if path.suffix in (".c", ".h", ".S"))
    assert files
    # unlike code of the kernel's own, the module is built for more than one
    assert not complaints(source, "--ignore", "LINUX_VERSION_CODE", "--file", *files)
