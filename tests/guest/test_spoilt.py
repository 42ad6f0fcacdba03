# SPDX-License-Identifier: GPL-2.0
"""A guest that a test has spoilt."""

from pathlib import Path

import pytest

from farm.kernel.builder import Built, Order
from farm.matrix import MATRIX
from farm.record import cellstate
from farm.worker import unit
from farm.worker.unit import Unit
from tests.conftest import Suites


def test_spoilt_guest_is_not_used_again(
    real: tuple[Path, Built], suites: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On real machines, whose files tell one from another."""
    root, built = real
    monkeypatch.setenv("FTRACE_FARM_CACHE", str(root))
    unit.save(suites.directory, [Unit(Order(["x86_64-regs"], None, None, str(MATRIX)), "", accel="tcg")])
    cellstate.tell_built(suites.directory, built)
    seen = suites(
        test_a="""
        import pytest

        def visits(guest):
            return guest.connection.run("echo x >> /tmp/visits; wc -l < /tmp/visits", guest.deadline(20)).stdout.strip()

        def test_first(guest): assert visits(guest) == "1"
        @pytest.mark.spoils_guest
        def test_second(guest): assert visits(guest) == "2"
        def test_third(guest): assert visits(guest) == "1"
        """
    )
    said = {name.rpartition(":")[2]: verdict["reason"] or verdict["verdict"] for name, verdict in seen.verdicts.items()}
    assert said == {"test_first": "PASS", "test_second": "PASS", "test_third": "PASS"}
