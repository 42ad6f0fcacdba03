# SPDX-License-Identifier: GPL-2.0
"""The records of the history."""

import json
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from farm.record.verdict import BY_CODE, Verdict, is_bad


def total(tallies: Iterable[Counter[Verdict]]) -> Counter[Verdict]:
    """The sum of tallies, like sum(), but without a new Counter at each step."""
    found: Counter[Verdict] = Counter()
    for tally in tallies:
        for verdict, number in tally.items():
            found[verdict] += number
    return found


@dataclass(frozen=True, order=True)
class Case:
    """One test in one cell, the same in every run."""

    cell: str
    suite: str
    test: str


@dataclass(frozen=True)
class Seen:
    """The result of a case in a run. `reason` is the reason in one line without values
    and addresses: the same for the same failure in another kernel. The run tried the
    case `tries` times, and `bad` of these failed; among several verdicts, this is the
    first bad one. `line` is the reason in one line with its values. Only the run
    directory has it, not the history."""

    verdict: Verdict
    reason: str = ""
    seconds: float = 0.0
    tries: int = 1
    bad: int = 0
    line: str = field(default="", compare=False)

    @property
    def is_bad(self) -> bool:
        return is_bad(self.verdict)

    @property
    def shown(self) -> str:
        """The reason for people, with its values if they are known."""
        return self.line or self.reason


@dataclass(frozen=True)
class RunKernel:
    """The kernel of a cell in a run. `key` is the hash of all inputs of the build, and
    `commit` and `content` name the source. All are empty if there was no kernel; then
    `failure` says why. The seconds are those of the build (0: the kernel was in the
    cache, or the run is too old to have recorded it) and of each guest's boot, in order."""

    source: str = ""
    commit: str = ""
    content: str = ""
    key: str = ""
    build_seconds: float = 0.0
    boot_seconds: tuple[float, ...] = ()
    failure: str = ""


#: The place in a line (farm.history.reading.line) of what was planted; lines of clean runs end before it.
PLANTED = 4


@dataclass(frozen=True)
class Planted:
    """The intended differences from a clean run: patches on top of the series, pokes, or a kernel
    with only part of the feature."""

    patches: tuple[str, ...] = ()
    pokes: tuple[str, ...] = ()
    partial: bool = False

    def __bool__(self) -> bool:
        return bool(self.patches or self.pokes or self.partial)


@dataclass(frozen=True)
class Summary:
    """A run without its verdicts.

    `place` is the directory's name in the results, empty if it is gone. `line` is the same
    for runs that may be compared (see farm.history.changes); what was planted is a part of
    it. It is empty if an older farm added a run with something planted and its directory is
    gone now. `counts` has the number of verdicts for each cell and suite. `troubles` says
    what could not be read in its directory.
    """

    id: str
    place: str
    line: str
    command: tuple[str, ...]
    started: str
    finished: str
    status: str
    exit: int | None
    tree: str | None
    series: str | None
    select: str
    cells: tuple[str, ...]
    accel: str
    workers: int
    planned: int
    kernels: Mapping[str, RunKernel] = field(default_factory=dict)
    counts: Mapping[tuple[str, str], Counter[Verdict]] = field(default_factory=dict)
    troubles: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[str, int, str]:
        return order(self.id, self.started)

    @property
    def planted(self) -> Planted:
        """What was planted in the run."""
        parts = json.loads(self.line or "[]")
        if len(parts) <= PLANTED:
            return Planted()
        raw = parts[PLANTED]
        return Planted(tuple(raw["patches"]), tuple(raw["pokes"]), raw["partial"])

    @property
    def clean_line(self) -> str:
        """The line of the clean runs that this one is compared with."""
        return json.dumps(json.loads(self.line)[:PLANTED]) if self.line else ""

    @property
    def tested(self) -> int:
        """How many cases have a verdict about kernel or farm: neither skipped nor lost."""
        return sum(number for one, number in self.totals.items() if one not in (Verdict.SKIP, Verdict.LOST))

    @property
    def totals(self) -> Counter[Verdict]:
        return total(self.counts.values())

    @property
    def complete(self) -> bool:
        """Whether everything that was planned has finished."""
        return self.status == "finished"


@dataclass(frozen=True)
class Mutation:
    """A hunt for mutants: the number of each outcome (see farm.hunt.mutants), and the
    outcome of each mutant."""

    id: str
    place: str
    started: str
    status: str
    seconds: float
    outcomes: Mapping[str, str]

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.outcomes.values())

    @property
    def score(self) -> float | None:
        """The share of mutants that were noticed, among those that were tested and can
        be noticed. None if there were none."""
        counts = self.counts
        caught = counts["caught"] + counts["caught otherwise"]
        tested = caught + counts["survived"]
        return caught / tested if tested else None


@dataclass(frozen=True)
class Timeline:
    """One case over several runs, oldest first. The columns are parallel to these runs;
    `codes` has 0 for a run without the case."""

    codes: bytes
    milliseconds: "array[int]"
    reasons: "array[int]"
    tries: "array[int]"
    bad: "array[int]"
    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.codes)

    def seen(self, position: int) -> Seen | None:
        """The result of the case in the run at that position; None if the run does not have it."""
        verdict = BY_CODE.get(self.codes[position])
        if verdict is None:
            return None
        return Seen(
            verdict,
            self.texts[self.reasons[position]],
            self.milliseconds[position] / 1000,
            self.tries[position],
            self.bad[position],
        )


_ID = re.compile(r"(?:.*-)?(\d{8}-\d{6})(?:-(\d+))?")


def order(name: str, started: str) -> tuple[str, int, str]:
    """The sort key of runs: the stamp and the number of their id, which never go back
    within one results directory (farm.record.records.new_directory), even if the
    clock does. For a name that the farm did not make, the recorded start.
    """
    if match := _ID.fullmatch(name):
        return match[1], int(match[2] or 1), name
    return re.sub(r"[-:]", "", started[:19]).replace("T", "-"), 0, name
