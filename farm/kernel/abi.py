# SPDX-License-Identifier: GPL-2.0
"""What a tree's uapi headers promise about filters, as the compiler sees them."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

from farm.base import cache
from farm.base.command import CommandFailed, run
from farm.base.errors import BuildFailed
from farm.kernel.blame import first_errors
from farm.kernel.tree import Source
from farm.matrix import CHECKOUT

HEADERS = "include/uapi/linux"

#: The member of the enum that counts the others, so it changes with each new one.
COUNTER = "__MAX_BPF_PROG_TYPE"


@dataclass(frozen=True)
class Abi:
    """The names and numbers of enum bpf_prog_type, and for struct bpf_ftrace_args the
    offset of each member and the size in bytes (empty and 0 if the headers lack it)."""

    prog_types: dict[str, int]
    args: dict[str, int]
    args_size: int


def compile_headers(headers: Iterable[Path], directory: Path) -> None:
    """Leave abi.o in `directory`, with the layout of the headers as DWARF, or abi.error
    if they do not compile."""
    include = directory / "headers"
    (include / "linux").mkdir(parents=True)
    for header in headers:
        shutil.copy(header, include / "linux")
    try:
        run(["make", "-C", CHECKOUT / "payload", f"O={directory}", f"UAPI={include}", "abi"])
    except CommandFailed as error:
        (directory / "abi.error").write_text("\n".join(first_errors(error.output)) + "\n")


def read(directory: Path) -> Abi:
    """Read what `compile_headers` left. Raises BuildFailed if the headers did not compile."""
    if (directory / "abi.error").exists():
        raise BuildFailed(f"the tree's uapi headers do not compile: {(directory / 'abi.error').read_text().strip()}")
    prog_types: dict[str, int] = {}
    args: dict[str, int] = {}
    size = 0
    with (directory / "abi.o").open("rb") as handle:
        for unit in ELFFile(handle).get_dwarf_info().iter_CUs():
            for die in unit.iter_DIEs():
                match die.tag, _name(die):
                    case "DW_TAG_enumeration_type", "bpf_prog_type":
                        prog_types = {_name(e): e.attributes["DW_AT_const_value"].value for e in die.iter_children()}
                    case "DW_TAG_structure_type", "bpf_ftrace_args":
                        size = die.attributes["DW_AT_byte_size"].value
                        where = "DW_AT_data_member_location"
                        args = {_name(member): member.attributes[where].value for member in die.iter_children()}
    return Abi(prog_types, args, size)


def _name(die: DIE) -> str:
    attribute = die.attributes.get("DW_AT_name")
    return attribute.value.decode() if attribute else ""


def of(source: Source) -> Abi:
    """The ABI of a source that is not checked out. Raises BuildFailed like `read`."""
    with cache.scratch("abi") as directory:
        listed = source.git("ls-tree", "--name-only", source.commit, f"{HEADERS}/").splitlines()
        headers = []
        for name in listed:
            if Path(name).match("bpf*.h"):
                headers.append(directory / Path(name).name)
                headers[-1].write_text(source.git("show", f"{source.commit}:{name}") + "\n")
        compile_headers(headers, directory)
        return read(directory)


def broken(before: Abi, after: Abi) -> list[str]:
    """In words, what programs compiled with `before` would miss in `after`."""
    complaints = []
    for name, number in before.prog_types.items():
        if name != COUNTER and after.prog_types.get(name) != number:
            complaints.append(f"{name} was {number} and is {after.prog_types.get(name, 'gone')}")
    end = before.prog_types.get(COUNTER, 0)
    for name, number in after.prog_types.items():
        if name not in before.prog_types and number < end:
            complaints.append(f"{name} is {number}, in the middle of enum bpf_prog_type, whose end was {end}")
    if before.args and (before.args, before.args_size) != (after.args, after.args_size):
        complaints.append(
            f"struct bpf_ftrace_args was {before.args} in {before.args_size} bytes, "
            f"and is {after.args} in {after.args_size}"
        )
    return complaints
