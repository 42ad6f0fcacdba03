# SPDX-License-Identifier: GPL-2.0
"""QEMU's command line, as a pure function."""

from dataclasses import dataclass

from farm.arch import Architecture
from farm.guest import gdb
from farm.matrix import Machine


@dataclass(frozen=True)
class Wiring:
    """File descriptors that QEMU inherits: so there are no paths to race for and no ports to choose."""

    kernel: int
    initramfs: int
    console: int
    monitor: int
    debugger: int


def accelerator(name: str, arch: Architecture) -> list[str]:
    """The options for `kvm` or `tcg`."""
    match name:
        case "kvm":
            return ["-accel", "kvm", "-cpu", arch.processor]
        case "tcg":
            return ["-accel", f"tcg,{arch.tcg}", "-cpu", arch.processor]
    raise ValueError(f"no accelerator {name!r}; there is kvm and tcg")


def argv(arch: Architecture, machine: Machine, accel: str, wiring: Wiring, cmdline: str = "") -> list[str]:
    """The command that starts a guest."""
    words = [arch.qemu, "-M", arch.machine, *accelerator(accel, arch)]
    words += ["-m", f"{machine.memory}M", "-smp", str(machine.cpus)]
    words += ["-no-user-config", "-nodefaults", "-no-reboot", "-display", "none"]
    words += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    # /proc/self/fd, because -kernel and -initrd do not take fd sets
    words += ["-kernel", f"/proc/self/fd/{wiring.kernel}", "-initrd", f"/proc/self/fd/{wiring.initramfs}"]
    words += ["-append", " ".join(filter(None, [arch.cmdline, machine.cmdline, cmdline]))]
    words += ["-chardev", f"socket,id=console,fd={wiring.console}", "-serial", "chardev:console"]
    words += ["-chardev", f"socket,id=monitor,fd={wiring.monitor}", "-mon", "chardev=monitor,mode=control"]
    # unused until a test needs a debugger
    words += ["-chardev", f"socket,id={gdb.CHARDEV},fd={wiring.debugger}"]
    # no access to the outside; with port 0, QEMU chooses a free one
    words += ["-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"]
    words += ["-device", "virtio-net-device,netdev=net", "-device", "virtio-rng-device"]
    return words
