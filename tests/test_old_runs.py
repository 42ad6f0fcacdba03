# SPDX-License-Identifier: GPL-2.0
"""A run directory of an older farm is read as before: tests/data/runs/ has one of before there
were artifacts by name, whose built.json has paths, with a bug poked into its trampoline."""

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from farm.artifact import Ref
from farm.base.errors import Exit
from farm.history import index
from farm.history.model import Case
from farm.record import cellstate, records
from farm.record.verdict import Verdict
from farm.report import export, terminal
from farm.report.site.make import make

OLD = Path(__file__).parent / "data/runs/20261128-100105"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A results directory with that run alone."""
    shutil.copytree(OLD, tmp_path / "results" / OLD.name)
    return tmp_path / "results" / OLD.name


def test_records(old: Path) -> None:
    run, verdicts = records.load_run(old), records.load_verdicts(old)
    assert (run.status, run.exit, run.planned) == ("finished", 1, 3)
    assert [record.verdict for record in verdicts] == [Verdict.PASS, Verdict.FAIL, Verdict.FAIL]
    assert records.exit_status(verdicts) == Exit.KERNEL
    (wrong,) = [slot for slot in verdicts[1].slots if slot.wrong]
    assert (wrong.name, wrong.register, wrong.offset) == ("arg2", "rsi", 104)
    assert records.repeat_command(run, "x86_64-regs").startswith(
        "farm run x86_64-regs --poke ftrace_caller:4889742468="
    )


def test_kernel(old: Path) -> None:
    built = cellstate.load_built(old, "x86_64-regs")
    assert built
    assert built.kernel == Ref("kernels", "f7d4b7575e2e50be8f1d")
    assert (built.kernel_key, built.arch) == ("f7d4b7575e2e50be8f1d", "x86_64")


def test_screen(old: Path) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    terminal.show(console, old, records.load_run(old), records.load_verdicts(old))
    said = console.export_text()
    assert "FAIL  arg2's slot holds rdi (arg1)" in said
    assert "again: farm run x86_64-regs" in said


@pytest.mark.parametrize("form", export.FORMATS)
def test_exports(old: Path, form: str) -> None:
    text = export.FORMATS[form](old, records.load_run(old), records.load_verdicts(old))
    assert "test_value" in text
    if form == "jsonl":
        assert json.loads(text.splitlines()[1])["kernel"] == "f7d4b7575e2e50be8f1d"


def test_history_and_site(old: Path) -> None:
    index.index(old.parent)
    make(old.parent)
    assert "20261128-100105" in (old.parent / "site/index.html").read_text()
    summary, seen = index.take(old)
    assert summary.kernels["x86_64-regs"].key == "f7d4b7575e2e50be8f1d"
    assert seen[Case("x86_64-regs", "slots", "test_value[1-function]")].verdict is Verdict.FAIL
