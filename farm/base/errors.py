# SPDX-License-Identifier: GPL-2.0
"""Errors carry blame in their type: who has to act on them.

What is not classified here (any other exception) is the farm's own fault.
"""

from enum import IntEnum


class Exit(IntEnum):
    """Exit status of every command."""

    PASSED = 0
    KERNEL = 1
    USAGE = 2
    FARM = 3


class Blamed(Exception):
    """An error that knows whose it is. The message says what to do."""

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
