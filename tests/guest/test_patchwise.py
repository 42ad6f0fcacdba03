# SPDX-License-Identifier: GPL-2.0
"""`farm series`: what applies to which patch of a series, and what its ABI breaks."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from farm.base.errors import BuildFailed, Exit, UsageError
from farm.hunt.series import Checked, Step, status, steps
from farm.hunt.trial import Trial
from farm.kernel import abi
from farm.kernel.abi import Abi
from farm.kernel.tree import FEATURE_HEADER, from_user
from farm.record.records import VerdictRecord
from farm.record.verdict import Verdict
from farm.run.session import RunRequest
from tests.conftest import Repository

pytestmark = pytest.mark.usefixtures("cache_root")

OPTION = "config BPF_FTRACE\n\tbool\n"
ENUM = "enum bpf_prog_type {\n\tA,\n\tB,\n\t__MAX_BPF_PROG_TYPE\n};\n"
ARGS = "struct bpf_ftrace_args {\n\tunsigned long arg1, arg2;\n};\n"


@pytest.fixture
def request_(linux: Repository, tmp_path: Path) -> RunRequest:
    """A series of five: a change, the header, the option, the engine, the documentation."""
    linux.commit({"arch/x86/Kconfig": "config X86\n\tdef_bool y\n"})
    linux.git("checkout", "--quiet", "-b", "series")
    linux.commit({"Kbuild": "obj-y := kernel/ mm/\n"}, "Change")
    linux.commit({FEATURE_HEADER: ARGS}, "Header")
    linux.commit({"kernel/trace/Kconfig": OPTION}, "Option")
    linux.commit({"kernel/trace/filter.c": "int x;\n"}, "Engine")
    linux.commit({"Documentation/x.rst": "X\n", "tools/x.c": "int x;\n"}, "Documentation")
    linux.git("format-patch", "--quiet", "-o", str(tmp_path / "patches"), "main")
    linux.git("checkout", "--quiet", "main")
    return RunRequest(["x86_64-off", "x86_64-regs"], tree=str(linux.path), series=str(tmp_path / "patches"))


def test_steps(request_: RunRequest) -> None:
    found = steps(request_)
    assert [step.patch.stem[5:] for step in found] == ["Change", "Header", "Option", "Engine", "Documentation"]
    assert [step.off for step in found] == [("x86_64-off",)] * 5
    assert [step.on for step in found] == [(), (), ("x86_64-regs",), ("x86_64-regs",), ("x86_64-regs",)]
    assert [step.partial for step in found] == [True, True, True, False, False], "what follows are no kernel's files"
    assert all(one.source == following.before for one, following in pairwise(found))


def test_tree_that_has_the_feature(request_: RunRequest, linux: Repository) -> None:
    linux.git("checkout", "--quiet", "series")
    with pytest.raises(UsageError, match="the feature is in it already"):
        steps(request_)


def test_abi_of_a_source(linux: Repository) -> None:
    linux.commit({"include/uapi/linux/bpf.h": ENUM})
    before = abi.of(from_user(str(linux.path)))
    assert before == Abi({"A": 0, "B": 1, "__MAX_BPF_PROG_TYPE": 2}, {}, 0)
    linux.commit({FEATURE_HEADER: ARGS})
    after = abi.of(from_user(str(linux.path)))
    assert after == replace(before, args={"arg1": 0, "arg2": 8}, args_size=16)
    linux.commit({FEATURE_HEADER: "struct bpf_ftrace_args {\n"})
    with pytest.raises(BuildFailed, match="do not compile"):
        abi.of(from_user(str(linux.path)))


BEFORE = Abi({"A": 0, "B": 1, "__MAX_BPF_PROG_TYPE": 2}, {"arg1": 0}, 8)


@pytest.mark.parametrize(
    "after, says",
    [
        (BEFORE, []),
        (replace(BEFORE, prog_types={"A": 0, "B": 1, "C": 2, "__MAX_BPF_PROG_TYPE": 3}), []),
        (
            replace(BEFORE, prog_types={"A": 0, "C": 1, "B": 2, "__MAX_BPF_PROG_TYPE": 3}),
            ["B was 1 and is 2", "C is 1, in the middle"],
        ),
        (replace(BEFORE, prog_types={"A": 0, "__MAX_BPF_PROG_TYPE": 1}), ["B was 1 and is gone"]),
        (replace(BEFORE, args={"arg1": 8}, args_size=16), ["struct bpf_ftrace_args was"]),
        (replace(BEFORE, args={}, args_size=0), ["struct bpf_ftrace_args was"]),
    ],
)
def test_what_an_abi_breaks(after: Abi, says: list[str]) -> None:
    complaints = abi.broken(BEFORE, after)
    assert len(complaints) == len(says)
    for complaint, said in zip(complaints, says, strict=True):
        assert complaint.startswith(said)


def test_status(linux: Repository, tmp_path: Path) -> None:
    source = from_user(str(linux.path))
    step = Step(1, tmp_path / "0001.patch", source, source, ("one",), (), True)

    def checked(verdict: Verdict, style: tuple[str, ...] = (), broken: tuple[str, ...] = ()) -> Checked:
        return Checked(step, style, broken, Trial(tmp_path, (VerdictRecord("t", "s", "one", verdict, 0.0),)))

    good = checked(Verdict.PASS)
    assert status([good]) == Exit.PASSED
    for bad in (checked(Verdict.PASS, style=("x",)), checked(Verdict.PASS, broken=("x",)), checked(Verdict.BUILD)):
        assert status([good, bad]) == Exit.KERNEL
    assert status([good, checked(Verdict.INFRA, style=("x",))]) == Exit.FARM
