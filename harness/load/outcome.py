"""What an answer means: applied, surely not applied, or nobody knows (the contract of the service under test).

- 2xx, complete, with what the operation expects in it: `ok`.
- 400, 404, 413, 422, and any complete answer that says `"outcome": "aborted"`: `fail`.
- everything else: `unknown`; so is a 2xx that is not what it should be, because the write behind it may stand.
"""

from __future__ import annotations

import functools
import json
from typing import Any, NamedTuple

from harness.load.spec import Operation

SURELY_NOT = frozenset({400, 404, 413, 422})
OK, FAIL, UNKNOWN = 0, 1, 2
OUTCOMES = ("ok", "fail", "unknown")
_TEXT_LIMIT = 64
_raw_decode = json.JSONDecoder().raw_decode


class Answer(NamedTuple):
    """`host` and `value` are what the answer said; `captured` holds the operation's capture fields in order."""

    outcome: int
    error: str = ""
    host: str = ""
    value: int | None = None
    captured: tuple[Any, ...] = ()


def _short(text: object) -> str:
    """Text of a stranger's answer, fit for a table: one line, bounded, nothing to quote, no spreadsheet's formula."""
    return _fit(str(text)[:_TEXT_LIMIT])


@functools.lru_cache(maxsize=256)
def _fit(text: str) -> str:
    fit = "".join(c if c.isprintable() and c not in ',"' else "?" for c in text)
    return f"?{fit[1:]}" if fit.startswith(("=", "+", "-", "@")) else fit


def _decoded(text: str) -> Any:
    """As `json.loads`, which spends more time on looking for white space around an object than on reading it."""
    if text.startswith("{"):
        data, end = _raw_decode(text)
        if end == len(text):
            return data
    return json.loads(text)


def classify_answer(op: Operation, status: int, body: bytes, is_json: bool) -> Answer:
    """The meaning of a complete answer (status, whole body, whether its Content-Type says JSON)."""
    accepted = 200 <= status < 300
    try:
        data = _decoded(body.decode()) if body or is_json else None
    except (ValueError, RecursionError):  # ValueError is also what bad UTF-8 and too long an integer raise
        data = None
        if accepted and (is_json or op.value or op.capture):
            return Answer(UNKNOWN, "garbled")
    fields = data if isinstance(data, dict) else {}
    host = _short(fields.get("container", ""))
    captured = tuple([fields.get(name) for name in op.capture])
    if not accepted or fields.get("outcome") == "aborted":
        error = _short(fields.get("code") or f"HTTP {status}")
        surely_not = status in SURELY_NOT or fields.get("outcome") == "aborted"
        return Answer(FAIL if surely_not else UNKNOWN, error, host, None, captured)
    if fields.get("success", True) is not True:
        return Answer(UNKNOWN, "not a success", host, None, captured)
    if not op.value:
        return Answer(OK, "", host, None, captured)
    value = fields.get(op.value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        return Answer(UNKNOWN, "no value", host, None, captured)
    return Answer(OK, "", host, value, captured)
