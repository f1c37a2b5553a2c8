"""Text for people."""

from __future__ import annotations

import json
import math

import pytest

from harness.text import plural, printable, strict_json


def test_plural() -> None:
    assert [plural(1, "key"), plural(2, "key"), plural(0, "anomaly", "anomalies")] == ["1 key", "2 keys", "0 anomalies"]
    assert plural(1000, "request") == "1,000 requests"


def test_printable_is_one_line_that_cannot_move_the_cursor_or_hide_text() -> None:
    foreign = "a\x1b[2J\x07b\r\nc\x7f\x9b31m\u202ed\u2028e\ud800 ä ✓"
    assert printable(foreign) == "a?[2J?b??c??31m?d?e? ä ✓"
    assert printable(foreign, 3) == "a?["
    assert printable(ValueError("x\ty")) == "x?y"


def test_strict_json_has_null_for_a_number_that_is_not_finite() -> None:
    value = {"a": [math.inf, -math.inf, math.nan, 1.5, (1e308, "NaN")], "b": {"c": math.inf}, "d": None}
    parsed = json.loads(strict_json(value), parse_constant=pytest.fail)
    assert parsed == {"a": [None, None, None, 1.5, [1e308, "NaN"]], "b": {"c": None}, "d": None}
