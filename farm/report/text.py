# SPDX-License-Identifier: GPL-2.0
"""Text of guests and users, as it may be shown."""


def plain(line: str) -> str:
    """A line without what a terminal or a mail reader would act on."""
    return "".join(c if c.isprintable() else "\ufffd" for c in line.expandtabs()).rstrip()
