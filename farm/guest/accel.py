# SPDX-License-Identifier: GPL-2.0
"""Which accelerator runs guests here: proved, not assumed.

/dev/kvm can be there, open and create a machine, and still run no guest. So
KVM is believed only after it has run code, and the answer holds for this boot
of the host and this QEMU.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from farm.base import cache
from farm.base.command import echo, leashed
from farm.base.errors import FarmError
from farm.guest import qemu

#: A second is long for twelve bytes of machine code; a loaded host needs some.
PROBE_SECONDS = 5.0

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
_EXIT_STATUS = 1  # isa-debug-exit makes (value << 1) | 1 of the 0


@dataclass(frozen=True)
class Accelerator:
    """`name` is kvm or tcg; `reason` says why it was chosen, for people."""

    name: str
    reason: str


def choose(wish: str) -> Accelerator:
    """The accelerator for `auto`, `kvm` or `tcg`. FarmError if KVM is asked for and lies."""
    if wish == "tcg":
        return Accelerator("tcg", "asked for")
    trouble = _remembered_trouble()
    if not trouble:
        return Accelerator("kvm", "it ran a guest")
    if wish == "kvm":
        raise FarmError(f"--accel kvm: KVM does not work here: {trouble}; --accel tcg does, slower")
    return Accelerator("tcg", f"no KVM: {trouble}")


def _remembered_trouble() -> str:
    if not Path("/dev/kvm").exists():
        return "there is no /dev/kvm"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm cannot be opened; join its group: sudo adduser $USER kvm"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    binary = shutil.which(qemu.BINARY) or ""
    key = cache.digest(boot, binary, str(os.geteuid()))

    def make(directory: Path) -> None:
        (directory / "answer.json").write_text(json.dumps({"trouble": probe("kvm")}))

    return str(json.loads((cache.fill("kvm", key, make) / "answer.json").read_text())["trouble"])


def probe(accelerator: str) -> str:
    """Run the smallest of guests; empty if it ran, else what went wrong."""
    with cache.scratch("kvm") as directory:
        firmware = directory / "probe.bin"
        firmware.write_bytes(_firmware())
        argv = [qemu.BINARY, "-M", qemu.MICROVM, *qemu.accelerator(accelerator), "-m", "16M"]
        argv += ["-no-user-config", "-nodefaults", "-no-reboot", "-display", "none", "-bios", str(firmware)]
        argv += ["-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-serial", "stdio"]
        echo(argv)
        try:
            done = subprocess.run(
                leashed(argv), stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS, check=False
            )
        except FileNotFoundError as error:
            raise FarmError(f"{error.filename}: no such command; see `farm doctor`") from error
        except subprocess.TimeoutExpired:
            return f"a guest was created but did not run an instruction within {PROBE_SECONDS:.0f} s"
    if done.returncode == _EXIT_STATUS and done.stdout == b"K":
        return ""
    said = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode == 127 and said and f"failed to execute {qemu.BINARY}" in said[-1]:  # setpriv's words
        raise FarmError(f"{qemu.BINARY}: no such command; see `farm doctor`")
    return f"QEMU exited with {done.returncode}" + (f": {said[-1]}" if said else "")


def _firmware() -> bytes:
    """64 KiB that end with the reset vector, as the machine maps them below 4 GiB."""
    return _RESET_VECTOR.ljust(16, b"\xf4").rjust(1 << 16, b"\xf4")
