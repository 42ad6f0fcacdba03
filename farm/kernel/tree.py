# SPDX-License-Identifier: GPL-2.0
"""Kernel sources: a Debian package that is imported once, or the user's git tree.

Both become a commit in a bare repository of the farm, the *store*. The store of
a user's tree borrows the user's objects (git alternates) and keeps its own
objects separately: the user's repository is only read.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from farm.arch import ARCHITECTURES
from farm.artifact import Ref
from farm.base import cache, removal
from farm.base.command import CommandFailed, run
from farm.base.errors import FarmError, UsageError, refused
from farm.kernel import debian
from farm.matrix import Tree
from farm.version import Version, of_makefile

#: Author and committer of the farm's commits. They are fixed, and so are the
#: dates: the same input gives the same commit on every machine.
IDENTITY = {
    "GIT_AUTHOR_NAME": "ftrace farm",
    "GIT_AUTHOR_EMAIL": "farm@localhost",
    "GIT_COMMITTER_NAME": "ftrace farm",
    "GIT_COMMITTER_EMAIL": "farm@localhost",
    "GIT_AUTHOR_DATE": "2000-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2000-01-01T00:00:00Z",
    # the user's own hooks, signing keys and aliases must not matter here
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}

#: Where an imported source is in its store, until it becomes a work tree.
UNPACKED = "unpacked"

#: In git's directory for a work tree: the commit that it holds completely.
HELD = "farm-held"

#: The size of a kernel's source, unpacked, plus its git objects.
IMPORT_BYTES = 3 << 30

#: The header that the series adds: a tree with it has the feature.
FEATURE_HEADER = "include/uapi/linux/bpf_ftrace.h"


@dataclass(frozen=True)
class Source:
    """One state of a kernel source.

    `commit` is in the repository that `ref` names. `content` is the id of its git
    tree: the same for the same files. `variant` names the work tree in which it
    is checked out. Successive versions of a source share one, so that a small
    change is a small build.
    """

    ref: Ref
    commit: str
    content: str
    label: str
    variant: str

    @property
    def store(self) -> Path:
        """The repository, in this host's cache. git itself checks its content."""
        return cache.entry(self.ref.kind, self.ref.key)

    def git(self, *words: str | Path, env: Mapping[str, str] | None = None, stdin: str | None = None) -> str:
        return run(["git", "--git-dir", self.store, *words], env={**IDENTITY, **(env or {})}, stdin=stdin).strip()

    def at(self, commit: str, label: str, variant: str) -> "Source":
        """The same store at another commit."""
        content = self.git("rev-parse", f"{commit}^{{tree}}")
        return replace(self, commit=commit, content=content, label=label, variant=variant)

    def has(self, path: str) -> bool:
        try:
            self.git("cat-file", "-e", f"{self.commit}:{path}")
        except CommandFailed:
            return False
        return True

    @property
    def version(self) -> Version:
        """The kernel's version. Raises UsageError if the source does not say it."""
        return _version_in(self.git("show", f"{self.commit}:Makefile") if self.has("Makefile") else "", self.label)

    @property
    def has_feature(self) -> bool:
        return self.has(FEATURE_HEADER)


def _key(tree: Tree, package: debian.Package | None) -> str:
    """The key of a package's source: of the installed archive, or of a version in Debian's archive."""
    if package:
        return f"{tree.package}-{cache.digest(package.name, package.version)}"
    try:
        stat = tree.archive.stat()
    except FileNotFoundError as error:
        raise FarmError(f"{tree.archive} is missing; install it: sudo apt-get install {tree.package}") from error
    except OSError as error:
        raise refused(error, tree.archive) from error
    return f"{tree.package}-{cache.digest(tree.archive.name, str(stat.st_size), str(stat.st_mtime_ns))}"


def _from_suite(tree: Tree) -> bool:
    """Whether the source comes from Debian's archive, because the package is not installed."""
    return bool(tree.suite) and not os.path.exists(tree.archive)


def is_imported(tree: Tree) -> bool:
    """Whether `from_package` has the source already; an import takes a minute. Raises FarmError."""
    package = debian.taken(tree.package, tree.suite) if _from_suite(tree) else None
    return (package is not None or not _from_suite(tree)) and cache.entry("sources", _key(tree, package)).is_dir()


def version_in(tree: Tree) -> str:
    """Which version of its package a tree is, for people."""
    package = debian.taken(tree.package, tree.suite) if _from_suite(tree) else None
    return f"{package.name} {package.version}" if package else f"{tree.package} as installed"


def from_package(tree: Tree, newest: bool = False) -> Source:
    """The source of a Debian package, imported into git on first use.

    A package that is not installed comes from its suite: the version that was taken last, or the
    `newest`. Raises FarmError.
    """
    package = None
    if _from_suite(tree):
        known = None if newest else debian.taken(tree.package, tree.suite)
        package = known or debian.newest(tree.package, tree.suite)
    store = cache.fill("sources", _key(tree, package), lambda directory: _import(tree, package, directory))
    commit = run(["git", "--git-dir", store, "rev-parse", "refs/heads/base"], env=IDENTITY).strip()
    return Source(Ref("sources", store.name), commit, "", tree.name, "base").at(commit, tree.name, "base")


def _import(tree: Tree, package: debian.Package | None, store: Path) -> None:
    need_disk(IMPORT_BYTES)
    _init(store)
    unpacked = store / UNPACKED
    unpacked.mkdir()
    with cache.scratch("packages") as fetched:
        archive = debian.unpack(package, fetched) if package else tree.archive
        run(["tar", "--extract", "--file", archive, "--directory", unpacked, "--strip-components=1"])
    git: list[str | Path] = ["git", "--git-dir", store, "--work-tree", unpacked]
    # -f: Debian's .gitignore ends with `/*`, which hides the whole source
    run([*git, "add", "--all", "--force"], env=IDENTITY)
    run([*git, "commit", "--quiet", "--message", f"Import {archive.name}"], env=IDENTITY)
    run([*git, "branch", "--force", "base"], env=IDENTITY)


def _init(store: Path) -> None:
    run(["git", "init", "--quiet", "--bare", store], env=IDENTITY)
    # several farms may write to a store at once, so nothing may repack it
    run(["git", "--git-dir", store, "config", "gc.auto", "0"], env=IDENTITY)


def from_user(spec: str) -> Source:
    """The user's tree, `PATH` or `PATH@REV`.

    Without a revision it is the working tree as it is, with uncommitted
    changes and new files.
    """
    path, revision = split(spec)
    try:
        top = Path(run(["git", "-C", path, "rev-parse", "--show-toplevel"]).strip())
        objects = run(["git", "-C", top, "rev-parse", "--path-format=absolute", "--git-path", "objects"]).strip()
    except CommandFailed as error:
        raise UsageError(
            f"--tree {spec}: {path} is not a git repository that can be read:\n{error.output.strip()}"
        ) from error
    store = _borrowing_store(top, Path(objects))
    try:
        wanted = f"{revision or 'HEAD'}^{{commit}}"
        commit = run(["git", "-C", top, "rev-parse", "--verify", "--quiet", wanted]).strip()
    except CommandFailed as error:
        raise UsageError(f"--tree {spec}: {top} has no revision {revision or 'HEAD'!r}") from error
    label = f"{top}@{revision or commit[:12]}"
    if not revision:
        commit, dirty = _snapshot(top, store, Path(objects), commit)
        label += " with uncommitted changes" if dirty else ""
    source = Source(Ref("sources", store.name), commit, "", label, "base").at(commit, label, "base")
    trampolines = [one.source_proof for one in ARCHITECTURES.values()]
    for needed in (["Kconfig"], ["Kbuild"], trampolines):
        if not any(source.has(path) for path in needed):
            raise UsageError(f"--tree {spec}: this is no Linux source, it has no {' and no '.join(needed)}")
    return source


def version_of_user(spec: str) -> Version:
    """The version of the user's tree, `PATH` or `PATH@REV`, from its Makefile alone. Raises UsageError."""
    path, revision = split(spec)
    try:
        top = Path(run(["git", "-C", path, "rev-parse", "--show-toplevel"]).strip())
        text = run(["git", "-C", top, "show", f"{revision}:Makefile"]) if revision else (top / "Makefile").read_text()
    except (CommandFailed, OSError, UnicodeError) as error:
        raise UsageError(f"--tree {spec}: its Makefile cannot be read: {error}") from error
    return _version_in(text, f"--tree {spec}")


def _version_in(makefile: str, label: str) -> Version:
    if version := of_makefile(makefile):
        return version
    raise UsageError(f"{label}: its Makefile does not say VERSION and PATCHLEVEL, as that of Linux does")


def split(spec: str) -> tuple[Path, str]:
    """PATH and REV of PATH[@REV]. A directory may have an @ in its own name.
    Raises UsageError if there is no such directory."""
    if os.path.isdir(whole := os.path.expanduser(spec)):
        return Path(whole).resolve(), ""
    path, _, revision = whole.rpartition("@")
    if not path or not os.path.isdir(path):
        raise UsageError(f"--tree {spec}: no such directory; give PATH or PATH@REV")
    if not revision:
        raise UsageError(f"--tree {spec}: no revision after the @; without the @ the tree is taken as it is")
    return Path(path).resolve(), revision


def _borrowing_store(top: Path, objects: Path) -> Path:
    def make(store: Path) -> None:
        _init(store)
        (store / "objects/info/alternates").write_text(f"{objects}\n")

    return cache.fill("sources", f"{top.name}-{cache.digest(str(top), str(objects))}", make)


def _snapshot(top: Path, store: Path, objects: Path, head: str) -> tuple[str, bool]:
    """The working tree as a commit in the store, and whether it differs from HEAD.

    git works in the user's repository, but with our own index and object directory:
    the user's ignore rules and filters apply, and nothing is written there.
    """
    index = Path(run(["git", "-C", top, "rev-parse", "--path-format=absolute", "--git-path", "index"]).strip())
    with cache.scratch("sources") as directory:
        ours = {
            "GIT_INDEX_FILE": str(directory / "index"),
            "GIT_OBJECT_DIRECTORY": str(store / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
            "GIT_OPTIONAL_LOCKS": "0",
            # git would write the shared half of a split index to the user's .git
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "core.splitIndex",
            "GIT_CONFIG_VALUE_0": "false",
        }
        if index.exists():
            shutil.copy2(index, directory / "index")  # its stat data saves reading every file
        run(["git", "-C", top, "add", "--all"], env=ours)
        content = run(["git", "-C", top, "write-tree"], env=ours).strip()
    git: list[str | Path] = ["git", "--git-dir", store]
    if content == run([*git, "rev-parse", f"{head}^{{tree}}"]).strip():
        return head, False
    commit = run([*git, "commit-tree", content, "-p", head, "-m", f"Working tree of {top}"], env=IDENTITY).strip()
    return commit, True


def worktree_name(source: Source) -> str:
    return f"{source.store.name}+{source.variant}"


def work_tree(source: Source) -> Path:
    """The place where `check_out` puts a source."""
    return cache.entry("worktrees", worktree_name(source))


@contextmanager
def check_out(source: Source) -> Iterator[Path]:
    """A work tree of the farm that holds `source` while the block lasts.

    Others may use the same source at the same time; those that want another one wait.
    """
    where = work_tree(source)
    lock = where.with_name(f"{where.name}.lock")
    while True:
        with cache.locked(lock, shared=True):
            if _holds(source, where):
                yield where
                return
        with cache.locked(lock):
            _write(source, where)


def _holds(source: Source, where: Path) -> bool:
    """Whether the work tree has the source, complete and unchanged. git's own HEAD
    says only what it should have."""
    mark = _administration(source) / HELD
    if not (where / ".git").is_file() or not mark.is_file() or mark.read_text() != source.commit:
        return False
    try:
        run(["git", "-C", where, "diff-files", "--quiet"], env=IDENTITY)
    except CommandFailed:
        return False
    return True


def _administration(source: Source) -> Path:
    """git's own directory for the work tree."""
    return source.store / "worktrees" / work_tree(source).name


def _write(source: Source, where: Path) -> None:
    """Make the work tree hold `source`. Only files that differ are written.

    The caller holds its lock exclusively, so an index.lock in there can only be
    a stale one.
    """
    git = ["git", "-c", "checkout.workers=0", "-c", "advice.detachedHead=false"]
    admin = _administration(source)
    if not (where / ".git").is_file() or not (admin / "HEAD").is_file():
        where.parent.mkdir(parents=True, exist_ok=True)
        # nothing builds in it: a build takes the lock as well
        removal.remove(where, where.parent)
        source.git("worktree", "prune")
        source.git("worktree", "add", "--quiet", "--no-checkout", "--detach", where, source.commit)
        _adopt_unpacked(source.store, where, admin)
    for stale in ("index.lock", HELD):
        (admin / stale).unlink(missing_ok=True)
    run([*git, "-C", where, "checkout", "--quiet", "--force", "--detach", source.commit], env=IDENTITY)
    (admin / HELD).write_text(source.commit)


def _adopt_unpacked(store: Path, where: Path, admin: Path) -> None:
    """Turn the unpacked source into the work tree, together with its index.

    A kernel has 85,000 files: to write them again and remove the first copy
    takes longer than to import them.
    """
    unpacked = store / UNPACKED
    with cache.locked(store / "adopt.lock"):
        if unpacked.is_dir() and (store / "index").is_file():
            (where / ".git").rename(unpacked / ".git")
            where.rmdir()
            unpacked.rename(where)
            (store / "index").rename(admin / "index")


def need_disk(wanted: int) -> None:
    """Raise FarmError if the disk has no room for what is about to begin."""
    left = disk_left(cache.root())
    if left < wanted:
        raise FarmError(
            f"disk full: {left >> 20} MiB left below {cache.root()}, {wanted >> 20} are needed; "
            "free some (`farm clean`), or set FTRACE_FARM_CACHE to another place"
        )


def disk_left(path: Path) -> int:
    """Bytes that can still be written below `path`."""
    while not path.exists():
        path = path.parent
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize
