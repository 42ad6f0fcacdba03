# SPDX-License-Identifier: GPL-2.0
"""Telling people and programs what came of a run: mail, webhook."""
