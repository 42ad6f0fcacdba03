# SPDX-License-Identifier: GPL-2.0
"""The results of the kernel's own tests of its tracers at boot, FTRACE_STARTUP_TEST."""

import re

from farm.guest.splat import strip

_BEGIN = re.compile(r"^(?:\S+: )?Testing (.+?): ?(.*)$")

#: The outcome may come right after the name, at the end of the test's own output,
#: or on a separate line, if the kernel printed something else meanwhile.
_OUTCOME = re.compile(r"(PASSED|OK|FAILED!|NG\b.*|NO TEST)$")

GOOD = ("PASSED", "OK")


def outcomes(log: str) -> dict[str, str]:
    """The outcome of each test that began. It is empty if the next test began without one."""
    found: dict[str, str] = {}
    name = ""
    for line in log.splitlines():
        text = strip(line).rstrip()
        if begun := _BEGIN.match(text):
            name, text = begun[1], begun[2]
            found[name] = ""
        if name and not found[name] and (ended := _OUTCOME.search(text)):
            found[name] = ended[1]
    return found
