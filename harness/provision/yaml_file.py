"""Reads YAML files and reports what is wrong in them with file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import yaml

from harness.errors import UsageError
from harness.text import nearest


def read_yaml(path: Path) -> Any:
    """Returns the content of the file. Raises UsageError with file and line for invalid YAML or a duplicate key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(f"{path}: cannot be read: {reason}", hint="give --inventory FILE") from None
    try:
        _refuse_duplicates(yaml.compose(text, Loader=yaml.CSafeLoader), path)
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{path}:{line}: not YAML: {error.problem}", hint="check the indentation") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{path}: not YAML: {error}") from None


def _refuse_duplicates(node: yaml.Node | None, path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if key.value in keys:
                raise UsageError(f"{path}:{key.start_mark.line + 1}: duplicate key '{key.value}'")
            keys.add(key.value)
            _refuse_duplicates(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(item, path)


def line_of(path: Path, keys: tuple[str | int, ...]) -> int:
    """Returns the line (from 1) on which the value at `keys` begins, or that of its nearest existing parent."""
    node: yaml.Node | None = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    line = 1
    for wanted in keys:
        if not isinstance(node, yaml.MappingNode):
            break
        for key, value in node.value:
            if key.value == str(wanted):
                line, node = key.start_mark.line + 1, value
                break
        else:
            break
    return line


def mapping_at(path: Path, keys: tuple[str, ...], value: Any, known: tuple[str, ...] = ()) -> dict[str, object]:
    """Returns `value`, which is at `keys` of the file, as a mapping; an absent value is an empty one.

    Raises UsageError with file and line for another type, and for a key outside `known` (empty: any key).
    """
    where = ".".join(keys) or "the file"
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{path}:{line_of(path, keys)}: {where} must be a mapping")
    for key in value:
        if known and key not in known:
            raise UsageError(
                f"{path}:{line_of(path, (*keys, key))}: unknown key '{key}' in {where}",
                hint=nearest(str(key), known),
            )
    return cast("dict[str, object]", value)
