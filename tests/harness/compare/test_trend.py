"""Trends of simulated runs: which changes are claimed, and which runs are compared with which."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Sequence
from typing import Any

import pytest

from harness.analysis.change_points import MAX_P, change_points
from harness.compare import trend as module
from harness.compare.cells import RunData, comparable_name
from harness.compare.trend import Trend, TrendSeries, trend
from harness.errors import InvalidMeasurement
from tests.support.comparisons import LEVEL, MANIFEST, closed, run, trial

HOST = MANIFEST["rig"]["hosts"][0]


def runs(*speeds: float, seed: int = 1, **changes: Any) -> list[RunData]:
    """Returns one run for each speed, with 1 % noise between runs and none within."""
    rng = random.Random(seed)
    made = []
    for number, speed in enumerate(speeds, start=1):
        factor = speed * math.exp(rng.gauss(0, 0.01))
        figures = {name: level * factor if name == "rps" else level / factor for name, level in LEVEL.items()}
        made.append(run([trial(n, **figures) for n in range(5)], f"r{number}", floor=None, **changes))
    return made


def elsewhere(of: RunData) -> RunData:
    """Returns the run as if it had been measured on another machine."""
    manifest = copy.deepcopy(dict(of.manifest)) | {"rig": {"provider": "podman", "hosts": [HOST | {"kernel": "7"}]}}
    return RunData(run_id=of.run_id, manifest=manifest, rows=of.rows)


def series(found: Trend, metric: str = "rps") -> TrendSeries:
    (one,) = [one for one in found.series if one.metric == metric]
    return one


def claimed(found: Trend, metric: str = "rps") -> list[tuple[int, str]]:
    return [(change.index, change.row.verdict) for change in series(found, metric).changes if change.claimed]


def test_a_step_is_a_change_with_the_first_run_after_it() -> None:
    found = trend(runs(*[1.0] * 6, *[0.8] * 6))
    assert claimed(found) == [(6, "slower")]
    assert claimed(found, "p99_ms") == [(6, "slower")]
    (change,) = series(found).changes
    assert (change.before, change.after) == (tuple(range(6)), tuple(range(6, 12)))
    assert change.row.ratio is not None
    assert change.row.ratio.value == pytest.approx(0.8, rel=0.02)
    assert [part for part, _ in series(found).levels] == [change.before, change.after]


def test_runs_without_a_change_have_one_level() -> None:
    found = trend(runs(*[1.0] * 10))
    assert claimed(found) == []
    ((part, level),) = series(found).levels
    assert part == tuple(range(10))
    assert level == pytest.approx(LEVEL["rps"], rel=0.02)


@pytest.mark.parametrize(("number", "judged"), [(1, 1), (3, 3)])
def test_fewer_than_four_runs_claim_nothing(number: int, judged: int) -> None:
    found = trend(runs(*[1.0, 0.5, 0.1][:number]))
    assert (series(found).judged, found.tested, series(found).changes) == (judged, 0, ())


def test_runs_of_another_environment_are_not_mixed_in() -> None:
    made = runs(*[2.0] * 5, *[1.0] * 6)
    found = trend([*map(elsewhere, made[:5]), *made[5:]])
    assert [of.environment for of in found.runs] == [1] * 5 + [0] * 6
    assert claimed(found) == []
    assert series(found).judged == 6
    assert [one.fact for one in found.runs[0].differences if one.forbids] == ["db.kernel"]
    assert [part for part, _ in series(found).levels] == [tuple(range(5, 11))]
    assert claimed(trend(made)) == [(5, "slower")], "with one environment it is a change"


def test_each_environment_has_its_own_changes() -> None:
    made = runs(*[1.0] * 5, *[0.7] * 5, *[3.0] * 4)
    found = trend([*map(elsewhere, made[:10]), *made[10:]])
    assert claimed(found) == [(5, "slower")]
    assert [part for part, _ in series(found).levels] == [tuple(range(10, 14))]


def with_memory(of: RunData, memory: float) -> RunData:
    manifest = copy.deepcopy(dict(of.manifest))
    manifest["rig"] = {"provider": "podman", "hosts": [HOST | {"memory": memory}]}
    return RunData(run_id=of.run_id, manifest=manifest, rows=of.rows)


def test_a_run_joins_an_environment_only_if_it_is_like_each_member() -> None:
    """100 and 101.5 are within the tolerance of 2 %, and so are 101.5 and 103; 100 and 103 are not."""
    made = runs(*[0.7] * 4, *[1.0] * 4, *[0.7] * 4)
    memories = [103.0] * 4 + [100.0] * 4 + [101.5] * 4
    found = trend([with_memory(one, memory) for one, memory in zip(made, memories, strict=True)])
    assert [of.environment for of in found.runs] == [1] * 4 + [0] * 8
    assert claimed(found) == [(8, "slower")]


def test_sides_that_cannot_be_compared_are_a_change_that_is_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InvalidMeasurement("measured in different environments: db.memory")

    monkeypatch.setattr(module, "compare", refuse)
    found = trend(runs(*[1.0] * 6, *[0.8] * 6))
    (change,) = series(found).changes
    assert (change.claimed, change.row.verdict, change.row.n_a, change.row.n_b) == (False, "invalid", 6, 6)
    assert "db.memory" in change.row.note


def test_a_run_that_failed_a_check_does_not_count() -> None:
    made = runs(*[1.0] * 5, *[3.0] * 3)
    cell = comparable_name(made[0].rows[0].cell)
    found = trend(made, wrong={f"r{n}": {cell} for n in (6, 7, 8)})
    assert claimed(found) == []
    assert series(found).judged == 5
    assert [point.wrong for point in series(found).points] == [False] * 5 + [True] * 3
    assert claimed(trend(made)) == [(5, "faster")]


def canaries(cpu_ms: float) -> dict[str, Any]:
    return {"canaries": {when: {"db": {"cpu_ms": cpu_ms}} for when in ("before", "after")}}


def test_a_step_of_the_machine_is_no_change_of_the_service() -> None:
    made = runs(*[1.0] * 6, **canaries(4.0)) + [
        RunData(run_id=f"s{n}", manifest=one.manifest, rows=one.rows)
        for n, one in enumerate(runs(*[0.5] * 6, seed=2, **canaries(8.0)))
    ]
    found = trend(made)
    assert claimed(found) == []
    (change,) = series(found).changes
    assert change.row.verdict == "invalid"
    assert "not equally fast" in change.row.note
    assert len(series(found).levels) == 1


def test_latencies_of_a_closed_loop_are_shown_and_not_searched() -> None:
    made = [run([closed(n, p99_ms=level) for n in range(5)], f"r{i}") for i, level in enumerate([5.0] * 5 + [50.0] * 5)]
    found = trend(made)
    assert not series(found, "p99_ms").claimed
    assert series(found, "p99_ms").changes == ()
    assert len(series(found, "p99_ms").points) == 10


def test_the_threshold_is_divided_by_the_number_of_series(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []

    def recorded(values: Sequence[float], max_p: float) -> Any:
        used.append(max_p)
        return change_points(values, max_p)

    monkeypatch.setattr(module, "change_points", recorded)
    assert trend(runs(*[1.0] * 6)).tested == 2
    assert used == [MAX_P / 2] * 2


def test_the_floor_is_one_that_was_measured_between_runs() -> None:
    made = runs(*[1.0] * 4)
    assert series(trend(made)).floor is None
    cell = comparable_name(made[0].rows[0].cell)
    floors = {"rig 'local'": {f"rps {cell}": 1.08, f"runs {cell}": 5.0}}
    assert series(trend(made, floors=floors)).floor == 1.08


def test_a_run_without_the_cell_is_a_gap() -> None:
    made = runs(*[1.0] * 5)
    made[2] = run([trial(1, scenario="another")], "r3")
    rps = next(one for one in trend(made).series if one.metric == "rps" and "throughput" in one.cell)
    assert [point.index for point in rps.points] == [0, 1, 3, 4]
