# SPDX-License-Identifier: GPL-2.0
"""What becomes of a farm to which something is done: kills, a full disk, neighbours, clocks, failing system calls."""
