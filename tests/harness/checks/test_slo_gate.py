"""The gate of --slo: fails with the trial and the second, and never passes what was not measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.analysis.slo import Slo
from harness.checks import names
from harness.checks.evaluate import evaluate
from harness.checks.slo_gate import SloGate
from harness.fault_record import PlannedFault
from harness.model import Cell, Finding, Trial
from harness.plan.load_share import open_cell
from harness.plan.scenario import Scenario
from harness.record import Evidence, TrialRecord, TrialResult

CELL = Cell(scenario="s", mode="open", rate=100.0)
FIGURES = {"sent": 1000.0, "p99_ms": 40.0, "max_ms": 90.0, "p999_ms": None, "ok": 1000.0, "fail": 0.0, "unknown": 0.0}
SECONDS = [
    {"second": 3.0, "p99_ms": 30.0, "ok": 100.0, "fail": 0.0, "unknown": 0.0},
    {"second": 4.0, "p99_ms": 71.0, "ok": 98.0, "fail": 2.0, "unknown": 0.0},
    {"second": 5.0, "p99_ms": 80.0, "ok": 90.0, "fail": 0.0, "unknown": 10.0},
]


def row(cell: Cell = CELL, number: int = 1, **changes: Any) -> TrialResult:
    figures = FIGURES | changes.pop("figures", {})
    return TrialResult(trial=Trial(cell=cell, number=number, order=number, seed=1), figures=figures, **changes)


def gated(measured: TrialResult, slo: str) -> Finding:
    found = SloGate(slo=Slo.parse("slo", slo), seconds={1: SECONDS}).check(measured)
    assert found is not None
    assert (found.check, found.cell) == (names.SLO, measured.cell.name)
    return found


@pytest.mark.parametrize(
    ("slo", "changes", "verdict", "detail"),
    [
        ("p99:40ms", {}, "pass", "trial 1: p99 40ms, within 40ms; errors 0%, within 0.1%"),
        ("p99:39ms", {}, "fail", "trial 1: p99 40ms, above 39ms, first in second 4 (p99 71ms)"),
        ("errors:1%", {"fail": 12.0}, "fail", "trial 1: errors 1.19%, above 1%, first in second 4 (errors 2%)"),
        ("max:50ms", {}, "fail", "trial 1: max 90ms, above 50ms, first in second 4 (p99 71ms)"),
        ("max:85ms", {}, "fail", "trial 1: max 90ms, above 85ms; no second has the requests to show it"),
        ("p99.9:1s", {}, "unknown", "trial 1: p99.9 not measured: too few requests; errors 0%, within 0.1%"),
        ("p99.9:1s,p99:1ms", {}, "fail", "trial 1: p99 40ms, above 1ms, first in second 3 (p99 30ms)"),
        ("p99:1ms", {"fail": 100.0}, "fail",
         "trial 1: p99 40ms, above 1ms, first in second 3 (p99 30ms); errors 9.09%, above 0.1%, "
         "first in second 4 (errors 2%)"),
    ],
)  # fmt: skip
def test_a_trial_is_gated(slo: str, changes: dict[str, float], verdict: str, detail: str) -> None:
    found = gated(row(figures=changes), slo)
    assert (found.verdict, found.detail) == (verdict, detail)


def test_doubtful_times_neither_pass_nor_fail_but_errors_fail() -> None:
    doubtful = row(validity="timing_doubtful", reasons=("sent late",))
    assert (gated(doubtful, "p99:40ms").verdict, gated(doubtful, "p99:1ms").verdict) == ("unknown", "unknown")
    assert gated(doubtful, "p99:1ms").detail == "trial 1: not judged: sent late"
    refused = replace(doubtful, figures=FIGURES | {"fail": 500.0})
    assert gated(refused, "p99:40ms").verdict == "fail"
    broken = row(validity="broken", reasons=("load-1 died",), figures={"fail": 500.0})
    assert (gated(broken, "p99:1s").verdict, gated(broken, "p99:1s").detail) == (
        "unknown", "trial 1: not judged: load-1 died",
    )  # fmt: skip


CLOSED = Cell(scenario="s", clients=4, seconds=4.0)
OMITS = "(closed model: latencies omit the stalls that clients wait through; "


def test_a_closed_latency_breaks_a_bound_and_shows_none_as_held() -> None:
    """A stall can only make it longer than it looks."""
    held = gated(row(CLOSED), "p99:40ms")
    assert held.verdict == "unknown"
    assert held.detail == (
        f"trial 1: p99 40ms, within 40ms; errors 0%, within 0.1% {OMITS}--rate R measures an open load)"
    )
    assert gated(row(CLOSED), "p99:39ms").verdict == "fail"
    assert gated(row(CLOSED, figures={"fail": 12.0}), "p99:40ms").verdict == "fail"
    assert gated(row(CLOSED), "errors:1%").verdict == "pass"
    burst = gated(row(replace(CLOSED, requests=4, seconds=None)), "p99:40ms")
    assert (burst.verdict, OMITS in burst.detail) == ("pass", False)


def test_the_open_cell_at_a_share_of_the_rate_judges_the_latency_in_place_of_the_closed_one() -> None:
    def check(share: Cell) -> Finding | None:
        return SloGate(slo=Slo.parse("slo", "p99:40ms"), seconds={}, shares=(share,)).check(row(CLOSED))

    own, other = (check(open_cell(cell, 1.0)) for cell in (CLOSED, replace(CLOSED, strategy="coalesce")))
    assert own is not None
    assert own.verdict == "shown"
    assert own.detail.endswith(f"{OMITS}the open load is judged)")
    assert other is not None
    assert other.verdict == "unknown"


def test_what_is_not_gated() -> None:
    gate = SloGate(slo=Slo.parse("slo", "p99:1ms"), seconds={})
    assert gate.check(row(replace(CELL, params={"control": True}))) is None
    for stored in ({}, dict.fromkeys(FIGURES)):  # as measured, and as a table of a run has it
        assert gate.check(TrialResult(trial=row().trial, figures=stored)) is None, "no request was sent"


def test_the_worst_trial_of_a_cell_gates_the_run() -> None:
    scenario = Scenario(name="s", question="", criteria=(), cells=lambda *_: [], workload=lambda _: {},
                        check=lambda _: [])  # fmt: skip
    records = [
        TrialRecord(row=row(number=1), lanes={}, evidence=Evidence()),
        TrialRecord(row=row(number=2, figures={"p99_ms": 61.0}), lanes={}, evidence=Evidence()),
    ]
    gate = SloGate(slo=Slo.parse("slo", "p99:50ms"), seconds={2: SECONDS})
    (found,) = evaluate({"s": scenario}, records, gate=gate)
    assert found.verdict == "fail"
    assert found.detail == "1 of 2 trials fail: trial 2: p99 61ms, above 50ms, first in second 4 (p99 71ms)"
    assert evaluate({"s": scenario}, records) == []
    doubted = TrialRecord(row=row(number=1, validity="generator_bound"), lanes={}, evidence=Evidence())
    (found,) = evaluate({"s": scenario}, [doubted, records[0]], gate=gate)
    assert found.verdict == "unknown"
    (found,) = evaluate({"s": scenario}, [doubted, replace(records[0], row=row(number=2))], gate=gate, replaced={1})
    assert found.verdict == "pass", "the trial that was measured once more counts"
    with_faults = replace(scenario, faults=lambda _: [PlannedFault(fault="db-pause", at_s=4.0, hold_s=3.0)])
    assert evaluate({"s": with_faults}, records, gate=gate) == [], "an outage on purpose breaks every limit"
