# SPDX-License-Identifier: GPL-2.0
"""The results as static pages, which need no server and load nothing from outside."""
