# SPDX-License-Identifier: GPL-2.0
"""Three nights as a farm leaves them, with a regression and a flake, and names
of the kind that breaks pages."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from farm.matrix import CHECKOUT, MATRIX
from farm.record import records
from farm.record.records import Run, Slot, VerdictRecord
from farm.record.verdict import Verdict

CELLS = ("x86_64-regs", "x86_64-regs-fp", "x86_64-off", "x86_64-kasan")
NIGHTS = ("20260301-020000", "20260302-020000", "20260303-020000")

#: Markup, quotes, templates, other scripts, a name that turns the line around,
#: and one that is a path.
NASTY = (
    '<script>document.title="broken"</script>',
    "\" onmouseover='alert(1)' x=\"",
    "</title></pre></table>&amp;{{ 7*7 }}{% raw %}",
    "größe-尺寸-\u202eabc-\ud800",
    "../../../etc/passwd%2e%2e",
)

TESTS = {
    "slots": ("test_arguments[args6-ftrace_caller-function]", "test_arguments[args2-regs-kprobe]", "test_zero"),
    "routes": ("test_direct", "test_shared", "test_of_a_module"),
    "privileges": ("test_unprivileged", *(f"test_name[{text}]" for text in NASTY)),
}
REGRESSION, FLAKE, CRASH = TESTS["slots"][0], "test_shared", "test_of_a_module"

FRAME = (
    Slot("arg1", "rdi", 112, 0x1032547698BADCF1, 0x1032547698BADCF1, 0x1032547698BADCF1, 0x1032547698BADCF1),
    Slot("arg2", "rsi", 104, 0x23016745AB89EFC2, 0x23016745AB89EF00, 0x23016745AB89EFC2, 0x1032547698BADCF1),
    Slot("arg3", "rdx", 96, 0x3210765498FEDCBA, 0x3210765498FEDCBA, 0x3210765498FEDCBA, 0x3210765498FEDCBA),
    Slot("arg6", "r9", None, 0x6666777788889999, None, 0x6666777788889999, None),
)

BEFORE = "".join(f"[    1.{n:06}] before all tests, line {n}\r\n" for n in range(30))
SPLAT = (
    "[    3.100000] ------------[ cut here ]------------\r\n"
    "[    3.100001] WARNING: CPU: 0 PID: 77 at kernel/trace/ftrace.c:7799 ftrace_filter_dispatch+0x44/0x80\r\n"
    "[    3.100002] RIP: 0010:ftrace_filter_dispatch+0x44/0x80\r\n"
    "[    3.100003] Call Trace:\r\n"
    "[    3.100004]  <TASK>\r\n"
    "[    3.100005]  target_args6+0x5/0x10\r\n"
    "[    3.100006] ---[ end trace 0000000000000000 ]---\r\n"
)
MINE = "[    3.000000] farm: mark 4\r\n[    3.050000] target: <b>loaded</b> & ready\r\n" + SPLAT
CONSOLE = BEFORE + MINE + "[    9.000000] of another test\r\n"


def one_tree(place: Path) -> Path:
    """The farm's matrix below a directory, for nights that test its first tree alone: the others
    are fetched from Debian's archive."""
    matrix = place / "kconfigs/matrix.yaml"
    matrix.parent.mkdir()
    matrix.write_text(re.sub(r"(?s)    nightly: \[.*?\]\n", "", MATRIX.read_text()))
    (matrix.parent / "x86_64").symlink_to(MATRIX.parent / "x86_64")
    (place / "patches").symlink_to(CHECKOUT / "patches")
    return matrix


def verdict(night: int, cell: str, suite: str, test: str) -> VerdictRecord:
    """Passed, but for a slot that is wrong in two cells from the second night on, a
    test that fails in the second, and one that makes the kernel complain each time."""
    passed = VerdictRecord(test, suite, cell, Verdict.PASS, 1.5 + 0.1 * night)
    if cell == "x86_64-off" and suite == "slots":
        return replace(passed, verdict=Verdict.SKIP, reason="the cell declares no bpf_ftrace")
    if test == REGRESSION and night >= 1 and cell.startswith("x86_64-regs"):
        reason = "target_args6: arg2 (rsi, 104(%rsp)) was passed as 0x23016745ab89efc2, the stack held something else"
        return replace(passed, verdict=Verdict.FAIL, reason=reason, slots=FRAME, detail="E   SlotsDiffer: arg2\n" * 3)
    if test == FLAKE and night == 1 and cell == "x86_64-kasan":
        return replace(passed, verdict=Verdict.FAIL, reason="of 2 calls 1 is in the trace")
    if test == CRASH and cell == "x86_64-kasan":
        span = (len(BEFORE), len(BEFORE + MINE))
        return replace(passed, verdict=Verdict.CRASH, reason="WARN", console="console-1.log", span=span)
    if any(text in test for text in NASTY) and cell == "x86_64-regs":
        return replace(passed, verdict=Verdict.FAIL, reason=test, detail=test)
    return passed


def write_night(results: Path, night: int) -> Path:
    """The run directory of a night, whose verdicts are those of `verdict`."""
    directory = write_run(results, NIGHTS[night], CELLS)
    for cell in CELLS:
        write_cell(directory / "cells" / cell, cell, night)
        for suite, tests in TESTS.items():
            for test in tests:
                records.append_verdict(directory, verdict(night, cell, suite, test))
    return directory


def write_run(results: Path, name: str, cells: Sequence[str]) -> Path:
    """A run directory without verdicts."""
    directory = results / name
    directory.mkdir(parents=True)
    started = f"{name[:4]}-{name[4:6]}-{name[6:8]}T02:00:00+00:00"
    run = Run(
        id=name,
        command=["farm", "nightly"],
        tree=None,
        series=None,
        select="",
        cells=list(cells),
        accel="tcg",
        accel_reason="no KVM here",
        workers=2,
        host={"machine": "x86_64", "system": "Linux", "cores": "2", "memory": "8000 MiB"},
        versions={"qemu": "QEMU emulator version 7.2"},
        matrix=str(MATRIX),
        started=started,
        status="finished",
        finished=started.replace("T02", "T03"),
        planned=len(cells) * sum(map(len, TESTS.values())),
        exit=1,
    )
    records.save_run(directory, run)
    return directory


def fill_kernel(cell: str, where: Path) -> None:
    """What a build leaves for those who read the run."""
    options = [f"CONFIG_OPTION_{n}=y\n# CONFIG_OTHER_{n} is not set\n" for n in range(40)]
    (where / "config").write_text("".join(options))
    (where / "dropped-options").write_text("CONFIG_KASAN_STACK=y: needs CC_IS_CLANG\n" if "kasan" in cell else "")
    (where / "build.log").write_text("  CC      kernel/trace/ftrace.o\n")
    metadata = {
        "build": {"kconfig_add": ["/farm/kconfigs/x86_64/base.config", "/farm/kconfigs/x86_64/regs.config"]},
        "compiler": {"version_full": "x86_64-linux-gnu-gcc (Debian 12.2.0-14+deb12u1) 12.2.0"},
        "results": {"duration": {"build": 72.6}},
        "source": {"kernelrelease": "6.12.117+"},
    }
    (where / "metadata.json").write_text(json.dumps(metadata))


def write_consoles(where: Path) -> None:
    """The logs of two guests of a cell."""
    (where / "console-1.log").write_bytes(CONSOLE.encode())
    (where / "console-2.log").write_text("another guest\n")


def write_cell(where: Path, cell: str, night: int) -> None:
    where.mkdir(parents=True)
    fill_kernel(cell, where)
    write_consoles(where)
    built = {"cell": cell, "commit": "60a22403b1fe58e4f646c6988588d00d428651fc", "kernel_key": f"e923a8{night}",
             "source": "debian-6.12 + series (7 patches)", "without_feature": False}  # fmt: skip
    (where / "built.json").write_text(json.dumps(built))


#: The kernel's own tests, of which one is worse in the second night.
OWN_CELL, OWN_TESTS, OWN_WORSE = "x86_64-regs", ("00basic/basic1.tc", "test.d/ftrace/<b>func</b>.tc"), 1


def write_own_tests(results: Path, night: int) -> Path:
    """What `farm selftests` leaves behind the cells of a night."""
    name = NIGHTS[night].replace("-02", "-03")
    directory = write_run(results, name, [OWN_CELL])
    (directory / "comparison.json").write_text("{}")
    (directory / "cells" / OWN_CELL).mkdir(parents=True)
    for kernel in ("base", "patched"):
        (directory / "cells" / OWN_CELL / f"{kernel}-1.log").write_text(CONSOLE)
    records.update_run(directory, command=["farm", "selftests", OWN_CELL, "--results", "/r"])
    for number, test in enumerate(OWN_TESTS):
        one = VerdictRecord(test, "selftests", OWN_CELL, Verdict.PASS, 1.0)
        if number == OWN_WORSE and night == 1:
            reason = "PASS on the base, FAIL with the series"
            one = replace(one, verdict=Verdict.FAIL, reason=reason, console="patched-1.log", span=(0, 200))
        records.append_verdict(directory, one)
    return directory


def write_score(results: Path, stamp: str, outcomes: dict[str, str]) -> None:
    """What `farm mutants` leaves of its score: the outcome of each mutant."""
    directory = results / f"mutants-{stamp}"
    directory.mkdir(parents=True)
    started = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}T04:00:00+00:00"
    scores = [{"mutant": name, "outcome": outcome} for name, outcome in outcomes.items()]
    raw = {"status": "finished", "started": started, "seconds": 60.0, "scores": scores}
    (directory / "score.json").write_text(json.dumps(raw))
