# SPDX-License-Identifier: GPL-2.0
"""Applies a series of patches to a source with `git am`, one commit for each patch."""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from farm.base import cache
from farm.base.command import CommandFailed, run
from farm.base.errors import FarmError, UsageError, refused
from farm.base.strict import near
from farm.kernel import kconfig
from farm.kernel.tree import IDENTITY, Source, from_package, from_user, is_imported, version_of_user
from farm.matrix import Cell, Matrix, Tree
from farm.version import EVERY_VERSION, Version, bounds, parse

#: How the output of `git diff` and `diff -u` begins, where a mail has its headers.
_BARE_DIFF = re.compile(rb"\s*(?:diff -|--- \S|Index: |\*\*\* \S)")

#: How many hunks that do not apply are listed; the rest is counted.
MOST_HUNKS = 8


def patches_in(directory: Path) -> list[Path]:
    """The patches of a series in their order. Raises UsageError if there are none."""
    patches = sorted(directory.glob("*.patch"))
    if not patches:
        raise UsageError(f"{directory}: no *.patch files in this directory")
    return patches


def resolve(
    cell: Cell, trees: Mapping[str, Tree], user_tree: str | None, series: str | None, extra: Sequence[str] = ()
) -> Source:
    """The source of a cell: a tree, the series, the cell's own patches, and then `extra` ones.

    `user_tree` is the name of one of `trees`, or a git tree as `from_user` takes it. `series` is a
    directory, "none", or None for the tree's own one: that of the matrix, or for a user's tree the one that
    fits, unless it has the feature already.
    """
    tree = trees.get(user_tree or cell.tree)
    if user_tree and not tree and "/" not in user_tree and not os.path.exists(user_tree.partition("@")[0]):
        said = f"--tree {user_tree}: no such directory, and no tree of the matrix; {near(user_tree, trees)}"
        raise UsageError(f"{said}give PATH, PATH@REV, or one of {', '.join(trees)}")
    source = from_package(tree) if tree else from_user(user_tree or "")
    if series is not None:
        source = source if series == "none" else apply(source, patches_in(directory_of(series)), "series")
    elif tree and tree.series:
        source = apply(source, patches_in(tree.series), "series")
    elif not tree and not source.has_feature:
        source = _apply_fitting(source, trees)
    for directory in cell.patches:
        if patches := _for_version(patches_in(directory), source.version):
            source = apply(source, patches, directory.name, skip_applied=True)
    if extra:
        # in the same work tree as the source below them, so that a small change is a small build
        patched = apply(source, [_file(patch) for patch in extra], Path(extra[-1]).stem)
        source = replace(patched, variant=source.variant)
    return source


def version_of(name: str, trees: Mapping[str, Tree]) -> Version | None:
    """The version of a tree, one of `trees` or the user's; None for a package whose name does not say it,
    instead of unpacking it. Raises UsageError."""
    tree = trees.get(name)
    return tree.version if tree else version_of_user(name)


def for_tree(matrix: Matrix, tree: str | None) -> list[Cell]:
    """The cells that are for the version of a tree, or each for that of its own tree, as far as it is known.
    Raises UsageError."""
    cells = list(matrix.cells.values())
    versions = {name: version_of(name, matrix.trees) for name in {tree or cell.tree for cell in cells}}
    return [cell for cell in cells if _fits(cell, versions[tree or cell.tree])]


def _fits(cell: Cell, version: Version | None) -> bool:
    return version is None or cell.versions.hold(version)


def refuse_unfit(cells: Sequence[Cell], trees: Mapping[str, Tree], user_tree: str | None) -> None:
    """Raise a UsageError that names the first cell that is not for the version of its tree."""
    for cell in cells:
        name = user_tree or cell.tree
        if cell.versions != EVERY_VERSION and not _fits(cell, version := version_of(name, trees)):
            raise UsageError(f"{cell.name} is for kernels {cell.versions}, and {name} is {version}; leave it out")


def is_bare(name: str, trees: Mapping[str, Tree], series: str | None) -> bool:
    """Whether a tree, one of `trees` or the user's, does not have the series and is tested without it."""
    if tree := trees.get(name):
        return series == "none" or (series is None and tree.series is None)
    return series == "none" and not from_user(name).has_feature


def _apply_fitting(source: Source, trees: Mapping[str, Tree]) -> Source:
    """The user's source with the farm's series that fits: that for its version, or the nearest one that
    applies. Raises a UsageError that says what did not fit."""
    refused: list[str] = []
    for series in nearest(source.version, trees):
        made_for = [tree for tree in trees.values() if tree.series == series]
        try:
            return apply(source, patches_in(series), "series", lenders=list(_imported(made_for)))
        except UsageError as error:
            refused.append(str(error) if not refused else str(error).partition("; ")[0])
    said = "\n".join([f"no series of the farm fits this tree, which is {source.version}:", *refused])
    raise UsageError(f"{said}\ntest it as it is (--series none), or with patches of yours (--series DIR)")


def _imported(trees: Iterable[Tree]) -> Iterator[Source]:
    """The sources of trees that are there without being waited for."""
    for tree in trees:
        with suppress(FarmError):
            if is_imported(tree):
                yield from_package(tree)


def nearest(version: Version, trees: Mapping[str, Tree]) -> list[Path]:
    """The series of the matrix, the one that is for this version, or nearest to it, first. A directory's
    name says which one it is for, as patches/v6.12."""

    def steps(series: Path) -> int:
        its = parse(series.name)
        return version.steps_to(its) if its else sys.maxsize

    return sorted(dict.fromkeys(tree.series for tree in trees.values() if tree.series), key=steps)


def _for_version(patches: Sequence[Path], version: Version) -> list[Path]:
    """Those of the farm's own patches that are for a version: a message may have lines of `Since: v6.17`
    and `Until: v7.2`."""
    messages = {patch: content(patch).decode(errors="replace").partition("\n---\n")[0] for patch in patches}
    return [patch for patch, message in messages.items() if bounds(message.splitlines()).hold(version)]


def directory_of(series: str) -> Path:
    """The directory that the user named. Raises UsageError if there is none."""
    directory = os.path.realpath(os.path.expanduser(series))
    if not os.path.isdir(directory):
        raise UsageError(f"--series {series}: no such directory; give a directory of patches, or none")
    return Path(directory)


def check(
    cells: Sequence[Cell],
    trees: Mapping[str, Tree],
    user_tree: str | None,
    series: str | None,
    extra: Sequence[str] = (),
) -> None:
    """Before a run begins, raise UsageError if its tree, series, patches or fragments cannot be
    built from. A source that is not imported yet would take a minute; there, the builder finds
    the patches that do not apply."""
    for fragment in dict.fromkeys(path for cell in cells for path in cell.fragments + cell.feature):
        kconfig.read(fragment)
    check_files(series, extra)
    refuse_unfit(cells, trees, user_tree)
    done = set()
    for cell in cells:
        like = (cell.tree, cell.patches)
        tree = trees.get(user_tree or cell.tree)
        if (user_tree or series or extra) and like not in done and (tree is None or is_imported(tree)):
            done.add(like)
            _ = resolve(cell, trees, user_tree, series, extra).version  # raises where the tree does not say it


def check_files(series: str | None, extra: Sequence[str]) -> None:
    """Raise UsageError for a series and patches that no tree could take."""
    named = [_file(patch) for patch in extra]
    if series and series != "none":
        named += patches_in(directory_of(series))
    for patch in named:
        content(patch)


def _file(patch: str) -> Path:
    if not patch:
        raise UsageError("--patch is empty; give FILE, or leave out the option")
    path = os.path.realpath(os.path.expanduser(patch))
    if os.path.isdir(path):
        raise UsageError(f"--patch {patch}: this is a directory; for all patches in it give --series {patch}")
    if not os.path.exists(path):
        raise UsageError(f"--patch {patch}: no such file")
    if not os.path.isfile(path):
        raise UsageError(f"--patch {patch}: this is no file that can be read twice; save the patch in one")
    return Path(path)


def content(patch: Path) -> bytes:
    """The bytes of a patch, in any encoding. Raises UsageError if it is not a mail: `git am` takes
    only mails, and would not say what to do."""
    try:
        data = patch.read_bytes()
    except OSError as error:
        raise refused(error, patch, user=True) from error
    if not data.strip():
        raise UsageError(f"{patch}: this patch is empty")
    if _BARE_DIFF.match(data):
        raise UsageError(
            f"{patch}: this is a diff without author and message; commit the change, and take what "
            "`git format-patch -1` writes of it"
        )
    return data


def apply(
    source: Source, patches: Sequence[Path], name: str, skip_applied: bool = False, lenders: Sequence[Source] = ()
) -> Source:
    """`source` with the patches on top.

    Where the context of a patch has changed, git merges it, if it has the files that the patch was made
    for: in the source's own history, or in one of the `lenders`.

    The result is kept in the store under the hash of its inputs, so that `git am`
    runs only once. If a patch does not apply, this raises a UsageError that names
    patch, file and hunk, and leaves nothing behind. With `skip_applied`, patches
    that the tree has already are skipped.
    """
    label = f"{source.label} + {name} ({len(patches)} patch{'es' if len(patches) > 1 else ''})"
    variant = name if source.variant == "base" else f"{source.variant}+{name}"
    ingredients: list[str | bytes] = [source.commit, str(skip_applied)]
    for patch in patches:
        ingredients += [patch.name, content(patch)]
    ref = f"refs/farm/{cache.digest(*ingredients)}"
    commit = source.git("for-each-ref", "--format=%(objectname)", ref)
    if not commit:
        commit = _am(source, patches, skip_applied, lenders)
        source.git("update-ref", ref, commit)
    return source.at(commit, label, variant)


def _am(source: Source, patches: Sequence[Path], skip_applied: bool, lenders: Sequence[Source]) -> str:
    with cache.scratch("am") as directory:
        where = directory / "tree"
        # No checkout: `git am` takes the few files that it changes from the index.
        # Writing all files would take longer than everything else.
        source.git("worktree", "add", "--quiet", "--no-checkout", "--detach", where, source.commit)
        git: list[str | Path] = ["git", "-C", where]
        try:
            run([*git, "read-tree", "HEAD"], env=IDENTITY)
            for patch in patches:
                if not (skip_applied and _reverses(where, patch)):
                    for lender in lenders:
                        _lend(lender, source, patch)
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


def _lend(lender: Source, source: Source, patch: Path) -> None:
    """Copy the files that a patch was made for, as git needs them to merge it. They are named by the
    beginning of their ids. An alternate would not do: what git finds there it does not write."""
    for blob in re.findall(r"^index ([0-9a-f]{7,40})\.\.", patch.read_text(errors="replace"), re.M):
        try:
            text = run(["git", "--git-dir", lender.store, "cat-file", "blob", blob])
        except CommandFailed:
            continue  # a new file, or one of the patch before
        source.git("hash-object", "-w", "--stdin", stdin=text)


def _am_one(where: Path, patch: Path) -> None:
    git: list[str | Path] = ["git", "-C", where]
    am: list[str | Path] = [*git, "am", "--quiet", "--committer-date-is-author-date"]
    try:
        run([*am, patch], env=IDENTITY)
    except CommandFailed as error:
        if "patch failed" in error.output and _reverses(where, patch):
            raise UsageError(f"{patch}: the tree has this patch already; leave it out") from error
        try:
            run([*git, "am", "--quit"], env=IDENTITY)
            _check_out_changed(where, patch)
            run([*am, "--3way", patch], env=IDENTITY)
        except CommandFailed:
            raise UsageError(explain(patch, error.output)) from error


def _check_out_changed(where: Path, patch: Path) -> None:
    """Write the files that a patch changes, so that a merge finds them unchanged."""
    named = set(re.findall(r"^(?:--- a|\+\+\+ b)/(\S+)", patch.read_text(errors="replace"), re.M))
    known = run(["git", "-C", where, "ls-files", "--", *named]).splitlines() if named else []
    if known:
        run(["git", "-C", where, "checkout", "--force", "--", *known], env=IDENTITY)


def explain(patch: Path, output: str) -> str:
    """The output of `git am` as a message: patch, file, hunk."""
    lines = [f"{patch} does not apply; the tree is as it was"]
    if "Patch format detection failed" in output:
        return f"{patch} does not apply: it is no patch as `git format-patch` writes it"
    failed = re.findall(r"^error: patch failed: (.+):(\d+)$", output, re.M)
    for file, line in failed[:MOST_HUNKS]:
        lines.append(f"  {file}: the hunk at line {line} ({_hunk(patch, file, int(line))})")
    if len(failed) > MOST_HUNKS:
        lines.append(f"  and {len(failed) - MOST_HUNKS} hunks more")
    if not failed:
        advice = ("hint:", "Patch failed at", "When you have", "If you prefer", "To restore")
        said = [line for line in output.strip().splitlines() if not line.startswith(advice)]
        lines += [f"  {line}" for line in said[:6]]
    return "\n".join(lines)


def _hunk(patch: Path, file: str, line: int) -> str:
    """The header of the hunk of `file` that starts at `line`."""
    current = ""
    for text in patch.read_text(errors="replace").splitlines():
        if text.startswith("+++ "):
            current = text.removeprefix("+++ ").removeprefix("b/").split("\t")[0]
        if current == file and text.startswith((f"@@ -{line},", f"@@ -{line} ")):
            return text
    return f"old line {line}"
