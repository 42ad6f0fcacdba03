# SPDX-License-Identifier: GPL-2.0
"""JUnit XML, as most CI systems read it: a suite for each cell, a case for each test."""

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from farm.record import cellstate
from farm.record.records import Run, VerdictRecord, all_cells, counts, repeat_command, title
from farm.record.verdict import MEANING, Verdict
from farm.report import again, frame, terminal
from farm.run.causes import explained
from farm.worker.diagnosis import diagnose


def text(directory: Path, run: Run, verdicts: Sequence[VerdictRecord]) -> str:
    """The whole document. FAIL is a failure; any other bad verdict is an error. The
    type is the verdict."""
    root = ElementTree.Element("testsuites", {"name": f"ftrace farm {_clean(run.id)}", **_tally(verdicts)})
    for cell in all_cells(run, verdicts):
        mine = [record for record in verdicts if record.cell == cell]
        attributes = {"name": _clean(cell), "timestamp": _clean(run.started), **_tally(mine)}
        suite = ElementTree.SubElement(root, "testsuite", attributes)
        properties = ElementTree.SubElement(suite, "properties")
        for name, value in _properties(directory, run, cell).items():
            ElementTree.SubElement(properties, "property", name=name, value=_clean(value))
        for record in mine:
            _case(suite, directory, run, record)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _tally(verdicts: Sequence[VerdictRecord]) -> dict[str, str]:
    tally = counts(verdicts)
    errors = sum(number for verdict, number in tally.items() if MEANING[verdict].junit == "error")
    return {
        "tests": str(len(verdicts)),
        "failures": str(tally[Verdict.FAIL]),
        "skipped": str(tally[Verdict.SKIP]),
        "errors": str(errors),
        "time": f"{sum(record.seconds for record in verdicts):.3f}",
    }


def _properties(directory: Path, run: Run, cell: str) -> dict[str, str]:
    """What was tested, and where it ran."""
    built = cellstate.load_built(directory, cell)
    known = {
        "run.status": run.status,
        "accelerator": run.accel,
        "kernel": built.kernel_key if built else "",
        "source": built.source if built else "",
        "commit": built.commit if built else "",
        "again": repeat_command(run, cell),
    }
    return {name: value for name, value in known.items() if value}


def _case(suite: ElementTree.Element, directory: Path, run: Run, record: VerdictRecord) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=_clean(f"{record.cell}.{record.suite}"),
        name=_clean(title(run, record)),
        time=f"{record.seconds:.3f}",
    )
    if not (tag := MEANING[record.verdict].junit):
        return
    element = ElementTree.SubElement(case, tag, type=str(record.verdict), message=_clean(record.reason))
    if not record.bad:
        return
    element.set("message", _clean(explained(record)))
    told = diagnose(record.slots) + frame.picture(record.slots)
    if record.verdict is Verdict.BUILD:
        told += explained(record).splitlines()
    elif record.verdict is not Verdict.FAIL:
        told += terminal.console_excerpt(directory, record)
    told += [*record.detail.splitlines(), f"again: {again.see(run, record)}"]
    element.text = _clean("\n".join(told))


def _clean(text: str) -> str:
    """Text without the control characters that XML cannot carry."""
    return re.sub(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
