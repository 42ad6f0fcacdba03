# SPDX-License-Identifier: GPL-2.0
"""Going on with a run that was interrupted or killed: what has a verdict keeps it."""

import json
from dataclasses import asdict
from pathlib import Path

from farm.base import atomic
from farm.base.atomic import save_json
from farm.base.errors import UsageError
from farm.record import cellstate, records
from farm.record.records import Run, VerdictRecord
from farm.record.verdict import Verdict

#: The tests that had a verdict when the run was last resumed. Nothing reads them again; that the file is
#: there says that nobody knows how long the run was interrupted.
DONE = "done.json"


def resume(directory: Path) -> tuple[Run, list[VerdictRecord]]:
    """Make a run ready to be gone on with; the verdicts that it has. What the interruption
    itself said (LOST, INFRA) and a line that it cut off are dropped.

    Raises UsageError for a run that came to its end.
    """
    run = records.load_run(directory)
    if run.status not in ("running", "interrupted"):
        raise UsageError(f"{directory}: the run is {run.status}, there is nothing to go on with")
    done = [one for one in records.load_verdicts(directory) if one.verdict not in (Verdict.LOST, Verdict.INFRA)]
    lines = "".join(json.dumps(asdict(one)) + "\n" for one in done)
    atomic.write(directory / "verdicts.jsonl", lines, sync=True)
    for failed in directory.glob("cells/*/failed.json"):
        failed.unlink()  # the builder may have been killed with the run
    for cell in run.cells:
        cellstate.put_aside(directory, cell)
    save_json(directory / DONE, [[one.test, one.suite, one.cell, one.attempt] for one in done])
    return records.update_run(directory, status="running", finished="", exit=None), done
