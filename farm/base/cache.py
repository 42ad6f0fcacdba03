# SPDX-License-Identifier: GPL-2.0
"""The cache of artifacts: addressed by content, filled once, whole or not at all.

A process that uses the cache holds it: `farm clean --all` removes nothing while any
process does. An unfinished artifact lies in a directory that its maker has locked.
"""

import errno
import hashlib
import os
import pwd
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import platformdirs

from farm.base import locks, removal
from farm.base.errors import FarmError
from farm.base.removal import REMOVING

#: The directories of a cache: kinds of artifacts, and other things that the farm keeps there.
KINDS = frozenset(
    {"abi", "am", "bytecode", "ccache", "checkpatch", "configs", "consoles", "fragments", "hypothesis", "images"}
    | {"kernels", "keys", "kvm", "logs", "modules", "packages", "programs", "selftests", "sources", "worktrees"}
    | {"benchmarks", "test-trees"}  # of the farm's own tests
)

#: Marks a directory as a cache, for backups (https://bford.info/cachedir/) and for `farm clean`.
TAG = "CACHEDIR.TAG"
TAG_TEXT = """\
Signature: 8a477f597d28d172789f06886806bc55
# The cache of the ftrace farm, made by it and filled again when something is missing.
# `farm clean` removes from it; FTRACE_FARM_CACHE names another place.
"""

#: In a cache: the lock that all its users share.
IN_USE = ".in-use"

#: In an artifact: what farm.artifact records about its contents.
SEAL = ".contents"

#: The prefix of a directory that is being filled.
PARTIAL = ".partial-"

_OWN_NAME = re.compile(rf"[0-9a-f]{{20}}(\.json)?|\.[0-9a-f]{{20}}\.lock|{re.escape(PARTIAL)}\w+")

#: The errors of a full disk.
FULL = (errno.ENOSPC, errno.EDQUOT)

#: The lock on IN_USE that this process has, for each cache. It is never released: paths into
#: the cache are passed around, and no single place knows when the last one is used.
_holds: dict[Path, int] = {}


def root() -> Path:
    """Where kernels, sources and images are kept, outside of any checkout.

    `$FTRACE_FARM_CACHE`, else the user's cache directory.
    """
    chosen = os.environ.get("FTRACE_FARM_CACHE")
    return Path(chosen).resolve() if chosen else platformdirs.user_cache_path("ftrace-farm")


def digest(*parts: str | bytes) -> str:
    """A key of 20 hex digits for the parts; where one part ends makes a difference too."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()[:20]


def digest_files(directory: Path) -> str:
    """The key of a directory: the names, modes and contents of its files, except the SEAL."""
    parts: list[str | bytes] = []
    for path in sorted(p for p in directory.rglob("*") if p.is_file() and p.name != SEAL):
        executable = "x" if os.access(path, os.X_OK) else "-"
        parts += [f"{path.relative_to(directory)} {executable}", path.read_bytes()]
    return digest(*parts)


def hold() -> None:
    """Keep everything in the cache until this process ends. Makes the cache if there is none.

    Waits while `farm clean --all` empties it. Raises FarmError.
    """
    top = root()
    held = _holds.get(top)
    if held is not None:
        if os.fstat(held).st_nlink:
            return
        os.close(_holds.pop(top))  # the whole directory was removed by hand
    with _blaming(top):
        if not top.exists():
            top.mkdir(parents=True, exist_ok=True)
        _mark(top)
        _holds[top] = locks.take(top / IN_USE, shared=True, what=f"it empties {top}")


def _mark(top: Path) -> None:
    """Mark a cache that is new, or that an older farm made. Do not mark a directory with other things in it."""
    if not _tag(top) and is_ours(top):
        with suppress(OSError):  # no room, or another user's: it is a cache anyway
            (top / TAG).write_text(TAG_TEXT)


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Turn an OSError of the cache itself into a message: where, why, and what to do."""
    try:
        yield
    except OSError as error:
        raise _trouble(path, error) from error


def _trouble(path: Path, error: OSError) -> FarmError:
    """The error for a place in the cache that cannot be written or read."""
    where = Path(os.fsdecode(error.filename or path))
    advice = "set FTRACE_FARM_CACHE to a directory that you can write to"
    if error.errno in FULL:
        advice = "free some of the disk (`farm clean`), or set FTRACE_FARM_CACHE to another place"
    elif error.errno in (errno.EACCES, errno.EPERM):
        advice = f"{_owner(where)}: have it made writable for you, or set FTRACE_FARM_CACHE to a directory of your own"
    return FarmError(f"{where}: {error.strerror}; {advice}")


def _owner(path: Path) -> str:
    """Who owns a path, or the directory that it would be in."""
    for place in (path, *path.parents):
        with suppress(OSError):
            owner = place.lstat().st_uid
            try:
                return f"{place} belongs to {pwd.getpwuid(owner).pw_name}"
            except KeyError:
                return f"{place} belongs to user {owner}"
    return "it belongs to somebody else"


@contextmanager
def locked(path: Path, shared: bool = False) -> Iterator[None]:
    """Hold a lock on `path`, a file in the cache that is made for it: alone, or with others that share it.

    The kernel drops the lock when the holder dies, however it dies. The file is removed only with
    the whole cache: otherwise two processes could lock two different files of the same name. Raises FarmError.
    """
    hold()
    with _blaming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        name = path.name.removesuffix(".lock").removeprefix(".")
        descriptor = locks.take(path, shared, f"{path.parent.name}/{name}")
    try:
        yield
    finally:
        os.close(descriptor)


def entry(kind: str, key: str) -> Path:
    """Where the artifact of that kind and key lies, or would lie."""
    if kind not in KINDS:  # `farm clean --all` would leave the directory as one that is not the farm's
        raise ValueError(f"{kind!r} is none of farm.base.cache.KINDS")
    return root() / kind / key


def _as_it_is(_: Path) -> bool:
    return True


def fill(kind: str, key: str, make: Callable[[Path], None], sound: Callable[[Path], bool] = _as_it_is) -> Path:
    """The artifact directory for `key`. `make(directory)` fills it if it is missing or not `sound`.

    It stays until this process ends. If two farms want the same one, the second waits
    and finds it done. The result of `make` appears by one rename: an interruption at
    any moment leaves nothing that looks like an artifact. Raises FarmError if the cache
    cannot be written, and whatever `make` raises.
    """
    hold()
    final = entry(kind, key)
    if final.is_dir() and sound(final):
        return final
    with locked(entry(kind, f".{key}.lock")):
        if final.is_dir():
            if sound(final):
                return final
            removal.remove(final, entry(kind, ""))
        with scratch(kind) as directory:
            make(directory)
            with _blaming(final):
                directory.chmod(0o755)
                directory.rename(final)
    return final


@contextmanager
def scratch(kind: str) -> Iterator[Path]:
    """A directory beside the artifacts. It is removed at the end on every path.

    It is locked as long as its maker lives. Raises FarmError if it cannot be made, or if
    the block fails because the disk is full.
    """
    hold()
    parent = entry(kind, "")
    with ExitStack() as stack:
        with _blaming(parent):
            parent.mkdir(parents=True, exist_ok=True)
            directory = stack.enter_context(locks.new_directory(parent, PARTIAL))
        try:
            yield directory
        except OSError as error:
            if error.errno in FULL:
                raise _trouble(directory, error) from error
            raise
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def is_ours(top: Path) -> bool:
    """Whether a directory is a cache of the farm: it is marked as one, it is empty, or it has artifacts
    and nothing else, as the cache of an older farm that set no mark."""
    if "ftrace farm" in _tag(top):
        return True
    kinds = KINDS.intersection(path.name for path in top.iterdir())
    return not strangers(top) and (not kinds or any(_artifacts(top)))


def strangers(top: Path) -> list[str]:
    """The names in a directory that do not belong to a cache of the farm."""
    known = {*KINDS, IN_USE, "lost+found"} | ({TAG} if TAG_TEXT.startswith(_tag(top)) else set())
    return sorted(path.name for path in top.iterdir() if not (path.name in known or path.name.startswith(REMOVING)))


def _tag(top: Path) -> str:
    try:
        return (top / TAG).read_text(errors="replace")
    except OSError:
        return ""


def _artifacts(top: Path) -> Iterator[Path]:
    """What only the farm makes, by its name: artifacts, their locks, unfinished directories."""
    for kind in KINDS:
        yield from (path for path in (top / kind).glob("*") if _OWN_NAME.fullmatch(path.name))
