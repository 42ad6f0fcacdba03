# SPDX-License-Identifier: GPL-2.0
"""Runs everything every night, as far as the time allows."""
