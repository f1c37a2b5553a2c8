"""Judges a stored run from disk alone: the same for a fresh run and for an old one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from harness.analysis.bottleneck import with_bottlenecks
from harness.analysis.slo import Slo
from harness.analysis.trial_validity import replaced
from harness.checks.evaluate import evaluate
from harness.checks.slo_gate import Second, SloGate
from harness.model import Finding
from harness.plan.scenario import RemoteWorkload, Scenario
from harness.record import TrialResult
from harness.store.run_reader import Run


def judge(run: Run, scenarios: Mapping[str, Scenario]) -> list[Finding]:
    """All findings of the run's stored trials. Raises FormatError for a damaged file."""
    records = with_bottlenecks(run.records(), run.telemetry_totals(), run.roles)
    return evaluate(scenarios, records, gate=_gate(run, scenarios), replaced=replaced(run.rows))


def _gate(run: Run, scenarios: Mapping[str, Scenario]) -> SloGate | None:
    """The gate that the run was started with."""
    slo = run.manifest.options.get("slo")
    if not slo:
        return None
    lanes: dict[float | None, str] = {
        row.trial.order: _first_lane(row, scenarios[row.cell.scenario])
        for row in run.rows
        if row.cell.scenario in scenarios and row.cell.rate != 0  # no load was sent
    }
    seconds: defaultdict[int, list[Second]] = defaultdict(list)
    for line in run.timeline():
        order = _number(line["order"])
        if line["lane"] == lanes.get(order) and line["phase"] == "measure":
            seconds[int(order or 0)].append({name: _number(value) for name, value in line.items()})
    shares = {row.cell.name: row.cell for row in run.rows if row.cell.rate_share is not None}
    return SloGate(slo=Slo.parse("slo", str(slo)), seconds=seconds, shares=tuple(shares.values()))


def _first_lane(row: TrialResult, scenario: Scenario) -> str:
    workload = scenario.workload(row.trial)
    return "" if isinstance(workload, RemoteWorkload) else next(iter(workload))


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
