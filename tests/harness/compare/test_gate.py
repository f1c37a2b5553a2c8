"""`--fail-if`: when the way is open, and that it is shut wherever nobody can tell."""

from __future__ import annotations

import pytest

from harness.compare.compare import Comparison, compare
from harness.compare.gate import FailIf
from harness.errors import CriterionFailed, InvalidMeasurement, UsageError
from tests.harness.compare.test_compare import compared, run, trial

GATE = FailIf(share=0.05)
FIVE = [trial(n) for n in range(5)]


def test_it_reads_what_it_understands() -> None:
    assert FailIf.parse("slower:5%") == FailIf(share=0.05)
    assert FailIf.parse(" slower:12.5% ") == FailIf(share=0.125)


@pytest.mark.parametrize("wrong", ["", "slower", "slower:5", "faster:5%", "slower:-5%", "slower:5%%", "slower:1e3%"])
def test_it_refuses_what_it_does_not(wrong: str) -> None:
    with pytest.raises(UsageError, match="--fail-if") as refused:
        FailIf.parse(wrong)
    assert "slower:5%" in refused.value.hint


def test_it_fails_on_a_claimed_loss_of_that_size() -> None:
    worse = compared(slower=1.2)
    with pytest.raises(CriterionFailed, match="4 of 4 rows are slower by 5% or more, most") as failed:
        GATE.enforce(worse)
    assert failed.value.exit_code == 1
    FailIf(share=0.5).enforce(worse)
    GATE.enforce(compared(slower=1.0))
    GATE.enforce(compared(slower=0.8))


def shut(comparison: Comparison) -> InvalidMeasurement:
    with pytest.raises(InvalidMeasurement) as refused:
        GATE.enforce(comparison)
    assert refused.value.exit_code == 4
    return refused.value


def test_too_few_trials_shut_it_and_the_hint_says_how_many_are_enough() -> None:
    refused = shut(compared(slower=3, trials=3, cells=3))
    assert "12 of 12 rows cannot be judged, first " in refused.message
    assert "rps: too few trials, 6 a side needed" in refused.message
    assert refused.hint.endswith("--repeat 6")
    FailIf(share=0.99).enforce(compared(slower=1.5, trials=6, cells=3))


def test_a_cell_that_only_the_baseline_has_shuts_it() -> None:
    more = [*FIVE, *(trial(n, scenario="new") for n in range(5))]
    assert "1 of 5 rows cannot be judged, first new" in shut(compare(run(more), run(FIVE, "B"))).message
    GATE.enforce(compare(run(FIVE), run(more, "B")))


def test_a_baseline_without_a_valid_trial_shuts_it() -> None:
    bad = [trial(n, valid="false") for n in range(5)]
    assert "invalid, no valid trial in A" in shut(compare(run(bad), run(FIVE, "B"))).message
    elsewhere = [trial(n, scenario="other", valid="false") for n in range(5)]
    assert "MISSING, not in B" in shut(compare(run([*FIVE, *elsewhere]), run(FIVE, "B"))).message


def test_a_figure_that_one_side_lacks_shuts_it() -> None:
    without = [trial(n, p99_ms="") for n in range(5)]
    for a, b in ((FIVE, without), (without, FIVE)):
        assert "p99_ms: MISSING" in shut(compare(run(a), run(b, "B"))).message


def test_requests_that_were_quickly_refused_shut_it() -> None:
    a, b = ([trial(n, sent=1000, ok=ok) for n in range(5)] for ok in (1000, 970))
    assert (
        "p50_ms: invalid, A acknowledged 100.00% of its requests, B 97.00%"
        in shut(compare(run(a), run(b, "B"))).message
    )
    GATE.enforce(compare(run(b), run(a, "B")))


def test_a_run_compared_with_itself_shuts_it() -> None:
    comparison = compare(run(FIVE), run(FIVE))
    assert "A and B are the same run" in comparison.warnings
    assert "nothing was compared" in shut(comparison).message


def test_nothing_left_fails_it() -> None:
    with pytest.raises(CriterionFailed, match=r"1 of 4 rows .* most .* rps: 100.0%"):
        GATE.enforce(compare(run(FIVE), run([trial(n, rps=0.0) for n in range(5)], "B")))


def test_nothing_to_judge_shuts_it() -> None:
    none = dict.fromkeys(("rps", "p50_ms", "p95_ms", "p99_ms"), "")
    still = [trial(n, scenario="isolation", **none) for n in range(5)]
    comparison = compare(run(still), run(still, "B"))
    assert comparison.rows == ()
    assert "no figure in common" in shut(comparison).message
    new_alone = compare(run(still), run([*still, *FIVE], "B"))
    assert "no figure in common" in shut(new_alone).message


def test_a_run_that_failed_its_own_checks_does_not_pass_however_fast() -> None:
    for faster in (1.0, 0.5):
        comparison = compare(run(FIVE), run([trial(n, rps=3000 / faster) for n in range(5)], "B", verdict="fail"))
        with pytest.raises(CriterionFailed, match="has the verdict fail: fast and wrong"):
            GATE.enforce(comparison)
    GATE.enforce(compare(run(FIVE, verdict="fail"), run(FIVE, "B")))


@pytest.mark.parametrize("verdict", ["unknown", "invalid", None])
def test_a_run_that_nobody_knows_to_be_right_shuts_it(verdict: str | None) -> None:
    assert "the verdict" in shut(compare(run(FIVE), run(FIVE, "B", verdict=verdict))).message
    slow = [trial(n, rps=100.0) for n in range(5)]
    with pytest.raises(CriterionFailed, match="slower by 5% or more"):
        GATE.enforce(compare(run(FIVE), run(slow, "B", verdict=verdict)))
