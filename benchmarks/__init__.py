# SPDX-License-Identifier: GPL-2.0
"""Measurements, printed and never asserted. Run as `python -m benchmarks.NAME`."""
