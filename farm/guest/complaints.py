# SPDX-License-Identifier: GPL-2.0
"""A kernel's complaints in a few lines: the complaint, where in the kernel it was, and the calls
that led there. Pure functions over the text of a log."""

import re
from collections import Counter
from dataclasses import dataclass

from farm.guest.splat import Splat, find, normal, strip

#: More bytes than this within one test are a flood. It is several times what the kernel itself
#: keeps of its log; a test of the suites usually causes some kilobytes.
FLOOD_BYTES = 1 << 20

#: How many bytes of a flood are searched, from its start and from its end.
_HEAD, _TAIL = 1 << 20, 1 << 18

#: How many different complaints are listed, and how many calls of a trace.
MOST, CALLS = 4, 6

#: For these kinds, the place is part of the complaint. For others it is chance (a lockup is
#: noticed wherever the processor happens to be), or the title has it already.
_PLACED = {"oops", "BUG"}

#: In the kernel; 0033 is user space.
_RIP = re.compile(r"^RIP: 0010:(\S+)")
_USER = re.compile(r"^RIP: 00(?!10)")
_CALL = re.compile(r"^ (\? )?(\S+)\+(0x[0-9a-f]+)/0x[0-9a-f]+")

#: Functions that print the report; they are above the interesting ones in the trace.
_REPORTERS = re.compile(
    r"^(__?)?(dump_stack\w*|show_stack\w*|print_\w+|kasan_report|kcsan_\w+|ubsan_\w+|__ubsan_\w+|v?panic|nmi_panic"
    r"|lockdep_rcu_suspicious|__might_\w*|__schedule_bug|check_preemption_disabled\w*|report_bug)$"
)

#: Registers, code bytes, lockdep's record of interrupts, the brackets of a trace.
_NOISE = re.compile(
    r"^((R(?!IP)..|E?FLAGS|[CDEFGS]S|CR\d|DR\d|PKRU|ORIG_RAX): |Code: |#PF: |PGD |Modules linked in:"
    r"|irq event stamp|(hard|soft)irqs last| </?(TASK|IRQ|NMI|#\w+)>|={8,}|-{8,}$)"
)

_STAMP = re.compile(r"^\[\s*(\d+\.\d+)\]", re.M)


@dataclass(frozen=True)
class Trace:
    """How the kernel came to complain: `place` is the instruction, as function+offset/size, or empty
    if the report does not say; `calls` are functions+offsets, the innermost first."""

    place: str = ""
    calls: tuple[str, ...] = ()


def trace(report: str) -> Trace:
    """The first call trace of a report, without registers. Calls that the kernel itself only guesses
    (`?`) are left out, unless there are no others."""
    place, within = "", False
    calls: list[str] = []
    guesses: list[str] = []
    for line in map(strip, report.splitlines()):
        if not place and not within and (found := _RIP.match(line)):
            place = found[1]
        elif line.startswith("Call Trace:"):
            if calls or guesses:
                break
            within = True
        elif within and (line.strip() == "</TASK>" or _USER.match(line) or line.startswith("---[ end")):
            break
        elif within and (found := _CALL.match(line)) and not _REPORTERS.match(found[2]):
            (guesses if found[1] else calls).append(f"{found[2]}+{found[3]}")
    return Trace(place, tuple(calls or guesses))


def told(log: str) -> list[str]:
    """All complaints of a log, in lines: each different complaint with its place and, on the next
    line, its call trace; how often it was repeated; a flood. Empty if there is none."""
    searched = log if len(log) <= _HEAD + _TAIL else f"{log[:_HEAD]}\n{log[-_TAIL:]}"
    splats = find(searched)
    often = Counter(found.signature for found in splats)
    different: dict[str, Splat] = {}
    for found in splats:
        different.setdefault(found.signature, found)
    lines = []
    for found in list(different.values())[:MOST]:
        lines += _of_one(found, searched[found.start : found.end], often[found.signature])
    if len(different) > MOST:
        lines.append(f"and {len(different) - MOST} other complaints")
    # the console ends each line with two bytes, but only one is left here
    return lines + ([flood(log)] if len(log) + log.count("\n") > FLOOD_BYTES else [])


def _of_one(found: Splat, report: str, often: int) -> list[str]:
    how = trace(report)
    placed = bool(how.place) and found.kind in _PLACED
    lines = [f"{found.kind}: {found.title}" + (f" at {how.place}" if placed else "")]
    place = how.place.partition("/")[0]
    calls = [place, *how.calls] if place and not placed and place not in found.title else list(how.calls)
    if calls:
        shown = " < ".join(calls[:CALLS])
        lines.append(f"call trace: {shown}" + (" < …" if len(calls) > CALLS else ""))
    if often > 1:
        lines.append(f"the same {often - 1} more time{'s' if often > 2 else ''}")
    return lines


def flood(log: str) -> str:
    """The description of a flood: how much, how fast, and the most frequent line."""
    sample = [line for line in map(strip, log[:_HEAD].splitlines()) if line.strip()]
    stamps = _STAMP.findall(log[:_HEAD])[:1] + _STAMP.findall(log[-_TAIL:])[-1:]
    seconds = float(stamps[-1]) - float(stamps[0]) if len(stamps) == 2 else 0.0
    within = f" in {seconds:.0f} s" if seconds >= 1 else ""
    alike = Counter(normal(line[:200]) for line in sample)
    ((most, _),) = alike.most_common(1) or [("", 0)]
    example = next((line for line in sample if normal(line[:200]) == most), "")
    lines = log.count("\n")
    amount = f"{lines} lines" if lines > 100 else f"{len(log) >> 20} MiB in {lines + 1} lines"
    return f"the console was flooded: {amount}{within}, most often: {example[:120]!r}"


def essence(log: str) -> list[str]:
    """The lines of the first complaint that are worth reading: up to the end of its call trace, without
    registers, code bytes and guessed calls. Empty if there is none."""
    splats = find(log[: _HEAD + _TAIL])
    if not splats:
        return []
    kept, within = [], False
    for line in map(strip, log[splats[0].start : splats[0].end].splitlines()):
        within = within or line.startswith("Call Trace:")
        if within and (line.strip() == "</TASK>" or _USER.match(line)):
            break
        if line.strip() and not _NOISE.match(line):
            kept.append(line)
    known = [line for line in kept if not line.startswith(" ? ")]
    return known if any(map(_CALL.match, known)) else kept
