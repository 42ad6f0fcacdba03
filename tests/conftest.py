# SPDX-License-Identifier: GPL-2.0
"""Fixtures that the tests of the farm share."""

import os
import subprocess
from pathlib import Path

import hypothesis
import pytest

# the limit of 200 ms an example is for idle machines
hypothesis.settings.register_profile("farm", deadline=None)
hypothesis.settings.load_profile("farm")

pytest_plugins = ["pytester"]

#: What makes a directory a Linux source, as far as the farm looks.
LINUX = {
    "Kconfig": 'mainmenu "Test"\n',
    "Kbuild": "obj-y := kernel/\n",
    "Makefile": "VERSION = 6\nPATCHLEVEL = 12\n",
    "arch/x86/kernel/ftrace_64.S": "ftrace_caller:\n\tret\n",
}


@pytest.fixture
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, for this process and those that it starts."""
    root = tmp_path / "cache"
    monkeypatch.setenv("FTRACE_FARM_CACHE", str(root))
    return root


class Repository:
    """A git repository of somebody else's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *words: str) -> str:
        argv = ["git", "-C", str(self.path), "-c", "user.name=U", "-c", "user.email=u@localhost", *words]
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        return subprocess.run(argv, check=True, capture_output=True, text=True, env=environment).stdout.strip()

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def commit(self, files: dict[str, str], message: str = "A change") -> str:
        self.write(files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def linux(tmp_path: Path) -> Repository:
    """A git repository with as much of Linux as the farm asks for."""
    repository = Repository(tmp_path / "linux")
    repository.commit(LINUX, "Import")
    return repository
