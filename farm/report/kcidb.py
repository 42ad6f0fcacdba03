# SPDX-License-Identifier: GPL-2.0
"""KCIDB JSON (https://github.com/kernelci/kcidb-io): a checkout for each source that
was built, a build for each cell, a test for each verdict."""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farm.base.errors import Exit, UsageError
from farm.record import cellstate
from farm.record.records import Run, VerdictRecord, all_cells, repeat_command, title
from farm.record.verdict import MEANING
from farm.report import again, frame, terminal

#: The version of KCIDB's schema. All fields written here have been in it since 5.0.
VERSION = {"major": 5, "minor": 0}

#: The default origin of a report.
ORIGIN = "ftrace_farm"

#: The prefix of the farm's tests in KCIDB's tree of tests.
ROOT = "ftrace_farm"

#: The longest excerpt of a log that the schema allows, in characters.
EXCERPT = 16384

Object = dict[str, Any]


def text(directory: Path, run: Run, verdicts: Sequence[VerdictRecord], origin: str = ORIGIN) -> str:
    """The whole document. `origin` names the farm: lower-case letters, digits, _.

    Ids are made from the run's id, so use one origin for each results directory.
    Raises UsageError for any other form of origin.
    """
    if not re.fullmatch(r"[a-z0-9_]+", origin):
        raise UsageError(f"--origin {origin}: KCIDB takes lower-case letters, digits and _ only")
    cells = all_cells(run, verdicts)
    builds = {cell: _build(directory, run, cell, origin) for cell in cells}
    checkouts = {builds[cell]["checkout_id"]: _checkout(directory, run, cell, origin) for cell in cells}
    document = {
        "version": VERSION,
        "checkouts": list(checkouts.values()),
        "builds": list(builds.values()),
        "tests": [_test(directory, run, record, origin, number) for number, record in enumerate(verdicts, 1)],
    }
    return json.dumps(_clean(document), indent=1) + "\n"


def _checkout_id(directory: Path, run: Run, cell: str, origin: str) -> str:
    built = cellstate.load_built(directory, cell)
    return f"{origin}:{run.id}:{built.commit if built else 'unknown'}"


def _checkout(directory: Path, run: Run, cell: str, origin: str) -> Object:
    """The source of a cell. The commit is the one that was built, series and
    patches included, so there is no patch set on top of it."""
    built = cellstate.load_built(directory, cell)
    made: Object = {
        "id": _checkout_id(directory, run, cell, origin),
        "origin": origin,
        "start_time": run.started,
        "misc": {"tree": run.tree or "", "series": run.series or "", "patches": run.patches, "pokes": run.pokes},
    }
    if built:
        made |= {"comment": built.source, "valid": True, "patchset_hash": ""}
        made["misc"]["git_tree"] = built.content
        if re.fullmatch("[0-9a-f]{40}", built.commit):
            made["git_commit_hash"] = built.commit
    return made


def _build(directory: Path, run: Run, cell: str, origin: str) -> Object:
    built, failure = cellstate.load_built(directory, cell), cellstate.load_failure(directory, cell)
    made: Object = {
        "id": f"{origin}:{run.id}:{cell}",
        "checkout_id": _checkout_id(directory, run, cell, origin),
        "origin": origin,
        "config_name": cell,
        "misc": {"again": repeat_command(run, cell)},
    }
    if built:
        made["status"] = "PASS"
        made["misc"]["kernel"] = built.kernel_key
    elif failure:
        said, exit = failure
        made |= {"status": "FAIL" if exit == Exit.KERNEL else "ERROR", "log_excerpt": said[-EXCERPT:]}
    else:
        made["status"] = "MISS"
    return made | _from_metadata(cellstate.load_metadata(directory, cell))


def _from_metadata(metadata: Object) -> Object:
    """What TuxMake recorded about the build, as far as there is a record."""
    build, results = metadata.get("build", {}), metadata.get("results", {})
    known = {
        "architecture": build.get("target_arch"),
        "command": shlex.join(build.get("reproducer_cmdline", [])),
        "compiler": metadata.get("compiler", {}).get("version_full"),
        "duration": results.get("duration", {}).get("build"),
    }
    return {name: value for name, value in known.items() if value}


def _test(directory: Path, run: Run, record: VerdictRecord, origin: str, number: int) -> Object:
    made: Object = {
        "id": f"{origin}:{run.id}:{number}",
        "build_id": f"{origin}:{run.id}:{record.cell}",
        "origin": origin,
        "path": _path(record),
        "comment": f"{record.suite} {title(run, record)}",
        "status": MEANING[record.verdict].kcidb,
        "duration": record.seconds,
        "environment": {
            "comment": f"QEMU, {run.accel}, {record.cell}",
            "misc": {"host": run.host, "versions": run.versions, "accelerator": run.accel},
        },
        "misc": {
            "verdict": str(record.verdict),
            "cell": record.cell,
            "suite": record.suite,
            "test": record.test,
            "attempt": record.attempt,
            "again": again.see(run, record),
        },
    }
    told = [record.reason, *frame.picture(record.slots), *terminal.told_besides(directory, record)]
    if record.reason or record.bad:
        made["log_excerpt"] = "\n".join(told)[:EXCERPT]
    return made


def _path(record: VerdictRecord) -> str:
    """A test's path: suite, function, parameters. Underscores replace what a path cannot hold."""
    function, _, parameters = record.test.partition("[")
    parts = [ROOT, record.suite, function, parameters.removesuffix("]")]
    return ".".join(re.sub(r"[^a-zA-Z0-9_-]", "_", part) for part in parts if part)


def _clean(value: Any) -> Any:
    """The same without characters that databases refuse in a text: NUL, and halves of surrogate pairs."""
    if isinstance(value, str):
        return re.sub("[\0\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value
