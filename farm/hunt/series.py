# SPDX-License-Identifier: GPL-2.0
"""Check each patch of a series by itself: style, ABI, builds with the feature off and on, and the
suites that fit the tree at that patch."""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from farm.base.errors import BuildFailed, Exit, UsageError
from farm.hunt.trial import Trial, attempt
from farm.kernel import abi, checkpatch, kconfig
from farm.kernel.series import apply, directory_of, nearest, patches_in
from farm.kernel.tree import Source, from_package, from_user
from farm.matrix import Cell, choose, load
from farm.record import records
from farm.run.session import RunRequest
from farm.run.watcher import Watcher

#: Directories outside the kernel itself. After the last patch that changes anything else, the
#: feature is complete.
BESIDE_THE_KERNEL = ("Documentation/", "tools/", "samples/", "MAINTAINERS")


@dataclass(frozen=True)
class Step:
    """The tree as it stands before and after one patch of the series.

    `off` and `on` are the cells to build and test: those without the feature, and those with
    it. The latter begin with the patch that adds the option. `partial`: the kernel has only a
    part of the feature.
    """

    number: int
    patch: Path
    before: Source
    source: Source
    off: tuple[str, ...]
    on: tuple[str, ...]
    partial: bool


@dataclass(frozen=True)
class Checked:
    """The result of a step: complaints about style and ABI, and a trial of its kernels."""

    step: Step
    style: tuple[str, ...]
    abi: tuple[str, ...]
    trial: Trial

    @property
    def good(self) -> bool:
        return not (self.style or self.abi or any(record.bad for record in self.trial.records))


def steps(request: RunRequest) -> list[Step]:
    """One step for each patch. Raises UsageError if the tree has the feature already, or if a patch
    does not apply."""
    matrix = load(request.matrix)
    cells = choose(matrix, request.cells)
    tree = matrix.trees.get(request.tree or cells[0].tree)
    base = from_package(tree) if tree else from_user(request.tree or "")
    own = tree.series if tree else next(iter(nearest(base.version, matrix.trees)), None)
    directory = directory_of(request.series) if request.series else own
    if directory is None:
        raise UsageError(f"the matrix has no series for {request.tree or cells[0].tree}; give one (--series DIR)")
    patches = patches_in(directory)
    if base.has_feature:
        raise UsageError(f"--tree {request.tree}: the feature is in it already; name the revision before the series")
    last = max((n for n, patch in enumerate(patches, 1) if _changes_kernel(patch)), default=len(patches))
    found = []
    before = base
    for number, patch in enumerate(patches, 1):
        source = apply(base, patches[:number], "series")
        off = tuple(cell.name for cell in cells if not cell.feature)
        on = tuple(cell.name for cell in cells if cell.feature and _has_options(source, cell))
        found.append(Step(number, patch, before, source, off, on, number < last))
        before = source
    return found


def _changes_kernel(patch: Path) -> bool:
    names = re.findall(r"^(?:--- a|\+\+\+ b)/(.+)$", patch.read_text(errors="replace"), re.M)
    return any(not name.startswith(BESIDE_THE_KERNEL) for name in names)


def _has_options(source: Source, cell: Cell) -> bool:
    """Whether the tree has the options that the cell needs for the feature."""
    wanted = [option for fragment in cell.feature for option in kconfig.read(fragment)]
    defined = source.git("grep", "-h", "-w", "-E", "^(menu)?config [A-Z0-9_]+", source.commit, "--", "*Kconfig*")
    names = {line.split()[1] for line in defined.splitlines()}
    return all(option in names for option in wanted)


def check(
    request: RunRequest, wanted: Sequence[Step], directory: Path, watcher: Watcher, tell: Callable[[Step], None]
) -> Iterator[Checked]:
    """Check the steps in order. `tell` is called before each.

    `directory` keeps the patches up to each step, so that a failure can be repeated.
    """
    for step in wanted:
        tell(step)
        so_far = directory / f"{step.number:02}"
        so_far.mkdir(parents=True)
        for patch in patches_in(step.patch.parent)[: step.number]:
            shutil.copy(patch, so_far)
        style = checkpatch.complaints(step.source, step.patch)
        try:
            broken = abi.broken(abi.of(step.before), abi.of(step.source))
        except BuildFailed as error:
            broken = [str(error)]
        asked = replace(
            request,
            cells=[*step.off, *step.on],
            series=str(so_far),
            partial=step.partial,
            results=directory / "runs",
        )
        yield Checked(step, tuple(style), tuple(broken), attempt(asked, watcher))


def status(checked: Sequence[Checked]) -> Exit:
    """0 if every patch passed, 1 if one did not, 3 if the farm failed."""
    worst = records.exit_status(record for one in checked for record in one.trial.records)
    return worst if all(one.good for one in checked) else max(worst, Exit.KERNEL)
