# SPDX-License-Identifier: GPL-2.0
"""The verdicts, and one table with everything about each of them.

To add a verdict: add it to `Verdict`, add its row to `MEANING` with the next
free code, and its line to docs/verdicts.md. tests/test_verdict_table.py checks
that the three agree.
"""

from dataclasses import dataclass
from enum import StrEnum

from farm.base.errors import Exit


class Verdict(StrEnum):
    """The result of one test in one cell."""

    PASS = "PASS"
    FAIL = "FAIL"
    CRASH = "CRASH"
    HANG = "HANG"
    BOOT = "BOOT"
    BUILD = "BUILD"
    SKIP = "SKIP"
    INFRA = "INFRA"
    LOST = "LOST"


@dataclass(frozen=True)
class Meaning:
    """Everything about one verdict.

    `code` is the number in the history. It never changes, and no other verdict
    gets it later; 0 means "not in this run". `blame` says who is to blame, as an
    exit status. `gravity` orders the findings of one test: the gravest is its
    verdict. `of_test` says that the test itself ran in a guest and ended with this
    verdict. `of_cell` says that every test of the cell has the same verdict, so it
    is shown once for the cell.

    `style` is for rich, `symbol` is for people who do not see colours, `look` is
    the class in the site's style sheet, and `sentence` explains the verdict.
    `junit` is the element of a test case (empty: none), `ktap` the directive
    after a result (empty: none), `kcidb` the status of a test.
    """

    code: int
    blame: Exit
    gravity: int
    of_test: bool
    of_cell: bool
    style: str
    symbol: str
    look: str
    junit: str
    ktap: str
    kcidb: str
    sentence: str


# fmt: off
_ROWS = {
    #               code, blame,   gravity, of_test, of_cell, style,  symbol, look,    junit,     ktap,      kcidb
    Verdict.PASS:  (1, Exit.PASSED, 0, True,  False, "green",        "✓", "good", "",        "",        "PASS"),
    Verdict.FAIL:  (2, Exit.KERNEL, 2, True,  False, "bold red",     "✗", "bad",  "failure", "",        "FAIL"),
    Verdict.CRASH: (3, Exit.KERNEL, 4, True,  False, "bold red",     "✗", "bad",  "error",   "ERROR",   "FAIL"),
    Verdict.HANG:  (4, Exit.KERNEL, 3, True,  False, "bold red",     "✗", "bad",  "error",   "TIMEOUT", "FAIL"),
    Verdict.BOOT:  (5, Exit.KERNEL, 5, False, True,  "bold red",     "✗", "bad",  "error",   "ERROR",   "FAIL"),
    # in KCIDB the build has the failure; the test did not run
    Verdict.BUILD: (6, Exit.KERNEL, 6, False, True,  "bold red",     "✗", "bad",  "error",   "ERROR",   "MISS"),
    Verdict.SKIP:  (7, Exit.PASSED, 1, True,  False, "dim",          "○", "none", "skipped", "SKIP",    "SKIP"),
    # the highest gravity: if the farm failed, no other finding can be relied on
    Verdict.INFRA: (8, Exit.FARM,   8, False, False, "bold magenta", "!", "farm", "error",   "ERROR",   "ERROR"),
    Verdict.LOST:  (9, Exit.FARM,   7, False, False, "bold magenta", "?", "farm", "error",   "ERROR",   "MISS"),
}
# fmt: on

_SENTENCES = {
    Verdict.PASS: "Every assertion held.",
    Verdict.FAIL: "An assertion did not hold.",
    Verdict.CRASH: "The kernel complained or died.",
    Verdict.HANG: "There was no answer within the limit.",
    Verdict.BOOT: "The guest never became ready.",
    Verdict.BUILD: "There is no kernel.",
    Verdict.SKIP: "The cell's own facts rule the test out.",
    Verdict.INFRA: "This is the farm's own failure, and says nothing about the kernel.",
    Verdict.LOST: "It was planned, and no verdict came.",
}

MEANING = {verdict: Meaning(*row, _SENTENCES[verdict]) for verdict, row in _ROWS.items()}

#: The verdicts by their codes; 0 is not among them.
BY_CODE = {meaning.code: verdict for verdict, meaning in MEANING.items()}

#: The verdicts that say something about the kernel. INFRA and LOST do not, because the farm failed;
#: SKIP does not either.
TELLING = frozenset(MEANING) - {Verdict.SKIP, Verdict.INFRA, Verdict.LOST}


def is_bad(verdict: Verdict) -> bool:
    """Whether a run with this verdict does not end with exit status 0."""
    return MEANING[verdict].blame != Exit.PASSED
