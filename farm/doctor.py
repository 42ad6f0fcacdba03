# SPDX-License-Identifier: GPL-2.0
"""What the farm needs from its host, and how to get what is missing."""

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass

from farm.arch import ARCHITECTURES
from farm.base import cache
from farm.base.errors import FarmError
from farm.guest import accel
from farm.guest.start import try_again
from farm.kernel.tree import disk_left
from farm.matrix import CHECKOUT, load

#: The list that `make` installs: one Debian package a line.
PACKAGES = CHECKOUT / "debian-packages.txt"

#: The directory of this host's libraries and headers, as Debian names it.
MULTIARCH = sysconfig.get_config_var("MULTIARCH")

#: For each package, one program or file that it installs.
PROOF = {
    "bc": "bc",
    "bison": "bison",
    "busybox-static": "/bin/busybox",
    "ccache": "ccache",
    "chromium": "chromium",
    "clang": "clang",
    "clang-19": "clang-19",
    "dropbear-bin": "/usr/sbin/dropbear",
    "dwarves": "pahole",
    "flex": "flex",
    "gcc": "gcc",
    "git": "git",
    "libarchive-tools": "bsdtar",
    "libbpf-dev": f"/usr/lib/{MULTIARCH}/libbpf.a",
    "libc6-dev": f"/usr/include/{MULTIARCH}/sys/types.h",
    "libelf-dev": f"/usr/lib/{MULTIARCH}/libelf.a",
    "libjansson-dev": f"/usr/lib/{MULTIARCH}/libjansson.a",
    "libzstd-dev": f"/usr/lib/{MULTIARCH}/libzstd.a",
    "lld-19": "ld.lld-19",
    "llvm": "llvm-strip",
    "llvm-19": "llvm-ar-19",
    "make": "make",
    "perl": "perl",
    "python3-venv": f"{sysconfig.get_path('stdlib')}/ensurepip/__init__.py",
    "shellcheck": "shellcheck",
    "strace": "strace",
    "util-linux": "setpriv",
    "xz-utils": "xz",
    "zlib1g-dev": f"/usr/lib/{MULTIARCH}/libz.a",
    **{arch.qemu_package: arch.qemu for arch in ARCHITECTURES.values()},
}

SOURCE_BYTES = 8 << 30
MEMORY_MIB = 1024


@dataclass(frozen=True)
class Finding:
    """One requirement. Without an optional one, things are only slower."""

    name: str
    good: bool
    state: str
    remedy: str = ""
    optional: bool = False


def check() -> list[Finding]:
    """Everything that the farm needs, in the order of its use."""
    return [_python(), *_packages(), _cache(), _memory(), _kvm(), _matrix()]


def packages() -> list[str]:
    return [line.split("#")[0].strip() for line in PACKAGES.read_text().splitlines() if line.split("#")[0].strip()]


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", sys.version_info >= (3, 11), version, "" if sys.version_info >= (3, 11) else "needs 3.11")


def _packages() -> list[Finding]:
    return [_package(name) for name in packages()]


def _package(name: str) -> Finding:
    proof = {**PROOF, **{tree.package: str(tree.archive) for tree in load().trees.values()}}[name]
    found = os.path.exists(proof) if proof.startswith("/") else bool(shutil.which(proof))
    remedy = "" if found else f"sudo apt-get install {name}"
    return Finding(name, found, f"{proof}: {'there' if found else 'missing'}", remedy)


def _cache() -> Finding:
    root = cache.root()
    left = disk_left(root)
    good = left >= SOURCE_BYTES
    remedy = "" if good else f"needs {SOURCE_BYTES >> 30} GiB; free some, or set FTRACE_FARM_CACHE to another place"
    return Finding("disk", good, f"{left >> 30} GiB left below {root}", remedy)


def _memory() -> Finding:
    mib = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    return Finding(
        "memory", mib >= MEMORY_MIB, f"{mib} MiB free", "" if mib >= MEMORY_MIB else "guests take 350 MiB each"
    )


def _kvm() -> Finding:
    try:
        try_again()  # the user may have repaired it
        chosen = accel.choose("auto")
    except FarmError as error:
        return Finding("KVM", False, str(error), optional=True)
    works = chosen.name == "kvm"
    remedy = "" if works else "guests run under TCG, about ten times slower"
    return Finding("KVM", works, chosen.reason, remedy, optional=True)


def _matrix() -> Finding:
    matrix = load()
    return Finding("matrix", True, f"{len(matrix.cells)} cells")
