# SPDX-License-Identifier: GPL-2.0
"""`git bisect` in a repository of the farm's own that borrows the objects of another.

No file is checked out: what is to be tested next stands in BISECT_HEAD. The
same answers lead to the same questions, so that a hunt is resumed by giving
them again.
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
        """Say good, bad or skip of a commit."""
        try:
            self.git("bisect", said, commit)
        except CommandFailed as error:
            if error.status != 2:  # nothing is left that was not skipped
                raise

    @property
    def log(self) -> str:
        """What `git bisect log` prints."""
        return (self.repository / "BISECT_LOG").read_text()

    @property
    def candidates(self) -> list[str]:
        """The first bad commit, or those of which it is one where only skipped
        ones are left; nothing while there is one to be tested."""
        return re.findall(r"^# (?:first|possible first) bad commit: \[([0-9a-f]+)\]", self.log, re.M)

    @property
    def next(self) -> str:
        return self.git("rev-parse", "BISECT_HEAD")

    @property
    def left(self) -> int:
        """Commits that may still be the first bad one."""
        return int(self.git("rev-list", "--count", "refs/bisect/bad", "--not", "--glob=refs/bisect/good-*"))

    def subject(self, commit: str) -> str:
        return self.git("show", "--no-patch", "--format=%s", commit)


def open_repository(where: Path, objects: Path, shallow: Path) -> Steering:
    """An empty repository at `where` that has all `objects`; `shallow` is the file
    that says where a shallow clone's history ends, if there is one."""
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
    """The newest commit that both descend from; empty if there is none."""
    try:
        return steering.git("merge-base", one, other)
    except CommandFailed as error:
        if error.status != 1:
            raise
        return ""


def revert(steering: Steering, culprit: str, tip: str) -> str:
    """A patch for `tip` that undoes `culprit`, as a mail; empty where it does not
    revert: something above it builds on it, or it has no parent.

    A three-way merge of commits that stand for the trees: the culprit's as the
    base, the tip's and that of the culprit's first parent as the sides.
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
