# SPDX-License-Identifier: GPL-2.0
"""The site as a person sees it, in Debian's Chromium: one browser for all."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from farm.history.index import index
from farm.report.site import files
from farm.report.site.make import make
from tests import nights
from tests.browser import Browser, browser

PHONE, TABLET, DESK = 360, 800, 1200

COMPLAINTS = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Network.loadingFailed")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the second night, which is worse than the first."""
    results = tmp_path_factory.mktemp("results")
    nights.write_night(results, 0)
    nights.write_night(results, 1)
    nights.write_score(results, "20260301-040000", {"a": "caught", "b": "survived"})
    nights.write_score(results, "20260302-040000", {"a": "caught", "b": "caught"})
    index(results)
    return make(results).parent


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


def pages(site: Path) -> list[Path]:
    """One page of each kind, and of each name that breaks pages."""
    night = nights.NIGHTS[1]
    return [
        *(site / name for name in ("index.html", "tests.html", "cells.html", "trends.html", "runs.html")),
        site / files.run_page(night),
        site / files.cell_page("x86_64-kasan"),
        site / files.test_page("slots", nights.REGRESSION),
        site / files.failure_page(night, "x86_64-regs", "slots", nights.REGRESSION),
        site / files.failure_page(night, "x86_64-kasan", "routes", nights.CRASH),
        *(site / files.failure_page(night, "x86_64-regs", "privileges", f"test_name[{n}]") for n in nights.NASTY),
    ]


def test_loads_in_silence_and_fits_a_phone(site: Path, screen: Browser) -> None:
    """Nothing is asked of a network, nothing complains, nothing scrolls sideways."""
    for page in pages(site):
        screen.open(page, PHONE)
        asked = {event["request"]["url"] for method, event in screen.events if method == "Network.requestWillBeSent"}
        assert asked == {page.as_uri(), (site / "style.css").as_uri()}
        said = [event for event in screen.events if event[0] in COMPLAINTS]
        assert not said, page
        assert screen.value("document.documentElement.scrollWidth") <= PHONE, page
        assert screen.value("document.title").endswith("ftrace farm")
        assert screen.value("getComputedStyle(document.body).marginTop") == "0px", "no style sheet"


def test_wide_matrix_scrolls_by_itself(site: Path, screen: Browser) -> None:
    """With forty suites: the table scrolls, and neither the page nor the names of the cells."""
    screen.open(site / "index.html", TABLET)
    screen.value(WIDEN)
    assert screen.value("document.querySelector('.matrix').getBoundingClientRect().width") > 2 * TABLET
    assert screen.value("document.documentElement.scrollWidth") <= TABLET
    screen.value("document.querySelector('.matrix-box').scrollLeft = 500")
    assert 0 <= screen.value("document.querySelector('.matrix tbody th').getBoundingClientRect().left") < 40


WIDEN = """document.querySelectorAll('.matrix tr').forEach(row => {
  for (let n = 0; n < 40; n++) row.append(row.lastElementChild.cloneNode(true));
})"""


def test_phone_has_the_matrix_as_a_list(site: Path, screen: Browser) -> None:
    """With forty suites: what is bad or has changed is there at once, all of it on one touch, nothing beside the
    screen."""
    screen.open(site / "index.html", PHONE)
    screen.value(WIDEN)
    assert screen.value("getComputedStyle(document.querySelector('.phone')).display") != "none"
    at_once = screen.value(FIELDS)
    assert at_once
    assert all("✗" in one["text"] or "!" in one["text"] for one in at_once)
    assert any(one["text"].split() == ["slots", "✗", "1", "▼"] for one in at_once), at_once
    screen.value("document.getElementById('everything').click()")
    fields = screen.value(FIELDS)
    assert len(fields) == screen.value("document.querySelectorAll('.matrix td').length") > 150
    for one in fields:
        assert 0 <= one["left"] < one["right"] <= PHONE
    assert screen.value("document.documentElement.scrollWidth") <= PHONE
    screen.open(site / "index.html", DESK)
    assert screen.value("getComputedStyle(document.querySelector('.phone')).display") == "none"


FIELDS = """[...document.querySelectorAll('.matrix td')].filter(e => e.checkVisibility()).map(e => {
  const box = e.getBoundingClientRect();
  return {text: e.querySelector('[aria-hidden]').innerText.trim(), left: box.left, right: box.right};
})"""


def test_frame_fits_a_phone(site: Path, screen: Browser) -> None:
    """All four witnesses, without scrolling within the table."""
    screen.open(site / files.failure_page(nights.NIGHTS[1], "x86_64-regs", "slots", nights.REGRESSION), PHONE)
    assert screen.value("(e => e.scrollWidth - e.clientWidth)(document.querySelector('.scroll'))") <= 0


def test_keyboard_reaches_every_link(site: Path, screen: Browser) -> None:
    """Tab goes through all of them in order, beginning with the one that skips; what
    has the focus is on the screen, and has a ring that one can see."""
    screen.open(site / "index.html", PHONE)
    wanted = screen.value(REACHABLE)
    assert wanted > 20
    seen = []
    for _ in range(wanted):
        screen.press("Tab", 9)
        seen.append(screen.value(FOCUSED))
    assert seen[0]["text"] == "Skip to the content"
    assert [one["number"] for one in seen] == sorted({one["number"] for one in seen})
    for one in seen:
        assert one["ring"] == "solid"
        assert one["wide"] >= 2
        assert one["left"] >= 0
        assert one["top"] >= 0


REACHABLE = """[...document.querySelectorAll('a[href], summary, input, [tabindex="0"]')]
  .filter(e => e.checkVisibility()).length"""

FOCUSED = """(() => {
  const e = document.activeElement, box = e.getBoundingClientRect(), style = getComputedStyle(e);
  return {text: e.textContent.trim(), number: [...document.querySelectorAll('*')].indexOf(e),
          ring: style.outlineStyle, wide: parseFloat(style.outlineWidth), left: box.left, top: box.top};
})()"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out(site: Path, screen: Browser, dark: bool) -> None:
    """Every text against what is behind it, as WCAG AA asks: 4.5 to 1."""
    for page in pages(site)[:10]:
        screen.open(page, DESK, dark)
        for one in screen.value(COLOURS):
            assert contrast(one["ink"], one["back"]) >= 4.5, f"{page}: {one}"
        paper = [
            float(part) for part in screen.value("getComputedStyle(document.body).backgroundColor")[4:-1].split(",")
        ]
        assert (sum(paper) < 150) if dark else (sum(paper) > 700)


COLOURS = """(() => {
  const found = {};
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim())) continue;
    const svg = e.namespaceURI.endsWith('svg');
    if (svg && e.tagName != 'text') continue;
    let b = e;
    while (b && /, 0\\)$/.test(getComputedStyle(b).backgroundColor)) b = b.parentElement;
    const style = getComputedStyle(e), back = getComputedStyle(b || document.body).backgroundColor;
    const ink = svg ? style.fill : style.color;
    found[ink + back] = {ink, back, text: e.textContent.slice(0, 30)};
  }
  return Object.values(found);
})()"""


def contrast(one: str, other: str) -> float:
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def luminance(colour: str) -> float:
    assert colour.startswith("rgb("), colour
    parts = [int(part) / 255 for part in colour[4:-1].split(",")]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_screen_reader_hears_the_page(site: Path, screen: Browser) -> None:
    """Landmarks, headings without a step left out, names for all that can be reached."""
    for page in pages(site)[:10]:
        screen.open(page, DESK)
        nodes = [node for node in screen.call("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
        roles = Counter(node["role"]["value"] for node in nodes)
        assert {"main", "navigation", "banner", "contentinfo"} <= set(roles)
        for node in nodes:
            if node["role"]["value"] in ("link", "region", "image", "navigation"):
                assert node.get("name", {}).get("value"), f"{page}: {node}"
        levels = [level(node) for node in nodes if node["role"]["value"] == "heading"]
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(levels)), f"{page}: {levels}"


def level(node: dict[str, Any]) -> int:
    return next(int(one["value"]["value"]) for one in node["properties"] if one["name"] == "level")


def test_plots_are_drawn(site: Path, screen: Browser) -> None:
    """Each line is within its picture, and goes from its left to its right."""
    screen.open(site / "trends.html", DESK)
    drawn = screen.value(PLOTS)
    assert len(drawn) >= 3
    for line in drawn:
        assert line["inside"]
        assert line["part"] > 0.8


PLOTS = """[...document.querySelectorAll('polyline')].map(e => {
  const line = e.getBoundingClientRect(), all = e.closest('svg').getBoundingClientRect();
  return {part: line.width / all.width, inside: line.left >= all.left && line.right <= all.right &&
          line.top >= all.top && line.bottom <= all.bottom};
})"""
