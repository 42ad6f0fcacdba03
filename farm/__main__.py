# SPDX-License-Identifier: GPL-2.0
"""`python -m farm`, for a farm that starts another one."""

from farm.cli import main

main()
