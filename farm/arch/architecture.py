# SPDX-License-Identifier: GPL-2.0
"""What is spelled differently on each architecture: one frozen record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class RegisterLayout:
    """The registers of a processor as QEMU's gdbstub numbers and sends them.

    `sizes` maps each register to its size in bytes, in the order in which they
    begin the answer to `g`. `pc`, `sp` and `flags` name those that the farm
    itself reads.
    """

    sizes: Mapping[str, int]
    byteorder: Literal["little", "big"]
    pc: str
    sp: str
    flags: str


@dataclass(frozen=True)
class Probe:
    """The smallest of guests, which says whether an accelerator runs one.

    `firmware` is mapped where the processor starts. Started with `options`, QEMU
    prints `says` on its standard output and exits with `status`.
    """

    firmware: bytes
    options: tuple[str, ...]
    says: bytes
    status: int


@dataclass(frozen=True)
class CallSite:
    """How the call is recognised that a traced function starts with.

    It takes `size` bytes and lies at one of `offsets` bytes from the function's
    start. `target` takes the address and the bytes of an instruction; it returns
    where that calls, or None for what is no call.
    """

    size: int
    offsets: tuple[int, ...]
    target: Callable[[int, bytes], int | None]


@dataclass(frozen=True)
class Architecture:
    """Everything that is spelled differently on another architecture.

    To add one: copy farm/arch/x86_64.py, add it to ARCHITECTURES, and write
    suites/arch/, payload/arch/ and kconfigs/ of the same name.
    """

    #: In cells, and the name of kconfigs/, suites/arch/ and payload/arch/.
    name: str

    # kbuild
    kbuild: str  # ARCH=, as TuxMake takes it too
    srcarch: str  # the directory below arch/ of the source
    image: Path  # what is booted, in the build directory
    cross_compile: str  # the prefix of its compiler and binutils on another host
    cross_packages: tuple[str, ...]  # and the Debian packages that bring them
    source_proof: str  # the file without which a tree is not of Linux, for this architecture

    # QEMU
    qemu: str
    qemu_package: str
    machine: str  # -M
    processor: str  # -cpu
    tcg: str  # what is behind `-accel tcg,`
    cmdline: str  # the kernel's, for every guest
    clock: Callable[[str], str]  # the kernel's parameters under TCG, by the host's /proc/cpuinfo
    probe: Probe

    # the trampoline, from outside
    registers: RegisterLayout
    call_site: CallSite
    #: The kernel's trampolines, and the label of the call that each of them makes when
    #: its frame is complete. Empty: the frame is read when the callback is entered.
    trampolines: Mapping[str, str]

    # the image
    libraries: tuple[Path, ...]  # where the shared libraries of its programs are

    @property
    def image_name(self) -> str:
        """The image's file name, in the cache too."""
        return self.image.name
