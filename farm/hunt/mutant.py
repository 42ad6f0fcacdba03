# SPDX-License-Identifier: GPL-2.0
"""Mutants: bugs as patches. The message of the patch says which test should notice it, and how.

A file below mutants/ is a mail that `git am` puts on top of the series. The last
paragraph of its message consists of trailers:

`Cells:`       cells that can show the bug, likeliest first
`Suites:`      suites that can show it, likeliest first
`Symptom:`     a verdict, and a regular expression for its reason; may stand more
               than once. BUILD and BOOT only where the bug must end so.
`Equivalent:`  why no test can notice it; such a mutant is not run
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from email import message_from_string
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from farm.base import strict
from farm.base.errors import UsageError
from farm.matrix import CHECKOUT, Matrix
from farm.record.records import VerdictRecord
from farm.record.verdict import Verdict

MUTANTS = CHECKOUT / "mutants"
SUITES = CHECKOUT / "suites"

#: The verdicts that blame the kernel. A failure of the farm is no symptom.
_SYMPTOMS = ("FAIL", "CRASH", "HANG", "BOOT", "BUILD")

_TRAILER = re.compile(r"([A-Z][\w-]*): (.*)")


@dataclass(frozen=True)
class Symptom:
    """How a bug shows: the verdict, and a pattern for its reason."""

    verdict: Verdict
    reason: re.Pattern[str]

    def fits(self, record: VerdictRecord) -> bool:
        return record.verdict is self.verdict and self.reason.search(record.reason) is not None

    def __str__(self) -> str:
        return f"{self.verdict} {self.reason.pattern}"


@dataclass(frozen=True)
class Mutant:
    """One bug: its patch, and the trailers of the patch."""

    name: str
    path: Path
    title: str
    cells: tuple[str, ...]
    suites: tuple[str, ...]
    symptoms: tuple[Symptom, ...]
    equivalent: str


def _words(value: list[str]) -> list[str]:
    """The words of a trailer that may appear only once."""
    if len(value) > 1:
        raise ValueError("stands more than once; put all into one line")
    return value[0].split()


def _text(value: list[str]) -> str:
    if len(value) > 1:
        raise ValueError("stands more than once")
    return value[0]


def _symptom(text: str) -> Symptom:
    verdict, _, reason = text.partition(" ")
    if verdict not in _SYMPTOMS:
        raise ValueError(f"{verdict!r} is none of {', '.join(_SYMPTOMS)}")
    try:
        pattern = re.compile(reason)
    except re.error as error:
        raise ValueError(f"{reason!r} is no regular expression: {error}") from error
    if not reason or pattern.search(""):
        raise ValueError(f"{reason!r} fits every reason; say what the right one has")
    return Symptom(Verdict(verdict), pattern)


def _symptoms(value: list[str]) -> list[Symptom]:
    return [_symptom(text) for text in value]


def _filled(value: list[str]) -> list[str]:
    if not value:
        raise ValueError("names nothing")
    return value


_Words = Annotated[list[str], BeforeValidator(_words), AfterValidator(_filled)]


class _Header(BaseModel):
    """The trailers of a patch. Each is the list of the values with that name."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    cells: _Words = Field(alias="Cells")
    suites: _Words = Field(alias="Suites")
    symptoms: Annotated[list[Symptom], BeforeValidator(_symptoms)] = Field(alias="Symptom")
    equivalent: Annotated[str, BeforeValidator(_text)] = Field(alias="Equivalent", default="")


def parse(path: Path, text: str, matrix: Matrix, suites: Sequence[str]) -> Mutant:
    """The mutant of a patch. Raises UsageError that names the file and the trailer."""
    mail = message_from_string(text)
    message, dashes, _ = str(mail.get_payload()).partition("\n---\n")
    if not mail["Subject"] or not mail["From"] or not dashes:
        raise UsageError(f"{path}: not a patch as `git format-patch` writes it: From:, Subject:, a message, ---")
    try:
        header = _Header.model_validate(dict(_trailers(message)))
    except ValidationError as error:
        raise UsageError("\n".join(_complaint(path, e["loc"], e["msg"]) for e in error.errors())) from error
    for key, names, known in (("Cells", header.cells, list(matrix.cells)), ("Suites", header.suites, list(suites))):
        for name in names:
            if name not in known:
                raise UsageError(f"{path}: {key}: no {name!r}; there is: {', '.join(known)}")
    return Mutant(
        name=path.stem,
        path=path,
        title=re.sub(r"^\[PATCH\]\s*|\n", "", mail["Subject"]),
        cells=tuple(header.cells),
        suites=tuple(header.suites),
        symptoms=tuple(header.symptoms),
        equivalent=header.equivalent,
    )


def _trailers(message: str) -> Iterator[tuple[str, list[str]]]:
    """The trailers by name. A line that begins with a space continues the previous one."""
    found: dict[str, list[str]] = {}
    last: list[str] = []
    for line in message.strip().split("\n\n")[-1].splitlines():
        if trailer := _TRAILER.fullmatch(line):
            last = found.setdefault(trailer[1], [])
            last.append(trailer[2].strip())
        elif last and line.startswith(" "):
            last[-1] += f" {line.strip()}"
    yield from found.items()


def _complaint(path: Path, where: tuple[Any, ...], message: str) -> str:
    key = str(where[0]) if where else "the trailers"
    said = {"Field required": "is missing", "Extra inputs are not permitted": "there is no such trailer"}
    return f"{path}: {key}: {said.get(message, message.removeprefix('Value error, '))}"


def load(matrix: Matrix, directory: Path = MUTANTS) -> list[Mutant]:
    """All mutants, folder by folder. Raises UsageError."""
    suites = [path.stem.removeprefix("test_") for path in sorted(SUITES.glob("test_*.py"))]
    paths = sorted(directory.rglob("*.patch"))
    mutants = [parse(path, strict.text(path), matrix, suites) for path in paths]
    if not mutants:
        raise UsageError(f"{directory}: no *.patch below it")
    seen: dict[str, Path] = {}
    for mutant in mutants:
        if mutant.name in seen:
            raise UsageError(f"{mutant.path}: {seen[mutant.name]} has the same name; each needs its own")
        seen[mutant.name] = mutant.path
    return mutants


def choose(mutants: Sequence[Mutant], names: Sequence[str]) -> list[Mutant]:
    """The named mutants, in their order. All mutants if there is no name.

    A name is that of a mutant, that of a folder, or a pattern as in a shell. Raises UsageError.
    """
    chosen: set[str] = set()
    for name in names:
        fitting = {
            mutant.name for mutant in mutants if name == mutant.path.parent.name or fnmatchcase(mutant.name, name)
        }
        if not fitting:
            known = [mutant.name for mutant in mutants]
            near = get_close_matches(name, known, 3, 0.4) or [*{mutant.path.parent.name for mutant in mutants}]
            raise UsageError(f"no mutant {name!r}; there is: {', '.join(near)}, …; see {MUTANTS}")
        chosen |= fitting
    return [mutant for mutant in mutants if mutant.name in chosen or not names]
