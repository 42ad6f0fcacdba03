# SPDX-License-Identifier: GPL-2.0
"""`farm clean`: what goes, what stays, and that nothing goes that somebody uses or that is not the farm's."""

import io
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from farm import cleaning
from farm.base import cache, locks, removal
from farm.base.deadline import Deadline
from farm.base.errors import FarmError, UsageError
from farm.cli import main

#: Uses the cache as the words say, prints a line when it does, and stays so until it is killed.
USER = """
import subprocess, sys, time
from contextlib import ExitStack
from farm.base import cache

stack = ExitStack()
match sys.argv[1:]:
    case ["hold"]:
        cache.hold()
    case ["lock", name]:
        stack.enter_context(cache.locked(cache.root() / name))
    case ["scratch", kind]:
        (stack.enter_context(cache.scratch(kind)) / "half").write_text("half")
    case ["fill", kind, key]:
        cache.fill(kind, key, lambda directory: (directory / "whole").write_text("whole"))
print("ready", flush=True)
time.sleep(60)
"""

#: What the farm's caches had in them before they were marked.
KERNEL = "kernels/0123456789abcdef0123/bzImage"
OTHERS = ("keys/0123456789abcdef0123/id", "ccache/0/1/object", "bytecode/x.pyc", "sources/x-1/objects/pack")
BUILDS = ("worktrees/x+base/build-c/vmlinux", "worktrees/x+base/build-d/vmlinux")
TREE = "worktrees/x+base/kernel/fork.c"


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def farm(*words: str) -> Done:
    """`farm`, without a terminal, in this process: a new one takes a second to begin.

    After `clean` without --all this process uses the cache: start a new one for what comes then.
    """
    stdout, stderr = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, open(os.devnull) as null:
        patch.setattr(sys, "argv", ["farm", *words])
        patch.setattr(sys, "stdin", null)
        with redirect_stdout(stdout), redirect_stderr(stderr), pytest.raises(SystemExit) as ended:
            main()
    return Done(int(ended.value.code or 0), stdout.getvalue(), stderr.getvalue())


def started(*words: str) -> "subprocess.Popen[str]":
    """`farm` as a process."""
    argv = [sys.executable, "-m", "farm", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT, text=True)


@contextmanager
def user(*words: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that uses the cache, until SIGKILL ends it with the block: no `finally` of it runs."""
    with subprocess.Popen([sys.executable, "-c", USER, *words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def write(top: Path, *names: str) -> None:
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("x" * 5000)


def files(top: Path) -> set[str]:
    """The files below a directory, but for the cache's own."""
    found = (path for path in top.rglob("*") if path.is_file() or path.is_symlink())
    own = (cache.TAG, cache.IN_USE)
    return {str(path.relative_to(top)) for path in found if path.name not in own and path.suffix != ".lock"}


@pytest.fixture
def filled(cache_root: Path) -> Path:
    write(cache_root, KERNEL, TREE, *OTHERS, *BUILDS)
    return cache_root


KEPT = {KERNEL, TREE, *OTHERS}
ALL = {*KEPT, *BUILDS}


def test_build_directories_go_and_the_rest_stays(filled: Path) -> None:
    done = farm("clean")
    assert done.returncode == 0, done.stderr
    assert f"removed {filled}/worktrees/x+base/build-c (" in done.stdout
    assert "freed 24.6 kB" in done.stdout, "two directories and two files of 8 KiB on the disk"
    assert files(filled) == KEPT
    assert not list(filled.rglob(".removing-*"))


@pytest.mark.parametrize("words", [[], ["--all"], ["--all", "--yes"]])
def test_dry_run_changes_nothing(filled: Path, words: list[str]) -> None:
    with user("scratch", "kernels") as killed:
        killed.send_signal(signal.SIGKILL)
    before = sorted(str(path) for path in filled.rglob("*"))
    done = farm("clean", "--dry-run", *words)
    assert done.returncode == 0, done.stderr
    assert f"would remove {filled}/{'kernels' if words else 'worktrees/x+base/build-c'} (" in done.stdout
    assert "would free " in done.stdout
    assert before == sorted(str(path) for path in filled.rglob("*"))


def test_all_wants_a_yes(filled: Path) -> None:
    done = farm("clean", "--all")
    assert done.returncode == 2
    assert "--all: give --yes as well" in done.stderr
    assert files(filled) == ALL


@pytest.mark.parametrize("answer, left", [("n\n", ALL), ("\n", ALL), ("\x04", ALL), ("y\n", set())])
def test_all_asks_on_a_terminal(filled: Path, answer: str, left: set[str]) -> None:
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "farm", "clean", "--all"]
    with subprocess.Popen(argv, stdin=theirs, stdout=subprocess.PIPE, text=True) as process:
        os.close(theirs)
        os.write(ours, answer.encode())
        said, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    assert f"would remove {filled}/kernels (" in said
    assert f"Empty {filled}?" in said
    assert ("nothing is removed" in said) == bool(left)
    assert files(filled) == left


def test_all_and_runs_are_two_things(filled: Path) -> None:
    done = farm("clean", "--all", "--yes", "--runs", "0")
    assert done.returncode == 2
    assert "give one of them" in done.stderr
    assert files(filled) == ALL


def test_all_empties_the_cache(filled: Path) -> None:
    done = farm("clean", "--all", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"removed {filled}/ccache (" in done.stdout
    assert list(filled.iterdir()) == [filled / cache.IN_USE], "the lock stays: somebody may be waiting for it"
    assert farm("clean", "--all", "--yes").returncode == 0


def test_nothing_to_clean(cache_root: Path) -> None:
    for words in ([], ["--dry-run"], ["--all", "--yes"], ["--all", "--dry-run"]):
        done = farm("clean", *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert not cache_root.exists()


# What somebody uses.


def test_build_that_goes_on_is_left(filled: Path) -> None:
    with user("lock", "worktrees/x+base+c.lock") as builder:
        for words in (["--dry-run"], []):
            done = farm("clean", *words)
            assert done.returncode == 0, done.stderr
            assert f"keeping {filled}/worktrees/x+base/build-c: in use by pid {builder.pid} (" in done.stdout
            assert "build-d (" in done.stdout
    assert files(filled) == {*KEPT, BUILDS[0]}
    assert farm("clean").returncode == 0
    assert files(filled) == KEPT, "its builder is dead now"


def test_user_is_named_as_it_was_typed(filled: Path) -> None:
    """A builder is part of the command that started it."""
    script = filled.with_name("farm")
    script.write_text(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {USER!r}, 'hold'])\n")
    with subprocess.Popen([sys.executable, script, "run", "x y"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        (holder,) = cleaning.users()
        assert str(holder) == f"pid {process.pid} (farm run 'x y')"
        child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("words", [["hold"], ["scratch", "consoles"], ["fill", "images", "0123456789abcdef0123"]])
def test_all_leaves_a_cache_that_is_in_use(filled: Path, words: list[str]) -> None:
    """Whatever of it: paths go from hand to hand, and a kernel that was built is booted later."""
    with user(*words) as process:
        before = files(filled)
        done = farm("clean", "--all", "--yes")
        assert done.returncode == 3
        assert f"farm: {filled}: in use by pid {process.pid} (" in done.stderr
        assert "nothing is removed" in done.stderr
        assert files(filled) == before
        would = farm("clean", "--all", "--dry-run")
        assert f"but not now: {filled} is in use by pid {process.pid} (" in would.stdout
    assert farm("clean", "--all", "--yes").returncode == 0
    assert files(filled) == set()


def test_scratch_of_a_living_farm_is_left(filled: Path) -> None:
    with user("scratch", "am") as process:
        (directory,) = filled.glob("am/.partial-*")
        for words in (["--dry-run"], []):
            assert f"keeping {directory}: in use by pid {process.pid} (" in farm("clean", *words).stdout
        assert directory.is_dir()
    assert directory.is_dir(), "it was killed"
    assert f"removed {directory} (" in farm("clean").stdout
    assert not directory.exists()


def test_two_at_once_remove_once(filled: Path) -> None:
    for number in range(100):
        write(filled, f"worktrees/t{number}+base/build-c/x")
    both = [started("clean"), started("clean")]
    said = "".join(process.communicate(timeout=60)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0], said
    # one may take the other's empty directory for abandoned before that is locked; the other makes a new one
    gone = [line.split()[1] for line in said.splitlines() if line.startswith("removed ") and "/build-" in line]
    assert len(gone) == len(set(gone)) == 102
    assert files(filled) == KEPT


def test_killed_clean_leaves_nothing_half(filled: Path) -> None:
    """Killed at any moment: each directory is whole or gone, and the next `clean` removes the rest."""
    sizes = {}
    for number in range(12):
        build = filled / f"worktrees/t{number}+base/build-c"
        write(build, *(f"{a}/{b}" for a in range(10) for b in range(20)))
        sizes[build] = 200
    for patience in (0.0, 0.003, 0.02):
        with started("clean") as process:
            assert process.stdout
            process.stdout.readline()
            time.sleep(patience)
            process.kill()
        left = {build: len(files(build)) for build in sizes if build.exists()}
        assert set(left.values()) <= {200}
    assert farm("clean").returncode == 0
    assert files(filled) == KEPT
    assert not list(filled.rglob(".removing-*"))


def test_what_a_killed_clean_left_is_counted(filled: Path) -> None:
    write(filled, "worktrees/.removing-abc/build-c/x", ".removing-abc/kernels/y")
    said = farm("clean", "--dry-run").stdout
    assert f"would remove {filled}/worktrees/.removing-abc (" in said
    assert f"would remove {filled}/.removing-abc (" in said
    assert farm("clean").returncode == 0
    assert files(filled) == KEPT


# What is not the farm's.


@pytest.mark.parametrize("words", [[], ["--dry-run"], ["--all", "--yes"], ["--all", "--dry-run"]])
def test_directory_that_is_no_cache_is_refused(filled: Path, words: list[str]) -> None:
    write(filled, "Documents/letter", "worktrees/mine/build-house/plan", "logs/.partial-diary/page")
    before = sorted(filled.rglob("*"))
    done = farm("clean", *words)
    assert done.returncode == 2
    assert f"error: {filled}: this is not a cache of the farm's, it has Documents; nothing is removed" in done.stderr
    assert sorted(filled.rglob("*")) == before


def test_names_alone_make_no_cache(cache_root: Path) -> None:
    """A user's own `logs` and `keys` are none."""
    write(cache_root, "logs/diary", "keys/house")
    done = farm("clean", "--all", "--yes")
    assert done.returncode == 2
    assert "it has no artifact" in done.stderr
    with user("hold"):
        pass
    assert not (cache_root / cache.TAG).exists(), "nor does the use of it mark it as one"
    assert farm("clean", "--all", "--yes").returncode == 2
    assert files(cache_root) == {"logs/diary", "keys/house"}


def test_used_directory_with_other_things_in_it_is_not_marked(cache_root: Path) -> None:
    write(cache_root, "thesis.tex")
    with user("fill", "kernels", "0123456789abcdef0123"):
        pass
    assert not (cache_root / cache.TAG).exists()
    done = farm("clean", "--all", "--yes")
    assert done.returncode == 2
    assert "it has thesis.tex;" in done.stderr
    assert (cache_root / "kernels/0123456789abcdef0123/whole").exists()


def test_marked_cache_keeps_what_was_put_into_it(cache_root: Path) -> None:
    with user("fill", "kernels", "0123456789abcdef0123"):
        pass
    assert (cache_root / cache.TAG).read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    write(cache_root, "thesis.tex", "pictures/cat")
    done = farm("clean", "--all", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"keeping {cache_root}/thesis.tex: not the farm's" in done.stdout
    assert files(cache_root) == {"thesis.tex", "pictures/cat"}


def test_cache_without_a_mark_gets_one(filled: Path) -> None:
    with user("hold"):
        assert (filled / cache.TAG).exists()
    write(filled, "notes")
    assert farm("clean", "--all", "--yes").returncode == 0
    assert files(filled) == {"notes"}


def test_another_programs_tag_is_no_mark(filled: Path) -> None:
    (filled / cache.TAG).write_text("Signature: 8a477f597d28d172789f06886806bc55\n# of a browser\n")
    done = farm("clean", "--all", "--yes")
    assert done.returncode == 2
    assert f"it has {cache.TAG};" in done.stderr
    assert files(filled) == ALL


def test_cache_that_is_a_file(cache_root: Path) -> None:
    cache_root.write_text("mine")
    for words in ([], ["--all", "--yes"], ["--dry-run"]):
        done = farm("clean", *words)
        assert done.returncode == 2
        assert f"error: {cache_root}: Not a directory; FTRACE_FARM_CACHE names" in done.stderr
    assert cache_root.read_text() == "mine"


def test_symbolic_links_are_not_followed(filled: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    names = ("a/build-x/plan", ".partial-x/page", "build-y/z", "house")
    write(outside, *names)
    (filled / "consoles").symlink_to(outside)
    (filled / "worktrees/link+base").symlink_to(outside / "a")
    (filled / "worktrees/x+base/build-link").symlink_to(outside / "build-y")
    (filled / "worktrees/x+base/build-c/inside").symlink_to(outside)
    (filled / "kernels/.partial-link").symlink_to(outside)
    with started("clean") as process:
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 0, said
    assert f"keeping {filled}/consoles/.partial-x: {filled}/consoles is a symbolic link" in said
    assert f"keeping {filled}/worktrees/x+base/build-link: a symbolic link" in said
    assert not (filled / "worktrees/x+base/build-c").exists()
    done = farm("clean", "--all", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"keeping {filled}/consoles: a symbolic link" in done.stdout
    assert files(filled) == {"consoles"}
    assert files(outside) == set(names)


def test_cache_behind_a_symbolic_link(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(filled)
    monkeypatch.setenv("FTRACE_FARM_CACHE", str(tmp_path / "link"))
    assert farm("clean", "--all", "--yes").returncode == 0
    assert files(filled) == set()
    assert (tmp_path / "link").is_symlink()


# Removing.


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove everything")
def test_directory_that_cannot_be_removed(tmp_path: Path) -> None:
    write(tmp_path, "mine/locked/file")
    (tmp_path / "mine/locked").chmod(0o500)
    with pytest.raises(FarmError, match=r"(locked|file): cannot be removed: Permission denied"):
        removal.remove(tmp_path / "mine", tmp_path)


def test_removal_onto_another_file_system(tmp_path: Path) -> None:
    """What cannot be renamed is left as it is."""
    write(tmp_path, "mine/file")
    with pytest.raises(FarmError, match=r"mine: cannot be removed: Invalid cross-device link"):
        removal.remove(tmp_path / "mine", Path("/dev/shm"))
    assert (tmp_path / "mine/file").exists()
    assert not list(Path("/dev/shm").glob(f"{removal.REMOVING}*/mine"))


def test_directory_that_somebody_writes_into(tmp_path: Path) -> None:
    """A compiler whose farm was killed: `Directory not empty` is no error while it goes on for a moment."""
    script = "import pathlib, sys, time\nend = time.monotonic() + 1\nprint(flush=True)\nn = 0\n"
    script += "while time.monotonic() < end:\n    n += 1\n    try: pathlib.Path(f'{sys.argv[1]}/{n}').touch()\n"
    script += "    except FileNotFoundError: break\n"
    write(tmp_path, *(f"build/{number}.o" for number in range(3000)))
    with subprocess.Popen([sys.executable, "-c", script, tmp_path / "build"], stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        writer.stdout.readline()
        removal.clear(tmp_path / "build")
    assert not (tmp_path / "build").exists()


def test_sweep_leaves_what_is_being_removed(tmp_path: Path) -> None:
    write(tmp_path, ".removing-dead/run/file")
    with locks.new_directory(tmp_path, removal.REMOVING) as living:
        removal.sweep(tmp_path)
        assert list(tmp_path.iterdir()) == [living]
    removal.sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_new_directory_survives_who_takes_it_for_abandoned(tmp_path: Path) -> None:
    """A sweeper that is as fast as can be: what comes out is locked, and still there."""
    script = "import sys\nfrom pathlib import Path\nfrom farm.base import removal\nprint(flush=True)\n"
    script += "while True: removal.sweep(Path(sys.argv[1]))\n"
    with subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE) as sweeper:
        assert sweeper.stdout
        sweeper.stdout.readline()
        try:
            for _ in Deadline(2).poll(0.0005):
                with locks.new_directory(tmp_path, removal.REMOVING) as directory:
                    (directory / "file").touch()
                    time.sleep(0.001)
                    assert (directory / "file").exists()
        finally:
            sweeper.kill()


def test_not_a_cache_is_wrong_usage(cache_root: Path) -> None:
    write(cache_root, "house")
    for call in (cleaning.empty, cleaning.everything, lambda: list(cleaning.leftovers())):
        with pytest.raises(UsageError):
            call()
