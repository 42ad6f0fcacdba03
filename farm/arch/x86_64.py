# SPDX-License-Identifier: GPL-2.0
"""x86-64: `make ARCH=x86_64`, QEMU's microvm."""

import re
from pathlib import Path

from farm.arch.architecture import Architecture, CallSite, Probe, RegisterLayout

#: A machine without PCI, ACPI and BIOS menu: under TCG it boots in a second.
#: The old timers and interrupt controller stay on: without them, a kernel with
#: `acpi=off` never finishes calibrating the TSC.
_MICROVM = "microvm,rtc=on,pic=on,pit=on,acpi=off"

#: `panic=-1` reboots at once, and `-no-reboot` turns that into QEMU's end. The guest
#: powers off in the same way, as there is no ACPI. `no_timer_check` saves the boot a
#: wait for timer interrupts, which QEMU delivers anyway. Each change of tracers waits
#: for grace periods of RCU; `rcu_expedited` makes them short. pstore must know at boot
#: which memory it may write to; all of it is for its tracer, 170 calls on each of two
#: processors.
_CMDLINE = (
    "console=ttyS0 ignore_loglevel panic=-1 reboot=t random.trust_cpu=1 nokaslr no_timer_check"
    " rcupdate.rcu_expedited=1"
    " reserve_mem=8K:4K:pstore ramoops.mem_name=pstore ramoops.ftrace_size=8192"
    " ramoops.record_size=0 ramoops.console_size=0 ramoops.pmsg_size=0"
)

#: TCG's translated code of the lean kernel and the suites fits into this. The default,
#: a quarter of the host's memory, is too much for one guest.
_TRANSLATION_MIB = 64

#: What the processor runs first, at 16 bytes below 4 GiB, in real mode: write
#: a K to the serial port, then leave QEMU through isa-debug-exit.
_RESET_VECTOR = bytes.fromhex(
    "ba f8 03"  # mov $0x3f8, %dx
    "b0 4b"  # mov $'K', %al
    "ee"  # out %al, (%dx)
    "b0 00"  # mov $0, %al
    "e6 f4"  # out %al, $0xf4
    "f4"  # hlt
)

_CALL = 0xE8


def _clock(cpuinfo: str) -> str:
    """The frequency of the host's TSC, which the guest sees under TCG. On a busy host, a guest
    that measures it gives up and counts ticks of 4 ms. Then it sees no latency, and udelay() is
    too short. The nominal frequency may be wrong by a few per cent, which does no harm."""
    found = re.search(r"^cpu MHz\s*: (\d+)\.(\d{3})$", cpuinfo, re.M)
    return f"tsc=reliable tsc_early_khz={found[1]}{found[2]}" if found else ""


def _called(address: int, insn: bytes) -> int | None:
    """CALL rel32, counted from its end."""
    if insn[0] != _CALL:
        return None
    return address + len(insn) + int.from_bytes(insn[1:], "little", signed=True)


X86_64 = Architecture(
    name="x86_64",
    kbuild="x86_64",
    srcarch="x86",
    image=Path("arch/x86/boot/bzImage"),
    cross_compile="x86_64-linux-gnu-",
    cross_packages=("gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"),
    source_proof="arch/x86/kernel/ftrace_64.S",
    qemu="qemu-system-x86_64",
    qemu_package="qemu-system-x86",
    machine=_MICROVM,
    processor="max",
    # One thread for all virtual processors. With one thread each, QEMU 7.2 sometimes loses
    # a patched byte that another processor is about to run: a guest whose ftrace patches
    # a lot then dies of `Oops: int3`, although its kernel is correct.
    tcg=f"thread=single,tb-size={_TRANSLATION_MIB}",
    cmdline=_CMDLINE,
    clock=_clock,
    probe=Probe(
        # 64 KiB that end with the reset vector, as the machine maps them below 4 GiB
        firmware=_RESET_VECTOR.ljust(16, b"\xf4").rjust(1 << 16, b"\xf4"),
        options=("-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-serial", "stdio"),
        says=b"K",
        status=1,  # isa-debug-exit turns the 0 into (value << 1) | 1
    ),
    registers=RegisterLayout(
        sizes={
            **dict.fromkeys(("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"), 8),
            **{f"r{number}": 8 for number in range(8, 16)},
            "rip": 8,
            "rflags": 4,
        },
        byteorder="little",
        pc="rip",
        sp="rsp",
        flags="rflags",
    ),
    # the first instruction, or the one after the ENDBR64 that IBT needs
    call_site=CallSite(size=5, offsets=(0, 4), target=_called),
    trampolines={"ftrace_caller": "ftrace_call", "ftrace_regs_caller": "ftrace_regs_call", "__fentry__": ""},
    libraries=(Path("/lib/x86_64-linux-gnu"), Path("/usr/lib/x86_64-linux-gnu")),
)
