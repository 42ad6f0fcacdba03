# SPDX-License-Identifier: GPL-2.0
"""Which accelerator works here: found out by running the smallest of guests."""

import os
from pathlib import Path

import pytest

from farm.base.errors import FarmError
from farm.guest import accel, qemu

pytestmark = pytest.mark.usefixtures("cache_root")


def fake_qemu(directory: Path, script: str) -> str:
    """A PATH on which something else is QEMU."""
    directory.mkdir()
    (directory / qemu.BINARY).write_text(f"#!/bin/sh\n{script}\n")
    (directory / qemu.BINARY).chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


def test_tcg_runs_a_guest() -> None:
    assert accel.probe("tcg") == ""


@pytest.mark.parametrize(
    "script, said",
    [
        ("echo broken >&2; exit 3", "QEMU exited with 3: broken"),
        ("exit 1", "QEMU exited with 1"),
        ("echo K; exit 0", "QEMU exited with 0"),
    ],
)
def test_qemu_that_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str) -> None:
    """Its exit status alone proves nothing, and neither does its output."""
    monkeypatch.setenv("PATH", fake_qemu(tmp_path / "bin", script))
    assert accel.probe("tcg") == said


def test_guest_that_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As KVM does that is there and lies: the machine is created, and that is all."""
    monkeypatch.setattr(accel, "PROBE_SECONDS", 0.5)
    monkeypatch.setenv("PATH", fake_qemu(tmp_path / "bin", "exec sleep 60"))
    assert accel.probe("tcg").startswith("a guest was created but did not run an instruction")


def test_missing_qemu_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "setpriv").symlink_to("/usr/bin/setpriv")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FarmError, match=f"{qemu.BINARY}: no such command"):
        accel.probe("tcg")


def test_asked_for_tcg() -> None:
    assert accel.choose("tcg") == accel.Accelerator("tcg", "asked for")


@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="this host has no /dev/kvm")
def test_kvm_is_believed_only_when_it_ran(cache_root: Path) -> None:
    chosen = accel.choose("auto")
    if chosen.name == "kvm":
        assert accel.choose("kvm") == chosen
    else:
        assert chosen.reason.startswith("no KVM: ")
        with pytest.raises(FarmError, match="--accel kvm: KVM does not work here"):
            accel.choose("kvm")
    assert len(list(cache_root.glob("kvm/*/answer.json"))) == 1, "asked once, and remembered"
