# SPDX-License-Identifier: GPL-2.0
"""A series on a source: one commit a patch, once, and nothing left of a failure."""

from dataclasses import replace
from pathlib import Path

import pytest

from farm.base.errors import UsageError
from farm.kernel.series import apply, patches_in, resolve
from farm.kernel.tree import FEATURE_HEADER, Source, from_user
from farm.matrix import Cell, Tree, load
from tests.conftest import LINUX, Repository

pytestmark = pytest.mark.usefixtures("cache_root")

TEXT = "".join(f"line {n}\n" for n in range(1, 41))


@pytest.fixture
def base(linux: Repository) -> Source:
    """A source with two files of forty lines."""
    linux.commit({"another.c": TEXT.replace("line", "row"), "file.c": TEXT})
    return from_user(str(linux.path))


@pytest.fixture
def series(linux: Repository, base: Source, tmp_path: Path) -> Path:
    """Two patches: the first changes two files in two places each, the second adds the feature's header."""
    linux.git("checkout", "--quiet", "-b", "series")
    changed = TEXT.replace("line 5\n", "five\n").replace("line 30\n", "thirty\n")
    linux.commit({"another.c": changed.replace("line", "row"), "file.c": changed}, "file: Change two")
    linux.commit({FEATURE_HEADER: "struct bpf_ftrace_args;\n"}, "bpf: Add a header")
    linux.git("format-patch", "--quiet", "-o", str(tmp_path / "series"), "main")
    linux.git("checkout", "--quiet", "main")
    return tmp_path / "series"


def log(source: Source) -> list[str]:
    return source.git("log", "--format=%s", source.commit).splitlines()


def worktrees(source: Source) -> list[str]:
    return source.git("worktree", "list").splitlines()


def test_one_commit_a_patch(base: Source, series: Path) -> None:
    patched = apply(base, patches_in(series), "series")
    assert log(patched) == ["bpf: Add a header", "file: Change two", *log(base)]
    assert "five" in patched.git("show", f"{patched.commit}:file.c")
    assert patched.has_feature
    assert not base.has_feature
    assert patched.variant == "series"
    assert patched.label == f"{base.label} + series (2 patches)"
    assert patched.content == patched.git("rev-parse", f"{patched.commit}^{{tree}}") != base.content
    assert len(worktrees(base)) == 1


def test_same_commits_on_every_machine(
    linux: Repository, base: Source, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = apply(base, patches_in(series), "series")
    here = first.store
    monkeypatch.setenv("FTRACE_FARM_CACHE", str(tmp_path / "another"))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Somebody Else")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2020-02-02T00:00:00Z")
    second = apply(from_user(str(linux.path)), patches_in(series), "series")
    assert second.store != here
    assert first == second


def test_second_call_asks_the_store(base: Source, series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = apply(base, patches_in(series), "series")
    patches = patches_in(series)
    programs = series.parent / "bin"
    programs.mkdir()
    (programs / "git").write_text('#!/bin/sh\ncase " $* " in *" am "*) exit 77;; esac\nexec /usr/bin/git "$@"\n')
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    assert apply(base, patches, "series") == first
    patches[1].write_text(patches[1].read_text().replace("Add a header", "Add the header"))
    with pytest.raises(UsageError, match="does not apply"):  # the proof that `git am` would have been seen
        apply(base, patches, "series")


def test_failing_patch_is_named_with_file_and_hunk(linux: Repository, base: Source, series: Path) -> None:
    linux.commit({"file.c": TEXT.replace("line 29\n", "somebody was here\n")})
    source = from_user(str(linux.path))
    patch = patches_in(series)[0]
    with pytest.raises(UsageError) as error:
        apply(source, patches_in(series), "series")
    assert str(error.value).splitlines() == [
        f"{patch} does not apply; the tree is as it was",
        "  file.c: the hunk at line 27 (@@ -27,7 +27,7 @@ line 26)",
    ]
    assert len(worktrees(source)) == 1, "the attempt's work tree is gone"
    assert not list(series.parent.glob("cache/am/.partial-*"))
    assert source.git("for-each-ref", "refs/farm") == ""
    with pytest.raises(UsageError, match="does not apply"):
        apply(source, patches_in(series), "series")


def test_patch_for_a_missing_file(linux: Repository, base: Source, series: Path) -> None:
    (linux.path / "file.c").unlink()
    with pytest.raises(UsageError, match=r"0001-file-Change-two\.patch does not apply(.|\n)*file\.c"):
        apply(from_user(str(linux.path)), patches_in(series), "series")


def test_no_patch_at_all(base: Source, tmp_path: Path) -> None:
    (tmp_path / "0001.patch").write_text("this is no patch\n")
    with pytest.raises(UsageError, match=r"0001\.patch does not apply"):
        apply(base, patches_in(tmp_path), "series")


def test_skip_applied(linux: Repository, base: Source, series: Path) -> None:
    """The tree has the first patch already; the second is applied alone."""
    linux.git("cherry-pick", "series~1")
    source = from_user(str(linux.path))
    patched = apply(source, patches_in(series), "testing", skip_applied=True)
    assert log(patched) == ["bpf: Add a header", *log(source)]
    with pytest.raises(UsageError, match="0001-file-Change-two"):
        apply(source, patches_in(series), "testing")


def test_skip_applied_with_all_of_them(linux: Repository, base: Source, series: Path) -> None:
    source = from_user(f"{linux.path}@series")
    assert apply(source, patches_in(series), "testing", skip_applied=True).commit == source.commit


def test_directory_without_patches(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no \*\.patch files in this directory"):
        patches_in(tmp_path)


# Which series a cell gets.


@pytest.fixture
def cell() -> Cell:
    return replace(load().cells["x86_64-regs"], patches=())


def test_tree_without_the_feature_gets_the_series(linux: Repository, base: Source, series: Path, cell: Cell) -> None:
    trees = {"mine": Tree("mine", "none", Path("/none"), series)}
    assert resolve(cell, trees, str(linux.path), None).has_feature


def test_tree_with_the_feature_does_not(linux: Repository, base: Source, series: Path, cell: Cell) -> None:
    trees = {"mine": Tree("mine", "none", Path("/none"), series)}
    source = resolve(cell, trees, f"{linux.path}@series", None)
    assert source.commit == linux.git("rev-parse", "series")


def test_series_of_the_users(linux: Repository, base: Source, series: Path, cell: Cell, tmp_path: Path) -> None:
    trees = {"mine": Tree("mine", "none", Path("/none"), tmp_path)}
    assert not resolve(cell, trees, str(linux.path), "none").has_feature
    assert resolve(cell, trees, str(linux.path), str(series)).has_feature
    with pytest.raises(UsageError, match="--series /nonexistent: no such directory"):
        resolve(cell, trees, str(linux.path), "/nonexistent")


def test_patches_of_the_cell_come_on_top(linux: Repository, base: Source, series: Path, cell: Cell) -> None:
    trees = {"mine": Tree("mine", "none", Path("/none"), series)}
    patched = resolve(replace(cell, patches=(series,)), trees, str(linux.path), "none")
    assert log(patched)[:2] == ["bpf: Add a header", "file: Change two"]
    assert patched.variant == "series"


def test_tree_gets_the_series_that_is_nearest(linux: Repository, base: Source, tmp_path: Path, cell: Cell) -> None:
    """Of those that apply: one for v6.13 would be nearer to v6.12 than that for v6.1, but it does not fit."""
    trees = {}
    for name, old in (("v5.15", "line 2"), ("v6.13", "row 2"), ("v6.1", "line 2")):
        directory = tmp_path / "patches" / name
        directory.mkdir(parents=True)
        (directory / "0001-x.patch").write_text(mail(name, old))
        trees[name] = Tree(name, "none", Path("/none"), directory)
    assert log(resolve(cell, trees, str(linux.path), None))[0] == "v6.1"
    for name in ("v6.1", "v5.15"):
        del trees[name]
    with pytest.raises(UsageError, match=r"(?s)no series .* this tree, which is v6\.12:.*v6\.13/0001.*--series none"):
        resolve(cell, trees, str(linux.path), None)


def test_changed_context_is_merged(linux: Repository, base: Source, series: Path, tmp_path: Path) -> None:
    """From the tree's own history, or with the files of the source that the series was made for."""
    changed = TEXT.replace("line 8\n", "eight\n")
    linux.commit({"file.c": changed, "another.c": changed.replace("line", "row")})
    patched = apply(from_user(str(linux.path)), patches_in(series), "series")
    wanted = changed.replace("line 5\n", "five\n").replace("line 30\n", "thirty\n")
    assert patched.git("show", f"{patched.commit}:file.c") == wanted.strip()

    stranger = Repository(tmp_path / "stranger")
    stranger.commit({**LINUX, "file.c": changed, "another.c": changed.replace("line", "row")})
    theirs = from_user(str(stranger.path))
    with pytest.raises(UsageError, match=r"(?s)does not apply; the tree is as it was.*file.c: the hunk at line 2"):
        apply(theirs, patches_in(series), "series")
    merged = apply(theirs, patches_in(series), "series", lenders=[base])
    assert merged.git("show", f"{merged.commit}:file.c") == wanted.strip()
    assert len(worktrees(theirs)) == 1
    merged.git("fsck", "--no-dangling")


def test_patch_is_for_the_versions_that_it_says(
    linux: Repository, base: Source, series: Path, cell: Cell, tmp_path: Path
) -> None:
    patch = tmp_path / "own" / "0001-x.patch"
    patch.parent.mkdir()
    for said, applied in (("Since: v6.13", False), ("Until: v6.11", False), ("Since: v6.12", True), ("", True)):
        patch.write_text(mail(f"subject\n\n{said}", "line 2"))
        source = resolve(replace(cell, patches=(patch.parent,)), {}, str(linux.path), "none")
        assert (log(source)[0] == "subject") == applied, said


def mail(message: str, old: str) -> str:
    """A patch of `file.c` as git would write it: it changes the second line."""
    return (
        f"From {'0' * 40} Mon Sep 17 00:00:00 2001\nFrom: U <u@localhost>\nDate: Sat, 1 Jan 2000 00:00:00 +0000\n"
        f"Subject: [PATCH] {message}\n\n---\ndiff --git a/file.c b/file.c\n--- a/file.c\n+++ b/file.c\n"
        f"@@ -1,3 +1,3 @@\n line 1\n-{old}\n+changed\n line 3\n"
    )


def test_the_users_signing_key_has_no_say(
    base: Source, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`git am` would ask for a key that is not there."""
    (tmp_path / ".gitconfig").write_text("[user]\n\tsigningkey = nobody\n[commit]\n\tgpgsign = true\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert apply(base, patches_in(series), "series").has_feature
