# SPDX-License-Identifier: GPL-2.0
"""QEMU's command line, and that this host's QEMU takes it."""

import pytest

from farm.arch.x86_64 import X86_64
from farm.guest.qemu import Wiring, accelerator, argv
from farm.matrix import Machine

WIRING = Wiring(kernel=10, initramfs=11, console=12, monitor=13, debugger=14)


def words(accel: str = "tcg", machine: Machine = Machine(256, 3, ""), cmdline: str = "") -> list[str]:
    return argv(X86_64, machine, accel, WIRING, cmdline)


def values(option: str, of: list[str]) -> list[str]:
    """What follows each occurrence of an option."""
    return [of[i + 1] for i, word in enumerate(of) if word == option]


def test_machine() -> None:
    line = words()
    assert line[0] == "qemu-system-x86_64"
    (machine,) = values("-M", line)
    assert machine.split(",")[0] == "microvm"
    assert (values("-m", line), values("-smp", line)) == (["256M"], ["3"])
    assert {"-no-reboot", "-nodefaults", "-no-user-config"} <= set(line)


@pytest.mark.parametrize("accel", ["kvm", "tcg"])
def test_accelerator(accel: str) -> None:
    (chosen,) = values("-accel", words(accel))
    assert chosen.split(",")[0] == accel
    assert accelerator(accel, X86_64) == ["-accel", chosen, "-cpu", "max"]


def test_accelerator_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="no accelerator 'tgc'; there is kvm and tcg"):
        accelerator("tgc", X86_64)


def test_tcg_takes_little_memory() -> None:
    assert "tb-size=64" in values("-accel", words("tcg"))[0]


@pytest.mark.parametrize(
    "cpuinfo, says",
    [
        ("processor\t: 0\ncpu MHz\t\t: 2445.432\ncpu MHz\t\t: 800.000\n", "tsc=reliable tsc_early_khz=2445432"),
        ("BogoMIPS\t: 50.00\n", ""),
    ],
)
def test_clock(cpuinfo: str, says: str) -> None:
    assert X86_64.clock(cpuinfo) == says


def test_no_device_needs_pci() -> None:
    devices = [device.split(",")[0] for device in values("-device", words())]
    assert devices == ["virtio-net-device", "virtio-rng-device"]
    assert "pci" not in " ".join(words())


def test_no_way_out() -> None:
    (network,) = values("-netdev", words())
    options = network.split(",")
    assert "restrict=on" in options
    forwards = [option for option in options if option.startswith("hostfwd=")]
    assert forwards == ["hostfwd=tcp:127.0.0.1:0-:22"], "one port, on loopback, of QEMU's own choice"


def test_sandbox() -> None:
    (sandbox,) = values("-sandbox", words())
    assert sandbox.split(",")[0] == "on"
    assert {"elevateprivileges=deny", "spawn=deny", "resourcecontrol=deny"} <= set(sandbox.split(","))


def test_wiring() -> None:
    line = words()
    assert (values("-kernel", line), values("-initrd", line)) == (["/proc/self/fd/10"], ["/proc/self/fd/11"])
    console, monitor, debugger = values("-chardev", line)
    assert console == "socket,id=console,fd=12"
    assert monitor == "socket,id=monitor,fd=13"
    assert debugger == "socket,id=debugger,fd=14"
    assert values("-serial", line) == ["chardev:console"]
    assert values("-display", line) == ["none"]


def test_command_line_of_the_kernel() -> None:
    always = X86_64.cmdline
    assert values("-append", words()) == [always]
    assert values("-append", words(machine=Machine(64, 1, "a=1"), cmdline="b=2")) == [f"{always} a=1 b=2"]
    assert {"console=ttyS0", "panic=-1", "ignore_loglevel"} <= set(always.split())
