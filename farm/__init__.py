# SPDX-License-Identifier: GPL-2.0
"""QEMU test farm for the ftrace trampoline and the BPF filters on it."""
