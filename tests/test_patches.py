# SPDX-License-Identifier: GPL-2.0
"""The copies of its patches that a run keeps."""

from pathlib import Path

import pytest

from farm.run import patches
from farm.run.patches import Patch
from tests.nights import write_run


@pytest.mark.parametrize(
    "text, subject",
    [
        (b"From 0 Mon Sep 17 00:00:00 2001\nFrom: a\nSubject: [PATCH] ftrace: Save RSI\n\nbody\n", "ftrace: Save RSI"),
        (b"Subject: [RFC PATCH v2 3/7] [x86] a\n very\n\tlong one\nDate: x\n\n", "a very long one"),
        (b"Subject: =?UTF-8?q?Gr=C3=B6=C3=9Fe?= of it\n\n", "Größe of it"),
        (b"diff --git a/x b/x\nSubject: not this\n", ""),
        (b"Subject: not\n\nSubject: this\n", "not"),
        (b"\0\xff\xfe binary", ""),
        (b"", ""),
    ],
)
def test_subject(text: bytes, subject: str) -> None:
    assert patches.subject(text) == subject


def test_copies_are_as_the_files_were(tmp_path: Path) -> None:
    """Two of one name are two; what cannot be read is left away, and says no more than its name."""
    files = [tmp_path / "a/0001.patch", tmp_path / "b/0001.patch", tmp_path / "missing.patch", tmp_path / "a"]
    for number, file in enumerate(files[:2]):
        file.parent.mkdir()
        file.write_text(f"Subject: number {number}\n\n")
    run = write_run(tmp_path, "20260101-000000", [])
    names = [str(file) for file in files]
    patches.keep(run, names)
    for file in files[:2]:
        file.write_text("another by now")
    assert patches.kept(run, names) == [
        Patch("0001.patch", "number 0", "patches/01-0001.patch"),
        Patch("0001.patch", "number 1", "patches/02-0001.patch"),
        Patch("missing.patch"),
        Patch("a"),
    ]
    assert patches.kept(tmp_path / "gone", names[:1]) == [Patch("0001.patch")]
    assert patches.kept(run, ["/x\0y"]) == [Patch("x\0y")]
