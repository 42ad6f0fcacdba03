# SPDX-License-Identifier: GPL-2.0
"""What the runs of a results directory say together: every verdict of every test in
every cell, kept in `results/history.sqlite` and made again from the run directories
at will.

`reading` makes sense of one run directory, `index` takes it into the `store`,
`changes` compares runs, `retention` says which may go.
"""
