# SPDX-License-Identifier: GPL-2.0
"""The patches that a run put on top of the series, kept in its directory: the user's own files change."""

import email
import email.policy
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: Below the run directory.
DIRECTORY = "patches"

#: Of a patch, what is read for its subject.
HEADER_BYTES = 64 << 10


@dataclass(frozen=True)
class Patch:
    """A patch of a run: the name of the user's file, the subject without `[PATCH]` (empty if it has
    none, as `git diff` writes none), and where the copy is below the run directory (empty if there is none)."""

    name: str
    subject: str = ""
    place: str = ""


def keep(directory: Path, patches: Sequence[str]) -> None:
    """Copy the patches of a run into its directory. One that cannot be read is left away:
    the build says so, and ends the run."""
    for number, patch in enumerate(patches, 1):
        with suppress(OSError):
            data = Path(patch).read_bytes()
            where = directory / _place(number, patch)
            where.parent.mkdir(exist_ok=True)
            where.write_bytes(data)


def kept(directory: Path, patches: Sequence[str]) -> list[Patch]:
    """The patches of a run, by the paths that its record has; older farms kept no copies."""
    found = []
    for number, patch in enumerate(patches, 1):
        place = _place(number, patch)
        try:
            with (directory / place).open("rb") as file:
                found.append(Patch(Path(patch).name, subject(file.read(HEADER_BYTES)), place))
        except (OSError, ValueError):  # a name that no file can have
            found.append(Patch(Path(patch).name))
    return found


def subject(patch: bytes) -> str:
    """The subject of what `git format-patch` wrote; empty if it has none."""
    found = email.message_from_bytes(patch, policy=email.policy.default)["Subject"]
    return re.sub(r"^\s*(\[[^]]*\]\s*)*", "", " ".join(str(found or "").split()))


def _place(number: int, patch: str) -> str:
    return f"{DIRECTORY}/{number:02}-{Path(patch).name}"
