# SPDX-License-Identifier: GPL-2.0
"""The record of a bisection. It is resumed and reported from this.

Its directory holds `state.json` (Hunt), `bisect.log` (git's), `runs/` (run
directories, one a trial), `revert.patch` and `report.txt`.
"""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from farm.base import stored
from farm.base.atomic import save_json
from farm.record.verdict import Verdict

#: The version of state.json. It is raised when older readers would misread it.
SCHEMA = 1

STATE = "state.json"
LOG = "bisect.log"
RUNS = "runs"
REVERT = "revert.patch"
REPORT = "report.txt"


class Answer(StrEnum):
    """The answer for a revision. `testing`: more attempts are needed."""

    TESTING = "testing"
    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"


class Role(StrEnum):
    """Why a revision was tested."""

    BAD_END = "bad end"
    GOOD_END = "good end"
    STEP = "step"
    REVERTED = "reverted"  # the bad end without the culprit


class Status(StrEnum):
    """The status of a hunt."""

    RUNNING = "running"
    FOUND = "found"
    UNDECIDED = "undecided"  # only skipped commits are left


@dataclass
class Evidence:
    """What is known about one revision.

    `passes` and `failures` count attempts of the hunted test; `failures` only those with the
    hunted failure. `others` counts attempts that ended in another way and decide nothing.
    `needed` is the number of passes that make it good. `binary` is the hash of kernel and
    modules. `config` is the hash of the options, in a hunt for options. `same_as` is a commit
    with the same hash, whose answer was taken. Seconds are those of the build (0 if the cache
    had the kernel) and of the runs of the hunted test.
    """

    role: Role
    commit: str
    subject: str
    answer: Answer = Answer.TESTING
    why: str = ""
    passes: int = 0
    failures: int = 0
    others: int = 0
    needed: int = 0
    binary: str = ""
    config: str = ""
    same_as: str = ""
    build_seconds: float = 0.0
    test_seconds: float = 0.0
    runs: list[str] = field(default_factory=list)

    @property
    def attempts(self) -> int:
        return self.passes + self.failures

    @property
    def reason(self) -> str:
        """`why` in one line. For a failed build this is the compiler's first message, not the place
        of the log: the next build of the tree overwrites the log."""
        first, *more = self.why.splitlines() or [""]
        head = f"{Verdict.BUILD}: "
        return head + more[0].strip() if more and first.startswith(head) else first


@dataclass(frozen=True)
class Failure:
    """The hunted failure. `mark` identifies it (farm.hunt.trial.marks), `reason` is its first
    message. `select` runs its test alone, or all selected tests if it does not fail alone.
    `others` are the marks of failures that are not hunted."""

    mark: str
    suite: str
    test: str
    reason: str
    select: str
    others: tuple[str, ...] = ()


@dataclass
class Hunt:
    """One bisection: what was asked, and how far it got.

    `tree` is the top directory of the user's tree. `good` and `bad` are commits, `good_name` and
    `bad_name` what the user typed. `commits` counts the commits that may be the first bad one.
    The bad end was `tried` so often until it failed, each time with `tests` tests.
    `candidates` is the culprit, or a range if it cannot be narrowed down, and `subjects`
    are their first lines. In a hunt for options, `follows` are the options that came with the
    candidates without being asked for.
    """

    id: str
    command: list[str]
    tree: str
    good: str
    bad: str
    good_name: str
    bad_name: str
    cell: str
    series: str | None
    select: str
    confidence: float
    suspects: int
    steps: int
    started: str
    status: Status = Status.RUNNING
    failure: Failure | None = None
    tried: int = 0
    tests: int = 1
    evidence: list[Evidence] = field(default_factory=list)
    candidates: list[str] = field(default_factory=list)
    subjects: dict[str, str] = field(default_factory=dict)
    follows: list[str] = field(default_factory=list)
    confirmed: str = ""
    finished: str = ""
    schema: int = SCHEMA

    def of(self, role: Role, commit: str = "") -> Evidence | None:
        """The evidence of a role, for one commit if that is given."""
        found = (one for one in self.evidence if one.role is role and commit in ("", one.commit))
        return next(found, None)


def save(directory: Path, hunt: Hunt) -> None:
    save_json(directory / STATE, asdict(hunt))


def load(directory: Path) -> Hunt:
    """Load the hunt in a directory. Raises UsageError if it cannot be read."""
    return stored.load(directory / STATE, Hunt, SCHEMA, "begin anew with --restart")
