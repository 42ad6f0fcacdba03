# SPDX-License-Identifier: GPL-2.0
"""JSON that the farm has written, read as a record. A crash, a full disk, another farm or a
person may have changed it since: what does not fit is reported with file and key.

It does not use pydantic, which refuses strings with lone surrogates; file names and the output
of guests may have them.
"""

import json
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from farm.base.errors import UsageError

T = TypeVar("T")

_CALLED = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    dict: "keys and values",
    list: "a list",
    tuple: "a list",
}


class _Wrong(ValueError):
    """`what` is wrong, at the place `where`: a path of keys, innermost first."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what, self.where = what, list[str]()

    def __str__(self) -> str:
        key = ".".join(reversed(self.where))
        return f"{key}: {self.what}" if key else self.what


def load(path: Path, kind: type[T], schema: int | None = None, advice: str = "") -> T:
    """The record in a file. Its `kind` is a dataclass or a type made of dataclasses. Unknown keys
    are ignored: a newer farm may have written them.

    Raises UsageError, with `advice` at the end, if the file holds something else or has another
    `schema`; OSError if there is no file.
    """
    behind = f"; {advice}" if advice else ""
    try:
        raw = _json(path.read_bytes())
        found = raw.get("schema", "none") if isinstance(raw, dict) else "none"
        if schema is not None and found != schema:
            raise UsageError(f"{path}: schema {found}, this farm reads {schema}{behind}")
        return made(raw, kind)
    except ValueError as error:
        raise UsageError(f"{path}: {error}{behind}") from error


def parse(data: bytes, kind: type[T]) -> T:
    """The record in a piece of JSON. Raises a ValueError that names the key."""
    return made(_json(data), kind)


def made(raw: Any, kind: type[T]) -> T:
    """The record from parsed JSON. Raises a ValueError that names the key."""
    record: T = _made(raw, kind)
    return record


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        said = str(error).partition("\n")[0]
        raise ValueError(f"not JSON, it may have been cut off: {said}") from error


def _made(raw: Any, hint: Any) -> Any:
    whole, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return raw
    if whole is UnionType:
        return _made(raw, next((part for part in parts if _may_be(raw, part)), parts[0]))
    if not _may_be(raw, hint):
        raise _Wrong(f"must be {_called(hint)}")
    if whole is dict:
        return {_at(key, key, parts[0]): _at(key, value, parts[1]) for key, value in raw.items()}
    if whole is list or (whole is tuple and parts[-1] is ...):
        return whole(_at(number, one, parts[0]) for number, one in enumerate(raw))
    if whole is tuple:
        if len(raw) != len(parts):
            raise _Wrong(f"must have {len(parts)} entries")
        return tuple(_at(number, one, part) for number, (one, part) in enumerate(zip(raw, parts, strict=True)))
    if is_dataclass(hint):
        kind: Any = hint
        return kind(**dict(_fields(raw, kind)))
    if issubclass(hint, Enum):
        return hint(raw)
    return raw


def _may_be(raw: Any, hint: Any) -> bool:
    """Whether a JSON value may be of a type, without looking at what is inside it."""
    whole = get_origin(hint) or hint
    if whole is Any:
        return True
    if is_dataclass(whole) or whole is dict:
        return isinstance(raw, dict)
    if whole in (list, tuple):
        return isinstance(raw, list)
    if whole in (int, float):
        return isinstance(raw, (int, float) if whole is float else int) and not isinstance(raw, bool)
    if issubclass(whole, Enum):
        return isinstance(raw, str) and raw in [one.value for one in whole]
    return isinstance(raw, whole)


def _called(hint: Any) -> str:
    whole = get_origin(hint) or hint
    if isinstance(whole, type) and issubclass(whole, Enum):
        return f"one of {', '.join(str(one.value) for one in whole)}"
    return _CALLED.get(whole, "keys and values")


def _fields(raw: dict[str, Any], kind: Any) -> Iterator[tuple[str, Any]]:
    for name, hint in _hints(kind):
        if name in raw:
            yield name, _at(name, raw[name], hint)
    for field in fields(kind):
        if field.name not in raw and field.default is MISSING and field.default_factory is MISSING:
            raise _Wrong(f"{field.name} is missing")


def _at(place: object, raw: Any, hint: Any) -> Any:
    try:
        return _made(raw, hint)
    except _Wrong as error:
        error.where.append(str(place))
        raise


@cache
def _hints(kind: Any) -> list[tuple[str, Any]]:
    return list(get_type_hints(kind).items())
