# SPDX-License-Identifier: GPL-2.0
"""The farm among kernels and guests that misbehave on purpose, tests/canaries/.

Each gets its exact verdict and reason in time, the log that shows it is charged
to it, and what comes next has a fresh guest.
"""

import re
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from farm.base.errors import Exit
from farm.guest import splat
from farm.guest.vm import BOOT_USUAL
from farm.matrix import CHECKOUT, MATRIX
from farm.record.records import Run, VerdictRecord, load_verdicts
from farm.record.verdict import MEANING, Verdict
from farm.run.session import RunRequest, execute
from tests.canaries.conftest import REQUEST_SECONDS

#: What a deed may take beside its waits, and how many waits for an answer that
#: does not come: its own, that for the end of its session, that for the mark.
#: In seconds, where a boot takes BOOT_USUAL.
DEED_SECONDS, WAITS = 15.0, 3


@dataclass(frozen=True)
class Due:
    """The verdict of a deed, and what the beginning of its reason must match."""

    verdict: Verdict
    says: str = "$"


#: A deed of tests/canaries/, or another test there, by its name in the records.
DUE = {
    "nothing": Due(Verdict.PASS),
    "warn": Due(Verdict.CRASH, r"WARN: WARNING: .*canary.c:\d+ warn\+"),
    "oops": Due(
        Verdict.CRASH,
        r"oops: BUG: kernel NULL pointer dereference.* at (oops|set_misdeed)\+\S+ \(the agent ended during `file_write`"
        r".*\ncall trace: .*param_attr_store\+",
    ),
    "oops_in_interrupt": Due(Verdict.CRASH, r"oops: BUG: kernel NULL pointer dereference.* at oops_from_interrupt\+"),
    "panic": Due(Verdict.CRASH, r"panic: Kernel panic - not syncing: sysrq .*\ncall trace: sysrq_handle_crash\+"),
    "panic_behind_the_debugger": Due(Verdict.CRASH, "panic: Kernel panic - not syncing: sysrq triggered crash"),
    "triple_fault": Due(Verdict.CRASH, "the guest ended; its last line was: "),
    "init_killed": Due(Verdict.CRASH, "(the guest ended: )?panic: Kernel panic - not syncing: Attempted to kill init!"),
    "lockup": Due(
        Verdict.CRASH, r"lockup: watchdog: BUG: soft lockup - CPU#1 .*\[agent:\d+\] \(no answer to `file_write`"
    ),
    # the rest of the guest may, or may not, answer beside a processor that is lost
    "rcu_stall": Due(Verdict.CRASH, "RCU stall: rcu: INFO: rcu_preempt .*detected stall"),
    "hung_task": Due(Verdict.CRASH, r"hung task: INFO: task sh:\d+ blocked for more than 1 seconds"),
    "out_of_memory": Due(Verdict.CRASH, "out of memory: oom-kill:.*,task=tail,"),
    "log_overrun": Due(Verdict.CRASH, r"lost messages: \*\* \d+ printk messages dropped"),
    "log_without_end": Due(
        Verdict.CRASH, r"the console was flooded: \d+ lines.*, most often: 'canary: line 0 of so many"
    ),
    "agent_killed": Due(Verdict.CRASH, "the agent ended during `hello`"),
    "warn_behind_the_mark": Due(Verdict.CRASH, r"WARN: WARNING: .*canary.c:\d+ warn_from_timer\+"),
    "warn_behind_the_verdict": Due(Verdict.PASS),  # charged to its witness
    "log_flood": Due(Verdict.PASS),
    "clock_jump": Due(Verdict.PASS),
    "hang_all": Due(Verdict.HANG, r"no answer to `file_write` within \d+ s"),
    "hang_of_the_control": Due(Verdict.HANG, r"no answer to `file_write` within \d+ s"),
    "hang_before_a_session": Due(Verdict.HANG, r"no session for `/payload/agent` within \d+ s"),
    "network_down": Due(Verdict.HANG, r"no end of `ifconfig eth0 down` within \d+ s"),
    "ssh_killed": Due(Verdict.HANG, "SSH to the guest broke off during `kill -9 "),
    "console_lost": Due(Verdict.HANG, r"the kernel's log did not get as far as mark \d+ within"),
}


@dataclass
class Clock:
    """Watches a run: its verdicts in order, and when each came."""

    seen: list[tuple[float, VerdictRecord]] = field(default_factory=list)

    def began(self, directory: Path, run: Run) -> None: ...
    def building(self, cell: str, step: str) -> None: ...
    def built(self, cell: str, outcome: str) -> None: ...
    def plan(self, cells: list[str]) -> None: ...
    def notice(self, text: str) -> None: ...
    def verdict(self, record: VerdictRecord) -> None:
        self.seen.append((time.monotonic(), record))


def deed_of(record: VerdictRecord) -> tuple[str, str]:
    """The name of a deed and `deed` or `witness`, out of `test_x[NAME-PART]`."""
    name, _, part = record.test.partition("[")[2].removesuffix("]").rpartition("-")
    return name, part


def wrong_with_a_deed(record: VerdictRecord, due: Due, directory: Path) -> Iterator[str]:
    if record.verdict is not due.verdict:
        yield f"{record.verdict}, not {due.verdict}: {record.reason}"
    elif not re.match(due.says, record.reason):
        yield f"says {record.reason!r}"
    if splat.kind_of(record.reason.partition(": ")[2]) or splat.kind_of(record.reason):
        log = (directory / "cells" / record.cell / record.console).read_bytes()
        charged = log[slice(*record.span)].decode(errors="replace")
        if not any(found.title in record.reason for found in splat.find(charged)):
            yield f"bytes {record.span} of {record.console} do not show it"


def wrong_in_a_suite(seen: list[tuple[float, VerdictRecord]], directory: Path) -> Iterator[str]:
    """What a worker got wrong with the deeds that it was given, one after the other."""
    boots = [after - before for (before, _), (after, last) in pairwise(seen) if deed_of(last)[1] == "witness"]
    limit = (DEED_SECONDS + WAITS * REQUEST_SECONDS) * max(1.0, max(boots) / BOOT_USUAL)
    for (before, last), (after, record) in pairwise(seen):
        name, part = deed_of(record)
        if part == "deed":
            yield from (f"{name} {what}" for what in wrong_with_a_deed(record, DUE[name], directory))
            if after - before > limit:
                yield f"{name} took {after - before:.0f} s, more than {limit:.0f} s"
        elif name == "warn_behind_the_verdict":
            due = Due(Verdict.CRASH, DUE["warn_behind_the_mark"].says)
            yield from (f"{name}'s witness {what}" for what in wrong_with_a_deed(record, due, directory))
        elif record.verdict is not Verdict.PASS:
            yield f"{name}'s witness: {record.verdict}: {record.reason}"
        if (record.console != last.console) is not last.bad:
            yield f"{record.test} ran in {record.console}, the {last.verdict} before it in {last.console}"


def test_canaries(tmp_path: Path) -> None:
    """Two guests at once, a worker for each file."""
    clock = Clock()
    request = RunRequest(["x86_64-regs"], workers=2, results=tmp_path, suites=CHECKOUT / "tests/canaries")
    directory, status = execute(request, clock)
    assert [record for _, record in clock.seen] == load_verdicts(directory)
    by_suite = defaultdict(list)
    for when, record in clock.seen:
        by_suite[record.suite].append((when, record))
    del by_suite["boot"]
    assert {deed_of(record)[0] for seen in by_suite.values() for _, record in seen} == DUE.keys()
    assert [what for seen in by_suite.values() for what in wrong_in_a_suite(seen, directory)] == []
    assert status is Exit.KERNEL, "nothing of it is the farm's own fault"


def test_panic_at_boot(tmp_path: Path) -> None:
    """One wait for a dead kernel is enough; the cell beside it is tested."""
    matrix = tmp_path / "checkout/kconfigs/matrix.yaml"
    matrix.parent.mkdir(parents=True)
    text = MATRIX.read_text()
    begin = text.index("  x86_64-regs:\n")
    regs = text[begin : text.index("\n\n", begin)]
    dead = regs.replace("x86_64-regs:", "x86_64-dead:") + "\n    guest: {cmdline: rdinit=/bin/false}"
    matrix.write_text(text.replace(regs, f"{regs}\n\n{dead}"))
    (matrix.parent / "x86_64").symlink_to(MATRIX.parent / "x86_64")
    (matrix.parent.parent / "patches").symlink_to(MATRIX.parent.parent / "patches")
    request = RunRequest(
        ["x86_64-regs", "x86_64-dead"],
        select="test_boot_once or test_boot_again",
        workers=1,
        results=tmp_path / "results",
        suites=CHECKOUT / "tests/canaries",
        matrix=matrix,
    )
    directory, status = execute(request, Clock())
    verdicts = load_verdicts(directory)
    assert [(record.cell, record.verdict) for record in verdicts] == [
        ("x86_64-regs", Verdict.PASS),
        ("x86_64-regs", Verdict.PASS),
        ("x86_64-dead", Verdict.BOOT),
        ("x86_64-dead", Verdict.BOOT),
    ]
    assert all("Attempted to kill init" in record.reason for record in verdicts if record.bad)
    assert len(list((directory / "cells/x86_64-dead").glob("console-*.log"))) == 1
    assert status is MEANING[Verdict.BOOT].blame
