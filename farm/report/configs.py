# SPDX-License-Identifier: GPL-2.0
"""A hunt for options on the screen: which they are, and the command that shows the failure with them."""

import shlex
from pathlib import Path

from rich.console import Console

from farm.hunt.configs import matrix_of
from farm.hunt.evidence import Answer, Hunt, Role
from farm.report import bisection


def show(console: Console, directory: Path, hunt: Hunt) -> None:
    """Print the report of a hunt that has ended, and keep it in its directory."""
    bisection.keep(console, directory, hunt, found(hunt), show_command(directory, hunt))


def found(hunt: Hunt) -> list[str]:
    """The options, and what their test without the others said."""
    what = "turn good into bad, together" if hunt.good else "show the failure, none of them can be left away"
    lines = [f"{len(hunt.candidates)} of {hunt.suspects} options {what}:"]
    lines += [f"  CONFIG_{name}: {hunt.subjects[name]}" for name in hunt.candidates]
    return lines + ([hunt.confirmed] if hunt.confirmed else [])


def show_command(directory: Path, hunt: Hunt) -> str:
    """The command that shows the failure with the options that were found alone."""
    steps = [one for one in hunt.evidence if one.role is Role.STEP and one.answer is Answer.BAD]
    point = steps[-1].commit if steps else hunt.bad
    words = ["farm", "run", hunt.cell, "--matrix", str(matrix_of(directory, point))]
    if hunt.tree:
        words += ["--tree", hunt.tree]
    if hunt.series:
        words += ["--series", hunt.series]
    if hunt.failure and hunt.failure.select:
        words += ["-k", hunt.failure.select]
    return shlex.join(words + bisection.often_enough(hunt))
