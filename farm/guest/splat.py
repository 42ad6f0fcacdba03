# SPDX-License-Identifier: GPL-2.0
"""What a kernel's log says of trouble. Pure functions over whole text."""

import re
from dataclasses import dataclass

#: How a splat begins, and what to call it. The first that matches a line wins,
#: so the narrow ones stand first.
BEGINNINGS: tuple[tuple[str, str], ...] = (
    (r"Kernel panic - not syncing", "panic"),
    (r"BUG: KASAN: ", "KASAN"),
    (r"BUG: KCSAN: ", "KCSAN"),
    (r"UBSAN: ", "UBSAN"),
    (r"watchdog: BUG: (soft|hard) lockup|watchdog: Watchdog detected hard LOCKUP", "lockup"),
    (r"rcu: INFO: .* (self-)?detected (expedited )?stall", "RCU stall"),
    (r"INFO: task .* blocked for more than", "hung task"),
    (r"BUG: workqueue lockup", "workqueue lockup"),
    (r"WARNING: (possible|inconsistent|suspicious|bad unlock|held lock|Nested lock|lock held)", "lockdep"),
    (r"BUG: (sleeping function|scheduling while atomic|using (smp_processor_id|__this_cpu))", "atomicity"),
    (r"BUG: unable to handle|BUG: kernel NULL|Oops: |general protection fault|stack segment: ", "oops"),
    (r"double fault: |invalid opcode: |int3: |PANIC: |traps: PANIC", "oops"),
    (r"Kernel stack is corrupted|stack-protector:", "stack corruption"),
    (r"kmemleak: \d+ new suspected memory leaks", "kmemleak"),
    (r"-+\[ ?ftrace bug ?\]-+", "ftrace bug"),
    (r"WARNING: CPU: \d+|WARNING: .*/.*\.[ch]:\d+ ", "WARN"),
    (r"kernel BUG at |BUG: |Bad page state|refcount_t: ", "BUG"),
    (r"Out of memory: Killed|oom-kill:", "out of memory"),
)
_BEGIN = [(re.compile(pattern), kind) for pattern, kind in BEGINNINGS]

#: printk's time and, with CONFIG_PRINTK_CALLER, the caller.
_STAMP = re.compile(r"^\[\s*\d+\.\d+\](?:\[\s*[TC]\d+\])? ?")

#: Where a splat is over. Of those without such a line some context is kept.
_END = re.compile(r"---\[ end (trace|Kernel panic)")
CONTEXT_LINES = 40


@dataclass(frozen=True)
class Splat:
    """One complaint. `start` and `end` are offsets in the text that was searched."""

    kind: str
    title: str
    start: int
    end: int

    @property
    def signature(self) -> str:
        """The same for the same bug: the title without addresses and numbers."""
        text = re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b", "ADDR", self.title)
        return re.sub(r"\b\d+\b|(?<=#)\d+", "N", text)


def strip(line: str) -> str:
    """A line of the log without its time stamp."""
    return _STAMP.sub("", line.rstrip("\r\n"))


def kind_of(line: str) -> str | None:
    """What a line is the beginning of, or None."""
    text = strip(line)
    return next((kind for pattern, kind in _BEGIN if pattern.search(text)), None)


def find(text: str) -> list[Splat]:
    """The splats of a log in order, each one once.

    Lines of one report match more than one pattern (a WARN, then its oops):
    what begins inside of a report that is still open belongs to it.
    """
    splats: list[Splat] = []
    position, open_until = 0, -1
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        kind = kind_of(line) if number > open_until else None
        if kind:
            last = _last_line(lines, number)
            end = position + sum(len(item) for item in lines[number : last + 1])
            splats.append(Splat(kind, strip(line), position, end))
            open_until = last
        position += len(line)
    return splats


def _last_line(lines: list[str], first: int) -> int:
    limit = min(len(lines), first + 4 * CONTEXT_LINES)
    for number in range(first, limit):
        if _END.search(lines[number]):
            return number
    # no end marker: the report is what follows until the farm speaks again
    for number in range(first + 1, min(len(lines), first + CONTEXT_LINES)):
        if strip(lines[number]).startswith("farm: "):
            return number - 1
    return min(len(lines), first + CONTEXT_LINES) - 1
