# SPDX-License-Identifier: GPL-2.0
"""The way in: the picture is that of the code, and the documents name what there is."""

import re
from pathlib import Path

import pytest

from docs import draw
from farm.matrix import CHECKOUT

DOCUMENTS = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *sorted((CHECKOUT / "docs").glob("*.md"))]

#: What a document means when it names a file of a run, a cache or a user.
ELSEWHERE = re.compile(
    r"results/|site/|failures/|linux/|~|cells/|kernels/|images/|programs/|modules/|runs/|.*[<>*$A-Z]{3}"
)


def test_the_picture_is_of_this_code() -> None:
    assert draw.PICTURE.read_text() == draw.draw(), "run `python -m docs.draw`"


def test_rooms_import_one_another_one_way() -> None:
    rooms = draw.imports()
    assert set(rooms) == set(draw.ABOUT), "each room is in the picture, with what it is about"
    up = draw.heights(rooms)
    assert all(up[room] > up[other] for room in rooms for other in rooms[room])
    with pytest.raises(ValueError, match="one another: a, b"):
        draw.heights({"a": {"b"}, "b": {"a"}, "c": set()})


def test_kernel_and_guest_do_not_know_each_other() -> None:
    rooms = draw.imports()
    assert "guest" not in rooms["kernel"]
    assert "kernel" not in rooms["guest"]


def test_way_of_a_test() -> None:
    for _, _, file in draw.WAY:
        assert (CHECKOUT / "farm" / file).is_file()


def test_readme_is_short() -> None:
    assert len((CHECKOUT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_documents_name_exists(document: Path) -> None:
    """Each `path/in/code/style` is of the checkout, or below farm/ as in the picture."""
    named = re.findall(r"`([\w.-]+(?:/[\w.-]*)+)`", re.sub(r"^(    .*|```.*)$", "", document.read_text(), flags=re.M))
    missing = [
        name
        for name in named
        if not ELSEWHERE.match(name) and not any((top / name).exists() for top in (CHECKOUT, CHECKOUT / "farm"))
    ]
    assert not missing
