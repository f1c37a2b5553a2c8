"""Names of cells for people: the fewest words that tell a scenario's cells apart, in a reader's order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.model import BACKEND_NAMES, BACKENDS, STRATEGIES, Cell
from harness.scenarios.increment_workload import KEY_SETS
from harness.text import plural

PARAMS: Mapping[str, str] = {
    "app_cpus": "CPU cap {}",
    "app_pool_min": "connections open beforehand",
    "app_pool_wait_seconds": "{} s patience",
    "bound": "{}-bound",
    "control": "negative control",
    "hold_ms": "{} ms held",
    "load": "{}",
    "long": "long transaction: {}",
    "through": "through the {}",
}
"""Parameter -> how it reads; others read `name value`."""

FIRST = ("none", "pool", "burst", "open")
"""Values that come before others: what the rest is compared with, and what a criterion judges."""

ASIDE = (
    *(f"param {name}" for name in ("app_pool_min", "app_pool_wait_seconds", "app_cpus", "hold_ms", "control")),
    "seconds", "requests", "load", "pool", "hosts",
)  # fmt: skip
"""What is said last: each is left out of the label where the rest tells the cells apart, the first one first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """By cell name: `short` tells it from the others, `aside` is what else is its own; `common` is all cells'."""

    short: Mapping[str, str] = field(default_factory=dict)
    aside: Mapping[str, str] = field(default_factory=dict)
    common: str = ""


def labels(cells: Iterable[Cell]) -> Labels:
    """The names of a scenario's cells."""
    words = {cell.name: _dimensions(cell) for cell in cells}
    names = list(dict.fromkeys(key for one in words.values() for key in one))
    apart = [key for key in names if len({one.get(key) for one in words.values()}) > 1] or ["backend", "strategy"]
    kept = list(apart)
    for name in ASIDE:
        fewer = [key for key in kept if key != name]
        if fewer and len({_phrase(one, fewer) for one in words.values()}) == len(words):
            kept = fewer
    return Labels(
        short={name: _phrase(one, kept) for name, one in words.items()},
        aside={name: _phrase(one, [key for key in apart if key not in kept]) for name, one in words.items()},
        common=_phrase(next(iter(words.values()), {}), [key for key in names if key not in apart]),
    )


def place(cell: Cell) -> tuple[Any, ...]:
    """Sorts cells: PostgreSQL first, strategies as they are listed, then the parameters and the sizes, growing."""
    strategy = STRATEGIES.index(cell.strategy) if cell.strategy in STRATEGIES else -1
    params = sorted(
        (str(name), *_rank(value)) for name, value in cell.params.items() if not str(name).startswith("app_")
    )
    return BACKENDS.index(cell.backend), strategy, params, cell.hosts, cell.pool, cell.clients, cell.rate or 0.0


def _rank(value: Any) -> tuple[bool, float, str]:
    """Numbers, and key sets by their size, before words."""
    value = KEY_SETS.get(value, value) if isinstance(value, str) else value
    if isinstance(value, int | float):
        return False, float(value), ""
    return True, float(FIRST.index(value) if value in FIRST else len(FIRST)), str(value)


def _dimensions(cell: Cell) -> dict[str, str]:
    """What a cell is made of, in words, by the name of the dimension."""
    words = {
        "backend": BACKEND_NAMES.get(cell.backend, cell.backend),
        "strategy": cell.strategy if cell.strategy.strip("'-") else "",
        "hosts": plural(cell.hosts, "app host"),
        "pool": f"pool {cell.pool}" if cell.pool else "",
        "load": f"{cell.rate:,g} requests/s offered" if cell.rate is not None else plural(cell.clients, "client"),
        "requests": plural(cell.requests, "request") if cell.requests else "",
        "seconds": f"{cell.seconds:g} s" if cell.seconds else "",
    }
    return words | {f"param {name}": _param(str(name), value) for name, value in sorted(cell.params.items())}


def _param(name: str, value: Any) -> str:
    if name == "keys" and value in KEY_SETS:
        return "1 hot key" if KEY_SETS[value] == 1 else plural(KEY_SETS[value], "key")
    if name == "rows" and isinstance(value, int):
        return f"{plural(value, 'row')} a request"
    if isinstance(value, bool) and name not in PARAMS:
        return f"{'with' if value else 'without'} {name}"
    return PARAMS[name].format(_value(value)) if name in PARAMS else f"{name} {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key}={one}" for key, one in sorted(value.items(), key=str))
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _phrase(words: Mapping[str, str], keys: Sequence[str]) -> str:
    return ", ".join(words[key] for key in keys if words.get(key))
