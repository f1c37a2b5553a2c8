"""evidence/NNN.json: what the layers behind the client counted during one trial, as text and back. Pure.

The keys are the fields of `Evidence`, except for `unjudged` (`not_applicable`), and for `extra`, a table of what only
some trials have: `integrity_check`, `sqlite` and `sqlite_unlike` (together `sqlite`), `transactions`, `deadlocks`,
`dead_rows`, `data` (`bulk_rows`), `captures`, `durability`, `result` (`workload_result`), `missing` (`missing_hosts`),
`unread`, `misrouted`, `settings`, `faults`, `logs`.
A key of `extra` is absent where there is nothing to store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from harness.fault_record import FaultRecord, LogLine
from harness.load.decode import decode
from harness.record import (
    BulkRows,
    Captures,
    DeadlockCounts,
    DeadRows,
    Evidence,
    Pragmas,
    SqliteEvidence,
    TransactionCounts,
)

T = TypeVar("T")
_KEYS = {"initial", "final", "ledger", "counts", "servers", "notes", "extra", "unjudged"}
_EXTRA = {
    "integrity_check", "sqlite", "sqlite_unlike", "transactions", "deadlocks", "dead_rows", "data", "captures",
    "durability", "result", "missing", "unread", "misrouted", "settings", "faults", "logs",
}  # fmt: skip


def dump(evidence: Evidence) -> str:
    """The text of an evidence file."""
    fields = {
        "initial": evidence.initial,
        "final": evidence.final,
        "ledger": evidence.ledger,
        "counts": evidence.counts,
        "servers": evidence.servers,
        "notes": evidence.notes,
        "extra": _extra(evidence),
        "unjudged": evidence.not_applicable,
    }
    return json.dumps(fields, separators=(",", ":"))


def _extra(evidence: Evidence) -> dict[str, object]:
    extra: dict[str, object] = {}
    if sqlite := evidence.sqlite:
        extra |= _present(
            integrity_check=sqlite.integrity_check or None,
            sqlite=sqlite.pragmas or None,
            sqlite_unlike=sqlite.differing or None,
        )
    if transactions := evidence.transactions:
        extra["transactions"] = {"app": transactions.app, "database": transactions.database}
    if deadlocks := evidence.deadlocks:
        extra["deadlocks"] = _present(statistics=deadlocks.statistics, log=deadlocks.log)
    if dead := evidence.dead_rows:
        extra["dead_rows"] = _present(kept=dead.kept, removed=dead.removed, not_removable=dead.not_removable)
    if (bulk := evidence.bulk_rows) is not None:
        extra["data"] = {"rows": sum(bulk.requests.values()), "ranges": bulk.ranges, "requests": bulk.requests}
    return extra | _present(
        durability=evidence.durability,
        captures=evidence.captures or None,
        result=evidence.workload_result,
        missing=evidence.missing_hosts or None,
        unread=evidence.unread or None,
        misrouted=evidence.misrouted or None,
        settings=evidence.settings or None,
        faults=[asdict(one) for one in evidence.faults] or None,
        logs=[asdict(one) for one in evidence.logs] or None,
    )


def _present(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def parse(text: str) -> Evidence:
    """The evidence in a file's text. Raises ValueError, TypeError or KeyError where it is damaged."""
    raw = _table("evidence", json.loads(text))
    extra = _table("extra", raw.get("extra", {}))
    if unknown := (raw.keys() - _KEYS) | (extra.keys() - _EXTRA):
        raise ValueError(f"unknown key {min(unknown)!r}")
    result = extra.get("result")
    return Evidence(
        initial=_counts("initial", raw.get("initial", {})),
        final=_counts("final", raw.get("final", {})),
        ledger=_ledger(raw["ledger"]),
        counts=_counts("counts", raw.get("counts", {})),
        servers=_counts("servers", raw.get("servers", {})),
        notes=_strings("notes", raw["notes"]),
        sqlite=_sqlite(extra),
        transactions=_transactions(extra.get("transactions")),
        deadlocks=_deadlocks(extra.get("deadlocks")),
        dead_rows=_dead_rows(extra.get("dead_rows")),
        bulk_rows=_bulk_rows(extra.get("data")),
        durability=_texts("durability", extra.get("durability")),
        captures=_captures(extra.get("captures", {})),
        workload_result=None if result is None else _table("result", result),
        missing_hosts=_strings("missing", extra.get("missing", [])),
        unread={part: _string("unread", why) for part, why in _table("unread", extra.get("unread", {})).items()},
        misrouted=_strings("misrouted", extra.get("misrouted", [])),
        settings=_texts("settings", extra.get("settings")) or {},
        faults=tuple(
            decode(FaultRecord, one, "faults", strict=True) for one in _list("faults", extra.get("faults", []))
        ),
        logs=tuple(decode(LogLine, one, "logs", strict=True) for one in _list("logs", extra.get("logs", []))),
        not_applicable={
            key: _string("unjudged", why) for key, why in _table("unjudged", raw.get("unjudged", {})).items()
        },
    )


def _ledger(value: object) -> dict[str, tuple[str, int]] | None:
    if value is None:
        return None
    rows: dict[str, Any] = _table("ledger", value)
    for ident, row in rows.items():  # in place: a ledger of a million rows takes 300 MB
        key, number = _list("ledger", row)
        rows[ident] = (_string("ledger", key), _whole("ledger", number))
    return rows


def _sqlite(extra: Mapping[str, object]) -> SqliteEvidence | None:
    if not extra.keys() & {"integrity_check", "sqlite", "sqlite_unlike"}:
        return None
    differing = _table("sqlite_unlike", extra.get("sqlite_unlike", {}))
    return SqliteEvidence(
        integrity_check=_strings("integrity_check", extra.get("integrity_check", [])),
        pragmas=_pragmas("sqlite", extra.get("sqlite", {})),
        differing={worker: _pragmas("sqlite_unlike", pragmas) for worker, pragmas in differing.items()},
    )


def _pragmas(name: str, value: object) -> Pragmas:
    pragmas: dict[str, str | int | float | None] = {}
    for pragma, setting in _table(name, value).items():
        if not isinstance(setting, str | int | float | None):
            raise TypeError(f"{name} holds a value that is neither text nor a number")
        pragmas[pragma] = setting
    return pragmas


def _transactions(value: object) -> TransactionCounts | None:
    counts = _counts("transactions", {} if value is None else value)
    return TransactionCounts(app=counts["app"], database=counts["database"]) if counts else None


def _deadlocks(value: object) -> DeadlockCounts | None:
    counts = _counts("deadlocks", {} if value is None else value)
    return DeadlockCounts(statistics=counts["statistics"], log=counts.get("log")) if counts else None


def _dead_rows(value: object) -> DeadRows | None:
    counts = _counts("dead_rows", {} if value is None else value)
    if not counts:
        return None
    return DeadRows(removed=counts["removed"], not_removable=counts["not_removable"], kept=counts.get("kept"))


def _bulk_rows(value: object) -> BulkRows | None:
    if value is None:
        return None
    bulk = _table("data", value)
    ranges = []
    for pair in _list("ranges", bulk["ranges"]):
        low, high = _list("ranges", pair)
        ranges.append((_whole("ranges", low), _whole("ranges", high)))
    requests = _counts("requests", bulk["requests"])
    return BulkRows(requests={int(number): rows for number, rows in requests.items()}, ranges=tuple(ranges))


def _records(kind: type[T], name: str, extra: Mapping[str, object]) -> tuple[T, ...]:
    return tuple(decode(kind, one, name, strict=True) for one in _list(name, extra.get(name, [])))


def _captures(value: object) -> Captures:
    return {
        lane: [_table("captures", line) for line in _list("captures", lines)]
        for lane, lines in _table("captures", value).items()
    }


def _texts(name: str, value: object) -> dict[str, str] | None:
    return None if value is None else {key: _string(name, text) for key, text in _table(name, value).items()}


def _table(name: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"{name} is not an object")
    return value


def _list(name: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{name} is not a list")
    return value


def _counts(name: str, value: object) -> dict[str, int]:
    return {key: _whole(name, number) for key, number in _table(name, value).items()}


def _strings(name: str, value: object) -> tuple[str, ...]:
    return tuple([_string(name, text) for text in _list(name, value)])


def _string(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} holds a value that is not text")
    return value


def _whole(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} holds a value that is not a whole number")
    return value
