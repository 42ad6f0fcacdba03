# SPDX-License-Identifier: GPL-2.0
"""The cache of artifacts: addressed by content, filled once, whole or not at all."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs


def root() -> Path:
    """Where kernels, sources and images are kept, outside of any checkout.

    `$FTRACE_FARM_CACHE`, else the user's cache directory.
    """
    chosen = os.environ.get("FTRACE_FARM_CACHE")
    return Path(chosen).resolve() if chosen else platformdirs.user_cache_path("ftrace-farm")


def digest(*parts: str | bytes) -> str:
    """A key of 20 hex digits for the parts, their borders included."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()[:20]


def digest_files(directory: Path) -> str:
    """The key of a directory: the names, modes and contents of its files."""
    parts: list[str | bytes] = []
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        executable = "x" if os.access(path, os.X_OK) else "-"
        parts += [f"{path.relative_to(directory)} {executable}", path.read_bytes()]
    return digest(*parts)


@contextmanager
def locked(path: Path, shared: bool = False) -> Iterator[None]:
    """Hold a lock on `path`, a file made for it: alone, or beside others that share it.

    The kernel drops it when the holder dies, however it dies.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def entry(kind: str, key: str) -> Path:
    """Where the artifact of that kind and key lies, or would lie."""
    return root() / kind / key


def fill(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The artifact directory for `key`; `make(directory)` fills it if it is not there.

    Of two farms that want the same one, the second waits and finds it done.
    What `make` leaves appears by one rename: an interruption at any moment
    leaves nothing that could be taken for an artifact.
    """
    final = entry(kind, key)
    if final.is_dir():
        return final
    with locked(root() / kind / f".{key}.lock"):
        if final.is_dir():
            return final
        with scratch(kind) as directory:
            make(directory)
            directory.chmod(0o755)
            directory.rename(final)
    return final


@contextmanager
def scratch(kind: str) -> Iterator[Path]:
    """A directory beside the artifacts, removed at the end, whatever happens."""
    parent = root() / kind
    parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=".partial-", dir=parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
