# SPDX-License-Identifier: GPL-2.0
"""All there is to be run, within the time that there is, every night."""
