from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.load.results.service_times import ServiceTimes
from harness.load.results.summary import Clock, ConnectionTotals, LaneSummary, Percentiles, is_shared
from harness.load.steady_state import Row
from tests.support.summaries import histogram_of, lane_summary, phase, process, window

ROOT = Path(__file__).parents[4]


def test_a_summary_survives_the_disk() -> None:
    summary = lane_summary(
        captured={"retries": (3.5, 2)}, warmup_steps=((10, 1.5), (11, None)), watch=(process(), process(cpu=None)),
        measure=phase(3, fail=1, unknown=2, errors={"timeout": 2}),
    )  # fmt: skip
    assert LaneSummary.from_json(json.loads(json.dumps(summary.to_json()))) == summary


def test_the_derived_values_are_stored() -> None:
    stored = lane_summary(measure_to_us=4_000_000, window=window(1000)).to_json()
    assert (stored["seconds"], stored["rps"], stored["warmup_steady"]) == (4.0, 250.0, None)


@pytest.mark.parametrize("changes", [{"measure_from_us": None}, {"measure_to_us": None}, {"measure_to_us": -5}])
def test_a_window_of_no_length_has_no_rate(changes: dict[str, Any]) -> None:
    summary = lane_summary(**changes)
    assert (summary.seconds, summary.rps) == (None, None)


def test_the_committed_example_of_an_older_version_is_read() -> None:
    files = sorted((ROOT / "results/example/samples").glob("*.summary.json"))
    assert files
    for file in files:
        stored = json.loads(file.read_text(encoding="utf-8"))
        summary = LaneSummary.from_json(stored)
        assert (summary.seconds, summary.rps) == (stored["seconds"], stored["rps"])
        assert summary.measure.ok == stored["measure"]["ok"]


def test_counts_of_stripes_add_up() -> None:
    one = lane_summary(
        load_host="load-2", clients=3, window=window(5, fail=1), busy_us=7, measure=phase(5, fail=1, errors={"a": 1}),
        inside=ServiceTimes(told=6, busy_us=4.0, impossible=1, most_us=2.0),
        captured={"retries": (1.5, 2)}, peak_in_flight=2, late=1, not_sent=1, offered_rate=10.0,
        connections=ConnectionTotals(opened=3, reopened=1, out_of_step=0),
    )  # fmt: skip
    other = replace(
        one, load_host="load-1", measure=phase(4, unknown=2, errors={"a": 1, "b": 1}), warmup=phase(9), interrupted=True
    )
    merged = LaneSummary.merged([one, other], [0, 0])
    assert (merged.load_host, merged.clients, merged.offered_rate) == ("load-1+load-2", 6, 20.0)
    assert (merged.window, merged.busy_us) == (window(10, fail=2), 14)
    assert merged.inside == ServiceTimes(told=12, busy_us=8.0, impossible=2, most_us=2.0)
    assert merged.measure == phase(9, fail=1, unknown=2, errors={"a": 2, "b": 1})
    assert merged.warmup == phase(9)
    assert merged.captured == {"retries": (3.0, 4)}
    assert (merged.peak_in_flight, merged.late, merged.not_sent) == (4, 2, 2)
    assert merged.connections == ConnectionTotals(opened=6, reopened=2, out_of_step=0)
    assert len(merged.watch) == 2
    assert merged.interrupted


def test_times_are_moved_before_they_are_merged() -> None:
    one = lane_summary(measure_from_us=100, measure_to_us=1100, last_due_us=900, last_sent_us=950, last_done_us=1000)
    merged = LaneSummary.merged([one, replace(one, measure_to_us=1500)], [30, 0])
    assert (merged.measure_from_us, merged.measure_to_us, merged.apart_us) == (100, 1500, 30)
    assert (merged.last_due_us, merged.last_sent_us, merged.last_done_us) == (930, 980, 1030)


def test_a_stripe_without_a_measured_phase_moves_nothing() -> None:
    idle = lane_summary(
        measure_from_us=None, measure_to_us=None, last_due_us=None, last_sent_us=None, last_done_us=None,
        offered_rate=None,
    )  # fmt: skip
    merged = LaneSummary.merged([lane_summary(), idle], [0, 500])
    assert (merged.measure_from_us, merged.measure_to_us, merged.apart_us) == (0, 10_000_000, 0)
    assert (merged.last_due_us, merged.offered_rate) == (9_999_500, None)
    nothing = LaneSummary.merged([idle, idle], [0, 500])
    assert (nothing.measure_from_us, nothing.measure_to_us, nothing.last_done_us) == (None, None, None)


def test_steps_of_the_warmup_are_merged_as_far_as_all_have_them() -> None:
    one = lane_summary(warmup_steps=((10, 1.0), (20, None)))
    other = lane_summary(warmup_steps=((5, 3.0),))
    assert LaneSummary.merged([one, other], [0, 0]).warmup_steps == ((15, 3.0),)


def test_a_clock_is_shared_only_with_the_same_known_boot_id() -> None:
    assert is_shared(["k", "k"])
    assert not is_shared(["k", "l"])
    assert not is_shared(["", ""])
    one = lane_summary(clock=Clock(boot_id="k", t0_monotonic_us=0))
    other = replace(one, clock=Clock(boot_id="l", t0_monotonic_us=0))
    assert LaneSummary.merged([one, one], [0, 0]).clock_shared
    apart = LaneSummary.merged([one, other], [0, 0])
    assert not apart.clock_shared
    assert not LaneSummary.merged([apart, apart], [0, 0]).clock_shared, "a second merge keeps it"


def test_percentiles_need_the_values_to_carry_them() -> None:
    few = Percentiles.of(histogram_of(range(1000, 51_000, 1000)))
    assert (few.p50_ms, few.p99_ms, few.max_ms, few.count) == (pytest.approx(25, rel=0.01), None, 50.015, 50)
    assert Percentiles.of({}) == Percentiles()


def test_a_load_is_steady_if_its_warmup_was_and_its_window_has_no_trend() -> None:
    flat, rising = (4000,) * 12, tuple(4000 + 200 * step for step in range(12))
    warm = tuple((4000, 5.0) for _ in range(20))
    grown = tuple((round(4000 * 1.025**step), 5.0) for step in range(20))  # 10 % per second
    cases: list[tuple[tuple[Row, ...], tuple[int, ...], bool | None]] = [
        (warm, flat, True), (warm, rising, False), (grown, flat, False), (warm, (), True), ((), rising, None),
    ]  # fmt: skip
    for warmup, window_steps, steady in cases:
        assert lane_summary(warmup_steps=warmup, window_steps=window_steps).steady is steady
    stored = LaneSummary.from_json(
        json.loads(json.dumps(lane_summary(warmup_steps=warm, window_steps=rising).to_json()))
    )
    assert (stored.window_steps, stored.steady) == (rising, False)
    assert lane_summary(warmup_steps=warm, window_steps=rising).to_json()["trend"] == pytest.approx(4800 / 10_200)


def test_the_steps_of_stripes_are_added_if_they_are_equally_long() -> None:
    one, other = (lane_summary(window_steps=steps) for steps in ((1, 2, 3), (10, 20)))
    assert LaneSummary.merged([one, other], [0, 0]).window_steps == (11, 22)
    longer = lane_summary(window_steps=(1, 2), window_step_ms=500)
    assert LaneSummary.merged([one, longer], [0, 0]).window_steps == ()
