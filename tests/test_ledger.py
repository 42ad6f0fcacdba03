# SPDX-License-Identifier: GPL-2.0
"""The ledger of a run: what an executor tells is kept, and no test is forgotten."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from farm import artifact
from farm.artifact import Ref
from farm.base.errors import Exit, FarmError, UsageError
from farm.kernel.builder import Built, Event
from farm.record import cellstate, records
from farm.record.records import Planned
from farm.record.verdict import Verdict
from farm.report.live import Live
from farm.run.ledger import Ledger
from tests.test_records import RUN, record

CELLS = RUN.cells


def planned(*names: str) -> list[Planned]:
    return [Planned(name, "slots", CELLS[0]) for name in names]


@pytest.fixture
def ledger(tmp_path: Path, cache_root: Path) -> Ledger:
    """Of a run over two cells."""
    records.save_run(tmp_path, RUN)
    live = Live(Console(file=(tmp_path / "screen").open("w")))
    live.cells(CELLS)
    return Ledger(tmp_path, RUN, live)


def built(cell: str) -> Event:
    def fill(directory: Path) -> None:
        (directory / "config").write_text(f"CONFIG_OF={cell}")

    refs = artifact.make("kernels", cell, fill), Ref("programs", "p"), Ref("modules", "m")
    return Event("built", cell, built=Built(cell, "s", "c", "t", cell, *refs, False))


def failed(cell: str, status: Exit, text: str = "why") -> Event:
    return Event("failed", cell, text, int(status))


def test_full_disk_is_told(ledger: Ledger, tmp_path: Path) -> None:
    """What the run had is safe, and the message says how to go on."""
    path = tmp_path / "verdicts.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(FarmError) as raised:
        ledger.verdict(record(Verdict.PASS))
    assert str(raised.value).startswith(f"{path}: No space left on device; ")
    assert f"`farm run --resume {tmp_path}`" in str(raised.value)
    assert ledger.records == []


def test_full_disk_at_the_plan_is_told(ledger: Ledger, tmp_path: Path) -> None:
    """The message names the file, as that of a verdict does."""
    (tmp_path / ".run.json.partial").symlink_to("/dev/full")
    with pytest.raises(FarmError) as raised:
        ledger.planned(planned("test_x"))
    assert str(raised.value).startswith(f"{tmp_path}/run.json: No space left on device")
    assert records.load_run(tmp_path) == RUN


def test_verdict_that_is_on_disk_is_not_lost(ledger: Ledger, tmp_path: Path) -> None:
    """If the interrupt came when it was written, and before the ledger knew of it."""
    ledger.planned(planned("test_there", "test_missing"))
    records.append_verdict(tmp_path, record(Verdict.PASS, "test_there"))
    ledger.account("the run was interrupted")
    assert [(one.test, one.verdict) for one in records.load_verdicts(tmp_path)] == [
        ("test_there", Verdict.PASS),
        ("test_missing", Verdict.LOST),
    ]


def test_a_plan_without_tests_is_wrong_usage(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="-k '' selects no test"):
        ledger.planned([])
    resumed = Ledger(tmp_path, RUN, Live(Console(quiet=True)), [record(Verdict.PASS)])
    resumed.planned([])
    assert records.load_run(tmp_path).planned == 1, "a run that had all its verdicts"


def test_kernel_is_kept_with_the_cell(ledger: Ledger, tmp_path: Path) -> None:
    ledger.build_event(built(CELLS[0]))
    assert (tmp_path / "cells" / CELLS[0] / "config").read_text() == f"CONFIG_OF={CELLS[0]}"
    assert cellstate.wait_built(tmp_path, CELLS[0], 0.3).kernel == Ref("kernels", CELLS[0])


def test_another_kernel_than_the_run_began_with(ledger: Ledger, tmp_path: Path) -> None:
    event = built(CELLS[0])
    assert event.built
    cellstate.tell_built(tmp_path, replace(event.built, kernel_key="another"))
    with pytest.raises(UsageError, match="would go on with another kernel than it began with"):
        ledger.build_event(event)


def test_trouble_of_every_cell_ends_the_run(ledger: Ledger, tmp_path: Path) -> None:
    """It is the host's. In one message, and no cell is said to have failed."""
    ledger.build_event(failed(CELLS[0], Exit.FARM))
    with pytest.raises(FarmError, match=r"^why$"):
        ledger.build_event(failed(CELLS[1], Exit.FARM))
    assert not list(tmp_path.glob("cells/*/failed.json"))


def test_trouble_of_one_cell_is_its_own(ledger: Ledger, tmp_path: Path) -> None:
    """It is held back only as long as it may be that of every cell."""
    ledger.build_event(failed(CELLS[0], Exit.FARM))
    assert cellstate.load_failure(tmp_path, CELLS[0]) is None
    ledger.build_event(built(CELLS[1]))
    assert cellstate.load_failure(tmp_path, CELLS[0]) == ("why", Exit.FARM)


def test_kernel_that_does_not_build_is_told_with_its_log(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("x.c:1: error: no")
    ledger.build_event(replace(failed(CELLS[0], Exit.KERNEL), log=str(tmp_path / "log")))
    assert json.loads((tmp_path / "cells" / CELLS[0] / "failed.json").read_text()) == {"text": "why", "exit": 1}
    assert (tmp_path / "cells" / CELLS[0] / "build.log").read_text() == "x.c:1: error: no"


def test_wrong_usage_ends_the_run(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="why"):
        ledger.build_event(failed(CELLS[0], Exit.USAGE))


def test_distrust_of_kvm_is_kept(ledger: Ledger, tmp_path: Path) -> None:
    ledger.distrusted("it stayed silent")
    run = records.load_run(tmp_path)
    assert (run.accel, run.accel_reason, run.distrusted) == ("tcg", "it stayed silent", "it stayed silent")
