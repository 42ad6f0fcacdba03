# SPDX-License-Identifier: GPL-2.0
"""What every room of the farm stands on: blame, time, commands, the cache."""
