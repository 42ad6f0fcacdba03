# SPDX-License-Identifier: GPL-2.0
"""For kernels that do not get as far as a test."""

from farm.guest.vm import Guest


def test_boot_once(guest: Guest) -> None:
    pass


def test_boot_again(guest: Guest) -> None:
    pass
