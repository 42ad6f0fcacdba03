# SPDX-License-Identifier: GPL-2.0
"""KTAP 1 (Documentation/dev-tools/ktap.rst of the kernel): a test for each cell,
inside it one for each suite, and inside that one for each verdict."""

import re
from collections.abc import Sequence
from pathlib import Path

from farm.record.records import Run, VerdictRecord, all_cells, title
from farm.record.verdict import MEANING, Verdict
from farm.report import again, frame, terminal

#: Text that the kernel's own parser takes for the end of the log, in any line.
_OVER = re.compile(r"(List of all partitions|Kernel panic - not syncing: VFS|reboot): ?")

#: The longest reason after a directive; the diagnostics have all of it.
LONGEST = 200


def text(directory: Path, run: Run, verdicts: Sequence[VerdictRecord]) -> str:
    """The whole document. Reads the consoles of crashed tests from `directory`."""
    cells = all_cells(run, verdicts)
    lines = ["KTAP version 1", f"# {escape(f'farm run {run.id}, {run.status}', diagnostic=True)}", f"1..{len(cells)}"]
    for number, cell in enumerate(cells, 1):
        mine = [record for record in verdicts if record.cell == cell]
        if mine:
            lines += _cell(directory, run, mine, number)
        elif verdicts and run.status in ("finished", "stopped"):
            lines.append(f"ok {number} {escape(cell)} # SKIP no test is for this cell")
        else:
            lines.append(f"not ok {number} {escape(cell)} # ERROR no verdict, the run is {escape(run.status)}")
    return "\n".join(lines) + "\n"


def _cell(directory: Path, run: Run, verdicts: Sequence[VerdictRecord], number: int) -> list[str]:
    suites = list(dict.fromkeys(record.suite for record in verdicts))
    inner = []
    for place, suite in enumerate(suites, 1):
        mine = [record for record in verdicts if record.suite == suite]
        tests = [line for n, record in enumerate(mine, 1) for line in _test(directory, run, record, n)]
        inner += _group(suite, mine, place, tests, len(mine))
    return _group(verdicts[0].cell, verdicts, number, inner, len(suites))


def _group(name: str, verdicts: Sequence[VerdictRecord], number: int, inner: list[str], count: int) -> list[str]:
    """A group of tests: `not ok` if one of them is, skipped if all are."""
    ok = "not ok" if any(record.bad for record in verdicts) else "ok"
    skipped = " # SKIP" if all(record.verdict is Verdict.SKIP for record in verdicts) else ""
    lines = ["KTAP version 1", f"# Subtest: {escape(name)}", f"1..{count}", *inner]
    return [*(f"  {line}" for line in lines), f"{ok} {number} {escape(name)}{skipped}"]


def _test(directory: Path, run: Run, record: VerdictRecord, number: int) -> list[str]:
    known = title(run, record) or "?"
    name = escape(known)
    if name == escape(record.suite):
        # the kernel's parser would take it for the result of the suite: spell it differently
        name = f"\\U{ord(known[0]):08x}" + name.removeprefix(escape(known[0]))
    said = ""
    if directive := MEANING[record.verdict].ktap:
        first = record.reason.strip().partition("\n")[0][:LONGEST]
        cause = first if directive != "ERROR" else f"{record.verdict} {first}"
        said = f" # {directive} {escape(cause)}".rstrip()
    result = f"{'not ok' if record.bad else 'ok'} {number} {name}{said}"
    return [*_diagnostics(directory, run, record), result] if record.bad else [result]


def _diagnostics(directory: Path, run: Run, record: VerdictRecord) -> list[str]:
    first, *rest = record.reason.strip().splitlines() or ["no reason was given"]
    below = rest + frame.picture(record.slots) + terminal.told_besides(directory, record)
    below.append(f"again: {again.see(run, record)}")
    lines = [f"{record.verdict}: {first}", *(f"  {line}" for line in below if line.strip())]
    return [f"# {escape(line, diagnostic=True)}".rstrip() for line in lines]


def escape(text: str, diagnostic: bool = False) -> str:
    r"""Text for one line. Characters with a meaning there, and those that cannot be
    printed, become `\xNN`, `\uNNNN` or `\UNNNNNNNN`, as in a Python string. Empty
    text becomes `?`. A `diagnostic` may have hash signs and begin with spaces.
    """
    special = "\\" if diagnostic else "\\#"
    coded = "".join(c if c.isprintable() and c not in special else _code(c) for c in text)
    coded = _OVER.sub(lambda over: over.group().replace(":", _code(":")), coded)
    if not diagnostic:
        if coded.startswith((" ", "-")):
            coded = _code(coded[0]) + coded[1:]
        if coded.endswith(" "):
            coded = coded[:-1] + _code(" ")
    return coded or "?"


def _code(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
