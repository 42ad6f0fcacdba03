# SPDX-License-Identifier: GPL-2.0
"""`git bisect` in a repository of the farm's own that borrows the objects of another.

No file is checked out: BISECT_HEAD names the commit to test next. The same answers lead to the
same questions, so a hunt is resumed by giving the answers again.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from farm.base.command import CommandFailed, run
from farm.kernel.tree import IDENTITY


@dataclass(frozen=True)
class Steering:
    """A bisection that has begun."""

    repository: Path

    def git(self, *words: str) -> str:
        return run(["git", "--git-dir", self.repository, *words], env=IDENTITY).strip()

    def answer(self, commit: str, said: str) -> None:
        """Answer good, bad or skip for a commit."""
        try:
            self.git("bisect", said, commit)
        except CommandFailed as error:
            if error.status != 2:  # only skipped commits are left
                raise

    @property
    def log(self) -> str:
        """What `git bisect log` prints."""
        return (self.repository / "BISECT_LOG").read_text()

    @property
    def candidates(self) -> list[str]:
        """The first bad commit. If only skipped commits are left, all those that may be it. Empty
        while there is a commit to test."""
        return re.findall(r"^# (?:first|possible first) bad commit: \[([0-9a-f]+)\]", self.log, re.M)

    @property
    def next(self) -> str:
        return self.git("rev-parse", "BISECT_HEAD")

    @property
    def left(self) -> int:
        """The commits that may still be the first bad one."""
        return int(self.git("rev-list", "--count", "refs/bisect/bad", "--not", "--glob=refs/bisect/good-*"))

    def subject(self, commit: str) -> str:
        return self.git("show", "--no-patch", "--format=%s", commit)


def open_repository(where: Path, objects: Path, shallow: Path) -> Steering:
    """Make an empty repository at `where` that borrows all `objects`. `shallow` is the file with
    the limits of a shallow clone, if there is one."""
    shutil.rmtree(where, ignore_errors=True)
    run(["git", "init", "--quiet", "--bare", where], env=IDENTITY)
    (where / "objects/info/alternates").write_text(f"{objects}\n")
    if shallow.exists():
        shutil.copy(shallow, where / "shallow")
    return Steering(where)


def start(steering: Steering, good: str, bad: str) -> None:
    steering.git("update-ref", "--no-deref", "HEAD", bad)
    steering.git("bisect", "start", "--no-checkout", bad, good)


def is_ancestor(steering: Steering, older: str, newer: str) -> bool:
    try:
        steering.git("merge-base", "--is-ancestor", older, newer)
    except CommandFailed as error:
        if error.status != 1:
            raise
        return False
    return True


def merge_base(steering: Steering, one: str, other: str) -> str:
    """The newest common ancestor; empty if there is none."""
    try:
        return steering.git("merge-base", one, other)
    except CommandFailed as error:
        if error.status != 1:
            raise
        return ""


def revert(steering: Steering, culprit: str, tip: str) -> str:
    """A patch for `tip` that reverts `culprit`, as a mail. Empty if it cannot be reverted: a later
    commit builds on it, or it has no parent.

    This is a three-way merge: the culprit is the base, the tip and the culprit's first parent are
    the sides.
    """
    try:
        parent = steering.git("rev-parse", "--verify", "--quiet", f"{culprit}^")
        base = _commit(steering, culprit)
        tree = steering.git("merge-tree", "--write-tree", _commit(steering, tip, base), _commit(steering, parent, base))
    except CommandFailed as error:
        if error.status != 1:
            raise
        return ""
    difference = run(
        ["git", "--git-dir", steering.repository, "diff", "--binary", "--full-index", tip, tree], env=IDENTITY
    )
    if not difference:
        return ""
    subject = steering.subject(culprit)
    head = f"From {culprit} Mon Sep 17 00:00:00 2001\nFrom: ftrace farm <farm@localhost>\n"
    head += f'Date: Sat, 1 Jan 2000 00:00:00 +0000\nSubject: [PATCH] Revert "{subject}"\n\n'
    return f"{head}This reverts commit {culprit}.\n---\n{difference}-- \n"


def _commit(steering: Steering, of: str, *parents: str) -> str:
    words = [word for parent in parents for word in ("-p", parent)]
    return steering.git("commit-tree", f"{of}^{{tree}}", *words, "-m", "side of a merge")
