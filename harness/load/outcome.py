"""Classifies a response: applied, certainly not applied, or unknown (the contract of the service under test).

- `ok`: 2xx, complete, with the value that the operation expects.
- `fail`: a status of NOT_APPLIED, and any complete response with `"outcome": "aborted"`.
- `unknown`: everything else, also a 2xx without the expected content, because its write may have been applied.
"""

from __future__ import annotations

import functools
import json
from typing import Any, NamedTuple

from harness.load.spec import Operation
from harness.text import printable

NOT_APPLIED = frozenset({400, 404, 405, 408, 413, 415, 417, 422})
"""Statuses that mean: certainly not applied. docs/openapi.yaml lists the same, under Outcome."""
CLOSED_WHILE_IDLE = "closed while idle"
"""Error of a request that met the end of a connection which had been idle for 0.2 s or longer."""
OK, FAIL, UNKNOWN = 0, 1, 2
OUTCOMES = ("ok", "fail", "unknown")
_TEXT_LIMIT = 64
_raw_decode = json.JSONDecoder().raw_decode


class Answer(NamedTuple):
    """A classified response; `captured` holds the operation's capture fields in order."""

    outcome: int
    error: str = ""
    host: str = ""
    value: int | None = None
    captured: tuple[Any, ...] = ()


def _short(text: object) -> str:
    """Untrusted text made safe for CSV: one line, bounded, nothing to quote, no spreadsheet formula."""
    return _safe(str(text)[:_TEXT_LIMIT])


@functools.lru_cache(maxsize=256)
def _safe(text: str) -> str:
    safe = printable(text).replace(",", "?").replace('"', "?")
    return f"?{safe[1:]}" if safe.startswith(("=", "+", "-", "@")) else safe


def integer(value: object) -> int | None:
    """Returns the value of a JSON integer of 64 bits, else None: 1.0, true and "1" are no counts."""
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


def _decoded(text: str) -> Any:
    """Like `json.loads`, but without its search for white space around an object, which takes longer than parsing."""
    if text.startswith("{"):
        data, end = _raw_decode(text)
        if end == len(text):
            return data
    return json.loads(text)


def classify_answer(op: Operation, status: int, body: bytes, is_json: bool) -> Answer:
    """Classifies a complete response by its status, its whole body, and whether its Content-Type is JSON."""
    accepted = 200 <= status < 300
    try:
        data = _decoded(body.decode()) if body or is_json else None
    except (ValueError, RecursionError):  # bad UTF-8 and an integer that is too long also raise ValueError
        data = None
        if accepted and (is_json or op.value or op.capture):
            return Answer(UNKNOWN, "garbled")
    fields = data if isinstance(data, dict) else {}
    host = _short(fields.get("container", ""))
    captured = tuple([fields.get(name) for name in op.capture])
    if not accepted or fields.get("outcome") == "aborted":
        error = _short(fields.get("code") or f"HTTP {status}")
        not_applied = status in NOT_APPLIED or fields.get("outcome") == "aborted"
        return Answer(FAIL if not_applied else UNKNOWN, error, host, None, captured)
    if fields.get("success", True) is not True:
        return Answer(UNKNOWN, "not a success", host, None, captured)
    if not op.value:
        return Answer(OK, "", host, None, captured)
    value = integer(fields.get(op.value))
    if value is None:
        return Answer(UNKNOWN, "no value", host, None, captured)
    return Answer(OK, "", host, value, captured)


def captured_bytes(value: object) -> int:
    """Returns about how much memory a captured value takes: 40 bytes per integer of a list, else ten times its text."""
    if isinstance(value, list) and set(map(type, value)) <= {int}:
        return 40 * len(value)
    return 10 * len(json.dumps(value))
