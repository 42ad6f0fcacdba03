# SPDX-License-Identifier: GPL-2.0
"""JSON lines: one object a verdict, each with everything about its run, for databases
and command lines that look at many runs at once."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from farm.record import cellstate
from farm.record.records import Run, VerdictRecord
from farm.report import again

#: The schema of the objects. It is raised when readers of the old one would go wrong.
SCHEMA = 1

#: What each line takes from the record of the run, under the name `run_…`.
OF_RUN = ("id", "started", "finished", "status", "tree", "series", "patches", "pokes", "accel", "host", "versions")


def text(directory: Path, run: Run, verdicts: Sequence[VerdictRecord]) -> str:
    """One line for each verdict, in the order of the verdicts."""
    whole = asdict(run)
    shared = {f"run_{name}": whole[name] for name in OF_RUN}
    kernels = {cell: _kernel(directory, cell) for cell in {record.cell for record in verdicts}}
    return "".join(
        json.dumps({"schema": SCHEMA, **_verdict(run, record), **kernels[record.cell], **shared}) + "\n"
        for record in verdicts
    )


def _verdict(run: Run, record: VerdictRecord) -> dict[str, object]:
    """The fields of a verdict itself. Values of slots are in hex: most readers of
    JSON have no 64-bit integers."""
    made = asdict(record)
    for slot in made["slots"]:
        slot["wrong"] = any(slot[name] not in (None, slot["passed"]) for name in ("program", "callee", "raw"))
        slot |= {name: _hex(slot[name]) for name in ("passed", "program", "callee", "raw")}
    return {**made, "bad": record.bad, "again": again.see(run, record)}


def _hex(value: int | None) -> str | None:
    return None if value is None else f"{value:#018x}"


def _kernel(directory: Path, cell: str) -> dict[str, str | None]:
    built = cellstate.load_built(directory, cell)
    return {
        "kernel": built.kernel_key if built else None,
        "source": built.source if built else None,
        "commit": built.commit if built else None,
    }
