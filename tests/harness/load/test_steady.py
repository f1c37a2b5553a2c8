from __future__ import annotations

import pytest

from harness.load.steady import is_steady

FLAT = [(1000, 10.0)] * 4


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (FLAT, True),
        (FLAT[:2], False),
        (FLAT[:3], True),
        ([(400, 10.0), (900, 10.0), (1000, 10.0)], False),
        ([(n, 10.0) for n in (700, 800, 900, 1000)], False),
        ([(n, 10.0) for n in (100, 500, 1000, 990, 1010, 1000)], True),
        ([(n, 10.0) for n in (990, 1030, 970, 1020)], True),
        ([(1000, p) for p in (25.0, 15.0, 12.0, 10.0)], False),
        ([(1000, p) for p in (10.0, 11.0, 11.0, 12.0)], True),
        ([(1000, p) for p in (0.10, 0.10, 0.25, 0.25)], True),
        ([(0, None)] * 4, False),
        ([(9, None)] * 4, True),
        ([(9, None)] * 2 + [(9, 5.0)] * 2, False),
    ],
    ids=[
        "flat",
        "short",
        "three",
        "three-rising",
        "rising",
        "risen",
        "noise",
        "falling-p95",
        "p95-noise",
        "grain",
        "dead",
        "slow",
        "mixed",
    ],
)
def test_steady(rows: list[tuple[int, float | None]], expected: bool) -> None:
    assert is_steady(rows) is expected
