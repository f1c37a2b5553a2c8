"""The figures of `selfbench trust`: each is good with the project's methods and bad with a worse one."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harness.analysis import paired
from harness.analysis.stats import Interval
from harness.compare import compare as compare_module
from harness.compare.gate import FailIf
from harness.compare.rows import Row
from harness.model import Cell, Trial
from harness.record import TrialResult
from harness.selfbench import false_claims, simulated_runs, trust
from harness.selfbench.analysis import entry
from harness.selfbench.simulated_runs import NOISES, Noise, World


def value(figure: dict[str, object]) -> float:
    assert isinstance(figure["value"], float)
    return figure["value"]


def test_equal_variants_are_seldom_called_different() -> None:
    assert value(false_claims.false_claims_interleaved(40)) <= 0.125


def uncorrected(rows: Sequence[TrialResult]) -> Sequence[Row]:
    """Tests each metric by itself, without a correction for their number."""
    return [
        Row(cell="", metric=row.metric, n_a=8, n_b=8, verdict="slower" if row.ratio and not row.ratio.holds(1) else "~")
        for row in false_claims.within_run(rows)
    ]


def test_tests_without_a_correction_claim_too_much() -> None:
    assert value(false_claims.false_claims_interleaved(60, uncorrected)) > 0.1


def test_blocks_in_a_fixed_order_claim_too_much_under_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_order(found: Sequence[Sequence[Cell]], number: int, _: object, orders: Iterator[int]) -> list[Trial]:
        return [Trial(cell=cell, number=number, order=next(orders), seed=1) for group in found for cell in group]

    monkeypatch.setattr(simulated_runs.blocks, "blocks", in_order)
    monkeypatch.setattr(false_claims, "NOISES", [Noise(name="drift", within=0.005, drift=0.005)])
    assert value(false_claims.false_claims_interleaved(100)) > 0.12


def test_difference_of_10_percent_is_found() -> None:
    assert value(false_claims.power(60)) >= 0.95


def test_six_blocks_and_a_bonferroni_correction_find_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    def six(rows: Sequence[TrialResult]) -> Sequence[Row]:
        return false_claims.within_run([row for row in rows if row.trial.number <= 6])

    assert value(false_claims.power(60, six)) < 0.9

    def bonferroni(metrics: Sequence[paired.Differences], *, seed: int = 0) -> list[float]:
        return [min(1.0, 10 * original([one], seed=seed)[0]) for one in metrics]

    original = paired.metric_ps
    monkeypatch.setattr(paired, "metric_ps", bonferroni)
    assert value(false_claims.power(60)) < 0.95


@pytest.fixture
def without_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the bootstrap of a single run's interval, the slowest part, by a narrow interval: more is claimed."""

    def ratio(a: Sequence[float], b: Sequence[float], *, seed: int) -> object:
        found = statistics.median(b) / statistics.median(a)
        return Interval(value=found, low=found, high=found)

    monkeypatch.setattr(compare_module, "ratio_of_medians", ratio)


@pytest.mark.usefixtures("without_intervals")
def test_equal_runs_are_seldom_called_different() -> None:
    assert value(false_claims.false_claims_single_runs(20)) <= 0.15


@pytest.mark.usefixtures("without_intervals")
def test_an_assumed_floor_of_5_percent_claims_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_module, "ONE_SESSION", 1.05)
    ways = {"assumed": false_claims.without_floor}
    assert value(false_claims.false_claims_single_runs(50, ways)) > 0.2


@pytest.mark.usefixtures("without_intervals")
def test_trials_of_one_session_are_no_evidence_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several runs a side whose trials are pooled claim too much."""

    def pooled(world: World, slower: float) -> compare_module.Comparison:
        a, b = (
            [row for n in range(3) for row in world.run(f"{name}{n}", slower=factor).rows]
            for name, factor in (("A", 1.0), ("B", slower))
        )
        runs = [
            simulated_runs.RunData(run_id=n, manifest=simulated_runs.MANIFEST, rows=r) for n, r in (("A", a), ("B", b))
        ]
        return compare_module.compare(*runs)

    monkeypatch.setattr(compare_module, "ONE_SESSION", 1.02)
    assert value(false_claims.false_claims_single_runs(20, {"pooled": pooled})) > 0.2


@pytest.mark.usefixtures("without_intervals")
def test_gate_is_seldom_open_for_a_loss_of_10_percent_and_open_without_its_last_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ways = {"several": false_claims.several_runs, "variants": false_claims.variants}
    assert value(false_claims.gate_open(10, ways)) <= 0.1
    monkeypatch.setattr(FailIf, "_require_shown", lambda *_, **__: None)
    assert value(false_claims.gate_open(20, {"none": false_claims.without_floor})) > 0.5


def test_gate_opens_where_nothing_differs_and_runs_are_even(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a gate that is never open would look good."""
    monkeypatch.setattr(false_claims, "SLOWER", 1.0)
    monkeypatch.setattr(false_claims, "NOISES", [Noise(name="even", within=0.005, between=0.002)])
    for way in (false_claims.several_runs, false_claims.variants):
        assert value(false_claims.gate_open(20, {"way": way})) > 0.9


def test_noise_is_what_its_name_says() -> None:
    by_name = {noise.name: noise for noise in NOISES}
    sessions = [World(by_name["3 % within, 3 % between"], seed) for seed in range(300)]
    means = [statistics.fmean(math.log(row.figures["rps"] or 0) for row in world.run("r").rows) for world in sessions]
    assert statistics.stdev(means) == pytest.approx(math.hypot(0.03, 0.03 / math.sqrt(16)), rel=0.15)
    drifting = World(by_name["drift of 0.5 % a trial"], 1)
    first, second = (statistics.fmean(row.figures["p50_ms"] or 0 for row in drifting.run("r").rows) for _ in range(2))
    assert second / first == pytest.approx(1.08, abs=0.02), "two cells of 8 trials"
    stalls = World(by_name["one trial of 20 takes twice as long"], 1).run("r", trials=2000).rows
    assert sum((row.figures["rps"] or 0) < 2000 for row in stalls) == pytest.approx(200, abs=45)


def test_second_variant_is_slower_by_the_factor_and_every_block_has_both() -> None:
    quiet = Noise(name="quiet", within=0.0)
    rows = World(quiet, 1).interleaved(slower=1.1)
    rates = {row.cell.variant: row.figures["rps"] for row in rows}
    assert rates == {"A": 3000.0, "B": pytest.approx(3000 / 1.1)}
    blocks = [{row.cell.variant for row in rows if row.trial.number == n} for n in range(1, 9)]
    assert blocks == [{"A", "B"}] * 8
    assert len({row.cell.variant for row in rows[::2]}) == 2, "the order is shuffled"


def test_json_has_the_measured_figures_and_the_others_are_printed_with_their_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = {
        "trust.x": lambda: entry(0.04321, "share", "<= 0.05", "so many"),
        "trust.z": lambda: entry(None, "share", ">= 0.9", "no server"),
    }
    monkeypatch.setattr(trust, "FIGURES", figures)
    trust.main(tmp_path / "trust.json")
    stored = json.loads((tmp_path / "trust.json").read_text())
    assert stored == {"trust.x": {"value": 0.043, "unit": "share", "target": "<= 0.05", "detail": "so many"}}
    printed = capsys.readouterr().out
    assert "trust.x" in printed
    assert "trust.z                          not measured: no server" in printed
