# SPDX-License-Identifier: GPL-2.0
"""The user that a guest runs as: never root, and with no more rights than access to /dev/kvm."""

import grp
import os

NOBODY = 65534


def dropped() -> list[str]:
    """Options of setpriv for a process that runs a guest; none if the farm itself is not root.

    A farm that runs as root starts guests as nobody, in the group `kvm` if the host
    has one.
    """
    if os.geteuid() != 0:
        return []
    try:
        groups = ["--groups", str(grp.getgrnam("kvm").gr_gid)]
    except KeyError:
        groups = ["--clear-groups"]
    return ["--reuid", str(NOBODY), "--regid", str(NOBODY), *groups, "--no-new-privs"]
