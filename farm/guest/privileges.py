# SPDX-License-Identifier: GPL-2.0
"""Whom a guest runs as: never root, and with no more than the way to /dev/kvm."""

import grp
import os

NOBODY = 65534


def dropped() -> list[str]:
    """Options of setpriv for whatever runs a guest; none where the farm itself is not root.

    A farm that runs as root starts guests as nobody, in the group `kvm` where the
    host has one.
    """
    if os.geteuid() != 0:
        return []
    try:
        groups = ["--groups", str(grp.getgrnam("kvm").gr_gid)]
    except KeyError:
        groups = ["--clear-groups"]
    return ["--reuid", str(NOBODY), "--regid", str(NOBODY), *groups, "--no-new-privs"]
