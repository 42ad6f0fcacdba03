# SPDX-License-Identifier: GPL-2.0
"""What people and other programs read of a run. Made from the records alone."""
