# SPDX-License-Identifier: GPL-2.0
"""What is on disk: verdicts, runs and cells. Reports read records and nothing else."""
