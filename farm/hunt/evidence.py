# SPDX-License-Identifier: GPL-2.0
"""What a bisection leaves behind, and what it is resumed and reported from.

Its directory holds `state.json` (Hunt), `bisect.log` (git's), `runs/` (run
directories, one a trial), `revert.patch` and `report.txt`.
"""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from farm.base import stored
from farm.base.atomic import save_json
from farm.record.verdict import Verdict

#: Of state.json; raised when a reader of the old ones would go wrong.
SCHEMA = 1

STATE = "state.json"
LOG = "bisect.log"
RUNS = "runs"
REVERT = "revert.patch"
REPORT = "report.txt"


class Answer(StrEnum):
    """What is said of a revision. `testing`: not enough is known yet."""

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
    """How a hunt stands."""

    RUNNING = "running"
    FOUND = "found"
    UNDECIDED = "undecided"  # only skipped commits are left


@dataclass
class Evidence:
    """What is known of one revision.

    `passes` and `failures` count attempts of the hunted test, the latter with
    the hunted failure; `others` those that ended in another way, which say
    nothing. `needed` is how many passes make it good. `binary` is the hash of
    kernel and modules, `config` that of the options where these are hunted, and
    `same_as` the commit with the same ones whose answer this is. Seconds are of
    the build, 0 where the kernel was there, and of the runs of the hunted test.
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
        """`why` in a line. Of a failed build what the compiler said first, and not
        where its log is: the next build of the tree writes over that."""
        first, *more = self.why.splitlines() or [""]
        head = f"{Verdict.BUILD}: "
        return head + more[0].strip() if more and first.startswith(head) else first


@dataclass(frozen=True)
class Failure:
    """What is hunted: `mark` is how it is known again (farm.hunt.trial.marks), `reason` what
    it said first; `select` runs its test alone, or all that the user selected
    where alone it does not fail. `others` are the marks that are not hunted."""

    mark: str
    suite: str
    test: str
    reason: str
    select: str
    others: tuple[str, ...] = ()


@dataclass
class Hunt:
    """One bisection: what was asked, and how far it got.

    `tree` is the top of the user's, `good` and `bad` are commits, and as they
    were asked for `good_name`, `bad_name`. `commits` counts those of which one
    is the first bad one. The bad end was `tried` so often until it failed,
    each time with as many `tests` as the user selected.
    `candidates` is the culprit, or where it cannot be told the range.
    `subjects` has the candidates' first lines. `follows` are options that nobody
    asked for and that came with the candidates, where these are options.
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
        """The evidence of a role, and of a commit if one is named."""
        found = (one for one in self.evidence if one.role is role and commit in ("", one.commit))
        return next(found, None)


def save(directory: Path, hunt: Hunt) -> None:
    save_json(directory / STATE, asdict(hunt))


def load(directory: Path) -> Hunt:
    """The hunt that was left in a directory. Raises UsageError where nothing can be made of it."""
    return stored.load(directory / STATE, Hunt, SCHEMA, "begin anew with --restart")
