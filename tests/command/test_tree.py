# SPDX-License-Identifier: GPL-2.0
"""Trees of the user's: read as they stand, never written to; work trees that recover."""

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from farm.base.command import run
from farm.base.errors import FarmError, UsageError
from farm.kernel.tree import FEATURE_HEADER, Source, check_out, from_package, from_user, worktree_name
from farm.matrix import Tree
from tests.conftest import LINUX, Repository

pytestmark = pytest.mark.usefixtures("cache_root")


def listing(directory: Path) -> dict[str, tuple[int, int, str]]:
    """Mode, time and content of everything in a directory, .git included.

    Without the times of git's objects and shared indices: git renews that of
    one that it meets again, in an alternate too, so that no `gc` takes it.
    """
    found = {}
    for path in sorted([directory, *directory.rglob("*")]):
        stat = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        is_object = path.is_file() and ("/.git/objects/" in str(path) or path.name.startswith("sharedindex."))
        found[str(path)] = (stat.st_mode, 0 if is_object else stat.st_mtime_ns, content)
    return found


def files_of(source: Source) -> set[str]:
    return set(source.git("ls-tree", "-r", "--name-only", source.commit).splitlines())


def test_head_where_nothing_changed(linux: Repository) -> None:
    source = from_user(str(linux.path))
    assert source.commit == linux.git("rev-parse", "HEAD")
    assert source.content == linux.git("rev-parse", "HEAD^{tree}")
    assert source.label == f"{linux.path}@{source.commit[:12]}"
    assert not source.has_feature


def test_a_subdirectory_means_its_tree(linux: Repository) -> None:
    assert from_user(str(linux.path / "arch/x86")).commit == from_user(str(linux.path)).commit


def test_revision(linux: Repository) -> None:
    before = linux.git("rev-parse", "HEAD")
    linux.git("tag", "v1")
    linux.commit({FEATURE_HEADER: "struct bpf_ftrace_args;\n"})
    linux.write({"Kbuild": "changed\n"})
    source = from_user(f"{linux.path}@v1")
    assert (source.commit, source.label) == (before, f"{linux.path}@v1")
    assert from_user(f"{linux.path}@main~1").commit == before
    assert from_user(f"{linux.path}@main").has_feature


def test_path_with_an_at(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "linux@home")
    first = repository.commit(LINUX)
    second = repository.commit({"new": "1\n"})
    assert from_user(str(repository.path)).commit == second
    assert from_user(f"{repository.path}@{first}").commit == first


@pytest.mark.parametrize("removed", ["Kconfig", "Kbuild", "arch/x86/kernel/ftrace_64.S"])
def test_no_kernel(linux: Repository, removed: str) -> None:
    (linux.path / removed).unlink()
    with pytest.raises(UsageError, match=f"no Linux source, it has no {removed}"):
        from_user(str(linux.path))


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a git repository"):
        from_user(str(tmp_path))


@pytest.mark.parametrize("spec", ["/nonexistent", "/nonexistent@v1", "@v1"])
def test_no_directory(spec: str) -> None:
    with pytest.raises(UsageError, match="no such directory; give PATH or PATH@REV"):
        from_user(spec)


def test_repository_without_a_commit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no revision 'HEAD'"):
        from_user(str(Repository(tmp_path / "empty").path))


@pytest.mark.parametrize("revision", ["nix", "--all", "main:Kbuild"])
def test_unknown_revision(linux: Repository, revision: str) -> None:
    with pytest.raises(UsageError, match=f"has no revision '{revision}'"):
        from_user(f"{linux.path}@{revision}")


def test_working_tree_as_it_stands(linux: Repository) -> None:
    linux.commit({".gitignore": "*.o\n", "gone": "1\n"})
    linux.write({"Kbuild": "changed\n", "drivers/new.c": "int x;\n", "kernel/a.o": "object"})
    (linux.path / "gone").unlink()
    source = from_user(str(linux.path))
    assert source.label.endswith(" with uncommitted changes")
    assert files_of(source) == {*LINUX, ".gitignore", "drivers/new.c"}
    assert source.git("show", f"{source.commit}:Kbuild") == "changed"
    assert source.git("rev-parse", f"{source.commit}^") == linux.git("rev-parse", "HEAD")
    assert from_user(str(linux.path)).commit == source.commit, "the same files are the same commit"


def test_staged_changes_count(linux: Repository) -> None:
    linux.write({"staged.c": "int x;\n"})
    linux.git("add", "staged.c")
    assert "staged.c" in files_of(from_user(str(linux.path)))


def test_worktree_of_a_repository(linux: Repository, tmp_path: Path) -> None:
    """`git worktree` gives a checkout whose .git is a file and whose objects lie elsewhere."""
    linux.git("worktree", "add", "--quiet", "-b", "side", str(tmp_path / "side"))
    (tmp_path / "side/new.c").write_text("int x;\n")
    assert "new.c" in files_of(from_user(str(tmp_path / "side")))
    assert "new.c" not in files_of(from_user(str(linux.path)))


@pytest.mark.parametrize("setting", ["gc.auto", "core.splitIndex", "core.untrackedCache"])
def test_the_users_repository_is_untouched(linux: Repository, setting: str) -> None:
    """Not even where the user's settings make git keep more beside the index."""
    linux.git("config", setting, "1")
    linux.git("update-index", "--refresh")
    linux.git("tag", "v1")
    linux.write({"Kbuild": "changed\n", "staged.c": "int y;\n", **{f"drivers/{n}.c": "int x;\n" for n in range(9)}})
    linux.git("add", "staged.c")
    os.utime(linux.path / "Kconfig")  # stat data that `git status` would write back
    before = listing(linux.path)
    for spec in (str(linux.path), f"{linux.path}@v1"):
        written(from_user(spec))
    assert listing(linux.path) == before


def written(source: Source) -> Path:
    with check_out(source) as where:
        return where


def test_work_tree_is_shared_by_those_who_want_the_same(linux: Repository) -> None:
    first = from_user(str(linux.path))
    linux.write({"Kbuild": "changed\n"})
    second = from_user(str(linux.path))
    came: list[str] = []

    def want_the_other() -> None:
        with check_out(second) as where:
            came.append((where / "Kbuild").read_text())

    with check_out(first) as where, check_out(first) as again:
        assert again == where
        waiting = threading.Thread(target=want_the_other)
        waiting.start()
        waiting.join(0.5)
        assert came == []
        assert (where / "Kbuild").read_text() == LINUX["Kbuild"]
    waiting.join(10)
    assert came == ["changed\n"]


def test_check_out_writes_only_what_differs(linux: Repository) -> None:
    where = written(from_user(str(linux.path)))
    assert (where / "Kbuild").read_text() == LINUX["Kbuild"]
    (where / "build-x").mkdir()
    (where / "build-x/a.o").write_text("object")
    times = {name: (where / name).stat().st_mtime_ns for name in LINUX}
    linux.write({"Kbuild": "changed\n", "drivers/new.c": "int x;\n"})
    again = written(from_user(str(linux.path)))
    assert again == where
    changed = {name for name in LINUX if (where / name).stat().st_mtime_ns != times[name]}
    assert changed == {"Kbuild"}
    assert (where / "drivers/new.c").exists()
    assert (where / "build-x/a.o").exists(), "builds lie in the work tree and stay"
    linux.git("checkout", "--quiet", "Kbuild")
    (linux.path / "drivers/new.c").unlink()
    written(from_user(str(linux.path)))
    assert (where / "Kbuild").read_text() == LINUX["Kbuild"]
    assert not (where / "drivers/new.c").exists()


def test_check_out_heals_changed_files(linux: Repository) -> None:
    where = written(from_user(str(linux.path)))
    (where / "Kbuild").write_text("somebody edited the farm's copy\n")
    (where / "Kconfig").unlink()
    written(from_user(str(linux.path)))
    assert (where / "Kbuild").read_text() == LINUX["Kbuild"]
    assert (where / "Kconfig").read_text() == LINUX["Kconfig"]


def lose_lock(source: Source, where: Path) -> None:
    (source.store / "worktrees" / where.name / "index.lock").write_text("")


def lose_link(source: Source, where: Path) -> None:
    (where / ".git").unlink()


def lose_admin(source: Source, where: Path) -> None:
    shutil.rmtree(source.store / "worktrees")


def lose_all(source: Source, where: Path) -> None:
    shutil.rmtree(where)


def lose_files(source: Source, where: Path) -> None:
    """As a kill in the middle of the first checkout leaves it."""
    lose_lock(source, where)
    (source.store / "worktrees" / where.name / "index").unlink()
    (where / "Kconfig").unlink()


@pytest.mark.parametrize("lose", [lose_lock, lose_link, lose_admin, lose_all, lose_files])
def test_interrupted_check_out_recovers(linux: Repository, lose: Callable[[Source, Path], None]) -> None:
    source = from_user(str(linux.path))
    where = written(source)
    lose(source, where)
    linux.write({"Kbuild": "changed\n"})
    source = from_user(str(linux.path))
    assert written(source) == where
    assert {name: (where / name).read_text() for name in LINUX} == {**LINUX, "Kbuild": "changed\n"}
    assert run(["git", "-C", where, "status", "--porcelain"]) == ""


def archive(tmp_path: Path) -> Tree:
    """A source package as Debian makes them, its .gitignore included."""
    source = tmp_path / "linux-source-1"
    for name, text in {**LINUX, ".gitignore": "/*\n"}.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    packed = shutil.make_archive(str(tmp_path / "linux-source-1"), "xztar", tmp_path, source.name)
    return Tree("debian-1", "linux-source-1", Path(packed), tmp_path)


def test_package(tmp_path: Path) -> None:
    tree = archive(tmp_path)
    source = from_package(tree)
    assert files_of(source) == {*LINUX, ".gitignore"}
    assert from_package(tree) == source
    where = written(source)
    assert where.name == worktree_name(source)
    assert {name: (where / name).read_text() for name in LINUX} == LINUX
    assert not (source.store / "unpacked").exists(), "the first work tree takes what was unpacked"
    inode = (where / "Kbuild").stat().st_ino
    assert written(source) == where
    assert (where / "Kbuild").stat().st_ino == inode


def test_missing_package(tmp_path: Path) -> None:
    with pytest.raises(FarmError, match="sudo apt-get install linux-source-0"):
        from_package(Tree("debian-0", "linux-source-0", tmp_path / "none.tar.xz", tmp_path))
