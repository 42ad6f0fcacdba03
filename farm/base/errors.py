# SPDX-License-Identifier: GPL-2.0
"""The type of an error says who is to blame, and so who has to act.

Any other exception is the farm's own fault.
"""

import errno
import os
from enum import IntEnum


class Exit(IntEnum):
    """Exit status of every command."""

    PASSED = 0
    KERNEL = 1
    USAGE = 2
    FARM = 3


class Blamed(Exception):
    """An error that knows who is to blame. The message says what to do."""

    exit = Exit.FARM


class FarmError(Blamed):
    """The farm or its host failed: no disk, no QEMU, a bug of ours."""


class UsageError(Blamed):
    """The user's input is wrong: a name, a key, a tree, a patch."""

    exit = Exit.USAGE


class KernelError(Blamed):
    """The kernel under test failed. ``verdict`` names how."""

    exit = Exit.KERNEL
    verdict = "FAIL"


class BuildFailed(KernelError):
    """No kernel came out of this tree and configuration."""

    verdict = "BUILD"


class BootFailed(KernelError):
    """The guest never became ready."""

    verdict = "BOOT"


class GuestCrashed(KernelError):
    """The kernel complained or died while something ran."""

    verdict = "CRASH"


class GuestHung(KernelError):
    """The guest gave no answer within the limit."""

    verdict = "HANG"


#: Errors of the host, whichever file the user named.
_OF_HOST = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}

#: What to do about an error, where that is known.
_ADVICE = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there",
    errno.EROFS: "name a place that can be written",
    errno.EEXIST: "it is in the way of a directory; move it away",
    errno.ENOTDIR: "it is in the way of a directory; move it away",
    errno.EISDIR: "name a file",
    errno.ENAMETOOLONG: "give a shorter one",
    errno.EMFILE: "raise `ulimit -n`",
}

#: The middle of a longer name is left out, so that a message does not fill the screen.
_LONGEST_NAME = 200


def refused(error: OSError, place: object = "", user: bool = False) -> Blamed:
    """The error for what the system refused. The message names the file (or else `place`), the reason
    and what to do.

    The host is to blame, unless a `user` named the file and the host lacks nothing. For a name that is
    too long, the user always is.
    """
    named = error.filename if isinstance(error.filename, (str, bytes)) else str(place)
    name = os.fsdecode(named)
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME // 2]}…{name[-_LONGEST_NAME // 2 :]}"
    said = [name, error.strerror or type(error).__name__]
    text = ": ".join(filter(None, said))
    text += f"; {_ADVICE[error.errno]}" if error.errno in _ADVICE else ""
    usage = error.errno == errno.ENAMETOOLONG or (user and error.errno not in _OF_HOST)
    return UsageError(text) if usage else FarmError(text)
