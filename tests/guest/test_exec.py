# SPDX-License-Identifier: GPL-2.0
"""`farm exec` in real guests: words, bytes, status, and what is told of a kernel that dies."""

import os
import subprocess
import sys
from pathlib import Path

FARM = Path(sys.executable).with_name("farm")

#: Seconds for a guest, and for its kernel where the cache has none.
LIMIT = 3000


def execute(*words: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    argv = [str(FARM), "exec", "x86_64-regs", "--accel", "tcg", "--", *words]
    return subprocess.run(argv, input=stdin, capture_output=True, check=False, timeout=LIMIT)


def test_words_bytes_and_status() -> None:
    """More than the buffers between here and the guest hold, with every byte in it."""
    sent = os.urandom(3_000_000) + bytes(range(256))
    script = "cat; printf '%s|' \"$@\"; echo err >&2; exit 7"
    done = execute("sh", "-c", script, "name", "a  b", "$HOME", "it's", "", "*", stdin=sent)
    assert done.returncode == 7, done.stderr
    assert done.stdout[: len(sent)] == sent
    assert done.stdout[len(sent) :] == b"a  b|$HOME|it's||*|"
    assert done.stderr.splitlines()[-1] == b"err"


def test_one_word_is_a_line_for_the_shell() -> None:
    done = execute("echo one two | wc -w; exit 130")
    assert (done.returncode, done.stdout) == (130, b"2\n")


def test_a_panic_is_shown() -> None:
    done = execute("sh", "-c", "echo before; echo c > /proc/sysrq-trigger")
    said = done.stderr.decode()
    assert (done.returncode, done.stdout) == (1, b"before\n")
    assert "\nkernel: panic: Kernel panic - not syncing: sysrq triggered crash" in said
    assert "SSH to the guest broke off during" in said
    assert "sysrq_handle_crash+" in said, "the end of the kernel's log"
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 24
