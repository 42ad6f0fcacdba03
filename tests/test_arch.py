# SPDX-License-Identifier: GPL-2.0
"""An architecture is a record: a made-up one works up to QEMU's and make's command lines,
and nothing outside of the records is spelled as one architecture spells it."""

import platform
import re
from dataclasses import replace
from pathlib import Path

import pytest

from farm import arch
from farm.arch.architecture import Architecture, CallSite, Probe, RegisterLayout
from farm.arch.x86_64 import X86_64
from farm.base.errors import UsageError
from farm.guest import accel, qemu
from farm.guest.gdb import registers
from farm.kernel import build
from farm.kernel.build import plan
from farm.kernel.tree import from_user
from farm.matrix import CHECKOUT, Machine, load
from tests.conftest import LINUX, Repository
from tests.test_matrix import GOOD

#: One that TuxMake and QEMU know, and that the farm has no guests of.
MOON = Architecture(
    name="moon",
    kbuild="m68k",
    srcarch="m68k",
    image=Path("vmlinux.moon"),
    cross_compile="m68k-linux-gnu-",
    cross_packages=("gcc-m68k-linux-gnu",),
    source_proof="arch/m68k/Kconfig",
    qemu="qemu-system-m68k",
    qemu_package="qemu-system-misc",
    machine="virt",
    processor="m68040",
    tcg="tb-size=32",
    cmdline="console=ttyGF0 panic=-1",
    clock=lambda cpuinfo: "",
    probe=Probe(firmware=b"\x4e\x71", options=("-serial", "stdio"), says=b"M", status=0),
    registers=RegisterLayout(sizes={"d0": 4, "a7": 4, "ps": 4, "pc": 4}, byteorder="big", pc="pc", sp="a7", flags="ps"),
    call_site=CallSite(size=6, offsets=(0,), target=lambda address, insn: None),
    trampolines={"ftrace_caller": "ftrace_call"},
    libraries=(Path("/usr/m68k-linux-gnu/lib"),),
)

#: What stands in the build directory when the kernel is made, and with which words make was called.
MAKEFILE = """\
VERSION = 6
PATCHLEVEL = 12
default:
\t@cd $(O) && mkdir -p include/generated arch/m68k/include/generated
\t@cd $(O) && echo "$(ARCH) $(CROSS_COMPILE)" > vmlinux.moon && touch System.map
tinyconfig olddefconfig:
\t@touch $(O)/.config
"""


@pytest.fixture(autouse=True)
def moon(monkeypatch: pytest.MonkeyPatch) -> Architecture:
    monkeypatch.setitem(arch.ARCHITECTURES, "moon", MOON)
    return MOON


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    """A matrix with a cell of that architecture."""
    for directory in ("kconfigs/x86_64", "kconfigs/moon", "patches/mine"):
        (tmp_path / directory).mkdir(parents=True)
    for fragment in ("x86_64/base", "x86_64/regs", "moon/base"):
        (tmp_path / f"kconfigs/{fragment}.config").write_text("")
    path = tmp_path / "kconfigs/matrix.yaml"
    path.write_text(f"{GOOD}  moon:\n    about: made up\n    arch: moon\n    tree: mine\n    fragments: [base]\n")
    return path


def test_cell(matrix: Path) -> None:
    cell = load(matrix).cells["moon"]
    assert cell.arch == "moon"
    assert [fragment.parent.name for fragment in cell.fragments] == ["moon"]
    assert load(matrix).cells["one"].arch == arch.FIRST == "x86_64"
    matrix.write_text(matrix.read_text().replace("arch: moon", "arch: mooon"))
    load.cache_clear()
    with pytest.raises(UsageError, match=r"cells.moon.arch: no architecture 'mooon'; .*moon"):
        load(matrix)


def test_qemus_command_line() -> None:
    wiring = qemu.Wiring(kernel=10, initramfs=11, console=12, monitor=13, debugger=14)
    line = qemu.argv(MOON, Machine(128, 1, "quiet"), "tcg", wiring)
    assert line[:7] == ["qemu-system-m68k", "-M", "virt", "-accel", "tcg,tb-size=32", "-cpu", "m68040"]
    assert line[line.index("-append") + 1] == "console=ttyGF0 panic=-1 quiet"
    assert "ttyS0" not in " ".join(line)


def test_accelerator_is_of_the_hosts_architecture_alone() -> None:
    assert accel.of_guest("kvm", MOON) == "tcg"
    assert accel.of_guest("tcg", MOON) == "tcg"
    if platform.machine() == X86_64.name:
        assert accel.of_guest("kvm", X86_64) == "kvm"


def test_registers() -> None:
    assert registers("00000001000000fe00002700000010007f", MOON.registers) == {
        "d0": 1,
        "a7": 0xFE,
        "ps": 0x2700,
        "pc": 0x1000,
    }


@pytest.mark.usefixtures("cache_root")
def test_makes_command_line(matrix: Path, linux: Repository, programs: Path) -> None:
    """By TuxMake and make, with the record's ARCH and CROSS_COMPILE; the image is the record's."""
    for tool in ("gcc", "ld", "as"):
        (programs / f"m68k-linux-gnu-{tool}").write_text("#!/bin/sh\necho 12\n")
        (programs / f"m68k-linux-gnu-{tool}").chmod(0o755)
    linux.write({**LINUX, "Makefile": MAKEFILE, "scripts/kconfig/merge_config.sh": "#!/bin/sh\nexit 0\n"})
    (linux.path / "scripts/kconfig/merge_config.sh").chmod(0o755)
    cell = replace(load(matrix).cells["moon"], fragments=())
    kernel = build.kernel(plan(cell, from_user(str(linux.path)), False), print)
    assert kernel.image.name == "vmlinux.moon"
    assert kernel.image.read_text() == "m68k m68k-linux-gnu-\n"
    assert build.make_variables(cell) == {"ARCH": "m68k", "CROSS_COMPILE": "m68k-linux-gnu-"}


#: What only farm/arch/ and suites/arch/ may say, each line without the names of cells (`x86_64-regs`),
#: which stand in examples and are names of directories.
SPELLED = re.compile(r"x86|bzImage|microvm|ttyS0|qemu-system|\br(?:di|si|bp|sp|ip|flags)\b", re.I)
CELL_NAME = re.compile(r"\bx86_64-[a-z]+(?:-[a-z]+)*")

#: How many lines may, and why.
EXCEPTIONS = {
    # the place of a slot, as `112(%rsp)`: the records have it so
    "farm/report/frame.py": 3,
    "farm/report/site/templates/macros.html": 1,
    "farm/worker/classify.py": 1,
    "farm/worker/diagnosis.py": 1,
    # a parser of the kernel's reports: what another architecture prints has other words
    "farm/guest/complaints.py": 2,
}


def test_nothing_else_is_spelled_by_one_architecture() -> None:
    found: dict[str, list[str]] = {}
    for room in ("farm", "suites"):
        for path in sorted((CHECKOUT / room).rglob("*")):
            name = str(path.relative_to(CHECKOUT))
            if path.suffix not in (".py", ".html", ".css") or f"{room}/arch/" in name:
                continue
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if SPELLED.search(CELL_NAME.sub("", line)):
                    found.setdefault(name, []).append(f"{name}:{number}: {line.strip()}")
    assert {name: len(lines) for name, lines in found.items()} == EXCEPTIONS, found
