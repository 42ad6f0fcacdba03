# SPDX-License-Identifier: GPL-2.0
"""A machine: image, accelerator, QEMU, console, SSH, agent, and their life cycle."""
