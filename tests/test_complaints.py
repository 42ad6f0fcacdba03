# SPDX-License-Identifier: GPL-2.0
"""What is said of a kernel's complaints, for the logs under data/splats/."""

import re
import socket
from pathlib import Path

import pytest

from farm.base.deadline import Deadline
from farm.base.errors import FarmError
from farm.guest import complaints, console
from farm.guest.complaints import Trace, essence, told, trace
from farm.guest.console import Console
from farm.guest.splat import find
from tests.test_splat import EXPECTED, log

ENTRY = "do_syscall_64+0x37 < entry_SYSCALL_64_after_hwframe+0x4b"


@pytest.mark.parametrize(
    "name, said",
    [
        ("null-deref", [
            "oops: BUG: kernel NULL pointer dereference, address: 0000000000000000 at __do_sys_sync+0x7/0x10",
            f"call trace: {ENTRY}",
        ]),
        ("gpf", [  # of guesses there is nothing else
            "oops: Oops: general protection fault, probably for non-canonical address 0xdedead4e00000000: 0000 [#1] SMP"
            " at __do_sys_sync+0xf/0x10",
            f"call trace: {ENTRY}",
        ]),
        ("kernel-bug", [
            "BUG: kernel BUG at kernel/trace/ftrace.c:1842! at ftrace_update_trampoline+0x5f/0x70",
            "call trace: ftrace_startup+0x8c",
        ]),
        ("ftrace-bug", [
            "WARN: WARNING: CPU: 0 PID: 1 at arch/x86/kernel/ftrace.c:100 ftrace_replace_code+0xb0/0x1e0",
            "call trace: ftrace_modify_all_code+0x120 < ftrace_startup+0xb3 < register_ftrace_function+0xe6"
            " < function_trace_init+0x71 < tracing_set_tracer+0x169 < tracing_set_trace_write+0x7b < …",
            "ftrace bug: ------------[ ftrace bug ]------------",
            "call trace: ftrace_bug+0x104 < ftrace_replace_code+0xc6 < ftrace_modify_all_code+0x120"
            " < ftrace_startup+0xb3 < register_ftrace_function+0xe6 < function_trace_init+0x71 < …",
        ]),
        ("panic-vpanic", [  # 6.12.118: what makes the report is no part of it
            "panic: Kernel panic - not syncing: sysrq triggered crash",
            "call trace: sysrq_handle_crash+0x16 < __handle_sysrq.cold+0x95 < write_sysrq_trigger+0x51"
            " < proc_reg_write+0x4f < vfs_write+0xd2 < ksys_write+0x5b < …",
        ]),
        # where a lockup is noticed is chance: it is not part of the complaint, by which it is known again
        ("rcu-stall", [
            "RCU stall: rcu: INFO: rcu_sched self-detected stall on CPU",
            f"call trace: __do_sys_sync+0x5 < {ENTRY}",
        ]),
        ("hung-task", [
            "hung task: INFO: task sync:43 blocked for more than 3 seconds.",
            "call trace: __schedule+0x2d8 < schedule+0x20 < schedule_timeout+0x78 < msleep+0x27 < __do_sys_sync+0xf",
            "the same 4 more times",
        ]),
        ("kasan", [
            "KASAN: BUG: KASAN: slab-use-after-free in bpf_ftrace_match+0x4c/0x90",
            "call trace: bpf_ftrace_match+0x4c",
        ]),
        ("refcount", [
            "WARN: refcount_t: underflow; use-after-free.",
            "call trace: refcount_warn_saturate+0xd8 < emergency_sync+0x4",
        ]),
        ("lost-messages", ["lost messages: ** 4362 printk messages dropped **"]),
        ("ordinary", []),
    ],
)  # fmt: skip
def test_told(name: str, said: list[str]) -> None:
    assert told(log(name)) == said


REGISTERS = re.compile(r"\b(R[A-DS][XIP]|R\d\d|ORIG_RAX|EFLAGS|CR\d|[CDEFG]S): |002b:|0033:|Code:")


@pytest.mark.parametrize("name", EXPECTED)
def test_no_registers(name: str) -> None:
    """Neither the kernel's nor, behind its trace, the user's; and the complaint is always there."""
    for lines in (told(log(name)), essence(log(name))):
        assert not REGISTERS.search("\n".join(lines).replace("RIP: 0010:", "")), lines
    titles = [found.title for found in find(log(name))]
    assert all(any(title in line for line in [*told(log(name)), *essence(log(name))]) for title in titles[:1])


def test_trace_of_a_report_that_has_none() -> None:
    assert trace("WARNING: x\n") == Trace()


def test_essence_keeps_place_and_calls() -> None:
    lines = essence(log("null-deref"))
    assert lines[0].startswith("BUG: kernel NULL pointer dereference")
    assert "RIP: 0010:__do_sys_sync+0x7/0x10" in lines
    assert lines[-1] == " entry_SYSCALL_64_after_hwframe+0x4b/0x53"


def test_many_complaints_are_not_all_listed() -> None:
    text = "".join(
        f"[    1.{n:06}] WARNING: CPU: 0 PID: 1 at {'f' * n}.c:1\n---[ end trace 0 ]---\n" for n in range(1, 8)
    )
    assert len(told(text)) == complaints.MOST + 1
    assert told(text)[-1] == "and 3 other complaints"


# A kernel that prints without end.


def flood(lines: int, line: str = "canary: of {} lines") -> str:
    return "".join(f"[{1 + n / 1000:12.6f}] {line.format(n)}\r\n" for n in range(lines))


def test_flood() -> None:
    text = flood(60000).replace("\r\n", "\n") + "[   61.000000] another line\n"
    assert told(text) == ["the console was flooded: 60001 lines in 60 s, most often: 'canary: of 0 lines'"]
    assert told(text[: complaints.FLOOD_BYTES // 2]) == []  # much, and no flood


def test_flood_of_one_line() -> None:
    text = "[    1.000000] " + "x" * (3 << 20)
    (line,) = told(text)
    assert line.startswith("the console was flooded: 3 MiB in 1 lines, most often: 'xxx")
    assert len(line) < 300


def test_flood_of_one_warning_is_that_warning() -> None:
    text = flood(60000, "WARNING: CPU: 0 PID: {} at kernel/x.c:7 f+0x1/0x2")
    lines = told(text.replace("\r\n", "\n"))
    assert lines[0] == "WARN: WARNING: CPU: 0 PID: 0 at kernel/x.c:7 f+0x1/0x2"
    assert re.fullmatch(r"the same \d+ more times", lines[1])
    assert lines[2].startswith("the console was flooded: 60000 lines in 60 s")


@pytest.fixture
def serial(tmp_path: Path) -> tuple[Console, socket.socket]:
    ours, theirs = socket.socketpair()
    return Console(ours, tmp_path / "console.log"), theirs


def test_console_notices_a_flood(serial: tuple[Console, socket.socket]) -> None:
    """Whoever waits for an answer sees that the kernel has complained."""
    following, guest = serial
    guest.sendall(b"ready\r\n[    1.000000] farm: mark 1\r\n")
    following.wait_mark(1, Deadline(10))
    guest.sendall(flood(1000).encode() + b"farm: mark 2\r\n")
    following.wait_mark(2, Deadline(10))
    assert not following.complaint
    guest.sendall(flood(60000).encode() + b"farm: mark 3\r\n")
    end = following.wait_mark(3, Deadline(10))
    assert following.complaint == console.FLOODED
    assert following.size == end
    assert following.reason("no answer").startswith(f"{console.FLOODED}: 60001 lines in 60 s, most often: ")
    assert following.reason("no answer").endswith(" (no answer)")
    guest.close()
    following.close()


def test_log_has_an_upper_size(serial: tuple[Console, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    """And marks are found all the same."""
    monkeypatch.setattr(console, "MOST_BYTES", 1 << 20)
    following, guest = serial
    guest.sendall(flood(60000).encode() + b"farm: mark 1\r\n")
    assert following.wait_mark(1, Deadline(10)) == following.size == 1 << 20
    guest.sendall(b"and more\r\n" * 1000 + b"farm: mark 2\r\n")
    assert following.wait_mark(2, Deadline(10)) == 1 << 20
    kept = following.log.read_bytes()
    assert len(kept) < (1 << 20) + 100
    assert kept.endswith(b"farm: the log is full, what the kernel said after this was dropped\n")
    assert kept.count(b"the log is full") == 1
    guest.close()
    following.close()


def test_line_without_end_is_no_burden(serial: tuple[Console, socket.socket]) -> None:
    following, guest = serial
    for _ in range(48):
        guest.sendall(b"x" * (1 << 20))
    for _ in Deadline(20).poll():
        if following.complaint:  # it does not wait for the end of the line
            break
    assert following.complaint == console.FLOODED
    guest.sendall(b"\r\nfarm: mark 1\r\n")
    assert following.wait_mark(1, Deadline(20)) == (48 << 20) + len(b"\r\nfarm: mark 1\r\n")
    guest.close()
    following.close()


def test_a_log_that_cannot_be_written_is_the_farms_failure() -> None:
    ours, guest = socket.socketpair()
    following = Console(ours, Path("/dev/full"))
    guest.sendall(b"farm: mark 1\r\n")
    with pytest.raises(FarmError, match="/dev/full: No space left on device"):
        following.wait_mark(1, Deadline(10))
    guest.close()
    following.close()
