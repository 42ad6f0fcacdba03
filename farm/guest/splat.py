# SPDX-License-Identifier: GPL-2.0
"""Finds complaints in a kernel's log. Pure functions over the whole text."""

import re
from dataclasses import dataclass

#: How a splat begins, and its kind. The first pattern that matches a line wins,
#: so the narrow ones come first.
BEGINNINGS: tuple[tuple[str, str], ...] = (
    (r"Kernel panic - not syncing", "panic"),
    (r"BUG: KASAN: ", "KASAN"),
    (r"BUG: KCSAN: ", "KCSAN"),
    (r"UBSAN: ", "UBSAN"),
    (r"BUG: (soft|hard) lockup|Watchdog detected hard LOCKUP", "lockup"),
    (r"INFO: rcu\S* (self-)?detected (expedited )?stall", "RCU stall"),
    (r"INFO: task .* blocked for more than", "hung task"),
    (r"BUG: workqueue lockup", "workqueue lockup"),
    (r"WARNING: (possible|inconsistent|suspicious|bad (unlock|contention)|held lock|Nested lock|lock held)", "lockdep"),
    (r"WARNING: (\S+-safe -> \S+-unsafe lock|\S+/\d+ still has locks held|chain_key collision)", "lockdep"),
    (r"BUG: Invalid wait context|INFO: trying to register non-static key", "lockdep"),
    (r"WARNING: (kernel stack (frame pointer|regs) at|stack (going|recursion)|.*\.orc_unwind|bad lookup)", "unwinder"),
    (r"BUG: (sleeping function|scheduling while atomic|using (smp_processor_id|__this_cpu))", "atomicity"),
    (r"BUG: unable to handle|BUG: kernel NULL|BUG: TASK stack guard page|\bOops: |\bPANIC: ", "oops"),
    # before v6.9 there was no "Oops: "; the fault of a process has neither the colon nor the count
    (r"general protection fault, |: [0-9a-f]{4} \[#\d+\]", "oops"),
    (r"Kernel stack is corrupted|stack-protector:", "stack corruption"),
    (r"kmemleak: \d+ new suspected memory leaks", "kmemleak"),
    (r"-+\[ ?ftrace bug ?\]-+", "ftrace bug"),
    (r"^WARNING: |\bWARNING: CPU: \d+|^refcount_t: ", "WARN"),
    (r"kernel BUG at |\bBUG: |^BUG \S+ \((Not t|T)ainted", "BUG"),
    (r"Out of memory: Killed|oom-kill:", "out of memory"),
    # one of them may have been a complaint
    (r"^\*\* \d+ printk messages dropped \*\*", "lost messages"),
)
_BEGIN = [(re.compile(pattern), kind) for pattern, kind in BEGINNINGS]

#: All kinds of splats.
KINDS = tuple(dict.fromkeys(kind for _, kind in BEGINNINGS))

#: printk's time and, with CONFIG_PRINTK_CALLER, the caller.
_STAMP = re.compile(r"^\[\s*\d+\.\d+\](?:\[\s*[TC]\d+\])? ?")

#: The end of a splat, for the kinds that mark it. For the others some lines of
#: context are kept, up to the beginning of the next splat.
_END = re.compile(r"---\[ end (trace|Kernel panic)")
_MARKED = {"panic", "oops", "WARN", "BUG", "UBSAN", "stack corruption", "ftrace bug"}
_CUT_HERE = "------------[ cut here ]------------"
CONTEXT_LINES = 40


@dataclass(frozen=True)
class Splat:
    """One complaint. `start` and `end` are offsets in the searched text."""

    kind: str
    title: str
    start: int
    end: int

    @property
    def signature(self) -> str:
        """The same for the same bug."""
        return normal(self.title)


def normal(text: str) -> str:
    """A complaint without its addresses and numbers, which differ from kernel to kernel."""
    text = re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b", "ADDR", text)
    return re.sub(r"\b\d+(?=s?\b)|(?<=#)\d+", "N", text)


def strip(line: str) -> str:
    """A line of the log without its time stamp."""
    return _STAMP.sub("", line.rstrip("\r\n"))


def kind_of(line: str) -> str | None:
    """The kind of splat that a line begins, or None."""
    text = strip(line)
    return next((kind for pattern, kind in _BEGIN if pattern.search(text)), None)


def find(text: str) -> list[Splat]:
    """The splats of a log, in order, each one once.

    Several lines of one report may match a pattern (a BUG, then its oops). A
    match inside a report that is still open belongs to that report.
    """
    splats: list[Splat] = []
    position, open_until = 0, -1
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        kind = kind_of(line) if number > open_until else None
        if kind:
            last = _last_line(lines, number, kind)
            end = position + sum(len(item) for item in lines[number : last + 1])
            splats.append(Splat(kind, strip(line), position, end))
            open_until = last
        position += len(line)
    return splats


def _last_line(lines: list[str], first: int, kind: str) -> int:
    if kind in _MARKED:
        for number in range(first, min(len(lines), first + 4 * CONTEXT_LINES)):
            if _END.search(lines[number]):
                return number
    last = min(len(lines), first + CONTEXT_LINES) - 1
    for number in range(first + 1, last + 1):
        text = strip(lines[number])
        if text.startswith("farm: ") or (kind not in _MARKED and (text == _CUT_HERE or _another(lines, number))):
            return number - 1
    return last


def _another(lines: list[str], number: int) -> bool:
    """Whether a new report begins here, and not just another line of the one above."""
    kind = kind_of(lines[number])
    return kind is not None and kind != kind_of(lines[number - 1])
