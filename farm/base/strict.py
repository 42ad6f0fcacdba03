# SPDX-License-Identifier: GPL-2.0
"""YAML that people write, read once at the edge: every complaint has file, line and key."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from farm.base.errors import UsageError


class Strict(BaseModel):
    """What may be in a file: these keys, of these types, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


Model = TypeVar("Model", bound=Strict)


def read(path: Path, model: type[Model]) -> tuple[yaml.Node | None, Model]:
    """The file's nodes, for `complaint`, and what is in it. Raises UsageError that
    names file, line and key, and no value."""
    try:
        text = path.read_text()
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:  # whose own text quotes the line
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{path}:{line}: not YAML: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not YAML: {type(error).__name__}") from error
    try:
        return root, model.model_validate(raw)
    except ValidationError as error:
        complaints = [complaint(path, root, tuple(e["loc"]), e["msg"]) for e in error.errors()]
        raise UsageError("\n".join(complaints)) from error


def complaint(path: Path, root: yaml.Node | None, where: tuple[str | int, ...], message: str) -> str:
    """`file:line: key.path: message`, for the nearest node that exists."""
    node, line = root, 1
    for step in where:
        if isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == str(step)]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line + 1
    dotted = ".".join(str(step) for step in where) or "the whole file"
    return f"{path}:{line}: {dotted}: {message}"
