# SPDX-License-Identifier: GPL-2.0
"""The site: its pages as text. tests/test_browser.py has them as a person sees them."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit
from xml.etree import ElementTree

import html5lib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.base.errors import FarmError, UsageError
from farm.history import reading
from farm.history.index import index
from farm.matrix import CHECKOUT
from farm.record import records
from farm.record.records import VerdictRecord
from farm.record.verdict import Verdict
from farm.report.site import excerpt, files, plots, render
from farm.report.site.make import make
from farm.run import patches
from tests import nights

texts = st.text(st.characters(exclude_categories=()))


# Names and files.


@given(st.lists(texts, min_size=1, max_size=4))
def test_file_names_are_safe(names: list[str]) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", files.safe(*names))
    assert len(files.safe(*names)) < 80


@pytest.mark.parametrize(
    "one, other",
    [(("a", "b"), ("a-b",)), (("a/b",), ("a b",)), (("A",), ("a",)), (("\ud800",), ("?",)), (("",), ("-",))],
)
def test_other_names_are_other_files(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert files.safe(*one).lower() != files.safe(*other).lower()


def test_same_page_is_not_written(tmp_path: Path) -> None:
    page = tmp_path / "a/page.html"
    assert files.write(page, "x")
    before = page.stat().st_mtime_ns
    assert not files.write(page, "x")
    assert page.stat().st_mtime_ns == before
    assert files.write(page, "y")
    assert page.read_text() == "y"


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the page reaches the disk: the old one stays, and no half is left."""
    page = tmp_path / "page.html"
    files.write(page, "old")
    write_bytes = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        write_bytes(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FarmError, match=r"page\.html: the disk is full; make room .* verdicts are untouched"):
        files.write(page, "new and longer")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert page.read_text() == "old"


def test_what_html_cannot_carry(tmp_path: Path) -> None:
    files.write(tmp_path / "p", "a\0b\x1b[1m\ud800\ufffe\u202eü𝄞\n\tc")
    assert (tmp_path / "p").read_text() == "a\ufffdb\ufffd[1m\ufffd\ufffd\ufffdü𝄞\n\tc"


# The frame.


def test_wrong_bytes_stand_out() -> None:
    shown = str(render.hexadecimal(0x23016745AB89EF00, 0x23016745AB89EFC2))
    assert shown == '<span class="half">23016745</span><span class="half">ab89ef<i>00</i></span>'
    assert "<i>" not in render.hexadecimal(7, 7)


# The console.


def crashed(tmp_path: Path, console: str, span: tuple[int, int] | None = None) -> excerpt.Excerpt:
    log = tmp_path / "cells/c/console-1.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(console.encode())
    span = span or (0, len(console.encode()))
    record = records.VerdictRecord("t", "s", "c", Verdict.CRASH, 1.0, console="console-1.log", span=span)
    return excerpt.excerpt(tmp_path, record)


def test_complaint_is_marked(tmp_path: Path) -> None:
    start = len(nights.BEFORE)
    shown = crashed(tmp_path, nights.CONSOLE, (start, start + len(nights.MINE)))
    assert [(block.kind, len(block.lines)) for block in shown.blocks] == [("", 2), ("WARN", 6)]
    assert "target: <b>loaded</b> & ready" in shown.blocks[0].lines[0]
    assert "WARNING: CPU: 0" in shown.blocks[1].lines[0]
    assert shown.blocks[1].lines[-1].endswith("---[ end trace 0000000000000000 ]---")
    assert not shown.lacks


def test_two_complaints_are_two(tmp_path: Path) -> None:
    shown = crashed(tmp_path, nights.SPLAT + nights.SPLAT)
    assert [block.kind for block in shown.blocks] == ["", "WARN", "", "WARN"]


def test_long_console_is_cut(tmp_path: Path) -> None:
    """The complaint with what leads to it, and the end; what is between is counted."""
    noise = "".join(f"[    5.{n:06}] noise {n}\n" for n in range(1000))
    shown = crashed(tmp_path, noise + nights.SPLAT + noise)
    first, splat, last = shown.blocks
    assert (first.left, len(first.lines)) == (1001 - excerpt.LINES_BEFORE, excerpt.LINES_BEFORE)
    assert splat.kind == "WARN"
    assert (last.left, len(last.lines)) == (1000 - excerpt.LAST_LINES, excerpt.LAST_LINES)
    assert last.lines[-1].endswith("noise 999")


def test_no_console(tmp_path: Path) -> None:
    record = records.VerdictRecord("t", "s", "c", Verdict.CRASH, 1.0, console="console-1.log")
    assert excerpt.excerpt(tmp_path, record).lacks == "The run directory lacks cells/c/console-1.log."
    assert "names no console" in excerpt.excerpt(tmp_path, replace(record, console="")).lacks
    assert "said nothing" in crashed(tmp_path, "").lacks


# Plots.


@given(st.floats(1e-6, 1e9))
def test_scale_is_round_and_reaches(largest: float) -> None:
    ticks = plots.scale(largest)
    assert ticks[0] == 0
    assert ticks[-1] >= largest * (1 - 1e-9)
    assert ticks[-2] < largest * (1 + 1e-9)
    assert 3 <= len(ticks) <= 7


def test_plot_keeps_the_peak_of_many() -> None:
    points = [plots.Point(str(n), 1.0) for n in range(1000)]
    points[333] = plots.Point("peak", 50.0)
    drawn = str(plots.plot("title <b>", points, "s"))
    assert len(re.findall(r"\d+\.\d,\d+\.\d", drawn)) <= plots.MOST_POINTS
    assert f",{plots.TOP:.1f}" in drawn
    assert "title &lt;b&gt;" in drawn
    assert "from 1 s to 50 s" in drawn
    assert ">50 s</text>" in drawn


def test_plot_of_nothing() -> None:
    assert "no values" in plots.plot("t", [plots.Point("a", None)])


# The site of three nights.


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three nights, and the site of the last; who changes it takes a copy."""
    where = tmp_path_factory.mktemp("results")
    for night in range(3):
        nights.write_night(where, night)
    nights.write_score(where, "20260301-040000", {"a": "caught", "b": "survived"})
    nights.write_score(where, "20260302-040000", {"a": "caught", "b": "caught otherwise", "c": "error"})
    index(where)
    make(where)
    return where


@pytest.fixture
def copy(results: Path, tmp_path: Path) -> Path:
    return shutil.copytree(results, tmp_path / "copy", copy_function=shutil.copy2)


def html(results: Path) -> list[Path]:
    return sorted((results / "site").rglob("*.html"))


def parsed(page: Path) -> ElementTree.Element:
    """A page as a browser reads it. Raises where it would have to guess."""
    tree: ElementTree.Element = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page.read_text())
    return tree


def shown(page: Path) -> str:
    """The text of a page, without that of its head."""
    body = parsed(page).find("body")
    assert body is not None
    return " ".join("".join(body.itertext()).split())


def failure(results: Path, night: int, cell: str, suite: str, test: str) -> Path:
    return results / "site" / files.failure_page(nights.NIGHTS[night], cell, suite, test)


def test_every_kind_of_page_is_there(results: Path) -> None:
    names = [str(page.relative_to(results / "site")) for page in html(results)]
    tests = sum(map(len, nights.TESTS.values()))
    assert [name for name in names if "/" not in name] == [
        "cells.html",
        "index.html",
        "runs.html",
        "tests.html",
        "trends.html",
    ]
    assert sum(name.startswith("tests/") for name in names) == tests
    assert sum(name.startswith("cells/") for name in names) == len(nights.CELLS)
    assert sum(name.startswith("runs/") for name in names) == len(nights.NIGHTS)
    bad = sum(
        nights.verdict(night, cell, suite, test).bad
        for night in range(3)
        for cell in nights.CELLS
        for suite, names in nights.TESTS.items()
        for test in names
    )
    assert sum(name.startswith("failures/") for name in names) == bad > 20


def test_pages_are_sound(results: Path) -> None:
    """They parse without an error, every link of them leads to something that is
    there, each id is there once, and they need nothing from outside."""
    ids: dict[Path, list[str]] = {}
    links: list[tuple[Path, str]] = []
    for page in html(results):
        assert page.stat().st_size < 300_000
        tree = parsed(page)
        ids[page.resolve()] = [element.get("id", "") for element in tree.iter() if element.get("id")]
        assert len(set(ids[page.resolve()])) == len(ids[page.resolve()]), page
        links += [(page, link) for element in tree.iter() for name in ("href", "src") if (link := element.get(name))]
        assert not tree.findall(".//script")
        assert not [name for element in tree.iter() for name in element.attrib if name.startswith("on")]
        assert tree.find(".//main") is not None
        assert len(tree.findall(".//h1")) == 1
        assert all(cell.get("scope") for cell in tree.findall(".//th"))
    assert len(links) > 500
    for page, link in links:
        if link == "data:,":
            continue
        address, anchor = urldefrag(link)
        assert not urlsplit(link).scheme
        target = (page.parent / unquote(address)).resolve() if address else page.resolve()
        assert target.is_file(), f"{page}: {link}"
        if anchor:
            assert unquote(anchor) in ids[target], f"{page}: {link}"


@pytest.mark.parametrize("name", nights.NASTY)
def test_names_are_shown_as_text(results: Path, name: str) -> None:
    test = f"test_name[{name}]"
    visible = " ".join(test.replace("\u202e", "\ufffd").replace("\ud800", "\ufffd").split())
    site = results / "site"
    pages = [
        site / "index.html",
        site / "tests.html",
        site / files.test_page("privileges", test),
        site / files.cell_page("x86_64-regs"),
        failure(results, 2, "x86_64-regs", "privileges", test),
    ]
    for page in pages:
        assert visible in shown(page), page


def test_failure_says_all(results: Path) -> None:
    page = failure(results, 2, "x86_64-regs", "slots", nights.REGRESSION)
    text = shown(page)
    assert "FAIL test_arguments[args6-ftrace_caller-function]" in text
    assert "arg2 (rsi, 104(%rsp)) was passed as 0x23016745ab89efc2" in text
    assert "farm run x86_64-regs -k 'test_arguments[x86_64-regs-args6-ftrace_caller-function]'" in text
    wrong = [row for row in parsed(page).iter("tr") if row.get("class") == "wrong"]
    assert [" ".join("".join(row.itertext()).split()) for row in wrong] == [
        "arg2, wrong rsi, 104(%rsp) 23016745ab89efc2 wrong: 1032547698badcf1 wrong: 23016745ab89ef00 23016745ab89efc2"
    ]
    assert "arg6 r9, no slot" in text
    assert "E SlotsDiffer: arg2" in text


def test_crash_has_its_complaint_marked(results: Path) -> None:
    page = failure(results, 0, "x86_64-kasan", "routes", nights.CRASH)
    (splat,) = [element for element in parsed(page).iter("div") if element.get("class") == "splat"]
    assert splat.get("aria-label") == "Complaint: WARN"
    assert "WARNING: CPU: 0" in "".join(splat.itertext())
    assert "target: <b>loaded</b> & ready" in shown(page)
    assert "of another test" not in shown(page)
    links = [str(element.get("href")).rpartition("/")[2] for element in parsed(page).iter("a")]
    assert [link for link in links if link.startswith("console-")] == ["console-1.log"], "not that of another guest"
    assert "config" in links


def test_first_page_of_a_worse_night(copy: Path) -> None:
    """Where, since when, and what to type."""
    make(copy, nights.NIGHTS[1])
    text = shown(copy / "site/index.html")
    assert "▼ Worse than before: 3 new failures, 6 still failing In x86_64-kasan, x86_64-regs, x86_64-regs-fp" in text
    assert "x86_64-regs, x86_64-regs-fp · since 2026-03-02 02:00; passed last 2026-03-01 02:00" in text
    assert "farm run x86_64-regs -k 'test_arguments[x86_64-regs-args6-ftrace_caller-function]'" in text
    assert "slots: 1 of 3 failed, worse than before: none bad then" in text
    links = {"".join(link.itertext()): link.get("href") for link in parsed(copy / "site/index.html").iter("a")}
    page = failure(copy, 1, "x86_64-kasan", "routes", nights.CRASH).relative_to(copy / "site")
    assert links["✗ CRASH"] == str(page)


def test_first_page_of_a_better_night(results: Path) -> None:
    text = shown(results / "site/index.html")
    assert "▲ Better than before: 1 fixed, 8 still failing" in text
    assert "routes: 1 of 3 failed, better than before: 2 bad then" in text


def test_first_page_of_the_first_night(copy: Path) -> None:
    make(copy, nights.NIGHTS[0])
    text = shown(copy / "site/index.html")
    assert "✗ 6 failures in the first run" in text
    assert "There is no earlier run to compare it with" in text


def headline(results: Path) -> str:
    heading = parsed(results / "site/index.html").find(".//h1")
    assert heading is not None
    return "".join(heading.itertext())


def test_first_page_has_the_whole_night(copy: Path) -> None:
    """The kernel's own tests and the mutants that went with the run, what the night says besides; and not
    those of another night."""
    for night in range(3):
        nights.write_own_tests(copy, night)
    (copy / nights.NIGHTS[2] / reading.NIGHT).write_text(
        '{"news": ["mutant <m> survived"], "notes": ["left out: x86_64-kcfi"]}'
    )
    index(copy)
    make(copy, nights.NIGHTS[1])
    text = shown(copy / "site/index.html")
    assert headline(copy) == "▼ Worse than before: 3 new failures, 6 still failing"
    assert "The kernel's own tests: 1 new failure Mutants: 2 of 2 caught, 1 undecided" in text
    assert "test.d/ftrace/<b>func</b>.tc in x86_64-regs · since" in text
    assert "farm selftests x86_64-regs -k 'test.d/ftrace/<b>func</b>.tc'" in text
    assert "left out" not in text
    test_pages_are_sound(copy)
    own = nights.NIGHTS[1].replace("-02", "-03"), nights.OWN_CELL, "selftests", nights.OWN_TESTS[nights.OWN_WORSE]
    text = shown(copy / "site" / files.failure_page(*own))
    assert "base-1.log · patched-1.log" in text
    assert "before all tests, line 0" in text
    assert "What is missing here" not in text
    make(copy)
    text = shown(copy / "site/index.html")
    assert headline(copy) == "▼ Worse than before: mutant <m> survived, 1 fixed, 8 still failing"
    assert "The kernel's own tests: 1 fixed" in text
    assert "The night left out: x86_64-kcfi" in text
    assert "Mutants" not in text
    make(copy, nights.NIGHTS[0])
    assert "Mutants: 1 of 2 caught" in shown(copy / "site/index.html")
    assert "farm mutants b" in shown(copy / "site/index.html")


def test_own_tests_are_not_the_first_page(copy: Path) -> None:
    """Also not those that were killed before they said what they are."""
    own = nights.write_own_tests(copy, 2)
    (own / "comparison.json").unlink()
    index(copy)
    make(copy)
    assert f"Run {nights.NIGHTS[2]}" in shown(copy / "site/index.html")
    assert "test.d/ftrace/<b>func</b>.tc" in shown(copy / "site/tests.html")


def later(results: Path, keep: Callable[[VerdictRecord], bool], **more: object) -> None:
    """One more night, with those verdicts of the last one that are kept."""
    run = nights.write_run(results, "20260304-020000", nights.CELLS)
    for record in records.load_verdicts(results / nights.NIGHTS[2]):
        if keep(record):
            records.append_verdict(run, record)
    records.update_run(run, **more)
    index(results)
    make(results)


def test_tests_that_are_gone_are_worse(copy: Path) -> None:
    later(copy, lambda record: record.suite != "routes")
    assert headline(copy) == "▼ Worse than before: 12 gone, 7 still failing"
    text = shown(copy / "site/index.html")
    assert text.index("The matrix") < text.index("Gone 12") < text.index("Still failing 7")


def test_matrix_marks_what_is_not_the_same(copy: Path) -> None:
    """As many are bad as before, and others."""

    def other(record: VerdictRecord) -> VerdictRecord:
        turned = {nights.CRASH: Verdict.PASS, nights.FLAKE: Verdict.FAIL}
        if record.cell != "x86_64-kasan" or record.test not in turned:
            return record
        return replace(record, verdict=turned[record.test], reason="now this")

    run = nights.write_run(copy, "20260304-020000", nights.CELLS)
    for record in records.load_verdicts(copy / nights.NIGHTS[2]):
        records.append_verdict(run, other(record))
    index(copy)
    make(copy)
    text = shown(copy / "site/index.html")
    assert "routes: 1 of 3 failed, worse than before: 1 bad then" in text
    assert "privileges: 5 of 6 failed, " not in text


def test_a_run_that_was_cut_off_says_so(copy: Path) -> None:
    """What it did not come to is no failure."""
    lost = Verdict.LOST
    later(copy, lambda record: record.suite != "routes", status="interrupted", planned=48)
    assert headline(copy) == "! Interrupted: 36 of 48 tests have a verdict; 7 still failing"
    run = copy / "20260304-020000"
    for record in records.load_verdicts(copy / nights.NIGHTS[2]):
        if record.suite == "routes":
            records.append_verdict(run, replace(record, verdict=lost, reason="the run was interrupted"))
    index(copy)
    make(copy)
    assert headline(copy) == "! Interrupted: 36 of 48 tests have a verdict; 7 still failing"


def test_commit_between_two_nights_can_be_looked_for(copy: Path) -> None:
    """In a tree of the user's, where it is not the same."""
    for night, commit in zip(nights.NIGHTS, "abc", strict=True):
        records.update_run(copy / night, tree="/home/me/linux@next")
        for built in (copy / night).glob("cells/*/built.json"):
            built.write_text(json.dumps({**json.loads(built.read_text()), "commit": commit * 40}))
    index(copy)
    make(copy)
    text = shown(copy / "site/index.html")
    assert "commit aaaaaaaaaaaa to bbbbbbbbbbbb" in text
    between = f"--good {'a' * 40} --bad {'b' * 40}"
    assert f"Find the commit farm bisect --tree /home/me/linux {between} --cell x86_64-regs -k 'test_arg" in text
    for night in nights.NIGHTS:
        for built in (copy / night).glob("cells/*/built.json"):
            built.write_text(json.dumps({**json.loads(built.read_text()), "commit": "c" * 40}))
        os.utime(copy / night / "run.json")  # or it would be known as it was
    assert f"at {'c' * 12}; before: debian-6.12 + series (7 patches) at {'b' * 12}" in text
    index(copy)
    make(copy)
    assert "farm bisect" not in shown(copy / "site/index.html")


def test_test_shows_its_history(results: Path) -> None:
    page = results / "site" / files.test_page("slots", nights.REGRESSION)
    text = shown(page)
    assert "FAIL in 2 cells, PASS in 1 cell, SKIP in 1 cell" in text
    assert "x86_64-regs ✗ FAIL 2026-03-02 2 of 3" in text
    assert "2026-03-02 02:00 x86_64-regs ✓ PASS ✗ FAIL" in text
    labels = [element.get("aria-label") for element in parsed(page).iter() if element.get("class") == "strip"]
    assert labels.count("2 FAIL, 1 PASS") == 2


def test_cell_shows_its_kernel(results: Path) -> None:
    text = shown(results / "site" / files.cell_page("x86_64-kasan"))
    assert "CONFIG_KASAN_STACK=y: needs CC_IS_CLANG" in text
    assert "40 options that are set" in text
    assert "CONFIG_OPTION_7=y" in text
    assert "debian-6.12 + series (7 patches)" in text
    assert "the tree took every option" in shown(results / "site" / files.cell_page("x86_64-regs"))


def test_trends(results: Path) -> None:
    text = shown(results / "site/trends.html")
    assert "Mutation score" in text
    assert "2 values, from 50 % to 100 %, the last 100 %." in text
    assert "3 values, from 6 to 9, the last 8." in text
    assert "3 values, from 60 min to 60 min, the last 60 min." in text
    axes = [
        "".join(text.itertext()) for text in parsed(results / "site/trends.html").iter() if text.tag.endswith("text")
    ]
    assert {"60 min", "100 %"} <= set(axes)


def changed(results: Path, before: dict[Path, int]) -> set[str]:
    return {
        str(page.relative_to(results / "site")) for page in html(results) if page.stat().st_mtime_ns != before.get(page)
    }


def test_what_did_not_change_is_not_written(copy: Path) -> None:
    before = {page: page.stat().st_mtime_ns for page in html(copy)}
    make(copy)
    assert not changed(copy, before)
    partial = copy / nights.NIGHTS[2]
    verdicts = [record for record in records.load_verdicts(partial) if record.suite == "routes"]
    run = nights.write_run(copy, "20260304-020000", ["x86_64-regs"])
    for record in verdicts:
        if record.cell == "x86_64-regs":
            records.append_verdict(run, record)
    index(copy)
    make(copy)
    written = changed(copy, before)
    assert files.cell_page("x86_64-regs") in written
    assert files.cell_page("x86_64-off") not in written
    assert not [name for name in written if name.startswith("failures/")]


def test_another_farm_writes_all_anew(copy: Path) -> None:
    page = failure(copy, 0, "x86_64-kasan", "routes", nights.CRASH)
    text = page.read_text()
    page.write_text("of an older farm")
    make(copy)
    assert page.read_text() == "of an older farm"
    (copy / "site/.made-by").write_text("an older farm")
    make(copy)
    assert page.read_text() == text


def test_run_directory_that_lacks_files(copy: Path) -> None:
    """The pages say what is not there, and have no link to it."""
    night = copy / nights.NIGHTS[2]
    os.unlink(night / "cells/x86_64-kasan/console-1.log")
    os.unlink(night / "cells/x86_64-kasan/dropped-options")
    (night / "cells/x86_64-kasan/metadata.json").write_text("{cut o")
    shutil.rmtree(night / "cells/x86_64-regs")
    shutil.rmtree(copy / "site")
    make(copy)
    text = shown(failure(copy, 2, "x86_64-kasan", "routes", nights.CRASH))
    assert "The run directory lacks cells/x86_64-kasan/console-1.log." in text
    assert "The run directory lacks cells/x86_64-kasan/dropped-options." in text
    assert "cells/x86_64-kasan/metadata.json cannot be read" in text
    assert "The run directory lacks cells/x86_64-regs." in shown(copy / "site" / files.cell_page("x86_64-regs"))
    test_pages_are_sound(copy)


@pytest.mark.parametrize("value", [None, 5, "x", [1], {"a": None}, "\ud800", ["\ud800"]], ids=ascii)
def test_fields_that_are_something_else(copy: Path, value: object) -> None:
    """Of another farm: the others are shown, and of this one what can be read."""
    night = copy / nights.NIGHTS[1]
    run, verdicts = (night / name for name in ("run.json", "verdicts.jsonl"))
    whole, lines = json.loads(run.read_text()), verdicts.read_text().splitlines()
    for name in ("id", "cells", "command", "tree", "patches", "versions", "matrix"):
        run.write_text(json.dumps({**whole, name: value}))
        index(copy)
        make(copy)
    run.write_text(json.dumps(whole))
    names = sorted(json.loads(lines[0]))
    changed = [json.dumps({**json.loads(line), name: value}) for line, name in zip(lines, names, strict=False)]
    verdicts.write_text("".join(f"{line}\n" for line in [*changed, *lines[len(changed) :]]))
    index(copy)
    make(copy, nights.NIGHTS[1])
    assert "verdicts.jsonl:" in shown(copy / "site/index.html")
    test_pages_are_sound(copy)


def test_run_directory_that_is_gone(copy: Path) -> None:
    """A page that was made before stays; one that was not says what the history knows."""
    stays = failure(copy, 0, "x86_64-kasan", "routes", nights.CRASH)
    before = stays.read_text()
    shutil.rmtree(copy / nights.NIGHTS[0])
    gone = failure(copy, 0, "x86_64-regs", "privileges", f"test_name[{nights.NASTY[0]}]")
    gone.unlink()
    index(copy)
    (copy / "site/.made-by").unlink()
    make(copy)
    assert stays.read_text() == before
    assert "The run directory is gone, only the history knows of it." in shown(gone)


def test_no_such_run(results: Path) -> None:
    with pytest.raises(UsageError, match="the history has no run 20250101-000000"):
        make(results, "20250101-000000")


def test_disk_fills_up_in_the_middle(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page is whole then, and the same command again makes the others."""
    shutil.rmtree(copy / "site")
    write_bytes, left = Path.write_bytes, [9]

    def filling(self: Path, data: bytes) -> int:
        left[0] -= 1
        if left[0] < 0:
            write_bytes(self, data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(self, data)

    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", filling)
        with pytest.raises(FarmError, match="the disk is full"):
            make(copy)
    assert 0 < len(html(copy)) <= 9
    for page in html(copy):
        parsed(page)
    assert not list((copy / "site").rglob("*.partial"))
    make(copy)
    test_pages_are_sound(copy)


# Runs that are not a night's.


def small(results: Path, name: str, verdicts: dict[str, Verdict], **more: object) -> Path:
    """A run of one cell with these verdicts of tests of the suite slots; it is in the history then."""
    run = nights.write_run(results, name, ["x86_64-regs"])
    asked = {"command": ["farm", "run", "x86_64-regs"], "planned": len(verdicts), **more}
    patches.keep(run, records.update_run(run, **asked).patches)
    nights.write_cell(run / "cells/x86_64-regs", "x86_64-regs", int(name[6:8]))
    for test, verdict in verdicts.items():
        frame = nights.FRAME if verdict is Verdict.FAIL else ()
        reason = "" if verdict is Verdict.PASS else f"{test}: arg2 (rsi, 104(%rsp)) was passed as 0x23016745ab89efc2"
        records.append_verdict(run, VerdictRecord(test, "slots", "x86_64-regs", verdict, 1.0, reason, slots=frame))
    index(results)
    make(results)
    return run


GOOD = {f"test_{letter}": Verdict.PASS for letter in "abc"}
BAD = {"test_a": Verdict.FAIL, "test_b": Verdict.FAIL, "test_c": Verdict.PASS}
PATCH = b"""From 0 Mon Sep 17 00:00:00 2001
Subject: [PATCH v2 3/7] x86/ftrace: Save <RSI> in
 the slot of RDI

diff --git a/a b/a
"""


@pytest.fixture
def patch(tmp_path: Path) -> str:
    path = tmp_path / "0003-save <rsi>.patch"
    path.write_bytes(PATCH)
    return str(path)


def test_patched_run_is_the_first_page(tmp_path: Path, patch: str) -> None:
    """Against the clean one, with its patch by name and subject as it was then; and nothing is compared with it."""
    results = tmp_path / "results"
    small(results, "20260101-000000", GOOD)
    assert headline(results) == "✓ All is well"
    run = small(results, "20260102-000000", BAD, patches=[patch], exit=1)
    Path(patch).write_bytes(PATCH.replace(b"Save", b"Do not save"))
    make(results)
    assert headline(results) == "▼ Patched: worse than the clean run: 2 new failures"
    text = shown(results / "site/index.html")
    assert "PATCHED 0003-save <rsi>.patch: x86/ftrace: Save <RSI> in the slot of RDI In x86_64-regs" in text
    assert "Compared with 20260101-000000" in text
    assert (run / "patches/01-0003-save <rsi>.patch").read_bytes() == PATCH
    assert "well" not in text
    for page in ("cells.html", files.cell_page("x86_64-regs"), "runs.html", files.run_page(run.name)):
        assert "PATCHED 0003-save <rsi>.patch" in shown(results / "site" / page), page
    links_lead_somewhere(results)
    small(results, "20260103-000000", BAD, exit=1)
    assert headline(results) == "▼ Worse than before: 2 new failures"
    assert "PATCHED" not in shown(results / "site/index.html")


def links_lead_somewhere(results: Path) -> None:
    """Every link of them leads to something that is there."""
    for page in html(results):
        for element in parsed(page).iter("a"):
            address, _ = urldefrag(element.get("href") or "")
            assert not address or (page.parent / unquote(address)).is_file(), f"{page}: {address}"


def test_poked_run_that_passes(tmp_path: Path) -> None:
    small(tmp_path, "20260101-000000", GOOD, pokes=["f:00=01"])
    assert headline(tmp_path) == "✓ Poked: 3 tests passed"
    assert "no earlier clean run to compare it with" in shown(tmp_path / "site/index.html")
    small(tmp_path, "20260102-000000", GOOD)
    assert headline(tmp_path) == "✓ All is well"
    small(tmp_path, "20260103-000000", GOOD, pokes=["f:00=01"], partial=True)
    assert headline(tmp_path) == "✓ Poked and partial: same as the clean run: all is well"
    assert "POKED f:00=01 PARTIAL the kernel has only part" in shown(tmp_path / "site/index.html")


SKIPPED = dict.fromkeys(GOOD, Verdict.SKIP)
PART = {"test_a": Verdict.PASS}


@pytest.mark.parametrize("with_earlier", [False, True], ids=["first", "later"])
@pytest.mark.parametrize(
    "verdicts, more, expected",
    [
        (PART, {"status": "running", "planned": 3}, "! Running, or killed: 1 of 3 tests have a verdict"),
        ({}, {"status": "running", "planned": 0}, "! Running, or killed: no test has a verdict"),
        (PART, {"status": "interrupted", "planned": 3}, "! Interrupted: 1 of 3 tests have a verdict"),
        ({**PART, "test_b": Verdict.LOST}, {"status": "interrupted"}, "! Interrupted: 1 of 2 tests have a verdict"),
        ({}, {"status": "refused"}, "! Refused: no test has a verdict"),
        (PART, {"status": "refused", "pokes": ["f:00=01"]}, "! Poked: refused: 1 of 1 tests have a verdict"),
        (PART, {"status": "of another farm"}, "! Not finished, of another farm: 1 of 1 tests have a verdict"),
        ({}, {}, "! Nothing was tested: no test has a verdict"),
        (SKIPPED, {"select": "x"}, "○ Nothing was tested: 3 tests skipped"),
    ],
)
def test_what_was_not_tested_is_not_well(
    tmp_path: Path, verdicts: dict[str, Verdict], more: dict[str, object], expected: str, with_earlier: bool
) -> None:
    if with_earlier:
        small(tmp_path, "20260101-000000", SKIPPED if verdicts is SKIPPED else GOOD)
    run = small(tmp_path, "20260102-000000", verdicts, **more)
    assert headline(tmp_path) == expected
    for page in ("index.html", "runs.html", files.run_page(run.name)):
        text = shown(tmp_path / "site" / page)
        assert "well" not in text, page
        assert "worse than the clean" not in text


def test_skipped_since_is_worse(tmp_path: Path) -> None:
    small(tmp_path, "20260101-000000", GOOD)
    small(tmp_path, "20260102-000000", SKIPPED)
    assert headline(tmp_path) == "▼ Worse than before: 3 gone"


def test_records_that_cannot_be_read_are_not_well(tmp_path: Path) -> None:
    run = small(tmp_path, "20260101-000000", GOOD)
    (run / "verdicts.jsonl").write_text((run / "verdicts.jsonl").read_text() + '{"cut o')
    index(tmp_path)
    make(tmp_path)
    assert headline(tmp_path) == "= 3 tests passed, as far as its records can be read"


def test_list_of_runs(copy: Path, patch: str) -> None:
    """All of them, the newest first, with what was asked of each; also the kernel's own tests, and one whose
    directory is gone."""
    own = nights.write_own_tests(copy, 2)
    small(copy, "20260305-000000", BAD, patches=[patch], tree="/home/me/linux@next", series="none", select="a or b")
    shutil.rmtree(copy / nights.NIGHTS[0])
    index(copy)
    make(copy)
    page = copy / "site/runs.html"
    rows = [" ".join("".join(row.itertext()).split()) for row in parsed(page).iter("tr")][1:]
    names = ["20260305-000000", own.name, *reversed(nights.NIGHTS)]
    assert [row[:15] for row in rows] == names
    assert rows[0] == (
        "20260305-000000 2026-03-05 02:00 PATCHED 0003-save <rsi>.patch: x86/ftrace: Save <RSI> in the slot of RDI "
        "TREE /home/me/linux@next SERIES none ONLY a or b x86_64-regs ✗ 2 failures in 3 tests 2 FAIL, 1 PASS"
    )
    assert "the kernel's own tests" in rows[1]
    assert "the kernel's own tests" not in rows[2]
    assert "✗ 8 failures in 48 tests" in rows[2]
    links = [element.get("href") for element in parsed(page).iter("a")]
    assert files.run_page("20260305-000000") in links
    assert "well" not in shown(page)


def test_failures_of_one_cause_are_one(copy: Path) -> None:
    """The matrix, then each cause once, with all its members."""
    make(copy, nights.NIGHTS[1])
    text = shown(copy / "site/index.html")
    assert text.count("arg2's slot ") == 1
    assert f"{nights.REGRESSION} in x86_64-regs, x86_64-regs-fp" in text
    assert text.index("The matrix") < text.index("arg2's slot ")
    run = small(copy, "20260305-000000", {f"test_{n}": Verdict.FAIL for n in range(30)})
    for page in ("index.html", files.run_page(run.name), files.cell_page("x86_64-regs")):
        tree = parsed(copy / "site" / page)
        (members,) = [element for element in tree.iter("ul") if element.get("class") == "members"]
        assert len(members) == 30
        assert len({link.get("href") for link in members.iter("a")}) == 30
        assert shown(copy / "site" / page).count("farm run x86_64-regs -k 'test_") == 1
    assert "New failures 30 of 1 cause" in shown(copy / "site/index.html")


BUILD_LOG = """\
  CC      kernel/trace/trace.o
  CC      kernel/trace/ftrace.o
../kernel/trace/ftrace.c: In function 'f':
../kernel/trace/ftrace.c:8051:48: error: expected ')' before 'x<y>'
 8051 |     if (x
      |        ~
make[5]: *** [../scripts/Makefile.build:234: kernel/trace/ftrace.o] Error 1
"""


def broken_build(results: Path, name: str, tests: int, **more: object) -> Path:
    run = small(results, name, {}, planned=tests, **more)
    where = run / "cells/x86_64-regs"
    (where / "build.log").write_text(BUILD_LOG)
    (where / "built.json").unlink()
    reason = f"x86_64-regs: target default failed, log in /x.log\n  {BUILD_LOG.splitlines()[3]}"
    for n in range(tests):
        records.append_verdict(run, VerdictRecord(f"test_{n}", "slots", "x86_64-regs", Verdict.BUILD, 0.0, reason))
    index(results)
    make(results)
    return run


def test_build_failure_has_the_compilers_lines(tmp_path: Path) -> None:
    """One page for the cell, one entry on each other page."""
    run = broken_build(tmp_path, "20260101-000000", 40)
    (page,) = (tmp_path / "site/failures").rglob("*.html")
    (said,) = [element for element in parsed(page).iter("div") if element.get("aria-label") == "Compiler"]
    (block,) = said.iter("pre")
    assert "".join(block.itertext()).strip("\n") == "\n".join(BUILD_LOG.splitlines()[2:6])
    assert "… 2 lines not shown" in shown(page)
    assert "What the kernel said" not in shown(page)
    assert "This page also stands for 39 other tests of this cell" in shown(page)
    for other in ("index.html", files.run_page(run.name), files.cell_page("x86_64-regs")):
        text = shown(tmp_path / "site" / other)
        assert text.count("the kernel does not build: ../kernel/trace/ftrace.c:8051:48: error: expected") == 1
        assert "40 tests in x86_64-regs" in text


def test_cell_shows_values(results: Path) -> None:
    text = shown(results / "site" / files.cell_page("x86_64-regs"))
    assert "was passed as 0x23016745ab89efc2" in text
    assert "ADDR" not in text


def test_run_that_goes_on_is_written_again(tmp_path: Path) -> None:
    """Its failures too: those that stand for more by now."""
    run = broken_build(tmp_path, "20260101-000000", 2, status="running")
    (page,) = (tmp_path / "site/failures").rglob("*.html")
    assert "for 1 other test of" in shown(page)
    records.append_verdict(run, replace(records.load_verdicts(run)[0], test="test_9"))
    records.update_run(run, status="finished")
    index(tmp_path)
    make(tmp_path)
    assert "for 2 other tests of" in shown(page)
    assert "✗ 3 failures in 3 tests" in shown(tmp_path / "site" / files.run_page(run.name))


def test_failure_is_the_kernels_if_another_attempt_was_the_farms(tmp_path: Path) -> None:
    run = small(tmp_path, "20260101-000000", {"test_a": Verdict.INFRA}, repeat=1)
    first = records.load_verdicts(run)[0]
    records.append_verdict(run, replace(first, verdict=Verdict.FAIL, reason="the kernel's", attempt=2))
    index(tmp_path)
    make(tmp_path)
    text = shown(tmp_path / "site/index.html")
    assert "✗ FAIL the kernel's" in text
    assert "INFRA" not in text


def version(checkout: Path) -> str:
    said = "from farm.report.site import make; print(make._version())"
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    ran = subprocess.run([sys.executable, "-c", said], cwd=checkout, env=environment, text=True, stdout=subprocess.PIPE)
    assert ran.returncode == 0
    return ran.stdout


def test_version_is_of_all_that_pages_are_made_from(tmp_path: Path) -> None:
    """Of templates, style and every module that has a say: another one makes the pages anew."""
    shutil.copytree(CHECKOUT / "farm", tmp_path / "farm", ignore=shutil.ignore_patterns("__pycache__"))
    seen = [version(tmp_path)]
    assert version(tmp_path) == seen[0]
    for name in ("report/site/templates/failure.html", "report/site/style.css", "report/again.py", "run/causes.py"):
        file = tmp_path / "farm" / name
        file.write_text(f"{file.read_text()}\n")
        seen.append(version(tmp_path))
    assert len(set(seen)) == len(seen)
