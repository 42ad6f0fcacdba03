# SPDX-License-Identifier: GPL-2.0
"""Which commit broke a test: `git bisect`, steered by runs of one cell (farm.hunt.judge).

Both ends are tested first. At last the bad end is tested with the culprit reverted.
"""

import math
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from farm.base import cache
from farm.base.command import CommandFailed, run
from farm.base.errors import UsageError
from farm.hunt import evidence, steering
from farm.hunt.evidence import Answer, Hunt, Role, Status
from farm.hunt.judge import Bench, Judge, Question, Tell, alone, kept, left, told
from farm.kernel.tree import Source, from_user, split
from farm.matrix import choose, load
from farm.record import records
from farm.run import session
from farm.run.watcher import Watcher


@dataclass(frozen=True)
class BisectRequest(Question):
    """What the command line asks of a bisection."""

    good: str
    bad: str
    tree: str = "."
    cell: str = "x86_64-regs"


def bisect(request: BisectRequest, watcher: Watcher, tell: Tell, bench: Bench = Bench()) -> tuple[Path, Hunt]:
    """Hunt to the end, or continue an interrupted hunt. Returns its directory and its state.

    Raises UsageError if these ends and tests allow no hunt, FarmError if the farm cannot
    continue, KeyboardInterrupt. The state is kept in each case.
    """
    top, good, bad = _ends(request)
    key = cache.digest(request.key, str(top), good.commit, bad.commit, request.cell)
    directory = request.results / f"bisect-{key[:8]}"
    with alone(directory, request.restart):
        git = steering.open_repository(directory / "steering.git", *_objects(top))
        hunt = left(directory, tell) or _begin(request, directory.name, git, top, good.commit, bad.commit)
        if hunt.status is Status.RUNNING:
            steering.start(git, hunt.good, hunt.bad)
            with kept(directory, tell):
                _Hunter(git, request, directory, hunt, watcher, tell, bench).go()
        return directory, hunt


def bad_end(tree: str, bad: str) -> tuple[str, str]:
    """The directory of the tree, and the bad revision. The latter is named by an option or as
    PATH@REV. Raises UsageError if it is named twice or not at all."""
    path, revision = split(tree)
    if revision and bad:
        raise UsageError(f"--tree {tree} and --bad {bad}: the tree's revision is the bad end; name it once")
    if not (revision or bad):
        raise UsageError("no bad end: give --bad REV, or --tree PATH@REV")
    return str(path), bad or revision


def _ends(request: BisectRequest) -> tuple[Path, Source, Source]:
    """The top of the user's tree, and the sources of both ends."""
    (cell,) = choose(load(request.matrix), [request.cell])
    if cell.machine is None:
        raise UsageError(f"--cell {cell.name}: it is only built, it has no guest; see `farm cells`")
    path = Path(os.path.expanduser(request.tree))
    if not path.is_dir():
        raise UsageError(f"--tree {request.tree}: no such directory; the revisions are --good and --bad")
    try:
        top = Path(run(["git", "-C", path, "rev-parse", "--show-toplevel"]).strip())
    except CommandFailed as error:
        raise UsageError(
            f"--tree {request.tree}: no git repository that can be read:\n{error.output.strip()}"
        ) from error
    good, bad = (from_user(f"{top}@{_commit(top, revision)}") for revision in (request.good, request.bad))
    return top, good, bad


def _commit(top: Path, revision: str) -> str:
    """The commit of a revision. It may contain an @, as in HEAD@{1}."""
    try:
        return run(["git", "-C", top, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"]).strip()
    except CommandFailed as error:
        raise UsageError(f"{top} has no revision {revision!r}") from error


def _objects(top: Path) -> tuple[Path, Path]:
    """The directory of the user's objects, and the file with the limits of a shallow clone."""
    words = ["git", "-C", str(top), "rev-parse", "--path-format=absolute"]
    return Path(run([*words, "--git-path", "objects"]).strip()), Path(run([*words, "--git-path", "shallow"]).strip())


def _begin(request: BisectRequest, name: str, git: steering.Steering, top: Path, good: str, bad: str) -> Hunt:
    """Start a new hunt. Raises UsageError if there is nothing to find between the ends."""
    if good == bad:
        raise UsageError(f"--good {request.good} and --bad {request.bad} are the same commit, {good[:12]}")
    if not steering.is_ancestor(git, good, bad):
        raise UsageError(_unrelated(request, git, good, bad))
    commits = int(git.git("rev-list", "--count", bad, f"^{good}"))
    return Hunt(
        id=name,
        command=sys.argv,
        tree=str(top),
        good=good,
        bad=bad,
        good_name=f"--good {request.good}",
        bad_name=f"--bad {request.bad}",
        cell=request.cell,
        series=request.series,
        select=request.select,
        confidence=request.confidence,
        suspects=commits,
        steps=math.ceil(math.log2(commits)) if commits > 1 else 0,
        started=records.now(),
    )


def _unrelated(request: BisectRequest, git: steering.Steering, good: str, bad: str) -> str:
    if steering.is_ancestor(git, bad, good):
        return (
            f"--good {request.good} descends from --bad {request.bad}: what is hunted here is where a test broke, "
            "not where it was repaired; were they swapped?"
        )
    base = steering.merge_base(git, good, bad)
    if not base:
        return f"--good {request.good} and --bad {request.bad} have no ancestor in common"
    return (
        f"--good {request.good} is no ancestor of --bad {request.bad}; they parted at {base[:12]} "
        f"({git.subject(base)}): if that one is good, hunt with --good {base[:12]}"
    )


class _Hunter(Judge):
    """A bisection in progress."""

    elsewhere = "go further back"

    def __init__(self, git: steering.Steering, request: BisectRequest, *rest: Any) -> None:
        super().__init__(request, *rest)
        self.git, self.request = git, request

    def go(self) -> None:
        hunt = self.hunt
        self.tell(f"hunt {self.directory}")
        status = run(["git", "-C", hunt.tree, "--no-optional-locks", "status", "--porcelain", "--untracked-files=no"])
        if status:
            self.tell(f"{hunt.tree} has uncommitted changes: they are in no revision, and stay as they are")
        self.save()
        self.tell(
            f"{hunt.suspects} commits: both ends, about {hunt.steps} steps and a test of the revert, "
            f"{self.forecast()}; a tree's first build takes some minutes more"
        )
        if hunt.failure is None:
            self.find_failure()
        self.measure()
        self.check_good_end()
        self._steer()
        if len(hunt.candidates) == 1:
            self._confirm(hunt.candidates[0])
        hunt.status = Status.FOUND if len(hunt.candidates) == 1 else Status.UNDECIDED
        hunt.finished = records.now()
        self.save()

    def ask(self, point: str, select: str) -> session.RunRequest:
        return self.question.run(self.hunt.cell, select, self.directory, tree=f"{self.hunt.tree}@{point}")

    def subject(self, point: str) -> str:
        return self.git.subject(point)

    @property
    def steps_left(self) -> int:
        """How many answers git still needs, if none of them is a skip."""
        left = self.git.left
        return math.ceil(math.log2(left)) if left > 1 else 0

    def _steer(self) -> None:
        """Answer the questions of `git bisect` until there are no more."""
        hunt, git = self.hunt, self.git
        while not git.candidates:
            one = self.evidence_of(Role.STEP, git.next)
            if one.answer is Answer.TESTING:
                self.tell(f"{git.left} commits left, {self.forecast()}; next: {one.commit[:12]} {one.subject}")
                self.build_and_judge(one, self.ask(one.commit, self.select))
                self.tell(f"  {told(one)}")
            git.answer(one.commit, one.answer)
            (self.directory / evidence.LOG).write_text(git.log)
        (self.directory / evidence.LOG).write_text(git.log)
        for commit in git.candidates:
            hunt.subjects[commit] = git.subject(commit)
        hunt.candidates = git.candidates

    def _confirm(self, culprit: str) -> None:
        """Test the bad end with the culprit reverted."""
        hunt = self.hunt
        patch = steering.revert(self.git, culprit, hunt.bad)
        if not patch:
            hunt.confirmed = "not confirmed: it does not revert from the bad end"
            return
        file = self.directory / evidence.REVERT
        file.write_text(patch)
        one = self.evidence_of(Role.REVERTED, culprit)
        if one.answer is Answer.TESTING:
            self.tell(f"the bad end with {culprit[:12]} reverted")
            asked = self.ask(hunt.bad, self.select)
            self.build_and_judge(one, replace(asked, patches=[str(file), *asked.patches]))
            self.tell(f"  {told(one)}")
        hunt.confirmed = {
            Answer.GOOD: f"confirmed: with it reverted the bad end is {told(one)}",
            Answer.BAD: f"not confirmed: with it reverted the bad end still fails: {told(one)}",
        }.get(one.answer, f"not confirmed: with it reverted the bad end cannot be tested: {one.why}")
