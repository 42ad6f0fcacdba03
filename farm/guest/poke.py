# SPDX-License-Identifier: GPL-2.0
"""Bugs planted into a running kernel, to see a check fail.

A poke replaces bytes of the guest's memory from outside, once, before the first
test. It needs no build, so the author of a check can break what it looks at within
seconds: `farm run -k registers --poke 'ftrace_caller:4c8b4c2440=0f1f440000'` loses
the sixth argument.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from farm.base.errors import UsageError

_FORM = re.compile(r"(?P<symbol>[\w.]+)(?:\+(?P<offset>\w+))?(?::(?P<old>[0-9a-fA-F]+))?=(?P<new>[0-9a-fA-F]+)")

EXAMPLE = "ftrace_caller:48897c2470=4889742470 or global_ops+0x18=00"

#: The largest offset from a symbol, in bytes: no function or variable of a kernel is larger.
FARTHEST = 1 << 24

#: How far after its symbol `old` is searched for: the trampolines are shorter.
REACH = 1024


@dataclass(frozen=True)
class Poke:
    """Put `new` where `old` is first found after a symbol, or without `old` at `offset`.

    Labels are symbols too. If the same bytes appear twice in a function, as in the
    trampoline with two exits, name the label before the right ones.
    """

    symbol: str
    new: bytes
    old: bytes = b""
    offset: int = 0

    def __str__(self) -> str:
        place = self.symbol + (f"+{self.offset:#x}" if self.offset else "")
        return place + (f":{self.old.hex()}" if self.old else "") + f"={self.new.hex()}"


def parse(text: str) -> Poke:
    """`SYMBOL[+OFFSET][:OLD]=NEW`, the bytes in hex. Raises UsageError."""
    found = _FORM.fullmatch(text)
    if not found:
        raise UsageError(f"--poke {text!r}: not SYMBOL[+OFFSET][:OLD]=NEW with bytes in hex, as {EXAMPLE}")
    for digits in (found["old"] or "", found["new"]):
        if len(digits) % 2:
            raise UsageError(f"--poke {text!r}: {digits} is half a byte too short or too long: two digits make a byte")
    try:
        offset = int(found["offset"] or "0", 0)
    except ValueError:
        said = f"the offset {found['offset']} is no number; write it as 24 or 0x18"
        raise UsageError(f"--poke {text!r}: {said}") from None
    old, new = bytes.fromhex(found["old"] or ""), bytes.fromhex(found["new"])
    if offset > FARTHEST:
        raise UsageError(f"--poke {text!r}: the offset {offset:#x} is beyond the end of every function")
    if old and len(old) != len(new):
        raise UsageError(f"--poke {text!r}: {len(old)} bytes cannot be replaced by {len(new)}")
    return Poke(found["symbol"], new, old, offset)


def address_of(poke: Poke, symbols: Mapping[str, int], read: Callable[[int, int], bytes]) -> int:
    """The address for the poke's new bytes.

    `symbols` are those of System.map. `read(address, size)` reads memory of the
    guest. Raises UsageError if the poke does not fit this kernel.
    """
    if poke.symbol not in symbols:
        raise UsageError(f"--poke {poke}: this kernel has no symbol {poke.symbol}")
    start = symbols[poke.symbol] + poke.offset
    if not poke.old:
        return start
    at = read(start, REACH).find(poke.old)
    if at < 0:
        raise UsageError(f"--poke {poke}: these bytes are not within {REACH} bytes after {poke.symbol}")
    return start + at
