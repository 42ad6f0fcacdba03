# SPDX-License-Identifier: GPL-2.0
"""Artifacts: kernels, programs, modules, images and keys, named by kind and key.

Packages, processes and hosts pass an artifact to each other as a Ref. It becomes a path
where it is used, in the cache of that host. Its content is checked against what was
stored: a disk, a crash or a person may have changed it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache as remember
from pathlib import Path

from farm.base import cache
from farm.base.errors import FarmError


@dataclass(frozen=True)
class Ref:
    """The name of an artifact. The `key` follows from everything that it is made from."""

    kind: str
    key: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.key}"


class Unusable(FarmError):
    """An artifact that is missing, or that has changed since it was stored."""


def parse(text: str) -> Ref:
    """The Ref that is written as `KIND/KEY`. Older run directories have the full path of a directory
    in a cache, which ends in the same way. Raises ValueError for anything else."""
    kind, _, key = "/".join(text.split("/")[-2:]).partition("/")
    if kind not in cache.KINDS or not key:
        raise ValueError(f"{text!r} names no artifact")
    return Ref(kind, key)


def make(kind: str, key: str, fill: Callable[[Path], None]) -> Ref:
    """An artifact. `fill(directory)` makes it if the cache has none, or one that was changed.

    Raises FarmError if the cache cannot be written, and whatever `fill` raises.
    """

    def sealed(directory: Path) -> None:
        fill(directory)
        (directory / cache.SEAL).write_text(cache.digest_files(directory))

    cache.fill(kind, key, sealed, _is_sound)
    return Ref(kind, key)


def exists(ref: Ref) -> bool:
    """Whether this host's cache has it."""
    return cache.entry(ref.kind, ref.key).is_dir()


def locate(ref: Ref, cell: str = "") -> Path:
    """The artifact's directory in this host's cache. It stays there until this process ends.

    Raises Unusable, which names the `cell` that wants it, if the artifact is missing or has
    changed since it was stored.
    """
    cache.hold()
    path = cache.entry(ref.kind, ref.key)
    whose, again = (f"{cell}: ", f"`farm build {cell}` makes") if cell else ("", "a build makes")
    if not path.is_dir():
        raise Unusable(f"{whose}the cache in {cache.root()} has no {ref}; {again} it again")
    if not _is_sound(path):
        raise Unusable(f"{whose}{ref} in {cache.root()} was changed after it was stored; {again} it again")
    return path


def _is_sound(path: Path) -> bool:
    """Whether an artifact is unchanged. One without a seal, from an older farm, counts as unchanged."""
    try:
        sealed = (path / cache.SEAL).read_text()
    except FileNotFoundError:
        return True
    status = path.stat()
    return sealed == _contents(path, (status.st_ino, status.st_ctime_ns))


@remember
def _contents(path: Path, _: tuple[int, int]) -> str:
    """Computed once for each process and directory: nothing changes an artifact after its check."""
    return cache.digest_files(path)
