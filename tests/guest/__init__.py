# SPDX-License-Identifier: GPL-2.0
"""Tests that take a kernel's source, build kernels or boot guests: minutes."""
