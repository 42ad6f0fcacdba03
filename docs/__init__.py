# SPDX-License-Identifier: GPL-2.0
"""The documents, and what draws their picture."""
