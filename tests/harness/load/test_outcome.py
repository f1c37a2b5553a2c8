from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.load.outcome import NOT_APPLIED, OUTCOMES, classify_answer
from harness.load.spec import Operation

COUNTER = Operation(name="increment", path="/x", value="value")
PLAIN = Operation(name="live", path="/live")
OK = {"success": True, "value": 4, "duration": 1, "container": "app-1"}


def test_the_contract_lists_the_statuses_that_the_agent_takes_for_not_applied() -> None:
    text = (Path(__file__).parents[3] / "docs/openapi.yaml").read_text()
    listed = re.search(r"\*\*Outcome\.\*\* ([\d, ]+) and every response with `outcome: aborted`", text)
    assert listed
    assert {int(status) for status in listed[1].split(",")} == NOT_APPLIED


def classified(op: Operation, status: int, body: object, *, is_json: bool = True) -> tuple[str, str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = classify_answer(op, status, data, is_json)
    return OUTCOMES[answer.outcome], answer.error


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, OK, ("ok", "")),
        (201, OK, ("ok", "")),
        (200, {**OK, "value": "4"}, ("unknown", "no value")),
        (200, {**OK, "value": True}, ("unknown", "no value")),
        (200, {**OK, "value": 4.0}, ("unknown", "no value")),
        (200, {**OK, "value": 2**63}, ("unknown", "no value")),
        (200, {"success": True}, ("unknown", "no value")),
        (200, [4], ("unknown", "no value")),
        (200, {**OK, "success": False}, ("unknown", "not a success")),
        (200, b"", ("unknown", "garbled")),
        (200, b'{"success": true, "val', ("unknown", "garbled")),
        (200, b'{"value": \xff4}', ("unknown", "garbled")),
        (200, b"[" * 100_000, ("unknown", "garbled")),
        (200, b'{"value": ' + b"9" * 5000 + b"}", ("unknown", "garbled")),
        (200, {**OK, "outcome": "aborted", "code": "40001"}, ("fail", "40001")),
        (400, {"error": "x", "code": "BAD"}, ("fail", "BAD")),
        (404, b"nothing here", ("fail", "HTTP 404")),
        (405, b"", ("fail", "HTTP 405")),
        (408, b"", ("fail", "HTTP 408")),
        (413, b"", ("fail", "HTTP 413")),
        (417, b"", ("fail", "HTTP 417")),
        (422, {"outcome": "unknown"}, ("fail", "HTTP 422")),
        (409, {"error": "x"}, ("unknown", "HTTP 409")),
        (302, b"", ("unknown", "HTTP 302")),
        (500, {"code": "23505", "outcome": "aborted"}, ("fail", "23505")),
        (500, {"code": "23505", "outcome": "unknown"}, ("unknown", "23505")),
        (500, b"<html>", ("unknown", "HTTP 500")),
        (503, b"no server", ("unknown", "HTTP 503")),
        (503, {"outcome": "aborted", "code": "53300"}, ("fail", "53300")),
        (504, b"", ("unknown", "HTTP 504")),
    ],
)
def test_classification(status: int, body: object, expected: tuple[str, str]) -> None:
    assert classified(COUNTER, status, body) == expected


@pytest.mark.parametrize(
    ("body", "is_json", "expected"),
    [
        (b"", False, "ok"),
        (b"fine", False, "ok"),
        (b'{"status": "up"}', True, "ok"),
        (b'{"status": "u', True, "unknown"),
    ],
)
def test_without_an_expected_value_a_complete_response_is_enough(body: bytes, is_json: bool, expected: str) -> None:
    assert classified(PLAIN, 200, body, is_json=is_json)[0] == expected


def test_host_value_and_captures_are_kept() -> None:
    op = Operation(name="bulk", path="/x", value="value", capture=("ids", "retries", "absent"))
    answer = classify_answer(op, 200, json.dumps({**OK, "ids": [1, 2], "retries": 3}).encode(), True)
    assert (answer.host, answer.value, answer.captured) == ("app-1", 4, ([1, 2], 3, None))


@pytest.mark.parametrize("text", ["a,b", 'a"b', "a\nb", "a\x00b", "x" * 5000, "=1+1", "@SUM(A1)", "-2", "+3"])
def test_untrusted_text_cannot_break_the_csv(text: str) -> None:
    data: dict[str, Any] = {"code": text, "container": text}
    answer = classify_answer(COUNTER, 500, json.dumps(data).encode(), True)
    for stored in (answer.error, answer.host):
        assert len(stored) <= 64
        assert not set(stored) & set(',"\n\x00')
        assert not stored.startswith(("=", "+", "-", "@"))  # a spreadsheet would evaluate it
