# SPDX-License-Identifier: GPL-2.0
"""The files of the site, and how they are written: whole or not at all, and only if
they have changed."""

import errno
import hashlib
import re
from functools import cache
from pathlib import Path

from farm.base import atomic
from farm.base.errors import FarmError

#: The site's directory inside the results.
NAME = "site"

#: How many characters of a name are in the name of its file; a unique part follows.
NAME_LENGTH = 60

_UNSAFE = re.compile(r"[^A-Za-z0-9._]+")

#: Characters that HTML cannot have (control characters, halves of surrogate pairs), and those
#: that change the direction of the text after them.
_NO_TEXT = re.compile(
    r"[^\t\n -~\u00a0-\u200d\u2010-\u2029\u202f-\u2065\u206a-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0010fffd]"
)


@cache
def safe(*names: str) -> str:
    """A file name for any names: readable, the same on each system, and different for
    different names, even if the file system ignores case."""
    text = "\0".join(names)
    shown = _UNSAFE.sub("-", "-".join(names)).strip("-.")[:NAME_LENGTH]
    return f"{shown}-{hashlib.blake2s(text.encode(errors='surrogatepass'), digest_size=5).hexdigest()}".lstrip("-")


def test_page(suite: str, test: str) -> str:
    return f"tests/{safe(suite, test)}.html"


def cell_page(cell: str) -> str:
    return f"cells/{safe(cell)}.html"


def failure_page(run: str, cell: str, suite: str, test: str) -> str:
    return f"failures/{safe(run)}/{safe(cell, suite, test)}.html"


def run_page(run: str) -> str:
    return f"runs/{safe(run)}.html"


def write(path: Path, text: str) -> bool:
    """Write a page, unless it is unchanged. Returns whether it was written.

    Raises FarmError if the disk is full or refuses it; then the page is unchanged.
    """
    data = _NO_TEXT.sub("\ufffd", text).encode()
    if path.is_file() and path.read_bytes() == data:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(path, data)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            said = "the disk is full; make room and give the same command again, it writes what is missing"
        else:
            said = f"cannot be written: {error.strerror}"
        raise FarmError(f"{path}: {said}. The verdicts are untouched") from error
    return True
