"""The SLO: parsed strictly, judged on figures, never on what was not measured."""

from __future__ import annotations

import pytest

from harness.analysis.slo import Bound, Slo, first_second
from harness.errors import UsageError

FIGURES = {"p50_ms": 5.0, "p95_ms": 20.0, "p99_ms": 50.0, "p999_ms": None, "max_ms": 300.0,
           "ok": 999.0, "fail": 1.0, "unknown": 0.0}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("p99:50ms,errors:0.1%", "p99:50ms,errors:0.1%"),
        (" errors:0% , p50:0.5s", "p50:500ms,errors:0%"),
        ("max:1s,p99.9:900 ms,p95:250us", "p95:0.25ms,p99.9:900ms,max:1s,errors:0.1%"),
        ("p99:7µs", "p99:0.007ms,errors:0.1%"),
    ],
)
def test_an_slo_is_parsed_and_written_again(text: str, canonical: str) -> None:
    assert str(Slo.parse("slo", text)) == canonical
    assert Slo.parse("slo", canonical) == Slo.parse("slo", text)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("p98:50ms", "--slo 'p98:50ms': there is no metric 'p98'", "did you mean 'p9"),
        ("error:1%", "there is no metric 'error'", "did you mean 'errors'?"),
        ("p99", "--slo 'p99' has no limit", "such as p99:50ms"),
        ("p99:", "has no limit", "such as p99:50ms"),
        ("p99:50", "--slo 'p99:50' is not a time", "us, ms or s"),
        ("p99:50%", "is not a time", "us, ms or s"),
        ("p99:-1ms", "is not a time", ""),
        ("p99:nanms", "is not a time", ""),
        ("p99:0ms", "is out of range", "above 0"),
        ("p99:9999s", "is out of range", "at most 3,600s"),
        ("errors:0.1", "is not a share of errors", "such as errors:0.1%"),
        ("errors:100%", "is not a share of errors", "below 100%"),
        ("errors:5ms", "is not a share of errors", ""),
        ("p99:1ms,p99:2ms", "--slo: p99 is given twice", ""),
        ("p99:1ms,", "there is no metric ''", "known: errors, max"),
    ],
)
def test_a_wrong_slo_is_one_line_that_says_what_is_allowed(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        Slo.parse("slo", text)
    assert message in error.value.message
    assert hint in error.value.hint
    assert "\n" not in error.value.message + error.value.hint


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("p99:50ms", True), ("p99:49.9ms", False), ("p99:50ms,errors:0.09%", False), ("p99.9:1s", None),
        ("p99.9:1s,p50:1ms", False), ("max:300ms,p95:20ms,p50:5ms", True),
    ],
)  # fmt: skip
def test_an_slo_holds_only_where_every_bound_was_measured_and_holds(text: str, holds: bool | None) -> None:
    assert Slo.parse("slo", text).holds(FIGURES) is holds


def test_refused_and_unknown_requests_are_errors() -> None:
    slo = Slo.parse("slo", "errors:10%")
    assert slo.holds({"ok": 90.0, "fail": 5.0, "unknown": 5.0})
    assert slo.holds({"ok": 89.0, "fail": 6.0, "unknown": 5.0}) is False
    assert slo.holds({"ok": 0.0, "fail": 0.0, "unknown": 0.0}) is None
    assert slo.holds({"ok": 5.0, "fail": None, "unknown": 0.0}) is None


def test_results_are_sentences_with_both_values() -> None:
    slo = Slo.parse("slo", "p99:40ms,p99.9:1s,errors:1%")
    assert [str(result) for result in slo.results(FIGURES)] == [
        "p99 50ms, above 40ms", "p99.9 not measured: too few requests", "errors 0.1%, within 1%",
    ]  # fmt: skip


def test_the_first_second_that_breaks_a_bound() -> None:
    seconds: list[dict[str, float | None]] = [
        {"second": 3.0, "p99_ms": None, "ok": 5.0, "fail": 0.0, "unknown": 0.0},
        {"second": 4.0, "p99_ms": 40.0, "ok": 900.0, "fail": 0.0, "unknown": 100.0},
        {"second": 5.0, "p99_ms": 80.0, "ok": 500.0, "fail": 0.0, "unknown": 500.0},
    ]
    assert first_second(Bound(metric="p99", limit=50.0), seconds) == (5, "p99 80ms")
    assert first_second(Bound(metric="errors", limit=0.001), seconds) == (4, "errors 10%")
    assert first_second(Bound(metric="p99", limit=90.0), seconds) is None
    assert first_second(Bound(metric="max", limit=60.0), seconds) == (5, "p99 80ms")
    assert first_second(Bound(metric="p95", limit=1.0), seconds) is None  # a p99 says nothing about the p95
    few = [{"second": 1.0, "p50_ms": 40.0}, {"second": 2.0, "p50_ms": 51.0, "p95_ms": None}]
    assert first_second(Bound(metric="p99", limit=50.0), few) == (2, "p50 51ms")


@pytest.mark.parametrize(
    ("value", "text"),
    [(1483.78, "p99 1.48s, above 50ms"), (50.0004, "p99 50.0004ms, above 50ms"), (49.96, "p99 50ms, within 50ms"),
     (7.123, "p99 7.12ms, within 50ms")],
)  # fmt: skip
def test_a_rounded_value_is_on_the_side_of_the_limit_where_it_was_measured(value: float, text: str) -> None:
    (p99, _) = Slo.parse("slo", "p99:50ms").results({"p99_ms": value})
    assert str(p99) == text
