# SPDX-License-Identifier: GPL-2.0
"""Complaints of the kernel, in logs under data/splats/.

Most of these logs are real: the farm's kernels, with the code of sys_sync
overwritten through QEMU's gdb stub by what goes wrong. What they cannot be
made to say (KASAN, kmemleak, …) is written down after the kernel's sources.
"""

from pathlib import Path

import pytest

from farm.guest.splat import Splat, find, kind_of, strip

LOGS = Path(__file__).parent / "data" / "splats"

#: The log, and kind and beginning of the title of each splat in it.
EXPECTED: dict[str, list[tuple[str, str]]] = {
    "atomic": [
        ("atomicity", "BUG: scheduling while atomic: sync/47/0x00000002"),
        ("WARN", "WARNING: CPU: 0 PID: 47 at kernel/sched/core.c:5858 preempt_count_sub"),
    ],
    "bad-page": [("BUG", "BUG: Bad page state in process agent")],
    "clean": [],
    "ftrace-bug": [
        ("WARN", "WARNING: CPU: 0 PID: 1 at arch/x86/kernel/ftrace.c:100 ftrace_replace_code"),
        ("ftrace bug", "------------[ ftrace bug ]------------"),
    ],
    "gpf": [("oops", "Oops: general protection fault, probably for non-canonical address 0xdedead4e00000000")],
    "hard-lockup": [("lockup", "watchdog: Watchdog detected hard LOCKUP on cpu 1")],
    "hung-task": [("hung task", f"INFO: task sync:43 blocked for more than {n} seconds.") for n in range(3, 8)],
    "int3": [("oops", "Oops: int3: 0000"), ("panic", "Kernel panic - not syncing: Fatal exception in interrupt")],
    "kasan": [("KASAN", "BUG: KASAN: slab-use-after-free in bpf_ftrace_match+0x4c/0x90")],
    "kcsan": [("KCSAN", "BUG: KCSAN: data-race in bpf_ftrace_attach")],
    "kernel-bug": [("BUG", "kernel BUG at kernel/trace/ftrace.c:1842!")],
    "kmemleak": [("kmemleak", "kmemleak: 2 new suspected memory leaks")],
    "lockdep-at-exit": [("lockdep", "WARNING: agent/50 still has locks held!")],
    "lockdep-held": [
        ("lockdep", "WARNING: lock held when returning to user space!"),
        ("atomicity", "BUG: scheduling while atomic: sync/48"),
    ],
    "lockdep-irq-unsafe": [("lockdep", "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected")],
    "lockdep-key": [("lockdep", "INFO: trying to register non-static key.")],
    "lockdep-recursive": [("lockdep", "WARNING: possible recursive locking detected")],
    "lockdep-unlock": [("lockdep", "WARNING: bad unlock balance detected!")],
    "lockdep-wait-context": [("lockdep", "[ BUG: Invalid wait context ]")],
    "lost-messages": [("lost messages", "** 4362 printk messages dropped **")],
    "null-deref": [("oops", "BUG: kernel NULL pointer dereference, address: 0000000000000000")],
    "nx-page": [("oops", "BUG: unable to handle page fault for address: ffffffff81d14251")],
    "oom": [("out of memory", "oom-kill:constraint=CONSTRAINT_NONE")],
    "oops-5.10-caller": [("oops", "general protection fault: 0000 [#1] SMP NOPTI")],
    "ordinary": [],
    "panic-on-oops": [
        ("oops", "BUG: kernel NULL pointer dereference"),
        ("panic", "Kernel panic - not syncing: Fatal exception"),
    ],
    "panic-on-warn": [("WARN", "WARNING: CPU: 0 PID: 1 at kernel/trace/ftrace.c:7030")],
    "panic-sysrq": [("panic", "Kernel panic - not syncing: sysrq triggered crash")],
    "panic-vpanic": [("panic", "Kernel panic - not syncing: sysrq triggered crash")],
    "rcu-expedited": [("RCU stall", "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks")],
    "rcu-stall": [("RCU stall", "rcu: INFO: rcu_sched self-detected stall on CPU")],
    "rcu-tasks-stall": [("RCU stall", "INFO: rcu_tasks detected stalls on tasks:")],
    "refcount": [("WARN", "refcount_t: underflow; use-after-free.")],
    "sleeping": [("atomicity", "BUG: sleeping function called from invalid context at include/linux/percpu-rwsem.h")],
    "slub": [("BUG", "BUG kmalloc-64 (Not tainted): Poison overwritten")],
    "smp-processor-id": [("atomicity", "BUG: using smp_processor_id() in preemptible")],
    "soft-lockup": [
        ("lockup", "watchdog: BUG: soft lockup - CPU#1 stuck for 6s! [sync:47]"),
        ("lockup", "watchdog: BUG: soft lockup - CPU#0 stuck for 5s! [poweroff:50]"),
    ],
    "stack-overflow": [
        ("oops", "BUG: TASK stack guard page was hit"),
        ("panic", "Kernel panic - not syncing: Fatal exception in interrupt"),
    ],
    "stack-protector": [("panic", "Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in")],
    "suspicious-rcu": [("lockdep", "WARNING: suspicious RCU usage")] * 2,
    "ubsan": [("UBSAN", "UBSAN: array-index-out-of-bounds in ../kernel/trace/bpf_ftrace.c:88:21")],
    "ud2": [("oops", "Oops: invalid opcode: 0000 [#1] SMP")],
    "unwinder": [("unwinder", "WARNING: kernel stack frame pointer at 00000000d3a4f1f2 in agent:55 has bad value")],
    "warn-6.18": [("WARN", "WARNING: kernel/trace/ftrace.c:2235 at ftrace_bug+0x104/0x2c0")],
    "workqueue": [("workqueue lockup", "BUG: workqueue lockup - pool cpus=0")],
}


def log(name: str) -> str:
    return (LOGS / f"{name}.log").read_text()


def test_every_log_is_expected() -> None:
    assert {path.stem for path in LOGS.iterdir()} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_kinds_and_titles(name: str) -> None:
    found = find(log(name))
    assert [splat.kind for splat in found] == [kind for kind, _ in EXPECTED[name]], found
    for splat, (_, title) in zip(found, EXPECTED[name], strict=True):
        assert splat.title.startswith(title)


@pytest.mark.parametrize("name", EXPECTED)
def test_offsets(name: str) -> None:
    """A splat is whole lines, from its title on; splats do not overlap, and hold no line of the farm's."""
    text, before = log(name), 0
    for splat in find(text):
        lines = text[splat.start : splat.end].splitlines()
        assert strip(lines[0]) == splat.title
        assert splat.start == 0 or text[splat.start - 1] == "\n"
        assert text[splat.end - 1] == "\n"
        assert before <= splat.start < splat.end
        assert not [line for line in lines if strip(line).startswith("farm: ")]
        before = splat.end


def test_ordinary_lines_one_by_one() -> None:
    for line in log("ordinary").splitlines() + log("clean").splitlines():
        assert kind_of(line) is None, line


def test_a_report_ends_with_its_end_marker() -> None:
    text = log("null-deref")
    (splat,) = find(text)
    assert "Oops: Oops: 0000 [#1] SMP" in text[splat.start : splat.end]
    assert text[splat.start : splat.end].splitlines()[-1].endswith("---[ end trace 0000000000000000 ]---")


def test_a_report_without_end_marker_ends_where_the_next_begins() -> None:
    text = log("suspicious-rcu")
    first, second = find(text)
    assert first.end <= second.start
    assert text[first.start : first.end].count("Call Trace:") == 1


@pytest.mark.parametrize("one", ["refcount", "kasan", "lockdep-unlock", "rcu-stall", "null-deref", "sleeping"])
@pytest.mark.parametrize("other", ["ud2", "hung-task", "refcount", "suspicious-rcu"])
def test_two_reports_are_two(one: str, other: str) -> None:
    """Whatever follows a report, with or without the farm's mark between them."""
    text = "".join(line for line in log(one).splitlines(keepends=True) if "farm: " not in line)
    expected = [(splat.kind, splat.title) for splat in find(log(one)) + find(log(other))]
    assert [(splat.kind, splat.title) for splat in find(text + log(other))] == expected


def test_a_report_that_is_cut_off() -> None:
    """As when the guest is killed: the splat is what there is."""
    text = log("refcount")
    text = text[: text.index("Call Trace")]
    (splat,) = find(text)
    assert (splat.kind, splat.end) == ("WARN", len(text))


def test_the_console_has_carriage_returns() -> None:
    text = log("null-deref").replace("\n", "\r\n")
    (splat,) = find(text)
    assert splat.title == "BUG: kernel NULL pointer dereference, address: 0000000000000000"
    assert text[splat.start : splat.end].endswith("]---\r\n")


def test_empty() -> None:
    assert find("") == []


@pytest.mark.parametrize(
    "stamped, text",
    [
        ("[    1.234567] farm: ready", "farm: ready"),
        ("[12345.234567] farm: ready\r\n", "farm: ready"),
        ("[    1.234567][    T1] farm: ready", "farm: ready"),
        ("[    1.234567][   C10] farm: ready", "farm: ready"),
        ("farm: ready", "farm: ready"),
        ("[ BUG: Invalid wait context ]", "[ BUG: Invalid wait context ]"),
    ],
)
def test_strip(stamped: str, text: str) -> None:
    assert strip(stamped) == text


def signature(title: str) -> str:
    return Splat("any", title, 0, 0).signature


@pytest.mark.parametrize(
    "one, other",
    [
        ("BUG: unable to handle page fault for address: ffffffff81d14251",
         "BUG: unable to handle page fault for address: ffff888000000008"),
        ("Oops: general protection fault, probably for non-canonical address 0xdead4ead00000000: 0000 [#1] SMP",
         "Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#2] SMP"),
        ("WARNING: CPU: 0 PID: 47 at kernel/sched/core.c:5858 preempt_count_sub+0x51/0x9d",
         "WARNING: CPU: 1 PID: 9 at kernel/sched/core.c:5858 preempt_count_sub+0x51/0x9d"),
        ("watchdog: BUG: soft lockup - CPU#1 stuck for 6s! [sync:47]",
         "watchdog: BUG: soft lockup - CPU#0 stuck for 11s! [sync:51]"),
        ("BUG: scheduling while atomic: sync/47/0x00000002", "BUG: scheduling while atomic: sync/5/0x00000003"),
        ("kmemleak: 2 new suspected memory leaks", "kmemleak: 31 new suspected memory leaks"),
    ],
)  # fmt: skip
def test_signature_is_of_the_bug(one: str, other: str) -> None:
    assert signature(one) == signature(other)


def test_signature_tells_bugs_apart() -> None:
    titles = [splat.title for name in EXPECTED for splat in find(log(name))]
    different = {signature(title) for title in titles}
    assert len(different) >= 33
    assert signature("kernel BUG at mm/slub.c:1!") != signature("kernel BUG at mm/slab.c:1!")
