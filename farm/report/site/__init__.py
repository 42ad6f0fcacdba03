# SPDX-License-Identifier: GPL-2.0
"""The results as static pages, which need neither a server nor anything from outside."""
