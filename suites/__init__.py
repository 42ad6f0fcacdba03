# SPDX-License-Identifier: GPL-2.0
"""What is checked, in every cell. Run by `farm run`."""
