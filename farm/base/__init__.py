# SPDX-License-Identifier: GPL-2.0
"""What every other package uses: blame, time, commands, the cache."""
