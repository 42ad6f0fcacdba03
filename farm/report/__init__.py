# SPDX-License-Identifier: GPL-2.0
"""Reports of runs, for people and for other programs. They are made from the records alone."""
