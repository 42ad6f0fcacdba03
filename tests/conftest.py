# SPDX-License-Identifier: GPL-2.0
"""Fixtures that the tests of the farm share."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from farm.base import cache
from farm.kernel import builder
from farm.kernel.builder import Built, Order
from farm.matrix import MATRIX
from farm.record import records
from farm.record.records import Run, VerdictRecord
from farm.worker import unit
from farm.worker.unit import Unit

# a shell that has put the tests into the background, as a CI may, has SIGINT ignored; what is
# started here would inherit that, and nothing that is interrupted would ever end
signal.signal(signal.SIGINT, signal.default_int_handler)

# the limit of 200 ms an example is for idle machines
hypothesis.settings.register_profile("farm", deadline=None)
hypothesis.settings.load_profile("farm")

pytest_plugins = ["pytester"]


class FailuresAtOnce:
    """A line for each failure when it happens: the whole takes long, and may be ended before its summary."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self.terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            why = str(crash.message if crash else report.longreprtext).partition("\n")[0][:200]
            self.terminal.write(f"\nFAILED {report.nodeid} ({report.when}, {report.duration:.0f} s): {why}\n")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal and not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(terminal))


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


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that PATH begins with, and whose programs nobody can run: guests of a
    farm that is root are nobody's, and pytest's own directories are closed to them."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
        yield directory


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


# Suites of a test's own, in the plugin of the farm.


class Collect:
    """What the controller of a run sees: the reports that carry a verdict."""

    def __init__(self) -> None:
        self.verdicts: dict[str, dict[str, Any]] = {}
        self.order: list[str] = []
        self.attempts: list[int] = []
        self.said: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if hasattr(report, "farm"):
            json.dumps(report.farm)  # it travels from worker to controller
            name = f"{report.farm['cell']}:{report.farm['suite']}:{report.farm['test']}"
            self.order.append(name)
            self.attempts.append(report.farm["attempt"])
            self.verdicts[name] = report.farm
            self.said.append(report.farm)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory over the cells `one` (declares with_regs) and `two`, with a unit for each."""
    # not above: what is imported before the profile is loaded does not have it
    from tests.test_matrix import GOOD, write
    from tests.test_records import RUN

    directory = tmp_path / "run"
    directory.mkdir()
    matrix = write(tmp_path, GOOD)
    records.save_run(directory, replace(RUN, cells=["one", "two"], matrix=str(matrix)))
    unit.save(directory, [Unit(Order([cell], None, None, str(matrix)), "", accel="tcg") for cell in ("one", "two")])
    return directory


class Suites:
    """Suites of a test, run as `farm run` has them run, in this process."""

    def __init__(self, pytester: pytest.Pytester, run: Path) -> None:
        self.pytester, self.directory = pytester, run

    def ask(self, *cells: str, **changes: Any) -> None:
        """Ask for these cells alone, or for other things of each."""
        units = [replace(one, **changes) for one in unit.load(self.directory) if one.cell in cells or not cells]
        unit.save(self.directory, units)

    def __call__(self, *words: str, **files: str) -> Collect:
        self.pytester.makepyfile(**files)
        seen = Collect()
        options = ["-p", "farm.worker.plugin", "--farm-run", str(self.directory), "-p", "no:cacheprovider"]
        self.result = self.pytester.inline_run(*options, *words, plugins=[seen])
        return seen


@pytest.fixture
def suites(pytester: pytest.Pytester, run: Path) -> Suites:
    return Suites(pytester, run)


@pytest.fixture(scope="session")
def real() -> tuple[Path, Built]:
    """The user's own cache, which pytester hides, and a kernel out of it."""
    process = builder.start(builder.Order(["x86_64-regs"], None, None, str(MATRIX)))
    (built,) = [event.built for event in builder.events(process) if event.built]
    assert process.wait() == 0
    return cache.root(), built


class Watching:
    """Somebody who looks on while a run goes on, and keeps what is noticed."""

    def __init__(self) -> None:
        self.verdicts: list[VerdictRecord] = []
        self.notices: list[str] = []

    def began(self, directory: Path, run: Run) -> None: ...
    def building(self, cell: str, step: str) -> None: ...
    def built(self, cell: str, outcome: str) -> None: ...
    def plan(self, cells: list[str]) -> None: ...
    def verdict(self, record: VerdictRecord) -> None:
        self.verdicts.append(record)

    def notice(self, text: str) -> None:
        self.notices.append(text)
