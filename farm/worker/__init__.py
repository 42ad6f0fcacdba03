# SPDX-License-Identifier: GPL-2.0
"""What one worker does with a unit: guests, the tests that run in them, a verdict for each."""
