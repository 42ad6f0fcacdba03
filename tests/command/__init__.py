# SPDX-License-Identifier: GPL-2.0
"""Tests that start the command, TuxMake, git hunts or an environment of Python: seconds each, and no guest."""
