# SPDX-License-Identifier: GPL-2.0
"""A KVM that lies, and one that breaks: the kernel is not blamed, and every test has its verdict.

A host with such a KVM cannot be had at will. So QEMU is a script here that runs the real one, under
TCG where KVM was asked for: the kernel boots, or, once a file says that KVM is broken, never
runs an instruction.
"""

from pathlib import Path

import pytest

from farm.arch.x86_64 import X86_64
from farm.guest import accel, start
from farm.kernel.builder import Built, Order
from farm.matrix import MATRIX
from farm.record import cellstate
from farm.record.records import load_run
from farm.worker import unit
from farm.worker.unit import Unit
from tests.conftest import Suites

KVM = """\
#!/bin/sh
here=$(dirname "$0")
for word; do
    shift
    [ "$word" = kvm ] && word=tcg,thread=single,tb-size=64 && kvm=yes
    [ "$word$kvm" = -kernelyes ] && [ -e "$here/broken" ] && stopped=-S
    set -- "$@" "$word"
done
exec {real} "$@" $stopped
"""


@pytest.fixture
def kvm(programs: Path) -> Path:
    """A file that breaks this host's KVM when it is made."""
    (programs / X86_64.qemu).write_text(KVM.format(real=f"/usr/bin/{X86_64.qemu}"))
    (programs / X86_64.qemu).chmod(0o755)
    return programs / "broken"


@pytest.fixture
def suites_under_kvm(real: tuple[Path, Built], suites: Suites, kvm: Path, monkeypatch: pytest.MonkeyPatch) -> Suites:
    root, built = real
    monkeypatch.setenv("FTRACE_FARM_CACHE", str(root))
    monkeypatch.setenv("BREAKS_KVM", str(kvm))
    unit.save(suites.directory, [Unit(Order(["x86_64-regs"], None, None, str(MATRIX)), "", accel="kvm")])
    cellstate.tell_built(suites.directory, built)
    return suites


def test_kvm_that_works_is_used(suites_under_kvm: Suites) -> None:
    seen = suites_under_kvm(test_a="def test_x(guest): assert guest.accel == 'kvm'\n")
    assert [said["reason"] or said["verdict"] for said in seen.said] == ["PASS"]
    assert cellstate.distrust(suites_under_kvm.directory) == ""


def test_kvm_that_lies_costs_no_verdict(suites_under_kvm: Suites, kvm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.guest.start.UNPROVED_SECONDS", 3.0)
    kvm.touch()
    seen = suites_under_kvm(test_a="def test_x(guest): assert guest.accel == 'tcg'\ndef test_y(guest): pass\n")
    assert [said["verdict"] for said in seen.verdicts.values()] == ["PASS", "PASS"]
    why = cellstate.distrust(suites_under_kvm.directory)
    assert "boots under TCG did not under KVM: the guest was not ready within 3 s" in why
    assert len(list((suites_under_kvm.directory / "cells/x86_64-regs").glob("console-*.log"))) == 2


def test_kvm_that_breaks_under_a_test(suites_under_kvm: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    """The farm's own fault, and the test has a further attempt under TCG."""
    monkeypatch.setattr("farm.guest.vm.REQUEST_SECONDS", 2.0)
    seen = suites_under_kvm(
        test_a="""
        import os, pathlib

        def test_x(guest, agent):
            if guest.accel == "kvm":
                pathlib.Path(os.environ["BREAKS_KVM"]).touch()
                guest.monitor.execute("stop")
            agent.request("hello")

        def test_y(guest): assert guest.accel == "tcg"
        """
    )
    assert [(said["test"], said["attempt"], said["verdict"]) for said in seen.said] == [
        ("test_x", 1, "INFRA"),
        ("test_x", 2, "PASS"),
        ("test_y", 1, "PASS"),
    ]
    assert seen.said[0]["reason"].startswith("KVM broke under the test, which is repeated under TCG: a kernel that")
    assert "no answer to `hello`" in seen.said[0]["reason"]


def test_hang_under_kvm_that_works_is_the_kernels(suites_under_kvm: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.guest.vm.REQUEST_SECONDS", 2.0)
    text = "def test_x(guest, agent):\n    guest.monitor.execute('stop')\n    agent.request('hello')\n"
    seen = suites_under_kvm(test_a=text)
    assert [(said["test"], said["attempt"], said["verdict"]) for said in seen.said] == [("test_x", 1, "HANG")], (
        seen.said[0]["reason"]
    )
    assert load_run(suites_under_kvm.directory).distrusted == ""


@pytest.mark.skipif(not accel.DEVICE.exists(), reason="this host has no /dev/kvm")
def test_doctor_tries_the_same_kernel_again(
    suites_under_kvm: Suites, kvm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A KVM that was mended is used again, and one that was not has a new reason."""
    monkeypatch.setattr("farm.guest.start.UNPROVED_SECONDS", 10.0)
    kvm.touch()
    suites_under_kvm(test_a="def test_x(guest): pass\n")
    first = accel.experience()
    assert first is not None
    assert not first.works
    start.try_again()
    assert accel.choose("auto").reason.startswith("no KVM: a kernel did not boot: the guest was not ready within 10 s")
    kvm.unlink()
    start.try_again()
    assert accel.choose("auto").reason.startswith("it ran a kernel, 20")
    accel.forget()
