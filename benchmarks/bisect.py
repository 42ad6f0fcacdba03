# SPDX-License-Identifier: GPL-2.0
"""A hunt through a history that was made up, on real kernels: how long it takes,
and whether it finds the commit that was planted.

    python -m benchmarks.bisect [COMMITS [SEED [ONE_IN]]]

On top of the series come COMMITS (64) small changes. One of them, at a place
that SEED decides, saves the wrong register in the trampoline, or with ONE_IN
refuses one filter in so many. Among the others are three that do not compile,
do not boot, or have another bug, each repaired by the next commit, and they lie
where the hunt will look.
"""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from farm.base import cache
from farm.base.command import run
from farm.kernel import series
from farm.kernel.tree import IDENTITY
from farm.matrix import choose, load

CELL = "x86_64-regs"
FTRACE_64 = "arch/x86/kernel/ftrace_64.S"
FTRACE = "kernel/trace/ftrace.c"
BPF_FTRACE = "kernel/trace/bpf_ftrace.c"
ADD = "int bpf_ftrace_filter_add(struct bpf_ftrace_filter *filter)\n{\n\tint ret;\n\n"
BOOT = "void __init ftrace_init(void)\n{\n"

#: Files that a harmless commit changes.
FILES = [f"kernel/trace/{name}.c" for name in ("trace_stack", "trace_functions", "ftrace", "trace_output", "trace_nop")]


@dataclass(frozen=True)
class Change:
    """One commit: `before` in the file becomes `after`; without `before` it is put at the end."""

    subject: str
    file: str
    before: str
    after: str


#: Each with its repair behind it.
TROUBLE = [
    Change("Do not compile", "kernel/trace/trace_functions.c", '#include "trace.h"', '#include "trace.h"\nno C'),
    Change("Do not boot", FTRACE, BOOT, BOOT + '\tpanic("planted");\n'),
    Change("Save rsi where rdi belongs", FTRACE_64, "movq %rdi, RDI(%rsp)", "movq %rsi, RDI(%rsp)"),
]


def culprit(one_in: int) -> Change:
    """What is planted: a bug that always shows, or one that does once in `one_in` filters."""
    if one_in == 1:
        return Change("Save rdx where rcx belongs", FTRACE_64, "movq %rcx, RCX(%rsp)", "movq %rdx, RCX(%rsp)")
    refuse = f"\tif (!get_random_u32_below({one_in}))\n\t\treturn -EAGAIN;\n\n"
    return Change("Refuse a filter now and then", BPF_FTRACE, ADD, ADD + refuse)


def history(commits: int, seed: int, bug: Change) -> Iterator[Change]:
    """The changes, in their order. Every third harmless one is a comment: it
    gives the binary that was there before."""
    planted = random.Random(seed).randrange(commits // 4, commits - 2)
    places = dict(zip(_places(commits, planted), TROUBLE, strict=False))
    repair = None
    for number in range(commits):
        if number == planted:
            yield bug
        elif repair:
            yield repair
            repair = None
        elif number in places:
            trouble = places[number]
            yield trouble
            repair = Change(f"Repair: {trouble.subject}", trouble.file, trouble.after, trouble.before)
        elif number % 3:
            note = f'static const char farm_note_{number}[] __used = "{number}";\n'
            yield Change(f"Note {number}", FILES[number % len(FILES)], "", note)
        else:
            yield Change(f"Comment {number}", FILES[number % len(FILES)], "", f"/* {number} */\n")


def _places(commits: int, bug: int) -> Iterator[int]:
    """Where a bisection looks: halves of halves, as far as the bug leaves room."""
    low, high = 0, commits
    while high - low > 4:
        middle = (low + high) // 2 - 1
        if bug not in (middle, middle + 1):
            yield middle
        low, high = (middle + 1, high) if middle < bug else (low, middle)


def plant(commits: int, seed: int, bug: Change) -> tuple[Path, str, str]:
    """A repository with the history; it, the good end and the planted commit."""
    matrix = load()
    (cell,) = choose(matrix, [CELL])
    patched = series.resolve(cell, matrix.trees, None, None)
    top = cache.root() / "benchmarks" / "linux"
    git: list[str | Path] = ["git", "-C", top]
    run(["git", "init", "--quiet", top])
    (top / ".git/objects/info/alternates").write_text(f"{patched.store}/objects\n")
    tip, planted = patched.commit, ""
    index = {"GIT_INDEX_FILE": str(top / ".git/planted-index"), **IDENTITY}
    run([*git, "read-tree", tip], env=index)
    for change in history(commits, seed, bug):
        text = run([*git, "show", f"{tip}:{change.file}"])
        assert change.before in text, f"{change.file} has no {change.before!r}"
        text = text.replace(change.before, change.after, 1) if change.before else text + change.after
        blob = run([*git, "hash-object", "-w", "--stdin"], stdin=text).strip()
        run([*git, "update-index", "--cacheinfo", f"100644,{blob},{change.file}"], env=index)
        content = run([*git, "write-tree"], env=index).strip()
        tip = run([*git, "commit-tree", content, "-p", tip, "-m", change.subject], env=IDENTITY).strip()
        planted = tip if change is bug else planted
    run([*git, "update-ref", "refs/heads/master", tip])
    run([*git, "symbolic-ref", "HEAD", "refs/heads/master"])
    return top, patched.commit, planted


def main(commits: int = 64, seed: int = 1, one_in: int = 1) -> None:
    top, good, planted = plant(commits, seed, culprit(one_in))
    words = ["bisect", "--tree", str(top), "--good", good, "--bad", "master", "--cell", CELL, "-k", "slots"]
    started = time.monotonic()
    done = subprocess.run([str(Path(sys.executable).with_name("farm")), *words, "--restart"], check=False)
    seconds = time.monotonic() - started
    print(f"{commits} commits, {planted[:12]} planted: exit {done.returncode} after {seconds / 60:.1f} minutes")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
