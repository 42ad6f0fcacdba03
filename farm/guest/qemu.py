# SPDX-License-Identifier: GPL-2.0
"""QEMU's command line: a pure function from what is wanted."""

import re
from dataclasses import dataclass

from farm.guest import gdb
from farm.matrix import Machine

BINARY = "qemu-system-x86_64"

#: A machine without PCI, ACPI and a BIOS menu: under TCG it boots in a second.
#: The old timers and interrupt controller stay on: without them a kernel with
#: `acpi=off` waits for ever while it calibrates the TSC.
MICROVM = "microvm,rtc=on,pic=on,pit=on,acpi=off"

#: `panic=-1` reboots at once, which `-no-reboot` turns into QEMU's end; that
#: is also how the guest powers off, as there is no ACPI. `no_timer_check` spares
#: the boot a wait for timer interrupts that QEMU is sure to deliver. Each change
#: of tracers waits for grace periods of RCU, which are asked to be short. And pstore
#: needs to know at boot of a memory that it may write to; all of it is for its
#: tracer, 170 calls on each of two processors.
CMDLINE = (
    "console=ttyS0 ignore_loglevel panic=-1 reboot=t random.trust_cpu=1 nokaslr no_timer_check"
    " rcupdate.rcu_expedited=1"
    " reserve_mem=8K:4K:pstore ramoops.mem_name=pstore ramoops.ftrace_size=8192"
    " ramoops.record_size=0 ramoops.console_size=0 ramoops.pmsg_size=0"
)

#: In TCG, translated code for the lean kernel and the suites fits this; the
#: default of a quarter of the host's memory is not what a guest should take.
TRANSLATION_MIB = 64


@dataclass(frozen=True)
class Wiring:
    """File descriptors that QEMU inherits: no paths to race for, no ports to pick."""

    kernel: int
    initramfs: int
    console: int
    monitor: int
    debugger: int


def accelerator(name: str) -> list[str]:
    if name == "kvm":
        return ["-accel", "kvm", "-cpu", "max"]
    # One thread for all virtual processors: with one each, QEMU 7.2 loses now and
    # then a patched byte that another processor is about to run, and a guest
    # whose ftrace patches much dies of `Oops: int3` with a sound kernel.
    return ["-accel", f"tcg,thread=single,tb-size={TRANSLATION_MIB}", "-cpu", "max"]


def clock(name: str, cpuinfo: str) -> str:
    """What tells a guest without KVM's clock how fast its TSC is; nothing where the
    host's /proc/cpuinfo does not.

    Under TCG that is the host's TSC. On a busy host a guest that measures it gives
    up and counts ticks of 4 ms, in which no latency is seen and udelay() is too
    short. The nominal frequency may be off by a few per cent, which harms nobody.
    """
    found = re.search(r"^cpu MHz\s*: (\d+)\.(\d{3})$", cpuinfo, re.M)
    return f"tsc=reliable tsc_early_khz={found[1]}{found[2]}" if name == "tcg" and found else ""


def argv(machine: Machine, accel: str, wiring: Wiring, cmdline: str = "") -> list[str]:
    """The command that starts a guest."""
    words = [BINARY, "-M", MICROVM, *accelerator(accel)]
    words += ["-m", f"{machine.memory}M", "-smp", str(machine.cpus)]
    words += ["-no-user-config", "-nodefaults", "-no-reboot", "-display", "none"]
    words += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    # /proc/self/fd, as -kernel and -initrd know no fd sets
    words += ["-kernel", f"/proc/self/fd/{wiring.kernel}", "-initrd", f"/proc/self/fd/{wiring.initramfs}"]
    words += ["-append", " ".join(filter(None, [CMDLINE, machine.cmdline, cmdline]))]
    words += ["-chardev", f"socket,id=console,fd={wiring.console}", "-serial", "chardev:console"]
    words += ["-chardev", f"socket,id=monitor,fd={wiring.monitor}", "-mon", "chardev=monitor,mode=control"]
    # nothing is on it until a test asks for a debugger
    words += ["-chardev", f"socket,id={gdb.CHARDEV},fd={wiring.debugger}"]
    # no way out; port 0 lets QEMU choose a free one
    words += ["-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"]
    words += ["-device", "virtio-net-device,netdev=net", "-device", "virtio-rng-device"]
    return words
