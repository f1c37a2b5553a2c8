"""Variants: settings that are compared within one run, and how a cell carries them. Pure.

`--vary KEY=A,B` gives one variant per value, several keys separated by `;` give all combinations. `--variants FILE` has
names, each with its settings. The first variant is the baseline. Keys: `strategy`, `backend`, `code`, `app_<setting>`
of the service and `postgres.<setting>` of the server; the target knows the names behind the two prefixes.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.errors import UsageError
from harness.model import BACKENDS, STRATEGIES, Cell
from harness.text import nearest, printable

APP, POSTGRES = "app_", "postgres."
POOL = "app_pool_size"
"""Varies the cell's own field `pool`."""
CHOICES: Mapping[str, Sequence[str]] = {"strategy": STRATEGIES, "backend": BACKENDS}
"""Keys that decide which cells a scenario plans -> the values allowed."""
CODE = "code"
"""Varies which git revision of the service the app hosts run (harness/provision/revision.py)."""
KEYS = (*CHOICES, CODE, f"{APP}SETTING", f"{POSTGRES}SETTING")
MAX_VARIANTS = 16
MAX_POOL = 1000
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._=+:/-]{0,118}[A-Za-z0-9._=+:/-])?")
_APP_VALUE = re.compile(r"[A-Za-z0-9._:/+-]{1,200}")
"""Values that a line of systemd's EnvironmentFile keeps as they are."""
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,100}")
_OWN = re.compile(r"app_(container_id|host|port|workers|code_hash|sqlite_path|postgres_.*|backend|cpus)")
"""Settings of the service that name its place, or that the harness sets itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A name and the settings that differ from the scenario's own and from the provisioned ones, by key."""

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)


def parse_vary(option: str, text: str) -> tuple[Variant, ...]:
    """Returns the variants of `KEY=A,B;KEY=C,D`: all combinations of the values. Raises UsageError."""
    where = f"--{option}"
    values: dict[str, list[str]] = {}
    for part in text.split(";"):
        key, equals, listed = (piece.strip() for piece in part.partition("="))
        if not key or not equals:
            raise UsageError(f"{where} {printable(part, 80)!r}: expected KEY=A,B", hint=f"keys: {', '.join(KEYS)}")
        if key in values:
            raise UsageError(
                f"{where}: the key '{printable(key, 80)}' occurs twice", hint="give all its values in one list"
            )
        words = [word.strip() for word in listed.split(",")]
        if not listed:
            raise UsageError(f"{where}: {printable(key, 80)} has no values", hint=f"give two or more: {key}=A,B")
        values[key] = [_value(where, key, word) for word in words]
        if len(words) == 1:
            raise UsageError(
                f"{where}: {key} has a single value, so there is nothing to compare",
                hint=f"give two or more: {key}=A,B",
            )
        if twice := [word for word, count in Counter(words).items() if count > 1]:
            raise UsageError(f"{where}: {key} has the value '{twice[0]}' twice", hint="give each value once")
    combined = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
    variants = tuple(Variant(name=_generated(settings), settings=settings) for settings in combined)
    require_comparable(where, variants)
    return variants


def parse_named(named: Mapping[str, Mapping[str, str]], where: Callable[[tuple[str, ...]], str]) -> tuple[Variant, ...]:
    """Returns the variants of a file: name -> key -> value. `where` gives the file and line of a path of keys.

    Raises UsageError.
    """
    variants = []
    for name, settings in named.items():
        place = where((name,))
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{place}: '{printable(name, 80)}' is not a name of a variant",
                hint="use letters, digits, blanks and . _ = + : / - (at most 120)",
            )
        checked = {key: _value(where((name, key)), key, value) for key, value in settings.items()}
        variants.append(Variant(name=name, settings=checked))
    require_comparable(where(()), variants)
    return tuple(variants)


def require_comparable(where: str, variants: Sequence[Variant]) -> None:
    """Raises UsageError unless there are two or more variants, all different, that one plan can hold."""
    if not variants:
        raise UsageError(f"{where}: there are no variants", hint="give two or more")
    if len(variants) == 1:
        raise UsageError(f"{where}: a single variant has nothing to be compared with", hint="give two or more")
    if len(variants) > MAX_VARIANTS:
        raise UsageError(f"{where}: {len(variants)} variants", hint=f"give at most {MAX_VARIANTS}")
    for first, second in itertools.combinations(variants, 2):
        if first.settings == second.settings:
            raise UsageError(
                f"{where}: the variants '{first.name}' and '{second.name}' are the same", hint="remove one of them"
            )
    for key in CHOICES:
        without = [variant.name for variant in variants if key not in variant.settings]
        if without and len(without) < len(variants):
            raise UsageError(
                f"{where}: the variant '{without[0]}' does not set '{key}', and another one does",
                hint=f"set {key} in every variant or in none",
            )


def _value(where: str, key: str, value: str) -> str:
    """Returns the value of a key. Raises UsageError for a key that is not known and a value that is not allowed."""
    _require_key(where, key)
    if not value.strip() or not value.isprintable() or len(value) > 200:
        raise UsageError(
            f"{where}: {key} has the value {printable(value, 80)!r}", hint="give 1 to 200 printable characters"
        )
    if key in CHOICES and value not in CHOICES[key]:
        raise UsageError(f"{where}: {key}: there is no '{printable(value, 80)}'", hint=nearest(value, CHOICES[key]))
    if key.startswith(APP) and not _APP_VALUE.fullmatch(value):
        raise UsageError(f"{where}: {key} has the value {value!r}", hint="use letters, digits and . _ : / + -")
    if key in (POOL, "app_pool_min"):
        least = 1 if key == POOL else 0
        if not (value.isascii() and value.isdecimal() and len(value) < 6 and least <= int(value) <= MAX_POOL):
            raise UsageError(
                f"{where}: {key} {value!r} is not a number of connections", hint=f"{least} to {MAX_POOL:,}"
            )
        return str(int(value))
    return value


def _require_key(where: str, key: str) -> None:
    if key in CHOICES or key == CODE:
        return
    if _OWN.fullmatch(key):
        hint = "vary backend instead" if key == "app_backend" else "it belongs to the rig: change the inventory"
        raise UsageError(f"{where}: {key} cannot be varied", hint=hint)
    prefix = next((prefix for prefix in (APP, POSTGRES) if key.startswith(prefix)), "")
    if not prefix or not _SETTING.fullmatch(key.removeprefix(prefix)):
        raise UsageError(f"{where}: unknown setting '{printable(key, 80)}'", hint=_nearest_key(key))


def _nearest_key(key: str) -> str:
    """Returns a hint for an unknown key; a dot means a setting of the server."""
    close = nearest(key, [*CHOICES, CODE])
    if close.startswith("did you mean"):
        return close
    before, dot, name = key.partition(".")
    if dot and name and nearest(before, [POSTGRES]).startswith("did you mean"):
        return f"did you mean '{POSTGRES}{printable(name, 80)}'?"
    return f"known: {', '.join(KEYS)}"


def short_key(key: str) -> str:
    """Returns a key for names and labels, such as `synchronous_commit` for `postgres.synchronous_commit`."""
    return key.removeprefix(POSTGRES).removeprefix(APP)


def _generated(settings: Mapping[str, str]) -> str:
    return " ".join(f"{short_key(key)}={value}" for key, value in settings.items())


def varied_keys(variants: Sequence[Variant]) -> tuple[str, ...]:
    """Returns the keys that some variant sets, each once."""
    return tuple(dict.fromkeys(key for variant in variants for key in variant.settings))


def postgres_settings(variant: Variant) -> dict[str, str]:
    """Returns the variant's settings of the PostgreSQL server, by name."""
    return {key.removeprefix(POSTGRES): value for key, value in variant.settings.items() if key.startswith(POSTGRES)}


# -- variants and cells --------------------------------------------------------------------------------


def with_variant(cell: Cell, variant: Variant, varied: Sequence[str]) -> Cell:
    """Returns the cell as the variant measures it. `varied`: the keys of all variants; `cell` has the right CHOICES."""
    params = {**cell.params, "variant": variant.name, "varied": " ".join(varied)}
    pool = cell.pool
    for key, value in variant.settings.items():
        if key == POOL:
            pool = int(value)
        elif key not in CHOICES:
            params[_param(key)] = int(value) if key == "app_pool_min" else value
    return replace(cell, pool=pool, params=params)


def varied_of(cell: Cell) -> list[str]:
    """Returns the keys that the variants of the cell's run set; empty without variants."""
    return str(cell.params.get("varied", "")).split()


def without_variant(cell: Cell) -> Cell:
    """Returns the cell without what the variants of its run vary: the same for all variants of a group.

    Its name is the key of the group whose cells are compared.
    """
    varied = varied_of(cell)
    gone = {"variant", "varied", *map(_param, varied)}
    return replace(
        cell,
        strategy="" if "strategy" in varied else cell.strategy,
        backend=BACKENDS[0] if "backend" in varied else cell.backend,
        pool=0 if POOL in varied else cell.pool,
        params={name: value for name, value in cell.params.items() if name not in gone},
    )


def same_settings(first: Cell, second: Cell) -> bool:
    """Returns whether two cells of a group are measured alike: their variants change nothing there.

    The settings of the server do not change what SQLite does.
    """

    def settings(cell: Cell) -> Cell:
        other = "postgres_" if cell.backend != "postgres" else "variant"
        params = {n: value for n, value in cell.params.items() if n != "variant" and not n.startswith(other)}
        return replace(cell, params=params)

    return settings(first) == settings(second)


def _param(key: str) -> str:
    """Returns the name in `Cell.params` of a key: `postgres_work_mem` for `postgres.work_mem`."""
    return f"postgres_{key.removeprefix(POSTGRES)}" if key.startswith(POSTGRES) else key
