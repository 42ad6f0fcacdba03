# SPDX-License-Identifier: GPL-2.0
"""Pokes: what they are written as, and where they go."""

import pytest

from farm.base.errors import UsageError
from farm.guest.poke import Poke, address_of, parse

SYMBOLS = {"one": 0x1000, "within": 0x1008, "two": 0x1040, "last": 0x2000}
BASE = 0x1000
MEMORY = bytes.fromhex("90909090 4889742468 4889742470 c3").ljust(0x2000, b"\xcc")


def read(address: int, size: int) -> bytes:
    return MEMORY[address - BASE : address - BASE + size]


@pytest.mark.parametrize(
    "text, poke",
    [
        ("one=c3", Poke("one", b"\xc3")),
        ("one+0x10=c3c3", Poke("one", b"\xc3\xc3", offset=16)),
        ("one:9090=c3c3", Poke("one", b"\xc3\xc3", b"\x90\x90")),
        ("a.b_1+8:90=C3", Poke("a.b_1", b"\xc3", b"\x90", 8)),
    ],
)
def test_parse(text: str, poke: Poke) -> None:
    assert parse(text) == poke
    assert parse(str(poke)) == poke


@pytest.mark.parametrize(
    "text, said",
    [
        ("one", "not SYMBOL"),
        ("one:90=", "not SYMBOL"),
        ("one:zz=90", "not SYMBOL"),
        ("one=9", "two digits make a byte"),
        ("one+x=90", "the offset x is no number"),
        ("one:9090=c3", "2 bytes cannot be replaced by 1"),
    ],
)
def test_parse_refuses(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(text)


def test_locate() -> None:
    assert address_of(parse("one=c3"), SYMBOLS, read) == 0x1000
    assert address_of(parse("one+4=c3"), SYMBOLS, read) == 0x1004
    assert address_of(parse("one:9090=c3c3"), SYMBOLS, read) == 0x1000, "the first of three"
    assert address_of(parse("one+5:24=00"), SYMBOLS, read) == 0x1007, "from the offset on"
    assert address_of(parse("one:742468=742470"), SYMBOLS, read) == 0x1006, "behind a label within the function"


@pytest.mark.parametrize(
    "text, said",
    [
        ("three=c3", "no symbol three"),
        ("one:c4=c3", "not within 1024 bytes after one"),
        ("two:c3=90", "not within 1024 bytes after two"),
    ],
)
def test_locate_refuses(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        address_of(parse(text), SYMBOLS, read)
