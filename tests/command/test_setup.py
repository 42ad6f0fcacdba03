# SPDX-License-Identifier: GPL-2.0
"""`make setup`: whether .venv is what the checkout needs, and which packages are missing.

Each test has a checkout of its own whose project is a small one without
dependencies, so that the real pip installs it in seconds and from no index.
"""

import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "ftrace-farm"
version = "{version}"

[project.optional-dependencies]
dev = []
"""

#: What builds the project: pip's hooks, without setuptools and so without a network.
BACKEND = """\
import base64, hashlib, os, zipfile

FILES = {"farm_probe.py": "VALUE = 1\\n"}


def get_requires_for_build_editable(config_settings=None):
    return []


def build_editable(directory, config_settings=None, metadata_directory=None):
    version = next(l.split('"')[1] for l in open("pyproject.toml") if l.startswith("version"))
    info = f"ftrace_farm-{version}.dist-info"
    files = FILES | {
        "__editable__.farm.pth": os.getcwd() + "\\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\\nName: ftrace-farm\\nVersion: {version}\\nProvides-Extra: dev\\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        f"{info}/entry_points.txt": "[console_scripts]\\nfarm = farm_probe:main\\n",
    }
    lines = []
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(text)}\\n")
    files[f"{info}/RECORD"] = "".join(lines) + f"{info}/RECORD,,\\n"
    wheel = f"ftrace_farm-{version}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, wheel), "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel
"""


_SPEC = importlib.util.spec_from_file_location("venv", CHECKOUT / "hosts/venv.py")
assert _SPEC
assert _SPEC.loader
venv = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(venv)


def set_up(checkout: Path, python: Path | str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, checkout / "hosts/venv.py"], capture_output=True, text=True, check=False)


def packages_of(checkout: Path) -> Path:
    return next((checkout / ".venv/lib").glob("python3*/site-packages"))


def works(checkout: Path) -> bool:
    python = checkout / ".venv/bin/python"
    return subprocess.run([python, "-c", "import farm_probe"], check=False).returncode == 0 and not venv.trouble(
        checkout
    )


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that is set up; tests put back what they break."""
    root = tmp_path_factory.mktemp("setup") / "a checkout"
    (root / "hosts").mkdir(parents=True)
    shutil.copy(CHECKOUT / "hosts/venv.py", root / "hosts")
    (root / "pyproject.toml").write_text(PROJECT.format(version="1"))
    (root / "backend.py").write_text(BACKEND)
    done = set_up(root)
    assert done.returncode == 0, done.stderr
    assert works(root)
    return root


@contextmanager
def changed(path: Path, text: str | None) -> Iterator[None]:
    """A file with another text, or away, for as long as the block lasts."""
    kept = path.rename(path.with_name("kept"))
    try:
        if text is not None:
            path.write_text(text)
        yield
    finally:
        kept.replace(path)


def test_a_sound_environment_is_left_alone(sound: Path) -> None:
    before = (sound / ".venv/ready").stat().st_mtime_ns
    done = set_up(sound)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (sound / ".venv/ready").stat().st_mtime_ns == before


@pytest.mark.parametrize("text", [None, "", "VALUE = 123\n"])
def test_a_file_of_a_package_is_gone_or_cut_off(sound: Path, text: str | None) -> None:
    with changed(packages_of(sound) / "farm_probe.py", text):
        assert venv.trouble(sound) == f"{packages_of(sound) / 'farm_probe.py'} is damaged"
    assert not venv.trouble(sound)


def test_the_farm_is_not_installed(sound: Path) -> None:
    info = next(packages_of(sound).glob("ftrace_farm-*"))
    kept = info.rename(sound / "kept")
    assert venv.trouble(sound) == f"{packages_of(sound)} is damaged"
    kept.rename(info)


def test_its_python_is_gone(sound: Path) -> None:
    python = sound / ".venv/bin/python"
    kept = python.rename(python.with_name("kept"))
    python.symlink_to("/usr/bin/python3.0")
    assert venv.trouble(sound) == "its Python is gone"
    kept.replace(python)


def test_pip_did_not_finish(sound: Path) -> None:
    with changed(sound / ".venv/ready", None):
        assert venv.trouble(sound) == "it was not finished"


def test_an_older_farm_called_it_ready(sound: Path) -> None:
    with changed(sound / ".venv/ready", ""):
        assert "changed" in venv.trouble(sound)


def test_it_was_made_with_another_python(sound: Path) -> None:
    text = (sound / ".venv/ready").read_text()
    with changed(sound / ".venv/ready", text.replace("\n{}.{}\n".format(*sys.version_info), "\n3.10\n")):
        assert "Python changed" in venv.trouble(sound)


def test_the_dependencies_changed(sound: Path) -> None:
    with changed(sound / "pyproject.toml", PROJECT.format(version="2")):
        assert "dependencies" in venv.trouble(sound)
    with changed(sound / "pyproject.toml", PROJECT.format(version="1") + "[tool.ruff]\nline-length = 100\n"):
        assert not venv.trouble(sound)


def test_the_checkout_was_moved(sound: Path) -> None:
    moved = sound.rename(sound.with_name("elsewhere"))
    try:
        assert "the checkout was moved" in venv.trouble(moved)
    finally:
        moved.rename(sound)


def test_it_heals(sound: Path) -> None:
    """Killed halfway, then with a pip that fails, then from inside of a broken one."""
    (packages_of(sound) / "farm_probe.py").unlink()
    config = sound / ".venv/pyvenv.cfg"
    config.unlink()
    with subprocess.Popen([sys.executable, sound / "hosts/venv.py"], start_new_session=True) as process:
        while process.poll() is None and not config.exists():
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert venv.trouble(sound) == "it was not finished"

    with changed(sound / "backend.py", "raise SystemExit('no wheel today')\n"):
        done = set_up(sound)
        assert done.returncode == 1
        assert "making .venv anew: it was not finished" in done.stdout
        assert ".venv was not made" in done.stderr
        assert venv.trouble(sound) == "it was not finished"

    # as where it is activated: `python3` is its own
    done = set_up(sound, sound / ".venv/bin/python")
    assert done.returncode == 0, done.stderr
    assert works(sound)


# Packages, with commands of the test's own in place of a host's.


def packages(tmp_path: Path, commands: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """hosts/packages.sh on a host that has these commands, and needs packages `one` and `two`."""
    root, host = tmp_path / "checkout", tmp_path / "bin"
    (root / "hosts").mkdir(parents=True)
    host.mkdir()
    shutil.copy(CHECKOUT / "hosts/packages.sh", root / "hosts")
    (root / "debian-packages.txt").write_text("# needed\none # for this\ntwo\n")
    for name in ("sh", "sed", "grep", "dirname", "env"):
        (host / name).symlink_to(str(shutil.which(name)))
    for name, body in commands.items():
        (host / name).write_text(f"#!/bin/sh\n{body}\n")
        (host / name).chmod(0o755)
    return subprocess.run(
        [host / "sh", root / "hosts/packages.sh"], env={"PATH": str(host)}, capture_output=True, text=True, check=False
    )


HAS_ONE = "printf '<one installed><two config-files>'; exit 1"


def test_nothing_is_asked_for_where_nothing_is_missing(tmp_path: Path) -> None:
    done = packages(tmp_path, {"dpkg-query": "printf '<one installed><two installed>'"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_missing_is_installed_by_sudo(tmp_path: Path) -> None:
    said = tmp_path / "said"
    commands = {
        "dpkg-query": HAS_ONE,
        "id": "echo 1000",
        "apt-cache": "exit 0",
        "apt-get": "exit 9",
        "sudo": f'echo "$*" >>"{said}"',
    }
    assert packages(tmp_path, commands).returncode == 0
    assert said.read_text().splitlines() == [
        "apt-get update -qq",
        "env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends -qq two",
    ]


def test_without_sudo_it_says_what_to_type(tmp_path: Path) -> None:
    done = packages(tmp_path, {"dpkg-query": HAS_ONE, "id": "echo 1000", "apt-get": "exit 9"})
    assert done.returncode == 1
    assert "apt-get install --no-install-recommends two" in done.stderr


def test_a_release_without_a_package_is_named(tmp_path: Path) -> None:
    commands = {"dpkg-query": HAS_ONE, "id": "echo 0", "apt-get": "exit 0", "apt-cache": "exit 100"}
    done = packages(tmp_path, commands)
    assert done.returncode == 1
    assert f"{platform.freedesktop_os_release()['PRETTY_NAME']} has no package named: two" in done.stderr
    assert "Debian 12 and 13" in done.stderr


def test_a_host_without_apt_is_told(tmp_path: Path) -> None:
    done = packages(tmp_path, {"id": "echo 0"})
    assert done.returncode == 1
    assert "has no apt-get" in done.stderr
