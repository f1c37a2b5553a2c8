"""Comparisons that are refused or carry a warning: impossible figures, other formats, environments, machines."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from harness.compare.compare import compare
from harness.compare.table import text
from harness.errors import FormatError, InvalidMeasurement, UsageError
from tests.support.comparisons import MANIFEST, run, trial


@pytest.mark.parametrize("figure", ["abc", math.nan, math.inf, "nan", "-inf", True, [3], "1e400", 10**400, "=1+1"])
def test_figure_that_is_not_a_finite_number_is_not_read(figure: object) -> None:
    with pytest.raises(FormatError, match=r"trials\.csv:2: "):
        run([trial(1, p95_ms=figure)])


@pytest.mark.parametrize("figure", [-1, 1e15, 1e300])
def test_impossible_figure_stops_the_comparison(figure: float) -> None:
    good, bad = run([trial(1)]), run([trial(1, p95_ms=figure)], "B")
    with pytest.raises(FormatError, match=r"run B, throughput\.postgres\.upsert\.h4\.p5\.c64\.n64: p95_ms is "):
        compare(good, bad)


def test_impossible_noise_floor_stops_the_comparison() -> None:
    with pytest.raises(FormatError, match="noise_floor: rps is nan"):
        compare(run([trial(1)], noise_floor={"rps": math.nan}), run([trial(1)], floor=None))


def test_figures_may_be_text() -> None:
    a, b = run([trial(n) for n in range(5)]), run([trial(n, rps="2000.5", p50_ms="5") for n in range(5)], "B")
    assert compare(a, b).rows[0].median_b == 2000.5


def test_run_without_trials_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="run B has no trials"):
        compare(run([trial(1)]), run([], "B"))


def test_different_formats_are_rejected() -> None:
    with pytest.raises(FormatError, match="run A has format 1, run B has format 2"):
        compare(run([trial(1)]), run([trial(1)], "B", format=2), anyway=True)


def test_different_environments_are_rejected_with_a_list() -> None:
    other = copy.deepcopy(MANIFEST)
    other["rig"]["provider"] = "vm"
    other["settings"]["postgres"]["fsync"] = "off"
    a, b = run([trial(n) for n in range(5)]), run([trial(n) for n in range(5)], "B", **other)
    with pytest.raises(InvalidMeasurement) as refused:
        compare(a, b)
    assert refused.value.exit_code == 4
    assert "rig.provider: podman against vm; settings.postgres.fsync: on against off" in refused.value.message
    assert "--anyway" in refused.value.hint
    forced = compare(a, b, anyway=True)
    assert forced.anyway
    assert "this proves nothing" in text(forced)
    assert not compare(a, a, anyway=True).anyway, "it is recorded only where it was needed"


def test_another_commit_is_shown_and_allowed() -> None:
    comparison = compare(run([trial(1)]), run([trial(1)], "B", code={"commit": "def456"}))
    assert [str(one) for one in comparison.differences] == ["code.commit: abc123 against def456"]


def test_faults_of_a_run_are_warnings() -> None:
    findings = [{"cell": "throughput", "verdict": "fail"}, {"cell": "fine", "verdict": "pass"}]
    b = run([trial(1)], "B", status="aborted", verdict="fail", findings=findings, rig={})
    warnings = compare(run([trial(1)], rig={}), b).warnings
    assert "B (B) is aborted: only its finished trials are compared" in warnings
    assert "B (B) has the verdict fail in throughput: its speed does not count" in warnings
    assert any("their environments could not be compared" in one for one in warnings)


def test_machines_that_were_not_equally_fast_are_named() -> None:
    a, b = (run([trial(1)], name, canaries={"before": {"db": {"cpu_ms": ms}}}) for name, ms in (("A", 10), ("B", 13)))
    assert any(one.startswith("canary db cpu_ms: 10 in A, 13 in B") for one in compare(a, b).warnings)
    assert not any("canary" in one for one in compare(a, a).warnings)


def canaries(before: float, after: float) -> dict[str, Any]:
    return {"before": {"db": {"cpu_ms": before}}, "after": {"db": {"cpu_ms": after}}}


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        (canaries(10, 10), canaries(12, 12), "canary db cpu_ms: 10 in A, 12 in B: the machines were not equally fast"),
        (canaries(10, 10), canaries(10, 12), "B (B): hosts changed during the trials: CPU canary db 10 ms, then 12 ms"),
        (canaries(12, 10), canaries(11, 11), "A (A): hosts changed during the trials: CPU canary db 12 ms, then 10 ms"),
    ],
)
def test_no_row_is_called_slower_where_the_machines_were_not_equally_fast(
    a: dict[str, Any], b: dict[str, Any], sentence: str
) -> None:
    slow = [trial(n, rps=2000.0, p50_ms=5.01) for n in range(5)]
    comparison = compare(run([trial(n) for n in range(5)], canaries=a), run(slow, "B", canaries=b))
    assert comparison.moved == (sentence,)
    assert sentence in comparison.warnings
    found = {row.metric: (row.verdict, row.note) for row in comparison.rows}
    assert found["rps"] == ("invalid", "the machines were not equally fast, see the canaries below")
    assert found["p95_ms"] == ("~", "")
    calm = compare(
        run([trial(n) for n in range(5)], canaries=canaries(10, 10)), run(slow, "B", canaries=canaries(11, 11))
    )
    assert (calm.moved, calm.rows[0].verdict) == ((), "slower")
