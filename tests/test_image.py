# SPDX-License-Identifier: GPL-2.0
"""The initramfs: the same bytes from the same inputs, and what is in it."""

import hashlib
import os
import shutil
import stat
import subprocess
from pathlib import Path

import paramiko
import pytest

from farm.arch.x86_64 import X86_64
from farm.base.errors import FarmError, UsageError
from farm.guest.image import RECIPE, Image, image


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """What the payload leaves, as far as the image looks: an agent, an object."""
    directory = tmp_path / "my programs"  # with a blank, which the archive's list must quote
    directory.mkdir()
    (directory / "agent").write_text("#!/bin/sh\n")
    (directory / "x.bpf.o").write_bytes(b"\x7fELF")
    (directory / "agent.c").write_text("not for the guest\n")
    return directory


def listing(made: Image, *options: str) -> str:
    argv = ["bsdtar", "-tf", str(made.initramfs), *options]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def content(made: Image, name: str) -> bytes:
    argv = ["bsdtar", "-xOf", str(made.initramfs), name]
    return subprocess.run(argv, check=True, capture_output=True).stdout


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_same_bytes_from_another_cache(
    programs: Path, cache_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, here = image(X86_64, programs, None), image(X86_64, programs, None).initramfs
    other = tmp_path / "another cache"
    shutil.copytree(cache_root / "keys", other / "keys")
    monkeypatch.setenv("FTRACE_FARM_CACHE", str(other))
    for file in programs.iterdir():
        os.utime(file, (1_000_000_000, 1_000_000_000))  # dates of the host must not get in
    second = image(X86_64, programs, None)
    assert first == second
    assert second.initramfs != here
    assert sha256(here) == sha256(second.initramfs)


def test_made_once(programs: Path, cache_root: Path) -> None:
    first = image(X86_64, programs, None)
    inode = first.initramfs.stat().st_ino
    again = image(X86_64, programs, None)
    assert again == first
    assert again.initramfs.stat().st_ino == inode
    (programs / "agent").write_text("#!/bin/sh\n# another\n")
    assert image(X86_64, programs, None) != first


@pytest.mark.usefixtures("cache_root")
def test_contents(programs: Path) -> None:
    made = image(X86_64, programs, None)
    names = listing(made).split()
    for name in ("init", "bin/busybox", "bin/sh", "sbin/dropbear", "sbin/init", "etc/passwd", "etc/dropbear/host_key"):
        assert f"./{name}" in names
    assert {"./payload/agent", "./payload/x.bpf.o"} <= set(names)
    assert not [name for name in names if name.endswith(("agent.c", ".ko"))]
    assert len(names) == len(set(names)), "nothing is in it twice"
    needed = subprocess.run(["ldd", "/usr/sbin/dropbear"], check=True, capture_output=True, text=True).stdout
    libraries = {Path(word).name for word in needed.split() if ".so" in word} - {"linux-vdso.so.1"}
    assert libraries
    assert {f"./lib/{library}" for library in libraries} <= set(names)
    assert content(made, "./payload/agent") == b"#!/bin/sh\n"
    assert content(made, "./init") == (RECIPE.parent / "init.sh").read_bytes()


@pytest.mark.usefixtures("cache_root")
def test_owners_and_modes(programs: Path) -> None:
    lines = {
        line.split()[8].rstrip("/"): line.split() for line in listing(image(X86_64, programs, None), "-v").splitlines()
    }
    assert {(words[2], words[3]) for words in lines.values()} == {("0", "0")}
    assert lines["./init"][0] == "-rwxr-xr-x"
    assert lines["./etc/dropbear/host_key"][0] == "-rw-------"
    assert lines["./root/.ssh"][0] == "drwx------"
    assert lines["./dev/console"][0] == "crw-------"


@pytest.mark.usefixtures("cache_root")
def test_modules(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "module").mkdir()
    for name in ("ftrace_target.ko", "another.ko"):
        (tmp_path / f"module/{name}").write_bytes(f"module {name}".encode())
    made = image(X86_64, programs, tmp_path / "module")
    for name in ("ftrace_target.ko", "another.ko"):
        assert content(made, f"./payload/{name}") == f"module {name}".encode()


@pytest.mark.usefixtures("cache_root")
def test_keys(programs: Path) -> None:
    made = image(X86_64, programs, None)
    keys = made.keys
    assert stat.S_IMODE(keys.client.stat().st_mode) == 0o600, "ssh refuses a key that others can read"
    public = paramiko.Ed25519Key.from_private_key_file(str(keys.client))
    authorized = content(made, "./root/.ssh/authorized_keys").decode()
    assert authorized.split()[:2] == ["ssh-ed25519", public.get_base64()]
    assert keys.host.read_text().startswith("ssh-ed25519 ")


def recipe(tmp_path: Path, old: str, new: str) -> Path:
    """The real recipe with a change, beside a copy of its script."""
    directory = tmp_path / "images"
    shutil.copytree(RECIPE.parent, directory)
    text = RECIPE.read_text()
    assert old in text
    (directory / "initramfs.yaml").write_text(text.replace(old, new))
    return directory / "initramfs.yaml"


@pytest.mark.usefixtures("cache_root")
@pytest.mark.parametrize(
    "old, new, said",
    [
        ("scripts:", "skripts:", "skripts"),
        ("directories: [/dev,", "directories: [dev,", "directories.0"),
        ("programs:", "programs: [", "initramfs.yaml"),
    ],
)
def test_wrong_recipe(programs: Path, tmp_path: Path, old: str, new: str, said: str) -> None:
    wrong = recipe(tmp_path, old, new)
    with pytest.raises(UsageError, match=said) as error:
        image(X86_64, programs, None, wrong)
    assert str(error.value).startswith(f"{wrong}:")


@pytest.mark.usefixtures("cache_root")
def test_missing_program(programs: Path, tmp_path: Path) -> None:
    wrong = recipe(tmp_path, "/usr/sbin/dropbear", "/usr/sbin/dropbaer")
    with pytest.raises(FarmError, match="/usr/sbin/dropbaer is missing; `farm doctor`"):
        image(X86_64, programs, None, wrong)
