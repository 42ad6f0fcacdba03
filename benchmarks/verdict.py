# SPDX-License-Identifier: GPL-2.0
"""From a command to its verdicts: all cells with nothing changed, and one cell
after one byte of one .c file changed in a user's tree.

    python -m benchmarks.verdict TREE

TREE is a git work tree of a kernel, of which a comment in
kernel/trace/trace_functions.c is changed and changed back.
"""

import subprocess
import sys
import time
from pathlib import Path

FARM = str(Path(sys.executable).with_name("farm"))


def timed(what: str, *words: str) -> float:
    started = time.monotonic()
    done = subprocess.run([FARM, "run", *words], capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    last = (done.stdout.strip().splitlines() or [done.stderr.strip()])[-1]
    print(f"{what}: {seconds:.1f} s, exit {done.returncode}: {last}", flush=True)
    return seconds


def main(tree: str) -> None:
    file = Path(tree) / "kernel/trace/trace_functions.c"
    before = file.read_bytes()
    timed("all cells, nothing changed (filling the cache)")
    warm = timed("all cells, nothing changed")
    timed("one cell of the tree (filling the cache)", "x86_64-regs", "--tree", tree)
    try:
        file.write_bytes(before.replace(b"ring buffer", b"ring_buffer", 1) + b"/* . */\n")
        changed = timed("one cell of the tree, one file changed", "x86_64-regs", "--tree", tree)
    finally:
        file.write_bytes(before)
    print(f"ratio of the two: {changed / warm:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
