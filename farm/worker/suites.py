# SPDX-License-Identifier: GPL-2.0
"""Runs pytest over the farm's suites, whatever the user's environment asks of pytest."""

import os
from pathlib import Path

import pytest

#: Users set these for their own tests. They do not expect them to change what `farm` does.
_USERS_PYTEST = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD")


def run(arguments: list[str], plugin: object) -> int | pytest.ExitCode:
    """Run pytest in this process, with a plugin."""
    for name in _USERS_PYTEST:
        os.environ.pop(name, None)
    return pytest.main(arguments, plugins=[plugin])


def collecting(suites: Path, directory: Path, select: str) -> list[str]:
    """The arguments by which pytest finds the tests of the units in a directory (farm.worker.unit)."""
    arguments = [str(suites), "--strict-markers", "--rootdir", str(suites.parent), "-c", os.devnull]
    # otherwise the directories above take part in -k: in ~/slots/farm, `-k slots` would select all tests
    arguments += ["--confcutdir", str(suites)]
    arguments += ["-p", "farm.worker.plugin", "-p", "no:cacheprovider", "-p", "no:terminal"]
    # otherwise pytest keeps what the watcher prints while the suites are loaded, and shows it at the end
    arguments += ["--farm-run", str(directory), "--capture=no"]
    return arguments + (["-k", select] if select else [])
