# SPDX-License-Identifier: GPL-2.0
"""The patches of a run, copied into its directory, because the user may change the files."""

import email
import email.policy
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: Below the run directory.
DIRECTORY = "patches"

#: How much of a patch is read to find its subject.
HEADER_BYTES = 64 << 10


@dataclass(frozen=True)
class Patch:
    """A patch of a run: the name of the user's file, the subject without `[PATCH]` (empty if it has
    none, as after `git diff`), and the place of the copy below the run directory (empty if there is none)."""

    name: str
    subject: str = ""
    place: str = ""


def keep(directory: Path, patches: Sequence[str]) -> None:
    """Copy the patches of a run into its directory. A patch that cannot be read is ignored here: the
    build reports it and ends the run."""
    for number, patch in enumerate(patches, 1):
        with suppress(OSError):
            data = Path(patch).read_bytes()
            where = directory / _place(number, patch)
            where.parent.mkdir(exist_ok=True)
            where.write_bytes(data)


def kept(directory: Path, patches: Sequence[str]) -> list[Patch]:
    """The patches of a run, by the paths in its record. Older farms kept no copies."""
    found = []
    for number, patch in enumerate(patches, 1):
        place = _place(number, patch)
        try:
            with (directory / place).open("rb") as file:
                found.append(Patch(Path(patch).name, subject(file.read(HEADER_BYTES)), place))
        except (OSError, ValueError):  # not the name of a file
            found.append(Patch(Path(patch).name))
    return found


def subject(patch: bytes) -> str:
    """The subject of a patch by `git format-patch`; empty if there is none."""
    found = email.message_from_bytes(patch, policy=email.policy.default)["Subject"]
    return re.sub(r"^\s*(\[[^]]*\]\s*)*", "", " ".join(str(found or "").split()))


def _place(number: int, patch: str) -> str:
    return f"{DIRECTORY}/{number:02}-{Path(patch).name}"
