"""Numbers and names, by table."""

from __future__ import annotations

import math

import pytest

from harness.report.formatting import change, count, number, percent, size, spaced, span

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (-0.0, "0"), (1, "1.00"), (12.345, "12.3"), (123.45, "123"), (1234.5, "1,230"), (999.6, "1,000"),
        (9.999, "10.0"), (0.0123456, "0.0123"), (1e-7, "0.000000100"), (1234567, "1,230,000"), (-12.34, "-12.3"),
        (None, DASH), (math.nan, DASH), (math.inf, DASH),
    ],
)  # fmt: skip
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1.0, "100 %"), (0.0, "0 %"), (0.5, "50.0 %"), (0.99996, "> 99.9 %"), (0.9994, "99.9 %"),
        (0.000001, "0.000100 %"), (None, DASH), (math.nan, DASH), (1.02, "102 %"),
    ],
)  # fmt: skip
def test_percent_never_rounds_to_all_or_nothing(share: float | None, text: str) -> None:
    assert percent(share) == text


def test_counts_changes_spans_and_sizes() -> None:
    assert [count(v) for v in (1000.0, None, math.nan)] == ["1,000", DASH, DASH]
    assert change(0.3, 1.0) == "+233 %"
    assert change(500, 50) == f"{MINUS}90.0 %"
    assert [change(*pair) for pair in ((0, 1), (None, 1), (1, None), (math.nan, 1))] == [DASH] * 4
    assert span(1.0, 2.0) == f"1.00{DASH}2.00"
    assert span(1.0, 1.0) == span(None, 1.0) == ""
    assert [size(v) for v in (2**31, 2**28, 0, None)] == ["2.00 GiB", "256 MiB", DASH, DASH]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("used 76% of it (limit 10%)", "used 76 % of it (limit 10 %)"),
        ("99.9% or 1,000%.", "99.9 % or 1,000 %."),
        ("100 %", "100 %"),
        ("--fail-if slower:5% --slo p99:50ms,errors:0.1%", "--fail-if slower:5% --slo p99:50ms,errors:0.1%"),
        ("http://host/a%20b and 5%20", "http://host/a%20b and 5%20"),
    ],
)
def test_a_per_cent_sign_has_a_space_before_it_and_options_are_kept(text: str, shown: str) -> None:
    assert spaced(text) == shown
