"""What the load of two runs allows to compare: open and closed loops, rejected requests, steadiness."""

from __future__ import annotations

import pytest

from harness.compare.cells import RunData
from harness.compare.compare import compare
from harness.compare.table import text, texts
from tests.support.comparisons import LEVEL, SLOW, closed, offered, run, trial, verdicts


def test_a_cell_without_a_steady_trial_is_not_compared() -> None:
    steady = run([trial(n, steady="true") for n in range(5)])
    unsteady = run([trial(n, steady="false", rps=1.0) for n in range(5)], "B")
    (row,) = compare(steady, unsteady).rows
    assert (row.verdict, row.note) == ("invalid", "no trial in a steady state in B")
    (row,) = compare(unsteady, unsteady).rows
    assert row.note == "no trial in a steady state in A and B"
    some = run([trial(n, steady="true" if n == 3 else "false") for n in range(5)], "B")
    assert {row.n_b for row in compare(steady, some).rows} == {5}


def test_open_loads_over_other_numbers_of_connections_are_not_the_same_measurement() -> None:
    few, many = ([offered(n, clients=clients) for n in range(8)] for clients in (10, 1000))
    assert verdicts(compare(run(few), run(many, "B"))) == {"MISSING"}
    assert verdicts(compare(run(few), run(few, "B"))) == {"~"}


def test_trials_that_began_unsteady_are_counted() -> None:
    a = run([trial(n, steady="true") for n in range(5)])
    b = run([trial(n, steady="false") for n in range(2)] + [trial(n, steady=s) for n, s in ((3, ""), (4, "true"))], "B")
    expected = [one for one in compare(a, b).warnings if "steady" in one]
    assert expected == ["B (B): 2 of 4 trials were not in a steady state"]


def test_rate_of_zero_in_b_is_slower_by_100_percent() -> None:
    a, b = run([trial(n) for n in range(5)]), run([trial(n, rps=0) for n in range(5)], "B")
    row = compare(a, b).rows[0]
    assert (row.verdict, row.median_b, row.change) == ("slower", 0, 1)
    assert texts(row)[-1] == "slower by 100.0%"
    back = compare(b, a).rows[0]
    assert (back.verdict, back.median_a, back.note) == ("invalid", 0, "a figure of 0 in A has no ratio")


def test_latency_of_zero_has_no_ratio() -> None:
    a, b = run([trial(n) for n in range(5)]), run([trial(n, p50_ms=0) for n in range(5)], "B")
    (row,) = (row for row in compare(a, b).rows if row.metric == "p50_ms")
    assert (row.verdict, row.note) == ("invalid", "a figure of 0 in B has no ratio")


def rejecting(share: float, run_id: str, **figures: float) -> RunData:
    """Returns a run in which `share` of 10,000 requests per trial is not acknowledged."""
    return run([trial(n, sent=10_000, ok=round(10_000 * (1 - share)), **figures) for n in range(5)], run_id)


QUICK = {"p50_ms": 2.5, "p99_ms": 7.0, "rps": 4000.0}


@pytest.mark.parametrize(
    ("share_a", "share_b", "verdicts_of_b"),
    [
        (0.0, 0.0, ["faster", "faster", "~", "faster"]),
        (0.03, 0.03, ["faster", "faster", "~", "faster"]),
        (0.0, 0.0005, ["faster", "faster", "~", "faster"]),
        (0.0, 0.03, ["faster", "invalid", "invalid", "invalid"]),
        (0.03, 0.0, ["faster", "faster", "~", "faster"]),
    ],
)
def test_no_latency_is_faster_where_more_was_rejected(share_a: float, share_b: float, verdicts_of_b: list[str]) -> None:
    comparison = compare(rejecting(share_a, "A"), rejecting(share_b, "B", **QUICK))
    assert [row.verdict for row in comparison.rows] == verdicts_of_b
    expected = f"A acknowledged {1 - share_a:.2%} of its requests, B {1 - share_b:.2%}"
    assert {row.note for row in comparison.rows if row.verdict == "invalid"} <= {expected}
    unlike = abs(share_a - share_b) > 0.001
    assert (f"throughput.postgres.upsert.h4.p5.c64.n64: {expected}" in comparison.warnings) == unlike


def test_latency_is_slower_only_if_the_other_side_did_not_reject_more() -> None:
    worse = compare(rejecting(0.0, "A", **QUICK), rejecting(0.03, "B"))
    assert [row.verdict for row in worse.rows] == ["slower", "slower", "invalid", "slower"]
    better = compare(rejecting(0.03, "A", **QUICK), rejecting(0.0, "B"))
    assert [row.verdict for row in better.rows] == ["slower", "invalid", "~", "invalid"]


def test_share_within_the_range_of_the_other_side_is_no_difference() -> None:
    some = [trial(n, sent=10_000, ok=100 * ok) for n, ok in enumerate((60, 50, 55, 62, 58))]
    others = [trial(n, sent=10_000, ok=100 * ok, **QUICK) for n, ok in enumerate((52, 54, 61, 50, 51))]
    assert compare(run(some), run(others, "B")).rows[3].verdict == "faster"


def test_latencies_of_a_closed_loop_are_shown_and_not_compared() -> None:
    """A service that stalls and one that does not can have the same closed percentiles."""
    a, b = run([closed(n) for n in range(4)]), run([closed(n, **SLOW) for n in range(4)], "B")
    comparison = compare(a, b)
    rate, *latencies = comparison.rows
    assert (rate.metric, rate.verdict) == ("rps", "~")
    assert {(row.verdict, row.note) for row in latencies} == {("shown", "closed loop: omits stalls")}
    assert [(row.metric, row.median_a, row.median_b) for row in latencies] == [
        ("p50_ms", 5.0, 50.0), ("p95_ms", 9.0, 90.0), ("p99_ms", 14.0, 140.0),
    ]  # fmt: skip
    assert {(row.ratio, row.p) for row in latencies} == {(None, None)}
    assert (comparison.tested, comparison.needed) == (1, 4), "they do not count in the correction"
    (about,) = comparison.warnings
    assert "(coordinated omission): they are shown, not compared; --rate R measures an open load" in about
    assert "shown (closed loop: omits stalls)" in text(comparison)
    burst = compare(run([trial(n) for n in range(5)]), run([trial(n, **SLOW) for n in range(5)], "B"))
    assert [row.verdict for row in burst.rows] == ["~", "slower", "slower", "slower"], "one request a client"
    assert burst.warnings == ()


def test_of_several_runs_latencies_of_a_closed_loop_are_only_shown_too() -> None:
    a, b = ([run([closed(n, **figures) for n in range(3)], f"{side}{i}") for i in range(3)]
            for side, figures in (("A", {}), ("B", SLOW | {"rps": 2000.0})))  # fmt: skip
    assert [row.verdict for row in compare(a, b).rows] == ["slower", "shown", "shown", "shown"]


def test_a_percentile_that_one_side_of_a_closed_loop_lacks_is_shown() -> None:
    a, b = run([closed(n) for n in range(5)]), run([closed(n, p99_ms="") for n in range(5)], "B")
    (row,) = (row for row in compare(a, b).rows if row.metric == "p99_ms")
    assert (row.verdict, row.median_a, row.median_b) == ("shown", 14.0, None)
    assert texts(row)[1:4] == ("14.00", "-", "-")


def test_an_open_load_is_compared_by_its_latencies_alone() -> None:
    fixed = {"mode": "open", "rate": 2000.0, "requests": ""}
    a, b = run([trial(n, **fixed) for n in range(5)]), run([trial(n, **fixed, **SLOW, rps=1.0) for n in range(5)], "B")
    comparison = compare(a, b)
    assert {row.metric: row.verdict for row in comparison.rows} == dict.fromkeys(SLOW, "slower")
    assert comparison.warnings == ()


def test_a_cell_without_valid_trials_counts_with_what_could_be_claimed_of_it() -> None:
    both = [closed(1), closed(1, scenario="x", valid="false")]
    assert compare(run(both), run(both, "B")).needed == 5, "two rates"
    both = [offered(1), offered(1, scenario="x", valid="false")]
    assert compare(run(both), run(both, "B")).needed == 5, "six latencies; eight rows would need 6"


@pytest.mark.parametrize(
    ("rate_b", "slower", "faster", "equal"),
    [
        (2000.0, "slower", "faster", "~"),
        (2010.0, "slower", "faster", "~"),
        (1800.0, "slower", "invalid", "invalid"),
        (2200.0, "invalid", "faster", "~"),
    ],
)
def test_a_latency_that_favours_the_side_with_less_load_is_no_result(
    rate_b: float, slower: str, faster: str, equal: str
) -> None:
    """A slower service gets 70 % of a lower rate, at which requests wait less."""
    a = run([offered(n, 2000.0 + n) for n in range(5)])
    for factor, verdict in ((2.0, slower), (0.5, faster), (1.0, equal)):
        figures = {name: level * factor for name, level in LEVEL.items()}
        comparison = compare(a, run([offered(n, rate_b + n, **figures) for n in range(5)], "B"))
        assert {(row.metric, row.verdict) for row in comparison.rows} == {(name, verdict) for name in SLOW}
        uneven = f"A was offered 2,002 requests/s, B {rate_b + 2:,.0f}: --rate R offers both the same"
        assert {row.note for row in comparison.rows if row.verdict == "invalid"} <= {uneven}
        assert any(uneven in one for one in comparison.warnings) == (abs(rate_b - 2000) > 100)
