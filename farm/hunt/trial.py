# SPDX-License-Identifier: GPL-2.0
"""One kernel under one selection of tests: what every hunt is made of."""

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
    """What came of one run; its directory has the rest."""

    directory: Path
    records: tuple[VerdictRecord, ...]

    @property
    def red(self) -> tuple[VerdictRecord, ...]:
        """What the kernel got wrong, in the order in which it was seen."""
        return tuple(record for record in self.records if record.bad and MEANING[record.verdict].of_test)

    @property
    def untested(self) -> str:
        """Why there is nothing to be said of the kernel: it was not built, it did
        not boot, the farm failed. Empty where it was tested."""
        first = next((record for record in self.records if not MEANING[record.verdict].of_test), None)
        return f"{first.verdict}: {first.reason.splitlines()[0] if first.reason else ''}" if first else ""


def attempt(request: session.RunRequest, watcher: Watcher) -> Trial:
    """Build, boot and test. Raises UsageError and FarmError as `session.execute`
    does, KeyboardInterrupt where the run was interrupted."""
    directory, _ = session.execute(request, watcher)
    if records.load_run(directory).status == "interrupted":
        raise KeyboardInterrupt
    return Trial(directory, tuple(records.load_verdicts(directory)))


def marks(record: VerdictRecord) -> frozenset[str]:
    """The signature; where slots are wrong one for each of them, so that two bugs
    in one frame are told apart."""
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
    raise FarmError(f"{request.cells}: the build was not answered")


def binary(request: session.RunRequest, watcher: Watcher) -> str:
    """Build as `build` does; the hash of what is booted. Not of System.map and
    debugging information: a changed comment moves lines."""
    built = build(request, watcher)
    return cache.digest(
        (locate(built.kernel, built.cell) / of(built.arch).image_name).read_bytes(),
        cache.digest_files(locate(built.module, built.cell)),
    )


@dataclass(frozen=True)
class Config:
    """The configuration of a cell: the fragments that ask for it, the options that came
    out as in a .config, and of what source, by its content and for people."""

    fragments: tuple[Path, ...]
    options: dict[str, str]
    source: str
    label: str


def config(request: session.RunRequest, watcher: Watcher) -> Config:
    """Configure the one cell of a request, in seconds where a kernel takes minutes.
    Raises BuildFailed, also for options that the tree dropped; UsageError, FarmError."""
    matrix = load(request.matrix)
    (cell,) = choose(matrix, request.cells)
    watcher.building(cell.name, "resolving the source")
    source = series.resolve(cell, matrix.trees[cell.tree], request.tree, request.series, request.patches)
    fragments = kernels.plan(cell, source, request.series).fragments
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
    """Leave in `directory` the .config that TuxMake makes of fragments, with these
    variables of make's. Raises BuildFailed."""
    make: list[str | Path] = ["make", "-C", tree, f"O={directory}", *(f"{k}={v}" for k, v in variables.items())]
    merge: list[str | Path] = [tree / "scripts/kconfig/merge_config.sh", "-m", "-O", directory, directory / ".config"]
    try:
        run([*make, "tinyconfig"])
        run([*merge, *fragments], cwd=directory)
        run([*make, "olddefconfig"])
    except CommandFailed as error:
        raise BuildFailed(f"{tree}: no configuration comes of it:\n{error}") from error
