# SPDX-License-Identifier: GPL-2.0
"""What a run directory has about the kernel of a cell, and what it lacks."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from farm.record.records import Run


@dataclass(frozen=True)
class KernelFacts:
    """`facts` are names and texts; `files` are names and addresses, relative to the
    site's directory; `lacks` are sentences. `config` is None if the run has none.
    `dropped` are the options that the tree dropped."""

    facts: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...]
    lacks: tuple[str, ...]
    config: str | None
    dropped: tuple[str, ...]
    failed: str


#: The files about a built kernel in a cell's directory, besides the consoles.
FILES = ("config", "dropped-options", "build.log", "metadata.json", "reproducer.sh")


def kernel(results: Path, place: str, run: Run, cell: str) -> KernelFacts:
    """What is known about the kernel that a run tested in a cell. `place` is the run's
    directory in the results, "" if it is gone."""
    where = results / place / "cells" / cell
    lacks: list[str] = []
    if not place:
        return KernelFacts(
            _told(run, {}, {}), (), ("The run directory is gone, only the history knows of it.",), None, (), ""
        )
    built, failed = _json(where / "built.json", []), _json(where / "failed.json", [])
    metadata = _json(where / "metadata.json", lacks if built else [])
    if not where.is_dir():
        lacks.append(f"The run directory lacks cells/{cell}.")
    elif not built and not failed and run.command[1:2] != ["selftests"]:  # those runs record no kernel
        lacks.append(f"The run directory lacks cells/{cell}/built.json: the build of its kernel did not finish.")
    elif built:
        lacks += [f"The run directory lacks cells/{cell}/{name}." for name in FILES[:3] if not (where / name).is_file()]
    names = [name for name in FILES if (where / name).is_file()]
    # with a name that no file can have there is no directory, and glob() of Python 3.13 refuses that
    found = where.glob("*.log") if where.is_dir() else ()
    logs = (path.name for path in found if path.name not in FILES)
    names += sorted(logs, key=lambda name: (len(name), name))
    config = (where / "config").read_text(errors="replace") if "config" in names else None
    dropped = (where / "dropped-options").read_text(errors="replace") if "dropped-options" in names else ""
    return KernelFacts(
        facts=_told(run, built, metadata),
        files=tuple((name, f"../{quote(f'{place}/cells/{cell}/{name}')}") for name in names),
        lacks=tuple(lacks),
        config=config,
        dropped=tuple(line for line in dropped.splitlines() if line.strip()),
        failed=str(failed.get("text", "")),
    )


def _told(run: Run, built: dict[str, Any], metadata: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(fact)) for name, fact in _facts(run, built, metadata) if fact)


def _facts(run: Run, built: dict[str, Any], metadata: dict[str, Any]) -> list[tuple[str, Any]]:
    def part(*keys: str) -> Any:
        value: Any = metadata
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    added = part("build", "kconfig_add")
    fragments = [Path(str(name)).stem for name in added] if isinstance(added, list) else []
    duration = part("results", "duration", "build")
    return [
        ("source", built.get("source")),
        ("tree", run.tree),
        ("series", run.series),
        ("commit", built.get("commit")),
        ("kernel", built.get("kernel_key")),
        ("release", part("source", "kernelrelease")),
        ("fragments", " ".join(fragments)),
        ("compiler", part("compiler", "version_full")),
        ("built in", f"{duration:.0f} s" if isinstance(duration, (int, float)) else ""),
        ("guest", f"{run.accel}, {run.versions.get('qemu', 'QEMU of an unknown version')}"),
        ("planted", " ".join([*run.patches, *run.pokes])),
    ]


def _json(path: Path, lacks: list[str]) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text())
    except FileNotFoundError:
        lacks.append(f"The run directory lacks cells/{path.parent.name}/{path.name}.")
        return {}
    except (OSError, ValueError) as error:
        lacks.append(f"cells/{path.parent.name}/{path.name} cannot be read: {error}.")
        return {}
    return read if isinstance(read, dict) else {}
