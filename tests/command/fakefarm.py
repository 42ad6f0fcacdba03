# SPDX-License-Identifier: GPL-2.0
"""A farm that boots no guest: for the commands of a night it leaves what tests/nights.py has of them.

Of the environment, NIGHT is the number of the night; with SLOW it stops in the middle of the cells, and
says so by a file of that name.
"""

import os
import sys
import time
from pathlib import Path

from farm.hunt import mutants
from farm.hunt.mutants import Outcome, Score, Scores
from farm.record import records
from farm.run import resume
from tests import nights


def main(words: list[str]) -> int:
    number = int(os.environ["NIGHT"])
    if words[:2] == ["run", "--resume"]:
        return cells(Path(words[2]), number, resume.resume(Path(words[2]))[1])
    results = Path(words[words.index("--results") + 1])
    match words[0]:
        case "run":
            directory = nights.write_run(results, nights.NIGHTS[number], nights.CELLS)
            records.update_run(directory, status="running", finished="", command=["farm", *words])
            return cells(directory, number, [])
        case "selftests":
            records.update_run(nights.write_own_tests(results, number), command=["farm", *words])
        case "mutants":
            directory = results / f"mutants-{nights.NIGHTS[number]}"
            directory.mkdir()
            scores = [Score(name, Outcome.CAUGHT) for name in words[1 : words.index("--results")]]
            mutants.keep(directory, Scores("finished", records.now(), 60.0, tuple(scores)))
    return 0


def cells(directory: Path, number: int, done: list[records.VerdictRecord]) -> int:
    have = {(one.cell, one.suite, one.test) for one in done}
    for cell in nights.CELLS:
        if not (directory / "cells" / cell).exists():
            # what broke in the second night is of another kernel, what comes and goes is of the same
            nights.write_cell(directory / "cells" / cell, cell, min(number, 1) if "regs" in cell else 0)
        for suite, tests in nights.TESTS.items():
            for test in tests:
                if (cell, suite, test) not in have:
                    records.append_verdict(directory, nights.verdict(number, cell, suite, test))
        if (slow := os.environ.get("SLOW")) and cell == nights.CELLS[1]:
            Path(slow).write_text(str(os.getpid()))
            time.sleep(60)
    records.update_run(directory, status="finished", finished=records.now())
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[3:]))  # behind `-m farm`
