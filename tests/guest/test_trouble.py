# SPDX-License-Identifier: GPL-2.0
"""Trouble that every test of a run would meet: it ends the run, with one message."""

import os
import signal
from pathlib import Path

import pytest

from farm.arch.x86_64 import X86_64
from farm.base.errors import Exit, FarmError, UsageError
from farm.execute.collector import HOPELESS
from farm.matrix import MATRIX
from farm.record import records
from farm.record.verdict import Verdict
from farm.run import session
from farm.run.session import RunRequest
from tests.conftest import Watching

#: QEMU that starts no guest while a file is there. Guests have a kernel, other questions have none.
QEMU = """\
#!/bin/sh
case "$*" in *-kernel*) [ -e "$(dirname "$0")/broken" ] && echo "out of luck" >&2 && exit 1;; esac
exec /usr/bin/{binary} "$@"
"""


@pytest.fixture
def broken(programs: Path) -> Path:
    """A file that keeps QEMU from starting guests."""
    (programs / X86_64.qemu).write_text(QEMU.format(binary=X86_64.qemu))
    (programs / X86_64.qemu).chmod(0o755)
    (programs / "broken").touch()
    return programs / "broken"


def test_qemu_that_starts_no_guest(broken: Path, tmp_path: Path) -> None:
    """Three guests say enough; when it is mended the run goes on, and nothing is lost."""
    request = RunRequest(["x86_64-regs"], select="test_slots", accel="tcg", workers=1, results=tmp_path)
    with pytest.raises(FarmError, match=r"(?s)QEMU did not start: out of luck\n\d+ tests have no verdict; .*--resume"):
        session.execute(request, Watching())
    (directory,) = tmp_path.iterdir()
    verdicts = records.load_verdicts(directory)
    assert [one.verdict for one in verdicts] == [Verdict.INFRA] * HOPELESS
    assert records.load_run(directory).status == "interrupted"
    broken.unlink()
    _, status = session.execute(RunRequest([], resume=directory, results=tmp_path), Watching())
    again = records.load_verdicts(directory)
    assert status is Exit.PASSED
    assert {one.verdict for one in again} == {Verdict.PASS}
    assert len(again) == records.load_run(directory).planned


def test_poke_that_does_not_fit(tmp_path: Path) -> None:
    request = RunRequest(["x86_64-regs"], select="slots", accel="tcg", pokes=["nosuchsymbol=90"], results=tmp_path)
    with pytest.raises(UsageError, match="this kernel has no symbol nosuchsymbol"):
        session.execute(request, Watching())
    assert list(tmp_path.iterdir()) == [], "nothing is left of a request that was wrong"


def test_no_cell_can_be_built(tmp_path: Path) -> None:
    """The host's trouble with every cell is one message, and no verdict of any test."""
    matrix = tmp_path / "kconfigs/matrix.yaml"
    matrix.parent.mkdir()
    missing = "    archive: /nowhere/linux-source-6.12.tar.xz\n"
    matrix.write_text(MATRIX.read_text().replace("    suite: trixie\n", missing))
    for name in ("kconfigs/x86_64", "patches"):
        (tmp_path / name).symlink_to(MATRIX.parent.parent / name)
    watching = Watching()
    results = tmp_path / "results"
    request = RunRequest(["x86_64-regs", "x86_64-static"], accel="tcg", results=results, matrix=matrix)
    with pytest.raises(FarmError, match=r"linux-source-6\.12\.tar\.xz is missing; install it: \S.*") as raised:
        session.execute(request, watching)
    assert str(raised.value).count("is missing") == 1
    (directory,) = results.iterdir()
    assert records.load_verdicts(directory) == []
    assert records.load_run(directory).exit == Exit.FARM


def test_builder_that_is_killed(tmp_path: Path) -> None:
    """One message, and the run goes on where it was."""

    class Killing(Watching):
        def building(self, cell: str, step: str) -> None:
            children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
            for child in children:
                if b"farm.kernel.builder" in Path(f"/proc/{child}/cmdline").read_bytes():
                    os.kill(int(child), signal.SIGKILL)

    request = RunRequest(["x86_64-regs"], select="test_slots", accel="tcg", workers=1, results=tmp_path)
    with pytest.raises(FarmError, match="the builder was killed before it came to x86_64-regs"):
        session.execute(request, Killing())
    (directory,) = tmp_path.iterdir()
    assert records.load_verdicts(directory) == []
