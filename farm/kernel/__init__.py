# SPDX-License-Identifier: GPL-2.0
"""From kernel source to a kernel that boots, and the payload built for it."""
