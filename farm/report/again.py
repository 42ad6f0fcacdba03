# SPDX-License-Identifier: GPL-2.0
"""The commands that show a verdict again, and that find the commit to blame."""

import shlex

from farm.record.records import Run, VerdictRecord, k_expression, repeat_command


def see(run: Run, record: VerdictRecord) -> str:
    """The command that repeats one test of a run."""
    if run.command[1:2] == ["selftests"]:
        # the same command with fewer tests: the last -k counts
        words = run.command[1:]
        if "--results" in words:
            place = words.index("--results")
            words = words[:place] + words[place + 2 :]
        return shlex.join(["farm", *words, "-k", record.test.partition("[")[0]])
    return repeat_command(run, record.cell, k_expression(record))


def find(run: Run, record: VerdictRecord, good: str, bad: str) -> str:
    """The command that finds the commit between two that were built. Empty if there is nothing
    between them, or if there is no tree of the user to search in."""
    if not run.tree or not good or not bad or good == bad or run.command[1:2] == ["selftests"]:
        return ""
    tree = run.tree.rpartition("@")[0] or run.tree
    words = ["farm", "bisect", "--tree", tree, "--good", good, "--bad", bad, "--cell", record.cell]
    return shlex.join([*words, "-k", k_expression(record)])
