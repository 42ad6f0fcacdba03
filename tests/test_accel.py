# SPDX-License-Identifier: GPL-2.0
"""Which accelerator works here: found out by running the smallest of guests."""

from pathlib import Path

import pytest

from farm.arch.x86_64 import X86_64
from farm.base.errors import FarmError
from farm.guest import accel

pytestmark = pytest.mark.usefixtures("cache_root")


def fake_qemu(directory: Path, script: str) -> None:
    """Something else that is QEMU, on the PATH."""
    (directory / X86_64.qemu).write_text(f"#!/bin/sh\n{script}\n")
    (directory / X86_64.qemu).chmod(0o755)


def test_tcg_runs_a_guest() -> None:
    assert accel.probe("tcg", X86_64) == ""


@pytest.mark.parametrize(
    "script, said",
    [
        ("echo broken >&2; exit 3", "QEMU exited with 3: broken"),
        ("exit 1", "QEMU exited with 1"),
        ("echo K; exit 0", "QEMU exited with 0"),
    ],
)
def test_qemu_that_runs_nothing(programs: Path, script: str, said: str) -> None:
    """Its exit status alone proves nothing, and neither does its output."""
    fake_qemu(programs, script)
    assert accel.probe("tcg", X86_64) == said


def test_guest_that_never_runs(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As KVM does that is there and lies: the machine is created, and that is all."""
    monkeypatch.setattr(accel, "PROBE_SECONDS", 0.5)
    fake_qemu(programs, "exec sleep 60")
    assert accel.probe("tcg", X86_64).startswith("a guest was created but did not run an instruction")


def test_missing_qemu_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "setpriv").symlink_to("/usr/bin/setpriv")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FarmError, match=f"{X86_64.qemu}: no such command"):
        accel.probe("tcg", X86_64)


def test_asked_for_tcg() -> None:
    assert accel.choose("tcg") == accel.Accelerator("tcg", "asked for")


DEVICE = Path("/dev/kvm")


def test_kvm_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel, "DEVICE", tmp_path / "kvm")
    assert accel.choose("auto").name == "tcg"
    with pytest.raises(FarmError, match=r"--accel kvm: KVM does not work here: there is no .*modprobe kvm_intel"):
        accel.choose("kvm")


@pytest.mark.skipif(not DEVICE.exists(), reason="this host has no /dev/kvm")
def test_kvm_that_guests_cannot_open(programs: Path) -> None:
    """What the farm may open as root is nothing to its guests. Nothing is remembered: it is quickly mended."""
    fake_qemu(programs, "echo 'Could not access KVM kernel module: Permission denied' >&2; exit 1")
    before = DEVICE.stat()
    chosen = accel.choose("auto")
    assert chosen.name == "tcg"
    assert chosen.reason.startswith("no KVM: guests cannot open /dev/kvm; ")
    assert "sudo " in chosen.reason
    assert accel.experience() is None
    after = DEVICE.stat()
    assert (before.st_mode, before.st_ctime_ns) == (after.st_mode, after.st_ctime_ns), "the device is not the farm's"


@pytest.mark.skipif(not DEVICE.exists(), reason="this host has no /dev/kvm")
def test_failure_is_kept_with_reason_and_time(programs: Path) -> None:
    fake_qemu(programs, f"echo x >> {programs}/asked; echo broken >&2; exit 3")
    (programs / "asked").touch()
    (programs / "asked").chmod(0o666)
    for _ in range(2):
        chosen = accel.choose("auto")
        assert "QEMU exited with 3: broken (20" in chosen.reason
        assert "`farm doctor` tries it again" in chosen.reason
    assert (programs / "asked").read_text() == "x\n", "asked once, and remembered"
    accel.forget()
    accel.choose("auto")
    assert (programs / "asked").read_text() == "x\nx\n"


@pytest.mark.skipif(not DEVICE.exists(), reason="this host has no /dev/kvm")
def test_experience_with_a_kernel_counts(programs: Path) -> None:
    fake_qemu(programs, "printf K; exit 1")
    assert accel.choose("auto") == accel.Accelerator("kvm", "no kernel has run in it yet")
    accel.trust("it ran a kernel")
    assert accel.choose("kvm").reason.startswith("it ran a kernel, 20")
    accel.distrust("silent")
    assert accel.choose("auto").name == "tcg"
    fake_qemu(programs.parent / programs.name, "exit 0")
    assert accel.choose("auto").reason.startswith("no KVM: silent (20"), "no probe speaks against a kernel"
