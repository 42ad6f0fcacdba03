# SPDX-License-Identifier: GPL-2.0
"""The cache: whole artifacts or none, made once; who waits for whom; what a host can refuse."""

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from farm.base import cache, locks
from farm.report.live import Live

#: Fills the entry `logs/key`, saying so when it begins; ends as the argument says.
FILLER = """
import os, signal, sys, time
from farm.base import cache

def make(directory):
    (directory / "half").write_text("half")
    print("making", flush=True)
    if sys.argv[1] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[1] == "slow":
        time.sleep(0.7)
    (directory / "whole").write_text("whole")

print(cache.fill("logs", "key", make))
"""


def filler(how: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", FILLER, how], stdout=subprocess.PIPE, text=True)


def artifacts(root: Path) -> list[str]:
    """What could be taken for an artifact: the temporary ones and locks begin with a dot."""
    return [path.name for path in (root / "logs").iterdir() if not path.name.startswith(".")]


def write(directory: Path) -> None:
    (directory / "whole").write_text("whole")


def test_filled_once(cache_root: Path) -> None:
    made = []

    def make(directory: Path) -> None:
        made.append(directory)
        write(directory)

    first = cache.fill("logs", "key", make)
    assert first == cache_root / "logs" / "key" == cache.fill("logs", "key", make)
    assert (first / "whole").read_text() == "whole"
    assert len(made) == 1
    assert first.stat().st_mode & 0o777 == 0o755, "a guest that runs as nobody must be able to read it"


def test_exception_leaves_nothing(cache_root: Path) -> None:
    def fail(directory: Path) -> None:
        write(directory)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.fill("logs", "key", fail)
    assert artifacts(cache_root) == []
    assert not list(cache_root.glob("logs/.partial-*")), "an exception cleans up behind itself"
    assert cache.fill("logs", "key", write).is_dir()


def test_sigkill_leaves_no_artifact(cache_root: Path) -> None:
    with filler("die") as killed:
        assert killed.wait(30) == -9
    assert artifacts(cache_root) == []
    assert list(cache_root.glob("logs/.partial-*/half")), "it was killed in the middle"
    with filler("good") as second:  # neither the lock nor the half directory is in its way
        assert second.communicate(timeout=30)[0].startswith("making\n")
    assert artifacts(cache_root) == ["key"]
    assert sorted(path.name for path in (cache_root / "logs/key").iterdir()) == ["half", "whole"]


def test_two_at_once_make_once(cache_root: Path) -> None:
    with filler("slow") as first, filler("slow") as second:
        said = [process.communicate(timeout=30)[0] for process in (first, second)]
    assert sorted(text.count("making") for text in said) == [0, 1]
    assert all(text.splitlines()[-1] == str(cache_root / "logs/key") for text in said)


def test_digest_knows_the_borders_of_its_parts() -> None:
    assert cache.digest("ab", "c") != cache.digest("a", "bc") != cache.digest("abc")
    assert cache.digest("a") != cache.digest("a", "")
    assert cache.digest("ä") == cache.digest("ä".encode())
    assert len(cache.digest()) == 20


def test_digest_files(tmp_path: Path) -> None:
    def key() -> str:
        return cache.digest_files(tmp_path)

    (tmp_path / "a").write_text("1")
    keys = [key()]
    (tmp_path / "a").write_text("2")
    keys.append(key())
    (tmp_path / "a").rename(tmp_path / "b")
    keys.append(key())
    (tmp_path / "b").chmod(0o755)
    keys.append(key())
    (tmp_path / "d").mkdir()
    (tmp_path / "b").rename(tmp_path / "d/b")
    keys.append(key())
    assert len(set(keys)) == 5, "content, name, mode and place each count"
    assert key() == keys[-1]


def test_scratch_is_gone_after_the_block(cache_root: Path) -> None:
    with cache.scratch("logs") as directory:
        write(directory)
    assert list((cache_root / "logs").iterdir()) == []


def test_kind_that_nobody_would_clean(cache_root: Path) -> None:
    with pytest.raises(ValueError, match="'new' is none of"):
        cache.fill("new", "key", write)
    assert not (cache_root / "new").exists()


# Waiting for another farm.


def holder(name: str) -> "subprocess.Popen[str]":
    """A process that has a lock of the cache's until its input ends."""
    script = f"from farm.base import cache\nwith cache.locked(cache.root() / {name!r}): print(flush=True); input()\n"
    return started([sys.executable, "-c", script])


def started(argv: list[str]) -> "subprocess.Popen[str]":
    """A process that has said that it is ready."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    process.stdout.readline()
    return process


def test_wait_is_announced_once(cache_root: Path) -> None:
    argv = [sys.executable, "-c", FILLER, "good"]
    with (
        holder("logs/.key.lock") as first,
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as second,
    ):
        assert second.stderr
        said = second.stderr.readline()
        assert said.startswith(f"waiting for another farm, pid {first.pid} ({sys.executable} -c ")
        assert said.endswith("): logs/key\n")
        first.kill()  # it need not say anything, nor clean up
        assert second.stderr.read() == "", "said once"
    assert artifacts(cache_root) == ["key"]


def test_wait_goes_to_who_wants_to_know(cache_root: Path) -> None:
    said = []

    def hear(line: str) -> None:
        said.append(line)
        first.kill()

    with holder("worktrees/x+base.lock") as first:
        token = locks.notice.set(hear)
        with cache.locked(cache_root / "worktrees/x+base.lock", shared=True):
            locks.notice.reset(token)
    (line,) = said
    assert line.startswith(f"waiting for another farm, pid {first.pid} (")
    assert line.endswith("): worktrees/x+base")


def test_wait_within_one_farm_is_not_announced(cache_root: Path) -> None:
    """Two workers want the same image: nobody has to know."""
    script = cache_root.with_name("farm")
    slow = FILLER.replace("0.7", "2.0")
    argv = [sys.executable, "-c", slow, "slow"]
    script.write_text(f"from subprocess import Popen\nfor one in [Popen({argv}), Popen({argv})]: one.wait()\n")
    done = subprocess.run([sys.executable, script, "run"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.count("making") == 1
    assert done.stderr == ""


def test_short_wait_is_not_announced(cache_root: Path) -> None:
    with filler("slow") as first:
        assert first.stdout
        first.stdout.readline()
        argv = [sys.executable, "-c", FILLER, "slow"]
        second = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert second.stderr == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_wait_is_printed_at_once(terminal: bool) -> None:
    """Also where progress is printed every half minute only."""
    screen = io.StringIO()
    live = Live(Console(file=screen, width=300, force_terminal=terminal, color_system=None))
    live.cells(["x86_64-regs"])
    line = "waiting for another farm, pid 7 (farm build x86_64-regs): kernels/0123456789abcdef0123"
    live.building("x86_64-regs", "resolving the source")
    live.building("x86_64-regs", line)
    live.building("x86_64-regs", "CC a.o")
    assert screen.getvalue() == f"x86_64-regs: {line}\n"


def test_holder_of_a_lock_that_nobody_has(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    assert locks.holders(tmp_path / "lock") == []
    assert locks.holders(tmp_path / "none") == []


# What a host can refuse.

#: Uses the cache; as `other`, root does so as a user to whom it does not belong.
USER = """
import os, sys
from farm.base import cache
from farm.base.errors import FarmError

if sys.argv[3] == "other" and os.geteuid() == 0:
    os.setegid(65534)
    os.seteuid(65534)

def make(directory):
    with (directory / "big").open("w") as handle:
        handle.write("x" * int(sys.argv[2]))

try:
    print(cache.fill("logs", sys.argv[1], make))
except FarmError as error:
    print(f"FarmError: {error}")
"""


def use(top: Path, key: str, *prefix: str, size: int = 1, who: str = "self") -> str:
    """What a process says that fills an entry of a cache."""
    argv = [*prefix, sys.executable, "-c", USER, key, str(size), who]
    environment = {**os.environ, "FTRACE_FARM_CACHE": str(top)}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that another user can enter, and not write to."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_cache_of_another_user(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in it can be used; for what is not, the message says whose it is."""
    top = public / "cache"
    monkeypatch.setenv("FTRACE_FARM_CACHE", str(top))
    cache.fill("logs", "there", write)
    for directory in (top, top / "logs"):
        directory.chmod(0o555)  # where the tests do not run as root, there is no other user
    (top / cache.IN_USE).chmod(0o444)
    assert use(top, "there", who="other") == str(top / "logs/there")
    said = use(top, "other", who="other")
    assert said.startswith(
        f"FarmError: {top}/logs/.other.lock: Permission denied; {top}/logs belongs to {top.owner()}:"
    )
    assert said.endswith("or set FTRACE_FARM_CACHE to a directory of your own")
    (top / "logs").chmod(0o755)
    (top / "logs/.other.lock").touch(mode=0o444)
    if os.geteuid() == 0:
        said = use(top, "other", who="other")
        assert said.startswith(f"FarmError: {top}/logs/.partial-"), "the lock is to be had, the directory is not"


def test_lock_that_can_only_be_read(public: Path) -> None:
    """As another user's: it holds all the same."""
    path = public / "lock"
    path.touch(mode=0o444)
    with holder_of(path), locks.attempt(path) as free:
        assert not free
    with locks.attempt(path) as free:
        assert free


def holder_of(path: Path) -> "subprocess.Popen[str]":
    script = "import os, sys\nfrom farm.base import locks\nfrom pathlib import Path\n"
    script += "if os.geteuid() == 0: os.setegid(65534); os.seteuid(65534)\n"
    script += "locks.take(Path(sys.argv[1]), shared=True)\nprint(flush=True)\ninput()\n"
    return started([sys.executable, "-c", script, str(path)])


def test_cache_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    said = use(path, "key")
    assert said == f"FarmError: {path}: Not a directory; set FTRACE_FARM_CACHE to a directory that you can write to"
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    "options, size, said",
    [
        ("ro", 1, ": Read-only file system; set FTRACE_FARM_CACHE to a directory that you can write to"),
        ("size=100k", 1 << 20, ": No space left on device; free some of the disk (`farm clean`), or set"),
    ],
)
def test_file_system_that_takes_nothing(tmp_path: Path, options: str, size: int, said: str) -> None:
    mount = f'mount -t tmpfs -o {options} none {tmp_path} && exec "$@"'
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this host lets nobody make a user namespace, as in a chroot")
    shell = [*unshare, "sh", "-c", mount, "sh"]
    out = use(tmp_path, "key", *shell, size=size)
    assert out.startswith(f"FarmError: {tmp_path}/"), out
    assert said in out
