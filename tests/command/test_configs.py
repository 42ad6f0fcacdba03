# SPDX-License-Identifier: GPL-2.0
"""Bisection of configurations: what is found, what is asked for, wrong cells, resuming.

What kernels do is a function of the options that came out, and these follow
from dependencies as in Kconfig: an option is dropped without the one it needs.
"""

import hashlib
import random
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from farm.base.errors import BuildFailed, FarmError, UsageError
from farm.hunt.configs import SUFFIX, ConfigBisectRequest, bisect
from farm.hunt.evidence import Hunt, Role, Status
from farm.hunt.judge import Bench
from farm.hunt.trial import Config, Trial
from farm.kernel import kconfig
from farm.matrix import choose, load
from farm.record.records import VerdictRecord
from farm.record.verdict import Verdict
from farm.report import configs as reports
from farm.run import session
from farm.run.watcher import Watcher
from tests.command.test_bisect import Nothing

pytestmark = pytest.mark.usefixtures("cache_root")

#: An option of the fragment "extra" each, and what it depends on.
EXTRA = {"LOCKS": "", "PROVE": "LOCKS", "POISON": "", "LEAKS": "POISON", "PAGES": "", "LISTS": ""}

#: What an option brings that nobody asks for.
FOLLOWER = {"POISON": "STACKS"}

FRAGMENTS = {
    "base": "CONFIG_CONSOLE=y\nCONFIG_NET=y\n",
    "smp": "CONFIG_SMP=y\nCONFIG_NR_CPUS=8\n",
    "up": "# CONFIG_SMP is not set\n",
    "extra": "".join(f"CONFIG_{name}=y\n" for name in EXTRA),
}

CELLS: dict[str, dict[str, object]] = {
    "plain": {"fragments": ["base", "smp"]},
    "checked": {"fragments": ["base", "up", "extra"], "guest": {"cpus": 1}},
    "same": {"fragments": ["base", "smp"], "guest": {"memory": 512}},
    "unbooted": {"fragments": ["base"], "guest": None},
}


@dataclass
class Lab:
    """Kernels that fail one test if all options of `bug` came out as it says, in
    one of `rarity` attempts, and do not boot without a console.

    Options depend on others as in EXTRA. With FOLLOWER's comes another one.
    """

    bug: dict[str, str]
    rarity: int = 1
    matrices: list[Path] = field(default_factory=list)
    die_after: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    refused: frozenset[str] = frozenset()
    built: list[Path] = field(default_factory=list)
    source: str = "content"

    @property
    def bench(self) -> Bench:
        return Bench(self.build, self.attempt, self.config)

    def config(self, asked: session.RunRequest, watcher: Watcher) -> Config:
        (cell,) = choose(load(asked.matrix), asked.cells)
        return Config(cell.fragments, self.options(asked), self.source, "a tree")

    def options(self, asked: session.RunRequest) -> dict[str, str]:
        (cell,) = choose(load(asked.matrix), asked.cells)
        options: dict[str, str] = {}
        for fragment in cell.fragments:
            options |= kconfig.parse(fragment.read_text())
        followers = {follower: "y" for name, follower in FOLLOWER.items() if options.get(name, "n") != "n"}
        return followers | {
            name: value
            for name, value in options.items()
            if value != "n" and options.get(EXTRA.get(name, "")) != "n" and EXTRA.get(name, "") in ("", *options)
        }

    def build(self, asked: session.RunRequest, watcher: Watcher) -> str:
        self.built.append(asked.matrix)
        options = self.options(asked)
        if self.refused and self.refused <= set(options):
            raise BuildFailed("does not link")
        return hashlib.sha256(repr(sorted(options.items())).encode()).hexdigest()

    def shows(self, options: dict[str, str]) -> bool:
        return all(options.get(name, "n") == value for name, value in self.bug.items())

    def attempt(self, asked: session.RunRequest, watcher: Watcher) -> Trial:
        self.matrices.append(asked.matrix)
        if self.die_after and len(self.matrices) == self.die_after:
            raise KeyboardInterrupt
        if asked.select == "nothing":
            raise UsageError("-k 'nothing' selects no test")
        options = self.options(asked)
        found = []
        for number in range(1, asked.repeat + 1):
            verdict, reason = Verdict.PASS, ""
            if options.get("CONSOLE") != "y":
                verdict, reason = Verdict.BOOT, "nothing on the console"
            elif self.shows(options) and self.chance.random() < 1 / self.rarity:
                verdict, reason = Verdict.FAIL, f"saw {self.chance.getrandbits(64):#018x}"
            found.append(VerdictRecord("test_a", "slots", asked.cells[0], verdict, 0.1, reason, attempt=number))
            if asked.stop and found[-1].bad:
                break
        return Trial(asked.results / f"run-{len(self.matrices)}", tuple(found))


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    top = tmp_path / "farm" / "kconfigs"
    (top / "x86_64").mkdir(parents=True)
    (top.parent / "patches").mkdir()
    for name, text in FRAGMENTS.items():
        (top / "x86_64" / f"{name}.config").write_text(text)
    spec = {
        "trees": {"debian-6.12": {"package": "linux", "archive": "/nonexistent", "series": "patches"}},
        "fragments": {name: ["smp"] if name == "smp" else [] for name in FRAGMENTS},
        "cells": {name: {"about": name, **cell} for name, cell in CELLS.items()},
    }
    (top / "matrix.yaml").write_text(yaml.safe_dump(spec))
    return top / "matrix.yaml"


def hunt(lab: Lab, matrix: Path, bad: str = "checked", good: str = "plain", **more: object) -> tuple[Hunt, list[str]]:
    said: list[str] = []
    request = ConfigBisectRequest(bad, good, matrix=matrix, results=matrix.parent.parent / "results", series="none")
    _, found = bisect(replace(request, **more), Nothing(), said.append, lab.bench)  # type: ignore[arg-type]
    return found, said


@pytest.mark.parametrize(
    "bug", [{"PAGES": "y"}, {"SMP": "n"}, {"PROVE": "y", "LOCKS": "y"}, {"SMP": "n", "LISTS": "y"}]
)
def test_options_are_found(matrix: Path, bug: dict[str, str]) -> None:
    found, _ = hunt(Lab(bug), matrix)
    assert found.status is Status.FOUND
    assert set(found.candidates) == set(bug)
    assert found.confirmed.startswith("confirmed: with these as the good end has them")


def test_dependency_belongs_to_the_set(matrix: Path) -> None:
    """LEAKS alone is dropped by the tree, and so shows nothing."""
    found, _ = hunt(Lab({"LEAKS": "y"}), matrix)
    assert set(found.candidates) == {"LEAKS", "POISON"}
    assert found.subjects["LEAKS"] == "n -> y, by the fragment extra"


def test_two_causes(matrix: Path) -> None:
    """Either option is enough: one of them is found, and that there is another is said."""

    class Either(Lab):
        def options(self, asked: session.RunRequest) -> dict[str, str]:
            options = super().options(asked)
            return options | ({"EITHER": "y"} if "PAGES" in options or "LISTS" in options else {})

    found, _ = hunt(Either({"EITHER": "y"}), matrix)
    assert found.candidates in (["PAGES"], ["LISTS"])
    assert found.confirmed.startswith("there are other options that do it as well")


def test_candidate_that_does_not_build_says_nothing(matrix: Path) -> None:
    found, _ = hunt(Lab({"PAGES": "y"}, refused=frozenset({"PAGES", "SMP"})), matrix)
    assert set(found.candidates) == {"PAGES", "SMP"}, "more than needed stays where the smaller set gives no kernel"


def test_failure_that_comes_and_goes(matrix: Path) -> None:
    found, _ = hunt(Lab({"PAGES": "y"}, rarity=6), matrix, tries=100)
    assert found.candidates == ["PAGES"]
    bad = found.of(Role.BAD_END)
    assert bad
    assert bad.attempts > 2 * bad.failures
    for one in found.evidence:
        assert one.failures or one.same_as or one.passes >= one.needed > 20


def test_minimise(matrix: Path) -> None:
    found, said = hunt(Lab({"PROVE": "y"}), matrix, good="")
    assert found.candidates == ["LOCKS", "PROVE"], "and the fragment base, without which nothing boots"
    assert found.of(Role.GOOD_END) is None
    assert (
        "6 options are asked for, beside what the fragment base does, by 1 fragments; about 7 configurations" in said[3]
    )


def test_minimise_keeps_what_is_switched_off(matrix: Path) -> None:
    """To leave that away would make the kernel larger."""
    lab = Lab({"PAGES": "y"})
    found, _ = hunt(lab, matrix, good="")
    assert found.candidates == ["PAGES"]
    assert all("# CONFIG_SMP is not set" in fragment_of(path) for path in lab.matrices)


def test_minimise_where_nothing_is_needed(matrix: Path) -> None:
    found, _ = hunt(Lab({"NET": "y"}), matrix, good="")
    assert found.candidates == []
    assert "0 of 6 options are needed for the failure, beside the fragment base:" in reports.found(found)


def fragment_of(matrix: Path) -> str:
    """What the candidate of a matrix asks for."""
    (cell,) = load(matrix).cells.values()
    return "".join(fragment.read_text() for fragment in cell.fragments)


def test_no_configuration_is_built_twice(matrix: Path) -> None:
    """LEAKS without POISON is dropped: what is left was tested already."""
    lab = Lab({"LEAKS": "y"})
    found, _ = hunt(lab, matrix)
    seen = [tuple(sorted(lab.options(session.RunRequest([f"checked{SUFFIX}"], matrix=path)))) for path in lab.built]
    assert len(seen) == len(set(seen))
    (same,) = [one for one in found.evidence if one.same_as]
    assert same.runs == []
    assert same.subject == "NR_CPUS, SMP, LEAKS"
    (first,) = [one for one in found.evidence if one.commit == same.same_as]
    assert first.subject == "NR_CPUS, SMP"


def test_trouble_of_the_farm_is_no_answer_of_a_configuration(matrix: Path) -> None:
    """Once there is no compiler: when the same configuration comes again it is tested."""

    class Poor(Lab):
        def build(self, asked: session.RunRequest, watcher: Watcher) -> str:
            binary = super().build(asked, watcher)
            if len(self.built) == 4:
                raise FarmError("no compiler")
            return binary

    found, _ = hunt(Poor({"LEAKS": "y"}), matrix)
    (poor,) = [one for one in found.evidence if one.why == "INFRA: no compiler"]
    (again,) = [one for one in found.evidence if one.config == poor.config and one is not poor]
    assert again.runs
    assert found.candidates == ["POISON", "LEAKS"]
    assert "1 configuration could not be tested: of the options above some may not be needed" in reports.found(found)


def test_what_follows_is_told(matrix: Path) -> None:
    found, _ = hunt(Lab({"LEAKS": "y"}), matrix)
    assert found.follows == ["STACKS: n -> y"]
    assert "and these follow from them: STACKS: n -> y" in reports.found(found)


def test_what_is_no_option_is_told(matrix: Path) -> None:
    _, said = hunt(Lab({"PAGES": "y"}), matrix)
    no_option = "the guest's cpus: 2 at the good end, 1 at the bad one"
    assert f"no option is {no_option}; all is tested with the latter" in said
    with pytest.raises(UsageError, match="--good plain is bad: it fails in all the ways") as error:
        hunt(Lab({"CONSOLE": "y"}), matrix, restart=True)
    assert f"so the failure may come from there and from no option: {no_option}" in str(error.value)


def test_source_that_changes(matrix: Path) -> None:
    """What was tested says nothing of another source: neither now nor when the hunt goes on."""

    class Edited(Lab):
        def attempt(self, asked: session.RunRequest, watcher: Watcher) -> Trial:
            self.source = f"content {len(self.matrices) // 4}"
            return super().attempt(asked, watcher)

    with pytest.raises(UsageError, match=r"the source has changed since this hunt began; .* --tree PATH@REV"):
        hunt(Edited({"PAGES": "y"}, source="content 0"), matrix)
    found, said = hunt(Lab({"PAGES": "y"}, source="content 1"), matrix)
    assert not any("going on with" in line for line in said)
    assert found.candidates == ["PAGES"]


def test_report(matrix: Path) -> None:
    lab = Lab({"PAGES": "y", "SMP": "n"})
    found, _ = hunt(lab, matrix)
    directory = matrix.parent.parent / "results" / found.id
    console = Console(record=True, width=240)
    reports.show(console, directory, found)
    text = console.export_text()
    assert "2 of 8 options turn good into bad, together:" in text
    assert "CONFIG_PAGES: n -> y, by the fragment extra" in text
    words = shlex.split(next(line for line in text.splitlines() if line.startswith("again: ")))
    again = Path(words[words.index("--matrix") + 1])
    cell = f"checked{SUFFIX}"
    assert words[1:4] == ["farm", "run", cell]
    asked = session.RunRequest([cell], matrix=again)
    assert lab.attempt(asked, Nothing()).red
    options = lab.options(asked)
    assert "SMP" not in options
    assert set(options) == {"CONSOLE", "NET", "NR_CPUS", "PAGES"}
    assert fragment_of(again).endswith("# CONFIG_SMP is not set\nCONFIG_PAGES=y\n"), "what was chosen wins"


def test_candidates_have_the_guest_and_the_facts_of_the_bad_cell(matrix: Path) -> None:
    lab = Lab({"PAGES": "y"})
    hunt(lab, matrix)
    for path in lab.matrices:
        (cell,) = load(path).cells.values()
        assert cell.machine
        assert cell.machine.cpus == 1
        assert cell.supports == load(matrix).cells["checked"].supports
        assert cell.lenient


@pytest.mark.parametrize("trial", [2, 4, 6, 9])
def test_killed_and_resumed(matrix: Path, trial: int) -> None:
    whole, _ = hunt(Lab({"SMP": "n", "LISTS": "y"}), matrix, results=matrix.parent / "elsewhere")
    lab = Lab({"SMP": "n", "LISTS": "y"}, die_after=trial)
    with pytest.raises(KeyboardInterrupt):
        hunt(lab, matrix)
    lab.die_after = 0
    found, said = hunt(lab, matrix)
    assert any("going on with" in line for line in said)
    assert [(one.commit, one.answer) for one in found.evidence] == [(one.commit, one.answer) for one in whole.evidence]
    assert found.confirmed == whole.confirmed


def test_wrong_cells(matrix: Path) -> None:
    def refused(bug: dict[str, str], **more: object) -> str:
        with pytest.raises(UsageError) as error:
            hunt(Lab(bug), matrix, **more)  # type: ignore[arg-type]
        return str(error.value)

    assert "are the same cell" in refused({}, good="checked")
    assert "no cell 'nix'" in refused({}, good="nix")
    assert "it is only built" in refused({}, good="unbooted")
    said = refused({}, good="same", bad="plain")
    assert "have the same value of each option that either asks for, and these are no options: " in said
    assert "the guest's memory: 512 at the good end, 224 at the bad one" in said
    assert "is good: it passed 50 times" in refused({"NOTHING": "y"})
    assert "is bad: it fails in all the ways" in refused({"CONSOLE": "y"})
    assert "selects no test" in refused({"PAGES": "y"}, select="nothing")
