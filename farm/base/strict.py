# SPDX-License-Identifier: GPL-2.0
"""Files that people write, read once at the edge. Every complaint names file, line and key."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from farm.base.errors import UsageError, refused


class Strict(BaseModel):
    """What a file may have: these keys, with these types, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


Model = TypeVar("Model", bound=Strict)


def form(pattern: str, words: str) -> AfterValidator:
    """A pattern that text must match, and the words for the message if it does not: `must be …`."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {words}")
        return value

    return AfterValidator(check)


#: pydantic's name of an error, and the message for it. pydantic's context fills in the `{}`.
_PLAIN = {
    "missing": "is missing",
    "string_type": "must be text; put it into quotes",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "list_type": "must be a list, as [one, two]",
    "dict_type": "must have keys and values",
    "model_type": "must have keys and values",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must not be empty",
    "literal_error": "must be {expected}",
}


def text(path: Path) -> str:
    """The text of a file that a person wrote. Raises a UsageError that names file and line, or
    FarmError if the host cannot read it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise refused(error, path, user=True) from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: byte {data[error.start]:#04x} is not UTF-8; save the file as UTF-8") from None


def read(path: Path, model: type[Model]) -> tuple[yaml.Node | None, Model]:
    """The nodes of a file, for `complaint`, and its content. Raises a UsageError that
    names file, line and key, but no value."""
    written = text(path)
    try:
        root = yaml.compose(written, Loader=yaml.SafeLoader)
        if twice := [*_twice(path, root)]:
            raise UsageError("\n".join(twice))
        raw = yaml.safe_load(written)
    except yaml.MarkedYAMLError as error:  # its own text would quote the line
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{path}:{line}: not YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = written.count("\n", 0, error.position) + 1
        raise UsageError(f"{path}:{line}: not YAML: the character {error.character!r}: {error.reason}") from error
    except RecursionError:
        raise UsageError(f"{path}:1: not YAML that can be read: it is nested too deep") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # from a date or a number
        raise UsageError(f"{path}:1: not YAML: {error}") from error
    if raw is None:
        raise UsageError(f"{path}:1: the whole file: is empty; it needs {', '.join(_needed(model))}")
    try:
        return root, model.model_validate(raw)
    except ValidationError as error:
        # all at once: a renamed key is wrong everywhere
        complaints = [complaint(path, root, tuple(one["loc"]), plain(one, model)) for one in error.errors()]
        more = [f"{path}: and {len(complaints) - MOST} complaints more"] if len(complaints) > MOST else []
        raise UsageError("\n".join([*complaints[:MOST], *more])) from error


#: How many complaints about one file are listed: they fit on a screen.
MOST = 12


def plain(error: ErrorDetails, model: type[Any] | None = None) -> str:
    """pydantic's error about a value, in words for people who do not know pydantic. For a key that
    `model` does not have, it lists those that it has."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        known = _keys(model, error["loc"][:-1])
        return f"no such key; {near(str(error['loc'][-1]), known)}there is: {', '.join(known)}"
    if kind in _PLAIN:
        return _PLAIN[kind].format_map({"pattern": "", "expected": "", **context})
    said = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return said[:1].lower() + said[1:]


def _keys(kind: Any, where: Sequence[str | int]) -> list[str]:
    """The keys that a model has at a place in it."""
    for step in where:
        kind = _model(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[str(step)].annotation
        else:
            kind = get_args(kind)[-1]
    kind = _model(kind)
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def _model(kind: Any) -> Any:
    """A type without Annotated; of a union, the member that has keys."""
    while get_origin(kind) in (Annotated, Union, UnionType):
        parts = get_args(kind)
        kind = parts[0] if get_origin(kind) is Annotated else next((p for p in parts if _model(p) not in _FLAT), str)
    return kind


_FLAT = (str, int, float, bool, type(None))


def _needed(model: type[Strict]) -> list[str]:
    return [name for name, field in model.model_fields.items() if field.is_required()] or list(model.model_fields)


def _twice(path: Path, root: yaml.Node | None) -> Iterator[str]:
    """A complaint for each key that appears twice in one mapping: YAML would take the last one."""
    todo: list[tuple[tuple[str | int, ...], yaml.Node]] = [((), root)] if root else []
    done: set[int] = set()  # an alias may lead back
    while todo:
        where, node = todo.pop()
        if id(node) in done:
            continue
        done.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo += [((*where, number), one) for number, one in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                name, line = str(key.value), key.start_mark.line + 1
                if name in lines and isinstance(key, yaml.ScalarNode):
                    dotted = ".".join(map(str, (*where, name)))
                    lines_of_both = f"in lines {lines[name]} and {line}"
                    yield f"{path}:{line}: {dotted}: stands twice, {lines_of_both}; rename or remove one"
                lines.setdefault(name, line)
                todo.append(((*where, name), value))


def complaint(path: Path, root: yaml.Node | None, where: tuple[str | int, ...], message: str) -> str:
    """`file:line: key.path: message`, for the nearest node that exists."""
    node, line = root, 1
    for step in where:
        if isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == str(step)]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
    # pydantic's own word for a key, as opposed to its value
    dotted = ".".join(str(step) for step in where if step != "[key]") or "the whole file"
    return f"{path}:{line}: {dotted}: {message}"


def near(word: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """`did you mean …? ` for a word that is close to a known one, else nothing."""
    found = get_close_matches(word, list(known), 1)
    return f"did you mean {found[0]}? " if found else ""
