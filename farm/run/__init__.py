# SPDX-License-Identifier: GPL-2.0
"""One execution of suites over cells: from what was asked to a run directory."""
