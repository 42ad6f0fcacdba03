# SPDX-License-Identifier: GPL-2.0
"""Tests of the farm itself: real files, repositories, processes and guests."""
