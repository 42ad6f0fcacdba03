# SPDX-License-Identifier: GPL-2.0
"""What `farm clean` removes from the cache, and who uses what it keeps.

It removes only what the farm makes, by its name, and only from a directory that is a cache
of the farm. Symbolic links and their targets stay.
"""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from farm.base import cache, locks, removal
from farm.base.errors import FarmError, UsageError


@dataclass(frozen=True)
class Removal:
    """Something that is removed, with its bytes on the disk. If it stays, `kept` says why."""

    path: Path
    bytes: int = 0
    kept: str = ""


def leftovers(dry_run: bool = False) -> Iterator[Removal]:
    """Remove build directories and what killed farms left, and yield each one after its removal.
    Those in use stay.

    With `dry_run` nothing is changed. Raises UsageError if this is no cache, FarmError if
    something cannot be removed.
    """
    top = cache.root()
    if not _checked(top):
        return
    if not dry_run:
        cache.hold()  # against --all
    for path, lock in sorted({**_builds(top), **_abandonable(top)}.items()):
        yield from _take(top, path, lock, dry_run)


def _take(top: Path, path: Path, lock: Path, dry_run: bool) -> Iterator[Removal]:
    """Remove `path`, unless another process has its lock."""
    if why := _unfit(top, path):
        yield Removal(path, kept=why)
        return
    try:
        with ExitStack() as stack:
            # the slow part happens after the lock is released
            trash = None if dry_run else stack.enter_context(removal.trash(_kind(top, path)))
            with locks.attempt(lock, create=not dry_run and lock != path) as free:
                if not free:
                    yield Removal(path, kept=in_use_by(locks.holders(lock)))
                    return
                size = removal.size(path)
                if trash and not removal.move(path, trash):
                    return  # another `farm clean` was faster
            yield Removal(path, size)
    except FileNotFoundError:
        return  # its maker has finished
    except OSError as error:
        yield Removal(path, kept=str(error.strerror))


def _kind(top: Path, path: Path) -> Path:
    """The directory of the cache that `path` is in. It may be on a file system of its own."""
    parts = path.relative_to(top).parts
    return top / parts[0] if len(parts) > 1 else top


def _builds(top: Path) -> dict[Path, Path]:
    """Build directories, each with the lock that a build takes."""
    found = {}
    for tree in (top / "worktrees").glob("[!.]*"):  # not what is being removed
        with suppress(FileNotFoundError):  # another `farm clean` was faster
            for path in filter(Path.is_dir, tree.glob("build-*")):
                found[path] = tree.with_name(f"{tree.name}+{path.name.removeprefix('build-')}.lock")
    return found


def _abandonable(top: Path) -> dict[Path, Path]:
    """Directories that are being filled or removed, or were when their farm was killed. Each is its own lock."""
    places = [top, *(top / kind for kind in sorted(cache.KINDS))]
    patterns = (f"{cache.PARTIAL}*", f"{removal.REMOVING}*")
    return {path: path for place in places for pattern in patterns for path in place.glob(pattern) if path.is_dir()}


def everything() -> list[Removal]:
    """What `empty` removes from the cache, and what it keeps. Raises UsageError if this is no cache."""
    top = cache.root()
    if not _checked(top):
        return []
    found = [Removal(path, 0 if why else removal.size(path), why) for path, why in _parts(top)]
    return found + [Removal(top / name, kept="not the farm's") for name in cache.strangers(top)]


def _parts(top: Path) -> list[tuple[Path, str]]:
    """The parts of a cache that belong to the farm. If one stays, it comes with the reason."""
    there = {path.name: path for path in top.iterdir()}
    ours = [path for name, path in sorted(there.items()) if name in cache.KINDS or name.startswith(removal.REMOVING)]
    return [(path, _unfit(top, path)) for path in ours]


def users() -> list[locks.Holder]:
    """The farms that use the cache now."""
    return locks.holders(cache.root() / cache.IN_USE)


def empty() -> None:
    """Remove everything that the farm keeps in the cache. The directory itself stays, with its tag.

    Raises UsageError if this is no cache, and FarmError if it is in use; then nothing is removed.
    """
    top = cache.root()
    if not _checked(top):
        return
    with removal.trash(top) as trash, locks.attempt(top / cache.IN_USE) as alone:
        if not alone:
            raise FarmError(f"{top}: {in_use_by(users())}; nothing is removed. Try again when that has ended")
        for path, why in _parts(top):
            if not why and path != trash:
                removal.move(path, trash)


def in_use_by(holders: list[locks.Holder]) -> str:
    """Who uses something. Processes of another container are not visible from here."""
    return "in use by " + (", ".join(map(str, holders)) or "another farm")


def _checked(top: Path) -> bool:
    """Whether there is a cache. Raises UsageError if this is something else."""
    try:
        if cache.is_ours(top):
            return True
        names = cache.strangers(top)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UsageError(f"{top}: {error.strerror}; FTRACE_FARM_CACHE names the cache that is to be cleaned") from error
    what = f"it has {', '.join(names[:5])}{', …' if names[5:] else ''}" if names else "it has no artifact"
    raise UsageError(f"{top}: this is not a cache of the farm's, {what}; nothing is removed. See FTRACE_FARM_CACHE")


def _unfit(top: Path, path: Path) -> str:
    """Why something in the cache is not removed, even if it is not in use."""
    below = path.relative_to(top)
    for place in (top / part for part in (*reversed(below.parents), below)):
        if place != top and place.is_symlink():
            return f"{place} is a symbolic link" if place != path else "a symbolic link"
    return "" if path.is_dir() else "not a directory"
