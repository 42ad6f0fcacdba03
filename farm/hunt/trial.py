# SPDX-License-Identifier: GPL-2.0
"""One kernel under one selection of tests: the step that every hunt consists of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.arch import cross_prefix, of
from farm.artifact import locate
from farm.base import cache
from farm.base.command import CommandFailed, run
from farm.base.errors import BuildFailed, FarmError
from farm.execute import named
from farm.kernel import build as kernels
from farm.kernel import builder, kconfig, series
from farm.kernel.tree import check_out
from farm.matrix import choose, load
from farm.record import records
from farm.record.records import VerdictRecord, signature
from farm.record.verdict import MEANING, Verdict
from farm.run import session
from farm.run.watcher import Watcher


@dataclass(frozen=True)
class Trial:
    """The result of one run. Its directory has the rest."""

    directory: Path
    records: tuple[VerdictRecord, ...]

    @property
    def red(self) -> tuple[VerdictRecord, ...]:
        """The failures of the kernel, in the order in which they were seen."""
        return tuple(record for record in self.records if record.bad and MEANING[record.verdict].of_test)

    @property
    def untested(self) -> str:
        """Why the kernel was not tested: it was not built, it did not boot, or the farm failed.
        Empty if it was tested."""
        first = next((record for record in self.records if not MEANING[record.verdict].of_test), None)
        return f"{first.verdict}: {first.reason.splitlines()[0] if first.reason else ''}" if first else ""


def attempt(request: session.RunRequest, watcher: Watcher) -> Trial:
    """Build, boot and test. Raises UsageError and FarmError as `session.execute` does, and
    KeyboardInterrupt if the run was interrupted."""
    directory, _ = session.execute(request, watcher)
    if records.load_run(directory).status == "interrupted":
        raise KeyboardInterrupt
    return Trial(directory, tuple(records.load_verdicts(directory)))


def marks(record: VerdictRecord) -> frozenset[str]:
    """The marks of a failure: its signature, or one mark for each wrong slot, so that two bugs in
    one frame differ."""
    wrong = [slot for slot in record.slots if slot.wrong]
    if record.verdict is not Verdict.FAIL or not wrong:
        return frozenset([signature(record)])
    place = f"{record.verdict} {record.cell} {record.suite} {record.test}"
    return frozenset(f"{place}: wrong {slot.name} ({slot.register})" for slot in wrong)


def build(request: session.RunRequest, watcher: Watcher) -> builder.Built:
    """Build the kernel of the one cell of a request. Raises BuildFailed, UsageError, FarmError."""
    order = builder.Order(request.cells, request.tree, request.series, str(request.matrix), request.patches)
    with named(request.on).build(order) as events:
        for event in events:
            if event.built:
                return event.built
            if event.kind == "failed":
                raise builder.as_error(event.exit)(event.text)
            watcher.building(event.cell, event.text)
    raise FarmError(f"{request.cells[0]}: the executor {request.on} neither built it nor said why")


def binary(request: session.RunRequest, watcher: Watcher) -> str:
    """Build as `build` does. Returns the hash of what is booted. System.map and debugging information
    are left out: a changed comment moves lines in them."""
    built = build(request, watcher)
    return cache.digest(
        (locate(built.kernel, built.cell) / of(built.arch).image_name).read_bytes(),
        cache.digest_files(locate(built.module, built.cell)),
    )


@dataclass(frozen=True)
class Config:
    """The configuration of a cell: its fragments, the resulting options as in a .config, and the
    source. `source` is the id of its content, `label` is for people."""

    fragments: tuple[Path, ...]
    options: dict[str, str]
    source: str
    label: str


def config(request: session.RunRequest, watcher: Watcher) -> Config:
    """Configure the one cell of a request. This takes seconds, a kernel takes minutes. Raises
    BuildFailed, also if the tree dropped options; UsageError, FarmError."""
    matrix = load(request.matrix)
    (cell,) = choose(matrix, request.cells)
    watcher.building(cell.name, "resolving the source")
    source = series.resolve(cell, matrix.trees, request.tree, request.series, request.patches)
    bare = series.is_bare(request.tree or cell.tree, matrix.trees, request.series)
    fragments = kernels.plan(cell, source, bare).fragments
    arch = of(cell.arch)
    # LLVM= names the compiler by itself
    gcc = {} if kernels.llvm(cell) else {"CC": f"{cross_prefix(arch)}{cell.toolchain}"}
    variables = {"ARCH": arch.kbuild, **gcc, **kernels.make_variables(cell)}
    watcher.building(cell.name, "configuring")
    with check_out(source) as tree, cache.scratch("configs") as directory:
        path = directory / ".config"
        configure(tree, directory, fragments, variables)
        dropped = kconfig.compare(fragments, path)
        if dropped and not cell.lenient:
            reasons = kconfig.explain(dropped, tree, path, arch, cell.toolchain)
            lines = "\n".join(f"  {reason}" for reason in reasons)
            raise BuildFailed(f"{cell.name}: the tree dropped options that the cell asks for:\n{lines}")
        return Config(fragments, kconfig.read(path), source.content, source.label)


def configure(tree: Path, directory: Path, fragments: Sequence[Path], variables: Mapping[str, str]) -> None:
    """Write the .config that TuxMake would make of these fragments and make variables into
    `directory`. Raises BuildFailed."""
    make: list[str | Path] = ["make", "-C", tree, f"O={directory}", *(f"{k}={v}" for k, v in variables.items())]
    merge: list[str | Path] = [tree / "scripts/kconfig/merge_config.sh", "-m", "-O", directory, directory / ".config"]
    try:
        run([*make, "tinyconfig"])
        run([*merge, *fragments], cwd=directory)
        run([*make, "olddefconfig"])
    except CommandFailed as error:
        raise BuildFailed(f"{tree}: no configuration comes of it:\n{error}") from error
