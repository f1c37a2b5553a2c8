"""`--fail-if`: when a comparison passes; without a verdict it never does."""

from __future__ import annotations

import pytest

from harness.compare.cells import comparable_name
from harness.compare.compare import Comparison, compare
from harness.compare.gate import FailIf
from harness.errors import CriterionFailed, InvalidMeasurement, UsageError
from tests.harness.compare.test_variants import blocks, opened, within
from tests.support.comparisons import SLOW, closed, compared, offered, run, trial

GATE = FailIf(share=0.05)
FIVE = [trial(n) for n in range(5)]


def test_parse() -> None:
    assert FailIf.parse("slower:5%") == FailIf(share=0.05)
    assert FailIf.parse(" slower:12.5% ") == FailIf(share=0.125)


@pytest.mark.parametrize("wrong", ["", "slower", "slower:5", "faster:5%", "slower:-5%", "slower:5%%", "slower:1e3%"])
def test_parse_rejects_other_texts(wrong: str) -> None:
    with pytest.raises(UsageError, match="--fail-if") as refused:
        FailIf.parse(wrong)
    assert "slower:5%" in refused.value.hint


def test_claimed_loss_of_the_given_share_fails() -> None:
    worse = compared(slower=1.2)
    with pytest.raises(CriterionFailed, match="4 of 4 rows are slower by 5% or more, most") as failed:
        GATE.enforce(worse)
    assert failed.value.exit_code == 1
    FailIf(share=0.5).enforce(worse)
    FailIf(share=0.1).enforce(compared(slower=1.0))
    GATE.enforce(compared(slower=0.8))


def inconclusive(comparison: Comparison) -> InvalidMeasurement:
    with pytest.raises(InvalidMeasurement) as refused:
        GATE.enforce(comparison)
    assert refused.value.exit_code == 4
    return refused.value


def test_too_few_trials_are_inconclusive_with_the_needed_number_in_the_hint() -> None:
    refused = inconclusive(compared(slower=3, trials=3, cells=3))
    assert "12 of 12 rows have no verdict, first " in refused.message
    assert "rps: too few trials, 6 per side are needed" in refused.message
    assert refused.hint.endswith("--repeat 6")
    FailIf(share=0.99).enforce(compared(slower=1.5, trials=6, cells=3))


def test_cell_of_the_baseline_only_is_inconclusive() -> None:
    more = [*FIVE, *(trial(n, scenario="new") for n in range(5))]
    assert "1 of 5 rows have no verdict, first new" in inconclusive(compare(run(more), run(FIVE, "B"))).message
    GATE.enforce(compare(run(FIVE), run(more, "B")))


def test_baseline_without_a_valid_trial_is_inconclusive() -> None:
    bad = [trial(n, valid="false") for n in range(5)]
    assert "invalid, no valid trial in A" in inconclusive(compare(run(bad), run(FIVE, "B"))).message
    elsewhere = [trial(n, scenario="other", valid="false") for n in range(5)]
    assert "MISSING, not in B" in inconclusive(compare(run([*FIVE, *elsewhere]), run(FIVE, "B"))).message


def test_figure_of_one_side_only_is_inconclusive() -> None:
    without = [trial(n, p99_ms="") for n in range(5)]
    for a, b in ((FIVE, without), (without, FIVE)):
        assert "p99_ms: MISSING" in inconclusive(compare(run(a), run(b, "B"))).message


def test_more_rejected_requests_are_inconclusive() -> None:
    a, b = ([trial(n, sent=1000, ok=ok) for n in range(5)] for ok in (1000, 970))
    assert (
        "p50_ms: invalid, A acknowledged 100.00% of its requests, B 97.00%"
        in inconclusive(compare(run(a), run(b, "B"))).message
    )
    GATE.enforce(compare(run(b), run(a, "B")))


def test_run_compared_with_itself_is_inconclusive() -> None:
    comparison = compare(run(FIVE), run(FIVE))
    assert "A and B are the same run" in comparison.warnings
    assert "nothing was compared" in inconclusive(comparison).message


def test_rate_of_zero_fails() -> None:
    with pytest.raises(CriterionFailed, match=r"1 of 4 rows .* most .* rps: 100.0%"):
        GATE.enforce(compare(run(FIVE), run([trial(n, rps=0.0) for n in range(5)], "B")))


def test_no_common_figure_is_inconclusive() -> None:
    none = dict.fromkeys(("rps", "p50_ms", "p95_ms", "p99_ms"), "")
    still = [trial(n, scenario="isolation", **none) for n in range(5)]
    comparison = compare(run(still), run(still, "B"))
    assert comparison.rows == ()
    assert "both sides have neither the throughput of a closed load" in inconclusive(comparison).message
    new_alone = compare(run(still), run([*still, *FIVE], "B"))
    assert "both sides have neither" in inconclusive(new_alone).message


def test_run_that_failed_its_own_checks_fails_at_any_speed() -> None:
    for faster in (1.0, 0.5):
        comparison = compare(run(FIVE), run([trial(n, rps=3000 / faster) for n in range(5)], "B", verdict="fail"))
        with pytest.raises(CriterionFailed, match="has the verdict fail: its speed does not count"):
            GATE.enforce(comparison)
    GATE.enforce(compare(run(FIVE, verdict="fail"), run(FIVE, "B")))


@pytest.mark.parametrize("verdict", ["unknown", "invalid", None])
def test_run_without_a_verdict_is_inconclusive(verdict: str | None) -> None:
    assert "the verdict" in inconclusive(compare(run(FIVE), run(FIVE, "B", verdict=verdict))).message
    slow = [trial(n, rps=100.0) for n in range(5)]
    with pytest.raises(CriterionFailed, match="slower by 5% or more"):
        GATE.enforce(compare(run(FIVE), run(slow, "B", verdict=verdict)))


def test_runs_of_different_environments_are_inconclusive_even_where_a_row_is_slower() -> None:
    for slower in (1.0, 1.5):
        b = run([trial(n, rps=3000 / slower) for n in range(5)], "B", settings={"postgres": {"fsync": "off"}})
        refused = inconclusive(compare(run(FIVE), b, anyway=True))
        assert "different environments (settings.postgres.fsync: on against off)" in refused.message
    failed = run(FIVE, "B", settings={"postgres": {"fsync": "off"}}, verdict="fail")
    with pytest.raises(CriterionFailed, match="has the verdict fail"):
        GATE.enforce(compare(run(FIVE), failed, anyway=True))


def test_baseline_that_failed_a_check_is_inconclusive() -> None:
    wrong = {"A": {comparable_name(row.cell) for row in run(FIVE).rows}}
    refused = inconclusive(compare(run(FIVE, verdict="fail"), run(FIVE, "B"), wrong=wrong))
    assert "invalid, A failed a check: its speed does not count" in refused.message


@pytest.mark.parametrize("status", ["aborted", "started", "sampled"])
def test_run_that_did_not_finish_is_inconclusive(status: str) -> None:
    """Its verdict is that of the trials it has; the others may lose updates."""
    assert "has the verdict unknown" in inconclusive(compare(run(FIVE), run(FIVE, "B", status=status))).message
    with pytest.raises(CriterionFailed, match="has the verdict fail"):
        GATE.enforce(compare(run(FIVE), run(FIVE, "B", status=status, verdict="fail")))


def test_loss_within_a_large_noise_floor_is_inconclusive() -> None:
    """The rate fell by 15 % for sure, or sessions differ by as much: the gate cannot tell."""
    slow = [trial(n, rps=3000 * 0.85 + n) for n in range(8)]
    a, b = run([trial(n, rps=3000.0 + n) for n in range(8)], floor=1.2), run(slow, "B")
    refused = inconclusive(compare(a, b))
    assert "4 of 4 rows may be slower by 5% or more, most " in refused.message
    assert "by 20.0%, within the noise floor of 20.0%" in refused.message


def test_interval_that_reaches_the_share_is_inconclusive() -> None:
    comparison = compared(slower=1.0, trials=5, floor=1.02)
    worst = max(row.loss_at_most for row in comparison.rows)
    assert 0.02 < worst < 0.2
    assert f"by {worst:.1%}, the bad end of its interval" in inconclusive_at(worst, comparison).message
    FailIf(share=worst + 1e-9).enforce(comparison)


def inconclusive_at(share: float, comparison: Comparison) -> InvalidMeasurement:
    with pytest.raises(InvalidMeasurement) as refused:
        FailIf(share=share).enforce(comparison)
    return refused.value


def test_one_session_a_side_is_inconclusive_and_a_large_loss_fails() -> None:
    refused = inconclusive(compared(slower=1.0, floor=None))
    assert "by 100.0%, one session a side: shown beyond 2.00x" in refused.message
    assert "bench --vary" in refused.hint
    with pytest.raises(CriterionFailed, match="slower by 5% or more"):
        GATE.enforce(compared(slower=2.5, floor=None))


def test_machines_that_were_not_equally_fast_are_inconclusive() -> None:
    canary = {"before": {"db": {"cpu_ms": 10.0}}, "after": {"db": {"cpu_ms": 10.0}}}
    slow = {"before": {"db": {"cpu_ms": 13.0}}, "after": {"db": {"cpu_ms": 13.0}}}
    comparison = compare(run(FIVE, canaries=canary), run([trial(n, rps=2000) for n in range(5)], "B", canaries=slow))
    assert "were not equally fast, so no row can be judged: canary db cpu_ms" in inconclusive(comparison).message
    wrong = compare(run(FIVE, canaries=canary), run(FIVE, "B", canaries=slow, verdict="fail"))
    with pytest.raises(CriterionFailed, match="its speed does not count"):
        GATE.enforce(wrong)


def test_gate_of_variants() -> None:
    with pytest.raises(CriterionFailed, match="4 of 4 rows are slower by 5% or more, most throughput"):
        GATE.enforce_within(within(blocks(8, effect=1.1)))
    FailIf(share=0.3).enforce_within(within(blocks(8, effect=1.1)))
    GATE.enforce_within(within(blocks(8, effect=0.8)))
    GATE.enforce_within(within(blocks(8, noise=0.005)))
    for comparison, message in (
        (within(blocks(8, noise=0.2)), "rows may be slower by 5% or more"),
        (
            within(blocks(5)),
            "4 of 4 rows have no verdict, first throughput.postgres.upsert.h4.p5.c64 rps: too few blocks",
        ),
        (within(blocks(8, strategies=("upsert",))), "both sides have neither"),
    ):
        with pytest.raises(InvalidMeasurement, match=message) as refused:
            GATE.enforce_within(comparison)
        assert refused.value.hint


def test_worst_verdict_of_several_runs_counts() -> None:
    a = [run(FIVE, f"A{n}") for n in range(3)]
    b = [run(FIVE, f"B{n}", verdict=verdict) for n, verdict in enumerate(("pass", "pass", "unknown", "fail"))]
    GATE.enforce(compare(a, b[:2]))
    assert "has the verdict unknown" in inconclusive(compare(a, b[:3])).message
    with pytest.raises(CriterionFailed, match=r"B \(B0,B1,B2,B3\) has the verdict fail"):
        GATE.enforce(compare(a, b))


CLOSED, OPEN = [closed(n) for n in range(5)], [offered(n) for n in range(5)]


def test_latencies_of_closed_loops_neither_fail_nor_pass() -> None:
    GATE.enforce(compare(run(CLOSED), run([closed(n, **SLOW) for n in range(5)], "B")))
    GATE.enforce(compare(run(CLOSED), run([closed(n, p99_ms="") for n in range(5)], "B")))
    with pytest.raises(CriterionFailed, match=r"1 of 1 rows are slower by 5% or more, most .* rps: 33.3%"):
        GATE.enforce(compare(run(CLOSED), run([closed(n, rps=2000.0) for n in range(5)], "B")))
    without = [[closed(n, rps="", **latencies) for n in range(5)] for latencies in ({}, SLOW)]
    refused = inconclusive(compare(run(without[0]), run(without[1], "B")))
    assert "neither the throughput of a closed load nor the latency of an open one" in refused.message
    assert "--rate" in refused.hint


def test_latencies_of_open_loads_fail_and_pass() -> None:
    GATE.enforce(compare(run([*CLOSED, *OPEN]), run([*CLOSED, *OPEN], "B")))
    slow = [offered(n, **SLOW) for n in range(5)]
    with pytest.raises(CriterionFailed, match=r"3 of 4 rows are slower by 5% or more, most .*open"):
        GATE.enforce(compare(run([*CLOSED, *OPEN]), run([*CLOSED, *slow], "B")))
    less = [offered(n, 1500.0) for n in range(5)]
    refused = inconclusive(compare(run([*CLOSED, *OPEN]), run([*CLOSED, *less], "B")))
    assert "invalid, A was offered 2,000 requests/s, B 1,500" in refused.message


def test_gate_of_variants_in_closed_and_open_loops() -> None:
    names = ("off", "on")
    GATE.enforce_within(within(opened(effect=1.0, noise=0.005), variants=names))
    with pytest.raises(CriterionFailed, match=r"4 of 4 rows are slower by 5% or more"):
        GATE.enforce_within(within(opened(effect=1.2), variants=names))
    still = [row | {"rps": ""} for row in opened() if '"rate_share"' not in row["params"]]
    with pytest.raises(InvalidMeasurement, match="neither the throughput"):
        GATE.enforce_within(within(still, variants=names))
