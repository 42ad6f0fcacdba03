# SPDX-License-Identifier: GPL-2.0
"""A hunt for options on the screen: the options, and the command that shows the failure with them."""

import shlex
from pathlib import Path

from rich.console import Console

from farm.hunt.configs import BASE, matrix_of, point_of
from farm.hunt.evidence import Answer, Hunt
from farm.report import bisection

#: How many options that came with others are listed.
MOST_FOLLOWING = 12


def show(console: Console, directory: Path, hunt: Hunt) -> None:
    """Print the report of a finished hunt, and keep it in its directory."""
    bisection.keep(console, directory, hunt, found(hunt), show_command(directory, hunt))


def found(hunt: Hunt) -> list[str]:
    """The options, what came with them, and the result of the test without the others."""
    alone = len(hunt.candidates) == 1
    if hunt.good:
        what = "turns good into bad" if alone else "turn good into bad, together"
    else:
        what = f"{'is' if alone else 'are'} needed for the failure, beside the fragment {BASE}"
    lines = [f"{len(hunt.candidates)} of {hunt.suspects} options {what}:"]
    lines += [f"  CONFIG_{name}: {hunt.subjects[name]}" for name in hunt.candidates]
    if hunt.follows:
        lines.append(f"and these follow from them: {', '.join(hunt.follows[:MOST_FOLLOWING])}")
        if len(hunt.follows) > MOST_FOLLOWING:
            lines[-1] += f", and {len(hunt.follows) - MOST_FOLLOWING} more"
    skipped = sum(one.answer is Answer.SKIP for one in hunt.evidence)
    if skipped:
        what = "configuration" if skipped == 1 else "configurations"
        lines.append(f"{skipped} {what} could not be tested: of the options above some may not be needed")
    return lines + ([hunt.confirmed] if hunt.confirmed else [])


def show_command(directory: Path, hunt: Hunt) -> str:
    """The command that shows the failure with only the options that were found."""
    words = ["farm", "run", hunt.cell, "--matrix", str(matrix_of(directory, point_of(hunt.candidates)))]
    if hunt.tree:
        words += ["--tree", hunt.tree]
    if hunt.series:
        words += ["--series", hunt.series]
    if hunt.failure and hunt.failure.select:
        words += ["-k", hunt.failure.select]
    return shlex.join(words + bisection.often_enough(hunt))
