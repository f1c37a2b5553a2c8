"""Builds dataclasses from decoded JSON, checked against their annotations. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
_MOST = 2**63
"""Integers are smaller than this, so that arithmetic with floats cannot overflow."""


def decode(kind: type[T], data: object, where: str) -> T:
    """An instance of the dataclass `kind` from a JSON object.

    Unknown keys are ignored, absent ones get their default. Raises ValueError that names the first field of a wrong
    type, as in `summary.measure.sent: expected int, got 'x'`.
    """
    return cast(T, _decoded(kind, data, where))


def _decoded(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(value, dict):
        return _object(kind, value, where)
    if origin is UnionType:  # X | None
        return None if value is None else _decoded(next(a for a in arguments if a is not NoneType), value, where)
    if origin is tuple and isinstance(value, list):
        kinds = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        if len(kinds) == len(value):
            return tuple(_decoded(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(kinds, value, strict=True)))
    elif origin is Mapping and isinstance(value, dict):
        return {name: _decoded(arguments[1], item, f"{where}.{name[:40]}") for name, item in value.items()}
    elif kind is float and type(value) in (int, float) and abs(value) < _MOST:  # false for NaN
        return float(value)
    elif (kind is int and type(value) is int and abs(value) < _MOST) or (kind in (str, bool) and type(value) is kind):
        return value
    name = "an object" if is_dataclass(kind) else str(kind) if origin else kind.__name__
    raise ValueError(f"{where}: expected {name}, got {value!r:.60}")


def _object(kind: Any, value: dict[str, Any], where: str) -> Any:
    types, values = get_type_hints(kind), {}
    for field in fields(kind):
        if field.name in value:
            values[field.name] = _decoded(types[field.name], value[field.name], f"{where}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{where}: {field.name} is missing")
    return kind(**values)
