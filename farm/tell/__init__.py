# SPDX-License-Identifier: GPL-2.0
"""Sends the result of a run to people and programs, by mail and webhook."""
