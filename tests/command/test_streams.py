# SPDX-License-Identifier: GPL-2.0
"""A farm whose stdout is full, gone, closed or in ASCII, one that is interrupted while it loads,
and one with a bug: as processes."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from farm.matrix import CHECKOUT, load

pytestmark = pytest.mark.usefixtures("cache_root")

FARM = Path(sys.executable).with_name("farm")

#: On a machine that does six other things.
LIMIT = 120


def shell(line: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A line of bash's with $FARM in it."""
    known = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "FARM": str(FARM), **environment}
    argv = ["bash", "-c", line]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=LIMIT, env=known)
    assert "Traceback" not in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) <= 24
    return done


@pytest.mark.parametrize("words", ["cells", "run -h", "mutants --list"])
def test_full(words: str) -> None:
    done = shell(f"$FARM {words} > /dev/full")
    assert done.returncode == 3
    assert done.stderr == "farm: stdout: No space left on device; what was to be printed is lost\n"


def test_a_reader_who_has_had_enough() -> None:
    done = shell("$FARM mutants --list | head -1; echo ${PIPESTATUS[0]}")
    assert done.stdout.splitlines()[1:] == ["0"]
    assert not done.stderr


def test_closed() -> None:
    assert shell("$FARM cells >&-").returncode == 0
    done = shell("$FARM cells nix 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")
    assert shell("$FARM cells <&- | grep -c .").returncode == 0


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_ascii(environment: dict[str, str]) -> None:
    done = shell("$FARM run -h; $FARM run nix; $FARM tell -h; $FARM cells -v", **environment)
    assert (done.stdout + done.stderr).isascii()
    assert "[CELL]..." in done.stdout
    assert "no cell 'nix'" in done.stderr


def test_interrupted_while_it_loads() -> None:
    """At any moment from its first own line on; before that it is Python that is interrupted."""
    said = set()
    for delay in (0.15, 0.3, 0.6, 1.0):
        begin = [sys.executable, "-c", "import farm.__main__ as m, sys; print(flush=True); m.main()", "doctor"]
        with subprocess.Popen(begin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stdout.readline() == "\n"
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=LIMIT)
        said.add((process.returncode, err))
    assert said <= {(3, "interrupted\n"), (0, ""), (3, "")}, said  # of `doctor` 3 is what a host lacks
    assert (3, "interrupted\n") in said


def test_a_bug_is_written_down(tmp_path: Path) -> None:
    """Where a function of Python's is not what the farm takes it for."""
    code = "import sys, shutil; shutil.which = None; sys.argv = ['farm', 'doctor']; import farm.__main__ as m; m.main()"
    done = shell(f'{sys.executable} -c "{code}"', TMPDIR=str(tmp_path))
    assert done.returncode == 3
    found = re.search(
        r"this is a bug of the farm's: TypeError: .*\n.* attach (\S+) and what `farm doctor`", done.stderr
    )
    assert found, done.stderr
    text = Path(found[1]).read_text()
    assert "Traceback" in text
    assert "farm doctor" in text


@pytest.mark.parametrize(
    "words, said",
    [
        ("run -k no_such_test", "-k 'no_such_test' selects no test in x86_64-regs, x86_64-regs-fp, "),
        ("run x86_64-regs -k no_such_test", "selects no test in x86_64-regs"),
        ("run -k 'slots(a=1)'", "not an expression of pytest's -k"),
        ("tests -k no_such_test", "-k 'no_such_test' selects no test; `farm tests` lists all"),
        ("bisect --good HEAD --bad HEAD -k no_such_test", "selects no test in x86_64-regs"),
        ("config-bisect --minimise x86_64-regs -k no_such_test", "selects no test in x86_64-regs"),
    ],
)
def test_an_expression_that_selects_nothing(words: str, said: str, tmp_path: Path) -> None:
    place = "" if words.startswith("tests") else f"--results {tmp_path}/results"
    done = shell(f"$FARM {words} {place}")
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "results").exists()


def test_directories_above_the_suites_are_not_selected(tmp_path: Path) -> None:
    """By -k, whatever a user's checkout is called."""
    checkout = tmp_path / "slots"
    shutil.copytree(CHECKOUT / "suites", checkout / "suites", ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "import pathlib, sys; from farm.matrix import load; from farm.run import selection\n"
        "found = selection.find([load().cells['x86_64-regs']], 'slots', pathlib.Path(sys.argv[1]))\n"
        "print({test.suite for test in found})"
    )
    # a process of its own: this one has loaded suites from another place
    argv = [sys.executable, "-c", code, str(checkout / "suites")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=LIMIT, cwd=CHECKOUT)
    assert done.stdout == "{'slots'}\n", done.stderr


def test_tests_are_listed_with_what_they_need() -> None:
    said = shell("$FARM tests -k 'slots or frame'").stdout
    assert re.search(r"^slots:$", said, re.M)
    assert re.search(r"^  test_arguments  \S.*\[bpf_ftrace with_regs function_graph\]$", said, re.M)


@pytest.mark.parametrize(
    "name, value", [("ADDOPTS", "-vv --durations=9"), ("PLUGINS", "nonesuch"), ("DISABLE_PLUGIN_AUTOLOAD", "1")]
)
def test_what_a_user_asks_of_his_own_pytest(name: str, value: str) -> None:
    """Neither the tests that are listed nor those that run know of it."""
    done = shell("$FARM tests -k 'slots or frame'", **{f"PYTEST_{name}": value})
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^slots:$", done.stdout, re.M)


@pytest.mark.parametrize("command", ["run", "exec", "bisect", "mutants", "nightly", "export"])
def test_each_example_of_the_help_is_a_line(command: str) -> None:
    lines = [line.strip() for line in shell(f"$FARM {command} -h").stdout.splitlines()]
    examples = [line for line in lines if line.startswith(f"farm {command}")]
    assert len(examples) >= 2
    assert "Examples:" in lines


def test_version() -> None:
    assert re.fullmatch(r"farm \d+\.\d+\.\d+, Python 3\.\d+\.\d+\n", shell("$FARM --version").stdout)


def test_mutants_are_listed_and_planned(tmp_path: Path) -> None:
    listed = shell("$FARM mutants trampoline --list").stdout.splitlines()
    assert listed[0] == "trampoline:"
    assert "  S-restore-r9-forgotten: x86/ftrace: Do not restore R9" in listed
    line = f"$FARM mutants S-restore-r9-forgotten --cell x86_64-regs --dry-run --results {tmp_path}"
    planned = shell(line).stdout.splitlines()
    assert planned[0].startswith("S-restore-r9-forgotten: x86_64-regs; first slots ")
    assert planned[1].startswith("1 mutants of 1, about ")
    assert not list(tmp_path.iterdir())
    assert "x86_64-regs" in load().cells
