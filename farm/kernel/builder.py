# SPDX-License-Identifier: GPL-2.0
"""Builds cells in a separate process, and reports in JSON lines.

It is a process because TuxMake needs the main thread, and the suites run meanwhile.
Run as `python -m farm.kernel.builder` with an Order on stdin; each line on
stdout is an Event.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from farm import artifact
from farm.arch import FIRST
from farm.artifact import Ref
from farm.base import bug, cache, locks, stored
from farm.base.command import echo, leashed
from farm.base.errors import Blamed, BuildFailed, Exit, FarmError, UsageError
from farm.kernel import build, payload, series
from farm.matrix import choose, load


@dataclass(frozen=True)
class Order:
    """What to build: names of cells in the order of their builds; tree, series and
    patches as on the command line; and the matrix that has the cells."""

    cells: list[str]
    tree: str | None
    series: str | None
    matrix: str
    patches: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Built:
    """What a cell needs to boot. As JSON, a Ref is `KIND/KEY`.

    `build_seconds` is the time that its kernel took, 0 if the cache had it. `version` is that of the
    source, as v6.12.
    """

    cell: str
    source: str
    commit: str
    content: str
    kernel_key: str
    kernel: Ref
    programs: Ref
    module: Ref
    without_feature: bool
    build_seconds: float = 0.0
    arch: str = FIRST
    version: str = ""


#: The fields of Built that are artifacts.
REFS = ("kernel", "programs", "module")


@dataclass(frozen=True)
class Event:
    """`kind` is progress, built or failed. For a failure, `exit` says who is to blame
    (as an exit status), and `text` says what happened."""

    kind: str
    cell: str
    text: str = ""
    exit: int = 0
    log: str = ""
    built: Built | None = None


def start(order: Order) -> "Popen[str]":
    """Start the builder as a process that dies with this one. What it builds stays in the cache until
    this process ends. Raises FarmError if there can be no cache."""
    cache.hold()
    argv = [sys.executable, "-m", "farm.kernel.builder"]
    echo(argv)
    process = Popen(
        leashed(argv), stdin=PIPE, stdout=PIPE, text=True, process_group=0
    )  # Ctrl-C goes only to this process
    assert process.stdin
    process.stdin.write(json.dumps(asdict(order)))
    process.stdin.close()
    return process


def events(process: "Popen[str]") -> Iterator[Event]:
    """The events of a builder, until it ends."""
    assert process.stdout
    for line in process.stdout:
        raw = json.loads(line)
        raw["built"] = from_json(raw["built"]) if raw["built"] else None
        yield Event(**raw)


def as_error(exit_status: int) -> type[Blamed]:
    """The type of error for a failed event, by who is to blame."""
    return {Exit.KERNEL: BuildFailed, Exit.USAGE: UsageError}.get(Exit(exit_status), FarmError)


def as_json(built: Built) -> dict[str, Any]:
    """The JSON that from_json() reads."""
    return {name: str(value) if isinstance(value, Ref) else value for name, value in vars(built).items()}


def from_json(raw: Any) -> Built:
    """A record out of JSON, of this farm or one of before. Raises ValueError that names the key."""
    known = dict(raw) if isinstance(raw, dict) else raw
    for name in REFS:
        if isinstance(known, dict) and isinstance(text := known.get(name), str):
            known[name] = vars(artifact.parse(text))
    return stored.made(known, Built)


def _tell(event: Event) -> None:
    known = {**vars(event), "built": as_json(event.built) if event.built else None}
    print(json.dumps(known), flush=True)


def _build_cell(order: Order, name: str) -> Event:
    matrix = load(Path(order.matrix))
    (cell,) = choose(matrix, [name])

    def progress(text: str) -> None:
        _tell(Event("progress", name, text))

    locks.notice.set(progress)
    wanted = None
    try:
        progress("resolving the source")
        source = series.resolve(cell, matrix.trees, order.tree, order.series, order.patches)
        bare = series.is_bare(order.tree or cell.tree, matrix.trees, order.series)
        wanted = build.plan(cell, source, bare)
        cached = artifact.exists(Ref("kernels", wanted.key))
        started = time.monotonic()
        kernel = build.kernel(wanted, progress)
        seconds = 0.0 if cached else round(time.monotonic() - started, 1)
        parts = payload.payload(wanted, kernel, progress)
    except Exception as cause:
        error = bug.blamed(cause)
        log = build.log_of(wanted) if wanted else None
        return Event("failed", name, str(error), error.exit, str(log) if log and log.exists() else "")
    built = Built(
        cell=name,
        source=source.label,
        commit=source.commit,
        content=source.content,
        kernel_key=kernel.ref.key,
        kernel=kernel.ref,
        programs=parts.programs,
        module=parts.module,
        without_feature=wanted.without_feature,
        build_seconds=seconds,
        arch=cell.arch,
        version=str(source.version),
    )
    return Event("built", name, built=built)


def main() -> int:
    """Build each cell of the order. A failed cell does not stop the others."""
    order = Order(**json.load(sys.stdin))
    worst = 0
    for name in order.cells:
        event = _build_cell(order, name)
        _tell(event)
        worst = max(worst, event.exit)
        if event.exit == Exit.USAGE:
            break  # the same tree and series are wrong for every other cell
    return worst


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
