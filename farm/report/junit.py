# SPDX-License-Identifier: GPL-2.0
"""JUnit XML, as most CI systems read it: a suite for each cell, a case for each test."""

import re
from pathlib import Path
from xml.etree import ElementTree

from farm.base.errors import Exit
from farm.run.records import EXIT, Run, Verdict, VerdictRecord, counts


def write(run: Run, verdicts: list[VerdictRecord], path: Path) -> None:
    """Write the verdicts of a run. FAIL is a failure, whatever is not an
    assertion is an error, and its type is the verdict."""
    root = ElementTree.Element("testsuites", name=f"ftrace farm {run.id}")
    for cell in run.cells:
        mine = [record for record in verdicts if record.cell == cell]
        tally = counts(mine)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=cell,
            timestamp=run.started,
            tests=str(len(mine)),
            failures=str(tally[Verdict.FAIL]),
            skipped=str(tally[Verdict.SKIP]),
            errors=str(sum(n for v, n in tally.items() if EXIT[v] != Exit.PASSED and v != Verdict.FAIL)),
            time=f"{sum(record.seconds for record in mine):.3f}",
        )
        for record in mine:
            _case(suite, record)
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _case(suite: ElementTree.Element, record: VerdictRecord) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=_clean(f"{record.cell}.{record.suite}"),
        name=_clean(record.test),
        time=f"{record.seconds:.3f}",
    )
    if record.verdict == Verdict.PASS:
        return
    tag = {Verdict.SKIP: "skipped", Verdict.FAIL: "failure"}.get(record.verdict, "error")
    element = ElementTree.SubElement(case, tag, type=str(record.verdict), message=_clean(record.reason))
    element.text = _clean(record.detail)


def _clean(text: str) -> str:
    """Text without the control characters that XML cannot carry."""
    return re.sub(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
