# SPDX-License-Identifier: GPL-2.0
"""Makes the initramfs from a recipe, the host's Debian packages and the payload, without root.

The same inputs give the same bytes. The keys are inputs too: they are made once
for each recipe, and kept.
"""

import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from farm import artifact
from farm.arch import Architecture
from farm.artifact import Ref, locate
from farm.base import cache, strict
from farm.base.command import CommandFailed, run
from farm.base.errors import FarmError
from farm.matrix import CHECKOUT

RECIPE = CHECKOUT / "images" / "initramfs.yaml"

#: A disk with less room than this counts as full: no part of an image is smaller.
FULL_BYTES = 1 << 16

_Absolute = Annotated[str, strict.form("/.*", "a path that begins with /")]


class _Recipe(strict.Strict):
    programs: dict[_Absolute, _Absolute]
    applets: dict[_Absolute, list[str]]
    scripts: dict[_Absolute, str]
    directories: list[_Absolute]
    files: dict[_Absolute, str]


@dataclass(frozen=True)
class Keys:
    """SSH keys of an image: the farm logs in with `client`, and the guest shows `host`."""

    client: Path
    host: Path


@dataclass(frozen=True)
class Image:
    """An initramfs, and the keys to a guest that boots from it."""

    ref: Ref
    key_pair: Ref

    @property
    def initramfs(self) -> Path:
        """The file, on this host. Raises artifact.Unusable."""
        return locate(self.ref) / "initramfs.cpio"

    @property
    def keys(self) -> Keys:
        directory = locate(self.key_pair)
        return Keys(directory / "id_ed25519", directory / "host_key.pub")


@dataclass(frozen=True)
class _Entry:
    """One file of the archive; `source` is a file of the host, or None."""

    path: str
    kind: str
    mode: int
    source: Path | None = None
    link: str = ""

    def mtree(self) -> str:
        words = [f".{self.path}", f"type={self.kind}", f"mode={self.mode:o}", "uid=0", "gid=0", "time=0.0"]
        if self.source:
            words += [f"size={self.source.stat().st_size}", f"contents={_quoted(str(self.source))}"]
        if self.link:
            words.append(f"link={self.link}")
        if self.kind == "char":
            words.append("device=native,5,1")  # the console, the only one that a guest's kernel needs
        return " ".join(words)


def image(arch: Architecture, programs: Path, module: Path | None, recipe: Path = RECIPE) -> Image:
    """The image for a payload, from the cache or made now.

    `programs` has the agent and the BPF objects. `module` has the target module
    and those that tests load; it is None for a guest that loads none.
    """
    parsed = _parse(recipe)
    host_files = _host_files(parsed, recipe, arch)
    if module:
        # by name, so that no image is made without the module that init loads
        host_files["/payload/ftrace_target.ko"] = module / "ftrace_target.ko"
        for item in sorted(module.glob("*.ko")):
            host_files[f"/payload/{item.name}"] = item
    host_files["/payload/agent"] = programs / "agent"
    for item in sorted(programs.glob("*.bpf.o")):
        host_files[f"/payload/{item.name}"] = item
    keys = _keys(cache.digest(recipe.read_text()))
    host_files["/etc/dropbear/host_key"] = locate(keys) / "host_key"
    host_files["/root/.ssh/authorized_keys"] = locate(keys) / "id_ed25519.pub"

    ingredients: list[str | bytes] = ["initramfs-2", recipe.read_text()]
    for where, source in sorted(host_files.items()):
        ingredients += [where, source.read_bytes()]

    def make(directory: Path) -> None:
        _archive(parsed, host_files, directory)

    return Image(artifact.make("images", cache.digest(*ingredients), make), keys)


def _parse(recipe: Path) -> _Recipe:
    return strict.read(recipe, _Recipe)[1]


def _host_files(parsed: _Recipe, recipe: Path, arch: Architecture) -> dict[str, Path]:
    """The source of each file of the image, except those that the recipe itself contains."""
    files = {where: Path(source) for where, source in parsed.programs.items()}
    files |= {where: recipe.parent / script for where, script in parsed.scripts.items()}
    for program in parsed.programs.values():
        files |= {f"/lib/{name}": path for name, path in _libraries(Path(program), arch.libraries).items()}
    return files


def _libraries(program: Path, directories: Sequence[Path]) -> dict[str, Path]:
    """The shared libraries of a program, by the names that the loader looks for."""
    found: dict[str, Path] = {}
    todo = [program]
    while todo:
        for name in _needed(todo.pop()):
            if name not in found:
                path = next((where / name for where in directories if (where / name).exists()), None)
                if path is None:
                    raise FarmError(f"{program} needs {name}, which is in none of {', '.join(map(str, directories))}")
                found[name] = path
                todo.append(path)
    return found


def _needed(path: Path) -> Iterator[str]:
    try:
        handle = path.open("rb")
    except FileNotFoundError as error:
        raise FarmError(f"{path} is missing; `farm doctor` names the package that brings it") from error
    with handle:
        elf = ELFFile(handle)
        for segment in elf.iter_segments():
            if isinstance(segment, InterpSegment):
                yield Path(segment.get_interp_name()).name
        dynamic = elf.get_section_by_name(".dynamic")
        if isinstance(dynamic, DynamicSection):
            yield from (str(tag.needed) for tag in dynamic.iter_tags("DT_NEEDED"))  # type: ignore[attr-defined]


def _keys(identity: str) -> Ref:
    def make(directory: Path) -> None:
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        (directory / "id_ed25519").write_bytes(private)
        (directory / "id_ed25519").chmod(0o600)
        (directory / "id_ed25519.pub").write_bytes(public + b" farm\n")
        shown = run(["dropbearkey", "-t", "ed25519", "-f", directory / "host_key"])
        line = next(line for line in shown.splitlines() if line.startswith("ssh-ed25519 "))
        (directory / "host_key.pub").write_text(f"{line}\n")

    return artifact.make("keys", identity, make)


def _archive(parsed: _Recipe, host_files: Mapping[str, Path], directory: Path) -> None:
    """Make initramfs.cpio with bsdtar, from a list of its files. No device node, owner
    or date comes from the host, so it needs no root, and the bytes do not change."""
    entries = [_Entry("/dev/console", "char", 0o600)]
    entries += [_Entry("/lib64", "link", 0o777, link="lib")]
    entries += [_Entry(d, "dir", 0o700 if d.startswith("/root") else 0o755) for d in parsed.directories]
    entries += [_Entry(d, "dir", 0o755) for d in ("/bin", "/sbin", "/lib")]
    for where, source in host_files.items():
        private = where.startswith(("/etc/dropbear", "/root"))
        entries.append(_Entry(where, "file", 0o600 if private else 0o755, source))
    for at, names in parsed.applets.items():
        entries += [_Entry(f"{at}/{name}", "link", 0o777, link="/bin/busybox") for name in names]
    for number, (where, text) in enumerate(parsed.files.items()):
        written = directory / f"file-{number}"
        written.write_text(text)
        entries.append(_Entry(where, "file", 0o644, written))
    order = sorted(entries, key=lambda entry: entry.path)
    listing = "#mtree\n" + "".join(f"{entry.mtree()}\n" for entry in order)
    (directory / "list").write_text(listing)
    output = directory / "initramfs.cpio"
    # through a tar archive, which has no inode numbers: newc would take the host's
    try:
        run(["bsdtar", "--create", "--format=ustar", "--file", directory / "tar", f"@{directory / 'list'}"])
        run(["bsdtar", "--create", "--format=newc", "--file", output, f"@{directory / 'tar'}"])
    except CommandFailed as error:
        if shutil.disk_usage(directory).free < FULL_BYTES:  # bsdtar says only "Write error"
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(output)) from error
        raise
    output.chmod(0o644)  # if the farm is root, guests run as nobody
    for leftover in directory.iterdir():
        if leftover != output:
            leftover.unlink()


def _quoted(path: str) -> str:
    """A path for mtree, which splits at blanks and understands octal escapes."""
    return "".join(c if c.isalnum() or c in "/._-+=:,@" else "".join(f"\\{b:03o}" for b in c.encode()) for c in path)
