# SPDX-License-Identifier: GPL-2.0
"""Bisection: git's steering, what counts as bad, resuming, and the error bound.

The histories are real repositories. What their kernels would do stands in a
file of each commit: the steering is a function of outcomes, and a kernel for
each would take an hour (benchmarks/bisect.py has that).
"""

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from rich.console import Console

from farm.base.errors import BuildFailed, FarmError, UsageError
from farm.hunt import evidence, judge, steering
from farm.hunt.bisect import BisectRequest, bisect
from farm.hunt.evidence import Answer, Hunt, Role, Status
from farm.hunt.judge import Bench, told
from farm.hunt.sequential import attempts_to_see, passes_needed, rarest_seen, share
from farm.hunt.trial import Trial, marks
from farm.kernel import series
from farm.kernel.tree import Source, from_user
from farm.record.records import Run, Slot, VerdictRecord
from farm.record.verdict import Verdict
from farm.report import bisection
from farm.run import session
from farm.run.watcher import Watcher
from tests.conftest import LINUX, Repository

pytestmark = pytest.mark.usefixtures("cache_root")

CELL = "x86_64-regs"
OUTCOME = "outcome"
#: git's name for the content of a part that has code.
CODE = hashlib.sha1(b"blob 5\0code\n").hexdigest()
TEST, OTHER_TEST = "test_slots[a]", "test_slots[b]"


class Nothing:
    """A watcher who does not look."""

    def began(self, directory: Path, run: Run) -> None: ...
    def building(self, cell: str, step: str) -> None: ...
    def built(self, cell: str, outcome: str) -> None: ...
    def plan(self, cells: list[str]) -> None: ...
    def notice(self, text: str) -> None: ...
    def verdict(self, record: VerdictRecord) -> None: ...


@dataclass
class Lab:
    """Kernels as their file `outcome` has them, a word a line:

    `bug` fails TEST and its `siblings`, `bug/N` one attempt of N of each,
    `company/N` does not where TEST runs alone; `other` fails TEST in another
    way and `unrelated` OTHER_TEST; `unbuildable`, `unbootable`, `accident` are
    no verdict. Its files in `parts` are its binary, but for those that have no code.
    """

    results: Path
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    seen: dict[tuple[str, tuple[str, ...]], tuple[str, str]] = field(default_factory=dict)
    tried: list[session.RunRequest] = field(default_factory=list)
    die_after: int = 0
    siblings: tuple[str, ...] = ()

    @property
    def bench(self) -> Bench:
        return Bench(self.build, self.attempt)

    def outcome(self, asked: session.RunRequest) -> tuple[str, str]:
        """The words of a kernel, and its binary."""
        what = (str(asked.tree), tuple(asked.patches))
        if what not in self.seen:
            source: Source = from_user(str(asked.tree))
            if asked.patches:
                source = series.apply(source, [Path(patch) for patch in asked.patches], "revert")
            words = source.git("show", f"{source.commit}:{OUTCOME}").replace("#", "")
            parts = source.git("ls-tree", "-r", source.commit, "parts")
            parts = "\n".join(line for line in parts.splitlines() if CODE in line)
            self.seen[what] = " ".join(words.split()), parts
        return self.seen[what]

    def build(self, asked: session.RunRequest, watcher: Watcher) -> str:
        words, parts = self.outcome(asked)
        if "unbuildable" in words:
            raise BuildFailed(f"{CELL}: target kernel failed, log in a.log\n  a.c:1: error: no C")
        return hashlib.sha256(f"{words} {parts}".encode()).hexdigest()

    def attempt(self, asked: session.RunRequest, watcher: Watcher) -> Trial:
        self.tried.append(asked)
        if self.die_after and len(self.tried) == self.die_after:
            raise KeyboardInterrupt
        if asked.select == "nothing":
            raise UsageError("-k 'nothing' selects no test")
        words, wanted = self.outcome(asked)[0].split(), asked.select.replace(f"{CELL}-", "")
        if "[" in wanted:
            words = [word for word in words if not word.startswith("company")]
        directory = asked.results / f"run-{len(self.tried)}"
        found: list[VerdictRecord] = []
        for attempt in range(1, asked.repeat + 1):
            for test in (TEST, OTHER_TEST, *self.siblings):
                if "[" not in wanted or test in wanted:
                    found.append(replace(self.verdict(test, words), attempt=attempt))
            if asked.stop and any(record.bad for record in found):
                break
        return Trial(directory, tuple(found))

    def verdict(self, test: str, words: list[str]) -> VerdictRecord:
        def said(verdict: Verdict, reason: str) -> VerdictRecord:
            return VerdictRecord(test, "slots", CELL, verdict, 0.1, reason)

        for word, verdict in (("unbuildable", "BUILD"), ("unbootable", "BOOT"), ("accident", "INFRA")):
            if word in words:
                return said(Verdict(verdict), f"{word}: 0x1234")
        if test == OTHER_TEST:
            return said(Verdict.CRASH, "oops") if "unrelated" in words else said(Verdict.PASS, "")
        if "other" in words:
            return said(Verdict.FAIL, "expected 1 call, there were 2")
        for word in words:
            kind, _, rarity = word.partition("/")
            if kind in ("bug", "company") and self.chance.random() < 1 / int(rarity or 1):
                return said(Verdict.FAIL, f"the stack held {self.chance.getrandbits(64):#018x}")
        return said(Verdict.PASS, "")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "results")


@dataclass
class History:
    """A tree of somebody's; `commits` in their order, the first one the good end."""

    repository: Repository
    commits: list[str]

    @property
    def request(self) -> BisectRequest:
        return BisectRequest(self.commits[0], self.commits[-1], tree=str(self.repository.path), series="none")


def history(tmp_path: Path, *outcomes: str, part: str = "code\n") -> History:
    """One commit each, of a file that says what its kernel does, and of another
    file, a part of the kernel or a comment."""
    repository = Repository(tmp_path / "linux")
    repository.write(LINUX)
    for number, outcome in enumerate(outcomes):
        repository.write({OUTCOME: outcome, f"parts/{number}": part})
        repository.git("add", "--all")
        repository.git("commit", "--quiet", "--message", f"Change {number}")
    return History(repository, repository.git("rev-list", "--reverse", "HEAD").split())


def kernel(bug: str = "", trouble: str = "") -> str:
    """What words say of a kernel, so far apart that a commit reverts though others came after it."""
    gap = "#\n" * 8
    return f"{bug}\n{gap}{trouble}\n"


def planted(length: int, bug: int, trouble: dict[int, str] | None = None, word: str = "bug") -> list[str]:
    """Kernels of which those from `bug` on have the bug."""
    return [kernel(word if number >= bug else "", (trouble or {}).get(number, "")) for number in range(length)]


def hunt(request: BisectRequest, lab: Lab, **changes: object) -> tuple[Hunt, list[str]]:
    said: list[str] = []
    request = replace(request, results=lab.results, **changes)  # type: ignore[arg-type]
    _, found = bisect(request, Nothing(), said.append, lab.bench)
    return found, said


def refused(request: BisectRequest, lab: Lab, **changes: object) -> str:
    with pytest.raises(UsageError) as error:
        hunt(request, lab, **changes)
    return str(error.value)


def culprit(found: Hunt, of: History) -> int:
    assert found.status is Status.FOUND
    return of.commits.index(found.candidates[0])


# What is found


@pytest.mark.parametrize("bug", [1, 7, 15])
def test_planted_bug_is_found(tmp_path: Path, lab: Lab, bug: int) -> None:
    made = history(tmp_path, *planted(16, bug))
    found, said = hunt(made.request, lab)
    assert culprit(found, made) == bug
    assert found.confirmed.startswith("confirmed: with it reverted")
    assert len([one for one in found.evidence if one.role is Role.STEP]) <= 4
    assert "15 commits" in said[1]
    assert "min" in said[1]


def test_two_commits(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, *planted(2, 1))
    found, _ = hunt(made.request, lab)
    assert culprit(found, made) == 1
    assert found.of(Role.STEP) is None


@pytest.mark.parametrize("seed", range(3))
def test_bug_among_trouble(tmp_path: Path, lab: Lab, seed: int) -> None:
    """Commits that do not build, do not boot, break the farm, or carry another bug."""
    chance = random.Random(seed)
    bug = chance.randrange(2, 30)
    kinds = ["unbuildable", "unbootable", "accident", "other", "unrelated"]
    places = chance.sample([place for place in range(1, 31) if place not in (bug - 1, bug)], 9)
    trouble = {place: chance.choice(kinds) for place in places}
    made = history(tmp_path, *planted(32, bug, trouble))
    found, _ = hunt(made.request, lab)
    assert culprit(found, made) == bug
    for one in found.evidence:
        if one.role is Role.STEP and one.answer is Answer.SKIP:
            assert trouble[made.commits.index(one.commit)] in ("unbuildable", "unbootable", "accident", "other")
            assert one.why.startswith(("BUILD: ", "BOOT: ", "INFRA: ", "FAIL: "))


def test_another_failure_is_not_bad(tmp_path: Path, lab: Lab) -> None:
    """Before the bug the same test fails in another way: red, and not what is hunted."""
    made = history(tmp_path, *planted(9, 6, {4: "other", 5: "other"}))
    found, _ = hunt(made.request, lab)
    assert found.status is Status.UNDECIDED
    assert {made.commits.index(one) for one in found.candidates} == {4, 5, 6}


def test_what_both_ends_fail_is_not_hunted(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, *planted(9, 6, dict.fromkeys(range(9), "unrelated")))
    found, _ = hunt(made.request, lab)
    assert culprit(found, made) == 6
    assert found.failure
    assert found.failure.test == TEST


def test_of_two_failures_one_is_chosen(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, *planted(9, 6, dict.fromkeys(range(3, 9), "unrelated")))
    found, said = hunt(made.request, lab)
    assert culprit(found, made) == 6
    assert any("1 more failures that the good end has not; --failure TEXT" in text for text in said)
    found, _ = hunt(made.request, lab, failure="test_slots[b]")
    assert culprit(found, made) == 3
    assert "bad end fails so in no test, but:\n  FAIL x86_64-regs slots test_slots[a]" in refused(
        made.request, lab, failure="nix"
    )


def test_revisions_with_an_at(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, *planted(6, 3))
    found, _ = hunt(made.request, lab, good="@~5", bad="main@{0}")
    assert culprit(found, made) == 3


def test_merges(tmp_path: Path, lab: Lab) -> None:
    """The bug came by a branch that was merged."""
    made = history(tmp_path, *planted(3, 9))
    made.repository.git("checkout", "--quiet", "-b", "side", made.commits[1])
    side = [made.repository.commit({OUTCOME: kernel("bug"), f"parts/{n}": "code\n"}, f"Side {n}") for n in (50, 51)]
    made.repository.git("checkout", "--quiet", "main")
    made.repository.git("merge", "--quiet", "-m", "Merge side", "side")
    made.commits.append(made.repository.git("rev-parse", "HEAD"))
    found, _ = hunt(made.request, lab)
    assert found.candidates == [side[0]]


def test_only_skips_in_the_middle_name_the_range(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, *planted(9, 5, dict.fromkeys(range(3, 7), "unbuildable")))
    found, _ = hunt(made.request, lab)
    assert found.status is Status.UNDECIDED
    assert {made.commits.index(one) for one in found.candidates} == {3, 4, 5, 6, 7}
    assert bisection.exit_status(found) == 1
    lines = bisection.verdict(found)
    assert lines[0].startswith("not decided: only skipped commits are left; the first bad one is one of these 5:")
    assert any("Change 5" in text for text in lines)


def test_same_binary_same_verdict(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, *planted(16, 8), part="comment\n")
    found, _ = hunt(made.request, lab)
    assert culprit(found, made) == 8
    steps = [one for one in found.evidence if one.role is Role.STEP]
    assert steps
    for one in steps:
        assert one.runs == []
        assert one.same_as in (made.commits[0], made.commits[-1])


def test_confirmation_fails_where_another_commit_has_it_too(tmp_path: Path, lab: Lab) -> None:
    """What was reverted came back by another way."""
    once, twice = kernel("bug"), kernel("bug", "bug")
    made = history(tmp_path, kernel(), kernel(), once, twice, twice)
    found, _ = hunt(made.request, lab)
    assert culprit(found, made) == 2
    assert found.confirmed.startswith("not confirmed: with it reverted the bad end still fails")


def test_culprit_that_does_not_revert(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, "a\n", "b\n", "bug c\n", "bug d\n", "bug e\n")
    found, _ = hunt(made.request, lab)
    assert culprit(found, made) == 2
    assert found.confirmed == "not confirmed: it does not revert from the bad end"


def test_report(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, *planted(16, 11, {7: "unbuildable"}))
    found, _ = hunt(made.request, lab)
    directory = lab.results / found.id
    console = Console(record=True, width=240)
    bisection.show(console, directory, found)
    text = console.export_text()
    assert text == (directory / evidence.REPORT).read_text()
    assert f"first bad commit: {made.commits[11]} Change 11" in text
    assert "git bisect start" in text
    assert f"again: farm run x86_64-regs --tree {made.repository.path}@{made.commits[11]} --series none -k" in text
    assert "Change 7: BUILD: a.c:1: error: no C " in text
    assert "confirmed: with it reverted" in text
    assert "The chance that a bad one was called good is at most 0.01 in all" in text
    assert bisection.exit_status(found) == 0
    narrow = Console(record=True, width=80)
    bisection.show(narrow, directory, found)
    text = narrow.export_text()
    assert "tests" not in text.partition("# bad")[0]
    assert "Change 7: BUILD: a.c:1:" in text, "the subject has room for some words"
    assert "tests" in (directory / evidence.REPORT).read_text().partition("# bad")[0]


# The user's repository


def test_the_users_repository_is_untouched(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, *planted(8, 5))
    made.repository.write({"Kbuild": "changed\n"})
    refs, status = made.repository.git("for-each-ref"), made.repository.git("status", "--porcelain")
    before = {path: path.stat().st_mtime_ns for path in (made.repository.path / ".git").rglob("*") if path.is_dir()}
    found, said = hunt(made.request, lab)
    assert culprit(found, made) == 5
    assert any("has uncommitted changes: they are in no revision, and stay as they are" in text for text in said)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (made.repository.git("for-each-ref"), made.repository.git("status", "--porcelain")) == (refs, status)
    assert (made.repository.path / "Kbuild").read_text() == "changed\n"


def test_shallow_clone(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, *planted(12, 8))
    clone = tmp_path / "clone"
    made.repository.git("clone", "--quiet", "--depth=6", f"file://{made.repository.path}", str(clone))
    found, _ = hunt(replace(made.request, tree=str(clone), good=made.commits[-6]), lab)
    assert culprit(found, made) == 8


# Wrong input


def test_ends_that_are_not_as_was_said(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, *planted(6, 3))
    good, middle, bad = made.commits[0], made.commits[2], made.commits[-1]
    assert "is good: it passed 50 times" in refused(made.request, lab, bad=middle)
    assert "is bad: it fails in all the ways" in refused(made.request, lab, good=made.commits[3])
    assert "were they swapped?" in refused(made.request, lab, good=bad, bad=good)
    assert "are the same commit" in refused(made.request, lab, good=bad)
    assert "no revision 'nix'" in refused(made.request, lab, good="nix")
    assert "selects no test" in refused(made.request, lab, select="nothing")
    assert "must be between 0 and 1" in refused(made.request, lab, confidence=1.0)
    assert "no such directory" in refused(made.request, lab, tree="/nonexistent")
    assert "no cell 'nix'" in refused(made.request, lab, cell="nix")


def test_good_end_that_is_bad_now_and_then(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, *planted(6, 0, word="bug/4"))
    lab.chance = random.Random(3)
    said = refused(made.request, lab)
    assert f"--good {made.commits[0]} is bad: it failed as the bad end does, the " in said


def test_ends_that_cannot_be_tested(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, *planted(6, 3, {0: "unbuildable", 5: "unbootable"}))
    assert "cannot be tested: BOOT: " in refused(made.request, lab)
    assert "cannot be tested:\nx86_64-regs: target" in refused(made.request, lab, bad=made.commits[4])


def test_same_binary_at_both_ends(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, *planted(3, 0, word="bug/2"), part="comment\n")
    assert "give the same kernel" in refused(made.request, lab)


def test_ends_that_are_no_ancestors(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, *planted(4, 2))
    made.repository.git("checkout", "--quiet", "-b", "side", made.commits[1])
    side = made.repository.commit({"side": "1\n"})
    said = refused(made.request, lab, good=side)
    assert f"is no ancestor of --bad {made.commits[-1]}; they parted at {made.commits[1][:12]} (Change 1)" in said
    assert f"--good {made.commits[1][:12]}" in said
    made.repository.git("checkout", "--quiet", "--orphan", "alone")
    alone = made.repository.commit({"alone": "1\n"})
    assert "have no ancestor in common" in refused(made.request, lab, good=alone)


# Stopped and resumed


@pytest.mark.parametrize("trial", [1, 3, 4, 6])
def test_killed_at_any_trial_and_resumed(tmp_path: Path, lab: Lab, trial: int) -> None:
    made = history(tmp_path, *planted(8, 5, {3: "unbuildable"}))
    whole, _ = hunt(made.request, Lab(tmp_path / "elsewhere"))
    lab.die_after = trial
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        bisect(replace(made.request, results=lab.results), Nothing(), said.append, lab.bench)
    assert "the same command goes on from there" in said[-1]
    lab.die_after = 0
    before = len(lab.tried)
    found, said = hunt(made.request, lab)
    assert "going on with" in said[0]
    assert culprit(found, made) == 5
    assert found.confirmed == whole.confirmed
    assert [(one.commit, one.answer) for one in found.evidence] == [(one.commit, one.answer) for one in whole.evidence]
    steps = [request.tree for request in lab.tried[: before - 1] if f"@{made.commits[0]}" not in str(request.tree)]
    again = [request.tree for request in lab.tried[before:] if f"@{made.commits[-1]}" not in str(request.tree)]
    assert not set(steps) & set(again), "a revision that has its answer is not tried again"


def test_ended_hunt_is_told_again_and_restarted(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, *planted(6, 3))
    found, _ = hunt(made.request, lab)
    tried = len(lab.tried)
    again, said = hunt(made.request, lab)
    assert again == found
    assert len(lab.tried) == tried
    assert "--restart begins anew" in said[0]
    hunt(made.request, lab, restart=True)
    assert len(lab.tried) == 2 * tried


def test_changed_series_is_another_hunt(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, *planted(6, 3))
    (tmp_path / "series").mkdir()
    patch = tmp_path / "series/0001-x.patch"
    patch.write_text("1\n")
    first, _ = hunt(made.request, lab, series=str(patch.parent))
    assert hunt(made.request, lab, series=str(patch.parent))[0].id == first.id
    patch.write_text("2\n")
    assert hunt(made.request, lab, series=str(patch.parent))[0].id != first.id


def test_two_at_once_are_refused(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, *planted(6, 3))
    request = replace(made.request, results=lab.results)
    said = []

    def meanwhile(asked: session.RunRequest, watcher: Watcher) -> Trial:
        said.append(refused(made.request, lab))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bisect(request, Nothing(), lambda text: None, Bench(lab.build, meanwhile))
    assert "is going on already" in said[0]


def test_farm_that_fails_again_and_again_stops_the_hunt(tmp_path: Path, lab: Lab) -> None:
    """And its failures are no verdicts: the hunt goes on when the farm works again."""
    made = history(tmp_path, *planted(16, 11))
    broken = replace(lab.bench, build=_failing_in_the_middle(lab, made))
    with pytest.raises(FarmError, match="3 times in a row it was the farm that failed"):
        bisect(replace(made.request, results=lab.results), Nothing(), lambda text: None, broken)
    found, _ = hunt(made.request, lab)
    assert culprit(found, made) == 11


def _failing_in_the_middle(lab: Lab, made: History) -> Callable[[session.RunRequest, Watcher], str]:
    def build(asked: session.RunRequest, watcher: Watcher) -> str:
        if not str(asked.tree).endswith((made.commits[0], made.commits[-1])):
            raise FarmError("no compiler")
        return lab.build(asked, watcher)

    return build


def test_full_disk_stops_the_hunt(tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    made = history(tmp_path, *planted(16, 11))
    monkeypatch.setattr(judge, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(FarmError, match=r"disk full: .* left below"):
        hunt(made.request, lab)
    monkeypatch.undo()
    monkeypatch.setenv("FTRACE_FARM_CACHE", str(tmp_path / "cache"))
    assert culprit(hunt(made.request, lab)[0], made) == 11


# Marks


def test_marks_tell_bugs_apart() -> None:
    slots = (
        Slot("arg1", "rdi", 112, 1, 1, 1),
        Slot("arg2", "rsi", 104, 1, 2, 1),
        Slot("arg4", "rcx", 88, 1, 2, 1),
    )
    failed = VerdictRecord(TEST, "slots", CELL, Verdict.FAIL, 0.1, "arg2 was passed as 0x1", slots=slots)
    assert marks(failed) == {f"FAIL {CELL} slots {TEST}: wrong {slot}" for slot in ("arg2 (rsi)", "arg4 (rcx)")}
    values = replace(failed, reason="the stack held 0x77", slots=())
    assert marks(values) == marks(replace(values, reason="the stack held 0x1234567812345678"))
    assert marks(values) != marks(replace(values, verdict=Verdict.CRASH))
    assert marks(values) != marks(replace(values, test=OTHER_TEST))


# A bug that comes and goes


@pytest.mark.parametrize("seed", range(2))
def test_bug_that_shows_once_in_ten(tmp_path: Path, lab: Lab, seed: int) -> None:
    made = history(tmp_path, *planted(32, 19, {15: "unbuildable"}, "bug/10"))
    lab.chance = random.Random(seed)
    found, said = hunt(made.request, lab)
    assert culprit(found, made) == 19
    bad = found.of(Role.BAD_END)
    assert bad
    assert bad.failures == 10
    assert 30 < bad.attempts < 300
    assert any(f"the bad end failed 10 of {bad.attempts} times" in text for text in said)
    good = [one for one in found.evidence if one.answer is Answer.GOOD and not one.same_as]
    for one in good:
        assert one.passes >= one.needed > 50, told(one)
    command = bisection.show_command(found)
    assert int(command.split("--repeat ")[1].split()[0]) > 20
    assert command.endswith("-x")


@pytest.mark.parametrize("seed", range(4))
def test_one_of_many_that_fail_now_and_then(tmp_path: Path, lab: Lab, seed: int) -> None:
    """Some test fails nearly each time, and the hunted one alone once in thirty all the same."""
    lab.siblings = tuple(f"test_slots[{number}]" for number in range(24))
    made = history(tmp_path, *planted(8, 5, word="bug/30"))
    lab.chance = random.Random(seed)
    found, said = hunt(made.request, lab)
    assert culprit(found, made) == 5
    assert found.failure
    assert "[" in found.failure.select, [line for line in said if "alone" in line]


def test_failure_that_needs_company(tmp_path: Path, lab: Lab) -> None:
    made = history(tmp_path, *planted(8, 5, word="company/2"))
    found, said = hunt(made.request, lab)
    assert culprit(found, made) == 5
    assert found.failure
    assert found.failure.select == made.request.select
    assert any("alone the test does not fail" in line for line in said)


def waiting(chance: random.Random, rate: float, failures: int) -> int:
    """Attempts until so many failures."""
    attempts = 0
    while failures:
        attempts += 1
        failures -= chance.random() < rate
    return attempts


@pytest.mark.parametrize("rate", [1.0, 0.9, 0.5, 0.2, 0.1, 0.02])
@pytest.mark.parametrize("failures", [5, 10])
@pytest.mark.parametrize("error", [0.05, 0.001])
def test_a_bad_kernel_is_seldom_called_good(rate: float, failures: int, error: float) -> None:
    """By what a measurement of n attempts would allow, averaged over measurements."""
    chance = random.Random(7)
    measured = [waiting(chance, rate, failures) for _ in range(4000)]
    wrong = sum((1 - rate) ** passes_needed(failures, n, error) for n in measured) / len(measured)
    assert wrong <= error * 1.1  # of 4000 samples
    if rate < 0.3:
        assert wrong > error / 4, "and no more is tested than that needs"


def test_hunts_keep_the_error_bound() -> None:
    """Thousands of hunts through 64 commits, by bisection with a once-in-ten bug:
    no more than one of ten goes wrong, where that is what was asked for."""
    chance = random.Random(5)
    error, steps, hunted = 0.1, 6, 3000
    wrong = 0
    for _ in range(hunted):
        bug, low, high = chance.randrange(64), -1, 63
        n = waiting(chance, 0.1, 10)
        number = 2
        while high - low > 1:
            middle = (low + high) // 2
            needed = passes_needed(10, n, share(number, steps + 2, error))
            if middle >= bug and any(chance.random() < 0.1 for _ in range(needed)):
                high = middle
            else:
                low, number = middle, number + 1
        wrong += high != bug
    assert wrong / hunted < error
    assert wrong > 0, "a bound that is never reached costs tests"


def test_shares_add_up() -> None:
    for expected in (1, 3, 8):
        assert sum(share(number, expected, 0.01) for number in range(1, 200)) == pytest.approx(0.01)


def test_rates() -> None:
    assert attempts_to_see(5, 5, 0.99) == 1
    assert attempts_to_see(10, 100, 0.99) == 44
    assert 0.9**44 <= 0.01 < 0.9**43
    assert rarest_seen(50, 0.99) == pytest.approx(0.088, abs=0.001)
    assert (1 - rarest_seen(50, 0.99)) ** 50 == pytest.approx(0.01)


# git


def test_steering_asks_the_same_again(tmp_path: Path) -> None:
    made = history(tmp_path, *planted(20, 9))

    def questions() -> Iterator[str]:
        objects = made.repository.path / ".git/objects"
        git = steering.open_repository(tmp_path / "steering.git", objects, tmp_path / "none")
        steering.start(git, made.commits[0], made.commits[-1])
        for answer in itertools.cycle(["skip", "good", "bad"]):
            if git.candidates:
                return
            yield git.next
            git.answer(git.next, answer)

    first = list(questions())
    assert len(first) > 3
    assert list(questions()) == first
