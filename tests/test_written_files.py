# SPDX-License-Identifier: GPL-2.0
"""Files that a person, a crash or a full disk may have left in any state: reading one gives a
value or an error with blame, and nothing else."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farm import matrix
from farm.artifact import Ref
from farm.base import stored
from farm.base.errors import Blamed, Exit
from farm.guest import image
from farm.hunt import evidence, mutant, mutants
from farm.hunt.evidence import Answer, Evidence, Failure, Hunt, Role, Status
from farm.hunt.mutants import Outcome, Score, Scores
from farm.kernel import kconfig, series
from farm.kernel.builder import Built, Order
from farm.nightly import night
from farm.nightly.night import Night, Step
from farm.record import cellstate, records
from farm.record.records import Planned, Run, Slot, VerdictRecord
from farm.record.verdict import Verdict
from farm.tell import config
from farm.worker import unit
from farm.worker.unit import Unit
from tests.command.bad_input import DIFF, GOOD_MATRIX, PATCH

RUN = Run(
    id="r", command=["farm"], tree=None, series="s", select="", cells=["c"], accel="tcg", accel_reason="", workers=2,
    host={"cores": "2"}, versions={}, matrix="m", started="2026-01-01T00:00:00+00:00", exit=1,
)  # fmt: skip
VERDICT = VerdictRecord(
    "t", "s", "c", Verdict.FAIL, 0.5, "why", slots=(Slot("arg1", "rdi", 112, 1 << 63),), span=(1, 2)
)
HUNT = Hunt(
    id="h", command=["farm"], tree="t", good="a", bad="b", good_name="a", bad_name="b", cell="c", series=None,
    select="k", confidence=0.99, suspects=3, steps=2, started="2026-01-01T00:00:00+00:00", status=Status.RUNNING,
    failure=Failure("m", "s", "t", "r", "k", ("o",)), evidence=[Evidence(Role.STEP, "a", "s", Answer.GOOD)],
)  # fmt: skip
KERNEL = Ref("kernels", "k"), Ref("programs", "p"), Ref("modules", "m")
NIGHT = Night(
    "n", "2026-01-01T00:00:00+00:00", 60.0, ("--results", "r"), ("left",), (Step("cells", ("run", "c"), 5.0),)
)
BUILT = Built("c", "source", "commit", "content", "key", *KERNEL, False, 2.5)
MUTANT = PATCH.format(author="A", diff=DIFF).replace(
    "A change.\n", "A change.\n\nCells: x86_64-regs\nSuites: slots\nSymptom: FAIL arg6 \\(r9\n"
)
TELL = "when: always\nmail:\n  to: [a@b]\n  sender: c@d\n  smtp: {host: h, port: 25}\nwebhook: {url: https://x/}\n"


def whole(value: Any) -> bytes:
    return json.dumps(asdict(value)).encode()


def in_it(name: str, load: Callable[[Path], Any]) -> tuple[str, Callable[[Path], Any]]:
    """A reader that is given the directory of its file."""
    return name, lambda file: load(file.parent)


def in_cell(name: str, load: Callable[[Path, str], Any]) -> tuple[str, Callable[[Path], Any]]:
    return f"cells/c/{name}", lambda file: load(file.parent.parent.parent, "c")


def _matrix(file: Path) -> matrix.Matrix:
    return matrix.load.__wrapped__(file)


#: Each file: its name, what reads it, and a whole one.
FILES: dict[str, tuple[tuple[str, Callable[[Path], Any]], bytes]] = {
    "matrix.yaml": (("kconfigs/matrix.yaml", _matrix), GOOD_MATRIX.encode()),
    "tell.yaml": (("tell.yaml", config.load), TELL.encode()),
    "initramfs.yaml": (("initramfs.yaml", image._parse), image.RECIPE.read_bytes()),
    "fragment": (("regs.config", kconfig.read), b"CONFIG_A=y\n# CONFIG_B is not set\n# more\nCONFIG_C=\"x\"\n"),
    "patch": (("0001-a.patch", series.content), MUTANT.encode()),
    "mutants": (in_it("0001-a.patch", lambda where: mutant.load(matrix.load(), where)), MUTANT.encode()),
    "run.json": (in_it("run.json", records.load_run), whole(RUN)),
    "verdicts.jsonl": (in_it("verdicts.jsonl", records.load_verdicts), (whole(VERDICT) + b"\n") * 3),
    "units.json": (
        in_it("units.json", unit.load),
        json.dumps([asdict(Unit(Order(["c"], None, None, "m"), "/s", done=(Planned("t", "s", "c"),)))] * 2).encode(),
    ),
    "built.json": (in_cell("built.json", cellstate.load_built), whole(BUILT)),
    "failed.json": (in_cell("failed.json", cellstate.load_failure), b'{"text": "why", "exit": 1}'),
    "state of a hunt": (in_it("state.json", evidence.load), whole(HUNT)),
    "score.json": (
        in_it("score.json", mutants.load_scores),
        whole(Scores("finished", "2026", 5.0, (Score("m", Outcome.CAUGHT, "c"),))),
    ),
    "state of a night": (("nightly-20260101-000000/state.json", lambda file: night.last(file.parent.parent)),
                         whole(NIGHT)),
}  # fmt: skip

#: What may stand in a file where something else did.
STRANGE = [
    b"", b"null", b"[]", b"{}", b"1e999", b"-1", b"\"\\ud800\"", b"true", b"\xff\xfe", b"\x00", b": ", b"- ", b"NaN",
    b"&a [*a]", b"[" * 3000, b'{"a":' * 3000, b"!!python/object:os.system x", b"a: 2026-13-45", b"\n---\n", b"9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_a_whole_one_is_read(kind: str) -> None:
    """Or the examples below would break what is broken."""
    (name, load), good = FILES[kind]
    with TemporaryDirectory() as place:
        assert load(_written(Path(place), name, good))


@pytest.mark.parametrize("kind", FILES)
def test_strange_and_cut_off_ones_are_a_value_or_an_error_with_blame(kind: str) -> None:
    _, good = FILES[kind]
    for text in [*STRANGE, *(good[: len(good) * part // 16] for part in range(16))]:
        _check(kind, text)


@pytest.mark.parametrize("kind", FILES)
def test_any_other_is_a_value_or_an_error_with_blame(kind: str) -> None:
    _, good = FILES[kind]

    @given(st.integers(0, len(good)), st.integers(0, len(good)), st.binary(max_size=40) | st.sampled_from(STRANGE))
    @settings(max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    def broken(start: int, end: int, foreign: bytes) -> None:
        _check(kind, good[:start] + foreign + good[max(start, end) :])

    broken()


def _check(kind: str, text: bytes) -> None:
    (name, load), _ = FILES[kind]
    with TemporaryDirectory() as place:
        file = _written(Path(place), name, text)
        complaint = _blamed(load, file)
    if complaint:
        assert complaint.exit is Exit.USAGE
        assert file.name in str(complaint), "the file is named"
        assert len(str(complaint).splitlines()) <= 24


def _blamed(load: Callable[[Path], Any], file: Path) -> Blamed | None:
    try:
        load(file)
    except Blamed as error:
        return error
    return None


def _written(place: Path, name: str, text: bytes) -> Path:
    for directory in ("kconfigs/x86_64", "patches/mine"):
        (place / directory).mkdir(parents=True)
    for fragment in ("base", "regs"):
        (place / f"kconfigs/x86_64/{fragment}.config").write_text("CONFIG_X=y\n")
    file = place / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text)
    return file


KEYS = sorted(asdict(HUNT))


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
))  # fmt: skip
@settings(max_examples=60, derandomize=True)
def test_json_of_any_shape_is_a_record_or_a_complaint(raw: Any) -> None:
    for kind in (Run, VerdictRecord, Hunt, Scores, Night, Built):
        with suppress(ValueError):
            stored.made(asdict(HUNT) | raw if isinstance(raw, dict) else raw, kind)


@pytest.mark.parametrize("value, kind", [(RUN, Run), (VERDICT, VerdictRecord), (HUNT, Hunt), (NIGHT, Night)])
def test_what_was_written_is_read(value: Any, kind: type[Any]) -> None:
    assert stored.parse(whole(value), kind) == value
