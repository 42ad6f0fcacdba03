# SPDX-License-Identifier: GPL-2.0
"""The tests that `farm run` runs in every cell."""
