# SPDX-License-Identifier: GPL-2.0
"""The history of a results directory: every verdict of every test in every cell, over all
runs. It is in `results/history.sqlite`, and can be rebuilt from the run directories.

`reading` reads one run directory, `index` adds it to the `store`, `changes` compares
runs, and `retention` says which directories may be removed.
"""
