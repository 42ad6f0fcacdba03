# SPDX-License-Identifier: GPL-2.0
"""pytest over suites of the farm's, whatever the user's environment asks of pytest."""

import os
from pathlib import Path

import pytest

#: By these a user tells pytest what to do with suites of his own; `farm` is no pytest to him.
_USERS_PYTEST = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD")


def run(arguments: list[str], plugin: object) -> int | pytest.ExitCode:
    """Run pytest in this process, with a plugin of the caller's."""
    for name in _USERS_PYTEST:
        os.environ.pop(name, None)
    return pytest.main(arguments, plugins=[plugin])


def collecting(suites: Path, directory: Path, select: str) -> list[str]:
    """The arguments by which pytest finds the tests of the units in a directory (farm.worker.unit)."""
    arguments = [str(suites), "--strict-markers", "--rootdir", str(suites.parent), "-c", os.devnull]
    # or every directory above takes part in -k: with a checkout in ~/slots, `-k slots` would be all tests
    arguments += ["--confcutdir", str(suites)]
    arguments += ["-p", "farm.worker.plugin", "-p", "no:cacheprovider", "-p", "no:terminal"]
    # pytest would keep what the watcher prints while it loads the suites, and show it at the end
    arguments += ["--farm-run", str(directory), "--capture=no"]
    return arguments + (["-k", select] if select else [])
