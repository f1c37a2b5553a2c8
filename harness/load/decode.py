"""Builds dataclasses from decoded JSON, checked against their annotations. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
_MOST = 2**63
"""Integers are smaller than this, so that arithmetic with floats cannot overflow."""


def decode(kind: type[T], data: object, where: str, *, strict: bool = False) -> T:
    """An instance of the dataclass `kind` from a JSON object.

    Unknown keys are ignored (`strict`: refused), absent ones get their default. Raises ValueError that names the first
    field of a wrong type, as in `summary.measure.sent: expected int, got 'x'`.
    """
    return cast(T, _decoded(kind, data, where, strict))


def _decoded(kind: Any, value: Any, where: str, strict: bool) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(value, dict):
        return _object(kind, value, where, strict)
    if origin is UnionType:  # X | None
        return (
            None if value is None else _decoded(next(a for a in arguments if a is not NoneType), value, where, strict)
        )
    if origin is tuple and isinstance(value, list):
        kinds = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        if len(kinds) == len(value):
            items = enumerate(zip(kinds, value, strict=True))
            return tuple(_decoded(item_kind, item, f"{where}[{i}]", strict) for i, (item_kind, item) in items)
    elif origin is Mapping and isinstance(value, dict):
        return {name: _decoded(arguments[1], item, f"{where}.{name[:40]}", strict) for name, item in value.items()}
    elif kind is float and type(value) in (int, float) and abs(value) < _MOST:  # false for NaN
        return float(value)
    elif (
        (kind is int and type(value) is int and abs(value) < _MOST)
        or (kind in (str, bool) and type(value) is kind)
        or (origin is Literal and value in arguments)
        or kind is Any
    ):
        return value
    raise ValueError(f"{where}: expected {_name(kind)}, got {value!r:.60}")


def _name(kind: Any) -> str:
    if is_dataclass(kind):
        return "an object"
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    return str(kind) if get_origin(kind) else str(kind.__name__)


def _object(kind: Any, value: dict[str, object], where: str, strict: bool) -> Any:
    types, values = get_type_hints(kind), {}
    if strict and (unknown := value.keys() - types.keys()):
        raise ValueError(f"{where}: unknown key {min(unknown)!r} (known: {', '.join(types)})")
    for field in fields(kind):
        if field.name in value:
            values[field.name] = _decoded(types[field.name], value[field.name], f"{where}.{field.name}", strict)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{where}: {field.name} is missing")
    return kind(**values)
