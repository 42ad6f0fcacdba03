# SPDX-License-Identifier: GPL-2.0
"""One execution of suites over cells: the plan, the plugin, the verdicts, the records."""
