# SPDX-License-Identifier: GPL-2.0
"""Where the pages of the site lie, and how they get there: whole or not at all,
and only if they are not what lies there already."""

import errno
import hashlib
import re
from functools import cache
from pathlib import Path

from farm.base import atomic
from farm.base.errors import FarmError

#: Of the results directory, the site's.
NAME = "site"

#: Of a name, in the name of a file; what makes it unique follows.
NAME_LENGTH = 60

_UNSAFE = re.compile(r"[^A-Za-z0-9._]+")

#: What HTML cannot carry (control characters, halves of surrogate pairs), and what
#: turns the text behind it around.
_NO_TEXT = re.compile(
    r"[^\t\n -~\u00a0-\u200d\u2010-\u2029\u202f-\u2065\u206a-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0010fffd]"
)


@cache
def safe(*names: str) -> str:
    """A file's name for what has any names: readable, the same on each system,
    and another one for other names, even where case does not count."""
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
    """Write a page, unless it is there just so. Whether it was written.

    Raises FarmError if the disk is full or does not take it; then the page is
    what it was before.
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
