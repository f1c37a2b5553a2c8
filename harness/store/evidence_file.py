"""evidence/NNN.json: what the layers behind the client counted during one trial, as text and back. Pure.

The names on disk are those of `Evidence`, but for `unjudged`, which the class calls `not_applicable`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from harness.record import Evidence

_TABLES = (("initial", int), ("final", int), ("counts", int), ("servers", int), ("unjudged", str))


def dump(evidence: Evidence) -> str:
    """The text of an evidence file."""
    fields = asdict(evidence)
    fields["unjudged"] = fields.pop("not_applicable")
    return json.dumps(fields, separators=(",", ":"), default=str)


def parse(text: str) -> Evidence:
    """The evidence in a file's text. Raises ValueError, TypeError, KeyError or AttributeError where it is damaged."""
    raw = json.loads(text)
    _check(raw)
    ledger = raw.pop("ledger")
    return Evidence(
        ledger=None if ledger is None else {k: (str(v[0]), int(v[1])) for k, v in ledger.items()},
        notes=tuple(raw.pop("notes")),
        not_applicable=raw.pop("unjudged", {}),
        **raw,
    )


def _check(raw: Mapping[str, Any]) -> None:
    """Raises TypeError where a field is not of Evidence's shape; what `extra` holds is its scenario's to judge."""
    for name, kind in _TABLES:
        table = raw.get(name, {})
        if not isinstance(table, dict) or not all(isinstance(value, kind) for value in table.values()):
            raise TypeError(f"{name} is not a table of {kind.__name__}")
    if not isinstance(raw.get("extra", {}), dict) or not isinstance(raw.get("notes"), list):
        raise TypeError("extra is no table, or notes is no list")
