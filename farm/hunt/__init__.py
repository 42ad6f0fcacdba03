# SPDX-License-Identifier: GPL-2.0
"""Finding the bug: mutants, bisection, the smallest configuration that shows it."""
