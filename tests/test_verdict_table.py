# SPDX-License-Identifier: GPL-2.0
"""The table of verdicts: complete, and the same for the histories that people keep."""

from pathlib import Path

import pytest
from rich.style import Style

from farm.base.errors import Exit
from farm.record.verdict import BY_CODE, MEANING, TELLING, Verdict, is_bad

STYLE_SHEET = Path(__file__).parent.parent / "farm/report/site/style.css"


def test_codes_are_those_of_the_histories_that_exist() -> None:
    """A history stores these numbers: a new verdict takes the next one, an old one keeps its own."""
    assert {str(verdict): meaning.code for verdict, meaning in MEANING.items()} == {
        "PASS": 1,
        "FAIL": 2,
        "CRASH": 3,
        "HANG": 4,
        "BOOT": 5,
        "BUILD": 6,
        "SKIP": 7,
        "INFRA": 8,
        "LOST": 9,
    }
    assert BY_CODE[1] is Verdict.PASS
    assert len(BY_CODE) == len(Verdict)


def test_every_verdict_has_a_row() -> None:
    assert set(MEANING) == set(Verdict)
    gravities = [meaning.gravity for meaning in MEANING.values()]
    assert sorted(gravities) == list(range(len(Verdict))), "two findings of the same gravity have no order"


@pytest.mark.parametrize("verdict", Verdict)
def test_row(verdict: Verdict) -> None:
    meaning = MEANING[verdict]
    assert Style.parse(meaning.style)
    assert f".{meaning.look}" in STYLE_SHEET.read_text()
    assert meaning.junit in ("", "skipped", "failure", "error")
    assert (meaning.junit in ("failure", "error")) == is_bad(verdict)
    assert meaning.kcidb in ("PASS", "SKIP", "FAIL", "ERROR", "MISS")
    assert meaning.sentence.endswith(".")
    assert not (meaning.of_test and meaning.of_cell)
    assert (meaning.blame == Exit.KERNEL) <= (verdict in TELLING), "what the kernel is blamed for says something of it"
