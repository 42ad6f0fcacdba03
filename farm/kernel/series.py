# SPDX-License-Identifier: GPL-2.0
"""A series of patches on a source, by `git am`, one commit a patch."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from farm.base import cache
from farm.base.command import CommandFailed, run
from farm.base.errors import UsageError
from farm.kernel.tree import IDENTITY, Source, from_package, from_user
from farm.matrix import Cell, Tree


def patches_in(directory: Path) -> list[Path]:
    """The patches of a series in their order. Raises UsageError if there are none."""
    patches = sorted(directory.glob("*.patch"))
    if not patches:
        raise UsageError(f"{directory}: no *.patch files in this directory")
    return patches


def resolve(cell: Cell, tree: Tree, user_tree: str | None, series: str | None, extra: Sequence[str] = ()) -> Source:
    """The source of a cell: a tree, the series, the cell's own patches, and then `extra` ones.

    `series` is a directory, "none", or None for the tree's own one; that is
    left away where the user's tree has the feature already.
    """
    source = from_user(user_tree) if user_tree else from_package(tree)
    if series is None and not (user_tree and source.has_feature):
        source = apply(source, patches_in(tree.series), "series")
    elif series is not None and series != "none":
        directory = Path(series).expanduser().resolve()
        if not directory.is_dir():
            raise UsageError(f"--series {series}: no such directory; give a directory of patches, or none")
        source = apply(source, patches_in(directory), "series")
    for directory in cell.patches:
        source = apply(source, patches_in(directory), directory.name, skip_applied=True)
    if extra:
        # in the work tree of what they are put on: a small change is a small build
        patched = apply(source, [_file(patch) for patch in extra], Path(extra[-1]).stem)
        source = replace(patched, variant=source.variant)
    return source


def _file(patch: str) -> Path:
    path = Path(patch).expanduser().resolve()
    if not path.is_file():
        raise UsageError(f"--patch {patch}: no such file")
    return path


def apply(source: Source, patches: Sequence[Path], name: str, skip_applied: bool = False) -> Source:
    """`source` with the patches on top.

    The result is kept in the store under the hash of what went into it, so
    that `git am` runs once. Raises UsageError that names patch, file and
    hunk where one does not apply; nothing of the attempt stays. With
    `skip_applied` a patch that the tree has already is passed over.
    """
    label = f"{source.label} + {name} ({len(patches)} patch{'es' if len(patches) > 1 else ''})"
    variant = name if source.variant == "base" else f"{source.variant}+{name}"
    ingredients = [source.commit, str(skip_applied)]
    for patch in patches:
        ingredients += [patch.name, patch.read_text()]
    ref = f"refs/farm/{cache.digest(*ingredients)}"
    commit = source.git("for-each-ref", "--format=%(objectname)", ref)
    if not commit:
        commit = _am(source, patches, skip_applied)
        source.git("update-ref", ref, commit)
    return source.at(commit, label, variant)


def _am(source: Source, patches: Sequence[Path], skip_applied: bool) -> str:
    with cache.scratch("am") as directory:
        where = directory / "tree"
        # No checkout: `git am` fetches from the index the few files it changes,
        # where writing all of them would take longer than all the rest.
        source.git("worktree", "add", "--quiet", "--no-checkout", "--detach", where, source.commit)
        git: list[str | Path] = ["git", "-C", where]
        try:
            run([*git, "read-tree", "HEAD"], env=IDENTITY)
            for patch in patches:
                if not (skip_applied and _reverses(where, patch)):
                    _am_one(where, patch)
            return run([*git, "rev-parse", "HEAD"]).strip()
        finally:
            source.git("worktree", "remove", "--force", where)


def _reverses(where: Path, patch: Path) -> bool:
    try:
        run(["git", "-C", where, "apply", "--check", "--cached", "--reverse", patch])
    except CommandFailed:
        return False
    return True


def _am_one(where: Path, patch: Path) -> None:
    try:
        run(["git", "-C", where, "am", "--quiet", "--committer-date-is-author-date", patch], env=IDENTITY)
    except CommandFailed as error:
        raise UsageError(explain(patch, error.output)) from error


def explain(patch: Path, output: str) -> str:
    """What `git am` said of a patch, as: patch, file, hunk."""
    lines = [f"{patch} does not apply; the tree is as it was"]
    for file, line in re.findall(r"^error: patch failed: (.+):(\d+)$", output, re.M):
        lines.append(f"  {file}: the hunk at line {line} ({_hunk(patch, file, int(line))})")
    if len(lines) == 1:
        lines += [f"  {line}" for line in output.strip().splitlines()[:6]]
    return "\n".join(lines)


def _hunk(patch: Path, file: str, line: int) -> str:
    """The header of the hunk of `file` that starts at `line`."""
    current = ""
    for text in patch.read_text(errors="replace").splitlines():
        if text.startswith("+++ "):
            current = text.removeprefix("+++ ").removeprefix("b/").split("\t")[0]
        if current == file and text.startswith(f"@@ -{line},"):
            return text
    return f"old line {line}"
