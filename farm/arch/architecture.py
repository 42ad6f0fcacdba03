# SPDX-License-Identifier: GPL-2.0
"""Everything that differs between architectures, as one frozen record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class RegisterLayout:
    """The registers of a processor as QEMU's gdbstub numbers and sends them.

    `sizes` maps each register to its size in bytes, in the order of the answer to
    `g`, which begins with them. `pc`, `sp` and `flags` name those that the farm
    itself reads.
    """

    sizes: Mapping[str, int]
    byteorder: Literal["little", "big"]
    pc: str
    sp: str
    flags: str


@dataclass(frozen=True)
class Probe:
    """The smallest possible guest. It shows whether an accelerator can run one.

    `firmware` is mapped where the processor starts. With `options`, QEMU prints
    `says` on its standard output and exits with `status`.
    """

    firmware: bytes
    options: tuple[str, ...]
    says: bytes
    status: int


@dataclass(frozen=True)
class CallSite:
    """How to recognise the call at the start of a traced function.

    It takes `size` bytes and lies at one of `offsets` bytes from the function's
    start. `target` takes the address and the bytes of an instruction; it returns
    the target of the call, or None if the instruction is no call.
    """

    size: int
    offsets: tuple[int, ...]
    target: Callable[[int, bytes], int | None]


@dataclass(frozen=True)
class Architecture:
    """Everything that is different on another architecture.

    To add one: copy farm/arch/x86_64.py, add it to ARCHITECTURES, and write
    suites/arch/, payload/arch/ and kconfigs/ of the same name.
    """

    #: The name in cells, and of the directories in kconfigs/, suites/arch/ and payload/arch/.
    name: str

    # kbuild
    kbuild: str  # ARCH=, for TuxMake too
    srcarch: str  # the directory below arch/ of the source
    image: Path  # the file to boot, in the build directory
    cross_compile: str  # the prefix of its compiler and binutils on another host
    cross_packages: tuple[str, ...]  # the Debian packages with them
    source_proof: str  # a file that every Linux tree has for this architecture

    # QEMU
    qemu: str
    qemu_package: str
    machine: str  # -M
    processor: str  # -cpu
    tcg: str  # the options after `-accel tcg,`
    cmdline: str  # the kernel's, for every guest
    clock: Callable[[str], str]  # the kernel's parameters under TCG, from the host's /proc/cpuinfo
    probe: Probe

    # the trampoline, from outside
    registers: RegisterLayout
    call_site: CallSite
    #: The kernel's trampolines. Each has the label of the call that it makes when its frame
    #: is complete. If the label is empty, the frame is read when the callback is entered.
    trampolines: Mapping[str, str]

    # the image
    libraries: tuple[Path, ...]  # where the shared libraries of its programs are

    @property
    def image_name(self) -> str:
        """The image's file name, in the cache too."""
        return self.image.name
