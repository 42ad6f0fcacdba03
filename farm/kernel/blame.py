# SPDX-License-Identifier: GPL-2.0
"""A build that failed: which lines of its log say why, and whether the tree is to blame."""

import re
from pathlib import Path

from farm.base import cache
from farm.base.errors import FarmError

#: Lines of a build log that show the host is to blame, not the kernel: a pattern, and what to do.
#: `{0}` stands for the matched text.
_HOST = (
    (
        r"No space left on device|Disk quota exceeded|final link failed: .*space",
        "the disk is full below {root}; `farm clean` frees some",
    ),
    (r"Read-only file system|Input/output error", "the disk below {root} cannot be written: {0}"),
    (
        r"fatal error: Killed signal terminated program \S+|\bKilled \(program \S+\)|\*\*\* \[.*\] Killed$"
        r"|signal: 9 \(SIGKILL\)|unable to execute command: Killed",
        "a compiler was killed ({0}); if the memory ran out (dmesg says so), free some or use fewer cores",
    ),
    (
        r"out of memory allocating \d+ bytes|virtual memory exhausted|LLVM ERROR: out of memory|memory exhausted"
        r"|Cannot allocate memory|Resource temporarily unavailable",
        "the memory ran out ({0}); free some or use fewer cores",
    ),
    (r"\*\*\* \[.*\] (?:Terminated|Hangup|Interrupt)$", "something ended the compilers ({0})"),
    (r"internal compiler error: .*|PLEASE submit a bug report to \S*llvm.*", "the compiler crashed ({0})"),
    (
        r"^/bin/(?:ba|da)?sh: (?:line )?\d+: \S+: (?:command )?not found$"
        r"|^make(?:\[\d+\])?: \S+: No such file or directory$|ccache: error: Could not find compiler .*",
        "a program is missing ({0}); `farm doctor` names the package that brings it",
    ),
    (
        r"fatal error: (?:libelf|gelf|openssl/\S+|zlib)\.h: No such file or directory",
        "a library's header is missing ({0}); `farm doctor` names the package that brings it",
    ),
    (r"ccache: error: .*", "ccache failed ({0})"),
)


def hosts_trouble(log: str) -> str:
    """What the host did to a build, and what to do; empty if the log shows no such trouble."""
    for pattern, advice in _HOST:
        if found := re.search(pattern, log, re.M):
            return advice.format(found[0].strip(), root=cache.root())
    return ""


def check_host(what: str, log: str, *needed: Path) -> None:
    """Raise FarmError if the tree is not to blame for a failed build: its log says so, or one of the
    `needed` files has disappeared."""
    if trouble := hosts_trouble(log):
        raise FarmError(f"{what}: {trouble}")
    for path in needed:
        if not path.exists():
            raise FarmError(f"{what}: {path} went away during the build; build again")


def first_errors(log: str, most: int = 5) -> list[str]:
    """The lines of a build log that say what is wrong, with file, line and message."""
    patterns = (
        r"^\S+?:\d+(?::\d+)?: (?:fatal )?error: .*",
        r"^\S+?:\d+: Error: .*",
        r"^.*(?:undefined reference to|multiple definition of) .*",
        r"^ERROR: modpost: .*",
        r"^\S+: (?:error|warning): objtool: .*",
        r"^make(?:\[\d+\])?: \*\*\* .*",
    )
    for pattern in patterns:
        if found := re.findall(pattern, log, re.M):
            return list(dict.fromkeys(found))[:most]
    return log.strip().splitlines()[-most:]
