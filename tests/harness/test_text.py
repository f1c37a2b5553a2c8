"""Text for people."""

from __future__ import annotations

from harness.text import plural


def test_plural() -> None:
    assert [plural(1, "key"), plural(2, "key"), plural(0, "anomaly", "anomalies")] == ["1 key", "2 keys", "0 anomalies"]
    assert plural(1000, "request") == "1,000 requests"
