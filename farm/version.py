# SPDX-License-Identifier: GPL-2.0
"""Versions of the kernel, and what is there since one or until one.

A fragment says of an option when it exists, a patch of the farm's own where it
applies. Both do so in lines of their own, `since v6.17` and `until v7.2`: the
first version that has it, and the last one.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Version:
    """VERSION and PATCHLEVEL of a kernel's Makefile. A stable release is its version."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"v{self.major}.{self.minor}"

    def steps_to(self, other: "Version") -> int:
        """How far away another version is, to say which of two is the nearer one. v6.19 came before v7.0."""
        return abs(self._number - other._number)

    @property
    def _number(self) -> int:
        # each major version since 3 ended with 19 to 21
        return 20 * self.major + self.minor


def parse(text: str) -> Version | None:
    """The version in `v6.12`, or None."""
    found = re.fullmatch(r"v(\d{1,3})\.(\d{1,3})", text)
    return Version(int(found[1]), int(found[2])) if found else None


def of_makefile(text: str) -> Version | None:
    """The version that a kernel's Makefile gives, or None."""
    said = dict(re.findall(r"^(VERSION|PATCHLEVEL)[ \t]*=[ \t]*(\d{1,3})[ \t]*$", text, re.M))
    return Version(int(said["VERSION"]), int(said["PATCHLEVEL"])) if len(said) == 2 else None


_BOUND = re.compile(r"(since|until):? (v\d{1,3}\.\d{1,3})(?!\.?\d)\s*", re.I)


@dataclass(frozen=True)
class Bounds:
    """The versions that have something. None is no bound."""

    since: Version | None = None
    until: Version | None = None

    def hold(self, version: Version) -> bool:
        return (self.since is None or self.since <= version) and (self.until is None or version <= self.until)

    def __str__(self) -> str:
        words = [f"{word} {bound}" for word, bound in (("since", self.since), ("until", self.until)) if bound]
        return " ".join(words) or "in every version"


EVERY_VERSION = Bounds()


def bounds(lines: Iterable[str]) -> Bounds:
    """What the lines say. One may have both bounds, and words behind them; other lines are ignored."""
    said: dict[str, Version | None] = {}
    for line in lines:
        rest = line.strip().removeprefix("# ")
        while found := _BOUND.match(rest):
            said[found[1].lower()] = parse(found[2])
            rest = rest[found.end() :]
    return Bounds(said.get("since"), said.get("until"))
