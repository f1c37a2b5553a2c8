"""Names and order of a scenario's cells for readers, from the scenario's own labels. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.model import BACKEND_NAMES, BACKENDS, STRATEGIES, Cell
from harness.plan.scenario import Scenario, backend_name, default_label, joined
from harness.plan.variants import short_key, varied_of, without_variant
from harness.scenarios.increment_workload import KEY_SETS, keys_name
from harness.text import plural

PARAMS: Mapping[str, str] = {
    "app_cpus": "CPU cap {}",
    "app_pool_min": "connections opened at start: {}",
    "app_pool_wait_seconds": "waits {} s for a connection",
    "bound": "{}-bound",
    "control": "negative control",
    "hold_ms": "{} ms held",
    "load": "{}",
    "rate_share": "{} of the closed rate",
    "through": "through the {}",
    "warmup_s": "warm-up of {} s",
}
"""Parameter -> its text; other parameters are shown as `name value`."""

POSTGRES = "postgres_"
"""How parameters begin that are settings of the server."""
FIRST = ("none", "pool", "burst", "open")
"""Parameter values that sort before others: the baseline of a comparison, or the value that a criterion judges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """By cell name: `short` tells the scenario's cells apart, `aside` has the other settings in which they differ.

    `common`: the settings that all cells share.
    """

    short: Mapping[str, str] = field(default_factory=dict)
    aside: Mapping[str, str] = field(default_factory=dict)
    common: str = ""


def labels(cells: Sequence[Cell], scenario: Scenario | None) -> Labels:
    """Returns the labels of a scenario's cells; no two cells have the same.

    A part of the scenario's label that all cells share is left out of `short` and put into `common`. Where the rest is
    the same for two cells, their other settings are added, or else the cell's name.
    """
    label = scenario.label if scenario else default_label
    full = {cell.name: _with_variant(cell, label(cell)) or cell.name for cell in cells}
    settings = {cell.name: _settings(cell) for cell in cells}
    parts = {name: text.split(", ") for name, text in full.items()}
    shared = _in_all(parts.values()) if len(full) > 1 else []
    short = {name: joined(*(part for part in parts[name] if part not in shared)) or full[name] for name in full}
    same = _in_all(settings.values())
    aside = {
        name: joined(*(text for text in texts if text not in same and not _mentions(full[name], text)))
        for name, texts in settings.items()
    }
    short = _unique(short, {name: joined(short[name], aside[name]) for name in short})
    short = _unique(short, {name: name for name in short})
    return Labels(
        short=short,
        aside={name: "" if short[name].endswith(text) else text for name, text in aside.items()},
        common=joined(*shared, *(text for text in same if not all(_mentions(one, text) for one in full.values()))),
    )


def _with_variant(cell: Cell, label: str) -> str:
    """Returns the label with the name of the cell's variant, as far as the label does not say it: strategy, backend."""
    words = cell.variant.split(" ")
    own = {f"strategy={cell.strategy}": cell.strategy, f"backend={cell.backend}": backend_name(cell)}
    return joined(label, " ".join(word for word in words if not (word in own and _mentions(label, own[word]))))


def without(label: str, *words: str) -> str:
    """Returns a label without the parts that begin with one of `words`, such as a strategy or the backend's name."""
    return joined(*(part for part in label.split(", ") if not any(word and part.startswith(word) for word in words)))


def spoken(cell: str, scenario: str) -> str:
    """Returns the name of a cell that has no trial in words: `PostgreSQL, 20 pairs`; empty for a scenario."""
    parts = [part for part in cell.removeprefix(scenario).split(".") if part]
    texts = [BACKEND_NAMES.get(part, part) for part in parts]
    return joined(*(re.sub(r"^pairs=(\d+)$", lambda found: plural(int(found[1]), "pair"), text) for text in texts))


def reading_order(cell: Cell, variants: Sequence[str] = ()) -> tuple[object, ...]:
    """Sort key of cells: PostgreSQL first, strategies as they are listed, then parameters and sizes, ascending.

    Cells that differ in the variant only are together, in the order of `variants`, the names of those of the run.
    """
    place = variants.index(cell.variant) if cell.variant in variants else len(variants)
    cell = without_variant(cell)
    strategy = STRATEGIES.index(cell.strategy) if cell.strategy in STRATEGIES else -1
    params = sorted(
        (str(name), *_rank(value)) for name, value in cell.params.items() if not str(name).startswith("app_")
    )
    backend = BACKENDS.index(cell.backend) if cell.backend in BACKENDS else len(BACKENDS)
    return backend, strategy, params, cell.hosts, cell.pool, cell.clients, cell.rate or 0.0, place


def _rank(value: object) -> tuple[bool, float, str]:
    """Sorts numbers, and key sets by their size, before words."""
    value = KEY_SETS.get(value, value) if isinstance(value, str) else value
    if isinstance(value, int | float):
        return False, float(value), ""
    return True, float(FIRST.index(value) if value in FIRST else len(FIRST)), str(value)


def _in_all(lists: Iterable[Sequence[str]]) -> list[str]:
    """Returns the texts that are in each of the lists, in the order of the first."""
    first, *rest = list(lists) or [[]]
    return [text for text in first if all(text in other for other in rest)]


def _unique(texts: Mapping[str, str], longer: Mapping[str, str]) -> dict[str, str]:
    """Replaces texts that occur twice by their longer form."""
    values = list(texts.values())
    return {name: longer[name] if values.count(text) > 1 else text for name, text in texts.items()}


def _mentions(label: str, text: str) -> bool:
    """Whether the label has the text as whole words."""
    return bool(re.search(rf"(?<![\w.,]){re.escape(text)}(?!\w)", label, re.IGNORECASE))


def _settings(cell: Cell) -> list[str]:
    """Returns all settings of a cell, one text each; settings without a value are left out."""
    texts = (
        backend_name(cell),
        cell.strategy.strip("'-"),
        plural(cell.hosts, "host"),
        f"pool of {plural(cell.pool, 'connection')}" if cell.pool else "",
        f"{cell.rate:,g} requests/s" if cell.rate is not None else plural(cell.clients, "client"),
        plural(cell.requests, "request") if cell.requests else "",
        f"{cell.seconds:g} s" if cell.seconds else "",
        *(
            _param(cell, str(name), value)
            for name, value in sorted(cell.params.items(), key=lambda item: str(item[0]))
            if name not in ("variant", "varied")
        ),
    )
    return [text for text in texts if text]


def _param(cell: Cell, name: str, value: object) -> str:
    if name == "keys":
        return keys_name(cell)
    if name == "rows" and isinstance(value, int):
        return f"{plural(value, 'row')} per request"
    if name.startswith(POSTGRES):
        return f"{name.removeprefix(POSTGRES)}={value}"
    if name in varied_of(cell) and name not in PARAMS:
        return f"{short_key(name)}={value}"
    if isinstance(value, bool) and name not in PARAMS:
        return f"{'with' if value else 'without'} {name}"
    return PARAMS[name].format(_value(value)) if name in PARAMS else f"{name} {_value(value)}"


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key}={one}" for key, one in sorted(value.items(), key=str))
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
