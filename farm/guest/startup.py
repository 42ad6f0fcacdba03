# SPDX-License-Identifier: GPL-2.0
"""What the kernel's log says of the tests of tracers at boot, FTRACE_STARTUP_TEST."""

import re

from farm.guest.splat import strip

_BEGIN = re.compile(r"^(?:\S+: )?Testing (.+?): ?(.*)$")

#: The outcome may stand behind the name, at the end of what the test wrote in
#: between, or on a line of its own, if somebody else has spoken meanwhile.
_OUTCOME = re.compile(r"(PASSED|OK|FAILED!|NG\b.*|NO TEST)$")

GOOD = ("PASSED", "OK")


def outcomes(log: str) -> dict[str, str]:
    """For each test that began the outcome; empty if there was none before the next began."""
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
