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
    # before v6.9 without "Oops: "; a process's own fault has neither the colon nor the count
    (r"general protection fault, |: [0-9a-f]{4} \[#\d+\]", "oops"),
    (r"Kernel stack is corrupted|stack-protector:", "stack corruption"),
    (r"kmemleak: \d+ new suspected memory leaks", "kmemleak"),
    (r"-+\[ ?ftrace bug ?\]-+", "ftrace bug"),
    (r"^WARNING: |\bWARNING: CPU: \d+|^refcount_t: ", "WARN"),
    (r"kernel BUG at |\bBUG: |^BUG \S+ \((Not t|T)ainted", "BUG"),
    (r"Out of memory: Killed|oom-kill:", "out of memory"),
    # a complaint may have been among them
    (r"^\*\* \d+ printk messages dropped \*\*", "lost messages"),
)
_BEGIN = [(re.compile(pattern), kind) for pattern, kind in BEGINNINGS]

#: The names of all sorts of splats.
KINDS = tuple(dict.fromkeys(kind for _, kind in BEGINNINGS))

#: printk's time and, with CONFIG_PRINTK_CALLER, the caller.
_STAMP = re.compile(r"^\[\s*\d+\.\d+\](?:\[\s*[TC]\d+\])? ?")

#: Where a splat is over, for the kinds that say so. Of the others some context
#: is kept, up to where the next one begins.
_END = re.compile(r"---\[ end (trace|Kernel panic)")
_MARKED = {"panic", "oops", "WARN", "BUG", "UBSAN", "stack corruption", "ftrace bug"}
_CUT_HERE = "------------[ cut here ]------------"
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
        """The same for the same bug."""
        return normal(self.title)


def normal(text: str) -> str:
    """A complaint without its addresses and numbers, which another kernel has others of."""
    text = re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b", "ADDR", text)
    return re.sub(r"\b\d+(?=s?\b)|(?<=#)\d+", "N", text)


def strip(line: str) -> str:
    """A line of the log without its time stamp."""
    return _STAMP.sub("", line.rstrip("\r\n"))


def kind_of(line: str) -> str | None:
    """What a line is the beginning of, or None."""
    text = strip(line)
    return next((kind for pattern, kind in _BEGIN if pattern.search(text)), None)


def find(text: str) -> list[Splat]:
    """The splats of a log in order, each one once.

    Lines of one report match more than one pattern (a BUG, then its oops):
    what begins inside of a report that is still open belongs to it.
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
    """Whether a report begins here, and not the one of the line above goes on."""
    kind = kind_of(lines[number])
    return kind is not None and kind != kind_of(lines[number - 1])
