# SPDX-License-Identifier: GPL-2.0
"""What the controller and the workers tell each other about a cell, as files in
the run directory. The files outlive both, and reports can read them."""

import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from farm import artifact
from farm.artifact import Ref
from farm.base.atomic import save_json
from farm.base.deadline import Deadline
from farm.base.errors import BootFailed, Exit, FarmError
from farm.kernel.builder import Built, Event, as_error, as_json, from_json

#: Stands for an artifact that an older run does not name.
UNKNOWN = "kernels/unknown"

#: The name of built.json after its kernel was removed from the cache.
BEFORE = "built-before.json"


def directory(run: Path, cell: str) -> Path:
    path = run / "cells" / cell
    path.mkdir(parents=True, exist_ok=True)
    return path


def tell_built(run: Path, built: Built) -> None:
    save_json(directory(run, built.cell) / "built.json", as_json(built))


def tell_failed(run: Path, event: Event) -> None:
    save_json(directory(run, event.cell) / "failed.json", {"text": event.text, "exit": event.exit})


def wait_built(run: Path, cell: str, limit: float) -> Built:
    """Wait for the kernel of a cell, `limit` seconds at most. Raises the builder's error if there is none."""
    where = directory(run, cell)
    for _ in Deadline(limit).poll(0.1):
        if (where / "built.json").exists():
            return from_json(json.loads((where / "built.json").read_text()))
        if (where / "failed.json").exists():
            failed = json.loads((where / "failed.json").read_text())
            raise as_error(failed["exit"])(failed["text"])
    raise FarmError(f"{cell}: the builder gave neither a kernel nor an error within {limit:.0f} s")


def put_aside(run: Path, cell: str) -> None:
    """If a cell's kernel is no longer in the cache, make the cell wait for the builder. Remember which
    kernel it was: with another one, it would be another run."""
    built, path = load_built(run, cell), run / "cells" / cell / "built.json"
    if built and path.exists() and not all(map(artifact.exists, (built.kernel, built.programs, built.module))):
        path.replace(path.with_name(BEFORE))


def load_built(run: Path, cell: str) -> Built | None:
    """The kernel of a cell, in a run of any age. None if the run names none."""
    known = _told(run, cell, "built.json") or _told(run, cell, BEFORE)
    empty = {str: "", bool: False, Ref: UNKNOWN}
    lacking = {
        one.name: empty[one.type] if one.default is MISSING and isinstance(one.type, type) else one.default
        for one in fields(Built)
    }
    try:
        return from_json({name: known.get(name, lacking[name]) for name in lacking}) if known else None
    except ValueError:
        return None


def load_failure(run: Path, cell: str) -> tuple[str, Exit] | None:
    """Why a cell has no kernel, and who is to blame. None if the run does not say."""
    known = _told(run, cell, "failed.json")
    text, status = known.get("text"), known.get("exit")
    return (text, Exit(status)) if isinstance(text, str) and status in list(Exit) else None


def load_metadata(run: Path, cell: str) -> dict[str, Any]:
    """What TuxMake wrote about the build of a cell; empty if there is no such file."""
    return _told(run, cell, "metadata.json")


def _told(run: Path, cell: str, name: str) -> dict[str, Any]:
    """A file of a cell, for reports. A run that was cut off may lack it, or have only half of it."""
    try:
        known = json.loads((run / "cells" / cell / name).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def new_console(run: Path, cell: str) -> Path:
    """The log for the next guest of a cell. Several workers may boot guests of it."""
    number = 1
    while True:
        path = directory(run, cell) / f"console-{number}.log"
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return path


def tell_booted(run: Path, cell: str, seconds: float) -> None:
    """Record that a guest is ready: `booted` has one line for each guest, the seconds that it took."""
    with (directory(run, cell) / "booted").open("a") as handle:
        handle.write(f"{seconds:.3f}\n")


def tell_unbootable(run: Path, cell: str, error: BootFailed) -> None:
    """Remember that a cell does not boot, unless a guest of it ever did."""
    if not (directory(run, cell) / "booted").exists():
        save_json(directory(run, cell) / "unbootable.json", {"text": str(error)})


def tell_distrust(run: Path, reason: str) -> None:
    """Remember for the rest of the run that KVM does not run guests."""
    save_json(run / "distrust.json", {"reason": reason})


def distrust(run: Path) -> str:
    """Why a run that began under KVM now runs its guests under TCG; empty if it does not."""
    path = run / "distrust.json"
    return str(json.loads(path.read_text())["reason"]) if path.exists() else ""


def check_bootable(run: Path, cell: str) -> None:
    """Raise the remembered BootFailed, if any: to wait once for a dead kernel is enough."""
    path = directory(run, cell) / "unbootable.json"
    if path.exists():
        raise BootFailed(json.loads(path.read_text())["text"])
