"""Estimates what a plan costs before it is measured: time, disk, connections. Pure.

Closed loads that end by time have no known number of requests, and those that end by number no known time: both are
counted at ASSUMED_RPS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.load.spec import LoadSpec
from harness.model import Cell, Trial
from harness.plan.planner import Plan
from harness.plan.scenario import RemoteWorkload, Scenario, Site

ASSUMED_RPS = 1000.0
OVERHEAD_S = 2.5
"""From one load to the next on a rig of containers: settings, reset, snapshots, storing."""
WARMUP_FACTOR = 1.5
"""A warm-up ends when the load is steady, on average after this many times its shortest duration."""
REMOTE_S = 15.0
"""A workload that is not HTTP; the longest of them, isolation, takes about half a minute."""
AROUND_S = 10.0
"""Canaries, ceiling, restoring and judging of a run."""
SAMPLE_BYTES, TRIAL_BYTES, TELEMETRY_BYTES = 90.0, 80_000.0, 700.0
"""Of a sample; of a trial without its samples; of a host's telemetry per second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a plan costs. `trials` and the times include the most that searches add.

    `connections`: the most that the pools of all app hosts may hold, of `budget` that the server has for them; both
    None where the harness does not manage the service. `clients`: the most connections of the load.
    """

    scenarios: int
    cells: int
    trials: int
    app_hosts: int
    seconds: float
    bytes: float
    clients: int
    connections: int | None
    budget: int | None


def estimate(plan: Plan, scenarios: Mapping[str, Scenario], site: Site) -> Estimate:
    """Returns the estimate of a plan."""
    times = {trial.order: seconds_of(trial, scenarios) for trial in plan.trials}
    first = {trial.cell.scenario: trial for trial in reversed(plan.trials)}
    seconds = sum(times.values()) + sum(times[first[name].order] * count for name, count in plan.later.items())
    samples = sum(_samples(trial, scenarios, plan) for trial in plan.trials)
    cells = {trial.cell.name: trial.cell for trial in plan.trials}
    hosts = site.hosts + site.load_hosts + 2 if site.managed else 0  # telemetry is read from all of them
    pools = [cell.hosts * cell.pool for cell in cells.values() if cell.backend == "postgres"]
    return Estimate(
        scenarios=len({cell.scenario for cell in cells.values()}),
        cells=len(cells),
        trials=plan.most_trials,
        app_hosts=max((cell.hosts for cell in cells.values()), default=0),
        seconds=AROUND_S + seconds,
        bytes=samples * SAMPLE_BYTES + plan.most_trials * TRIAL_BYTES + seconds * hosts * TELEMETRY_BYTES,
        clients=max((cell.clients for cell in cells.values()), default=0),
        connections=max(pools, default=0) if site.managed else None,
        budget=site.connections - site.reserved if site.managed else None,
    )


def seconds_of(trial: Trial, scenarios: Mapping[str, Scenario]) -> float:
    """Returns about how long a trial takes, in seconds."""
    scenario = scenarios[trial.cell.scenario]
    lanes = _lanes(trial, scenario)
    if lanes is None:
        return OVERHEAD_S + REMOTE_S
    load = max((_window_s(spec) + _warmup_s(spec) for spec in lanes.values()), default=_seconds_of_cell(trial.cell))
    return OVERHEAD_S + load * (2 if scenario.rehearse else 1)


def _lanes(trial: Trial, scenario: Scenario) -> Mapping[str, LoadSpec] | None:
    """Returns the lanes; none where the rate is not known yet, None for a workload that is not HTTP."""
    if trial.cell.rate_share is not None:
        return {}
    workload = scenario.workload(trial)
    return None if isinstance(workload, RemoteWorkload) else workload


def _seconds_of_cell(cell: Cell) -> float:
    return cell.seconds or (cell.requests or 0) / ASSUMED_RPS


def _window_s(spec: LoadSpec) -> float:
    by_number = [] if spec.requests is None else [spec.requests / (spec.rate or ASSUMED_RPS)]
    return min([*by_number, *([] if spec.seconds is None else [spec.seconds])])


def _warmup_s(spec: LoadSpec) -> float:
    return 0.0 if spec.warmup is None else min(spec.warmup.seconds * WARMUP_FACTOR, spec.warmup.max_seconds)


def _samples(trial: Trial, scenarios: Mapping[str, Scenario], plan: Plan) -> float:
    """Returns about how many samples a trial stores."""
    scenario = scenarios[trial.cell.scenario]
    lanes = _lanes(trial, scenario) or {}
    if not plan.keeps_samples(scenario, trial.cell):
        return 0.0
    return sum((_window_s(spec) + _warmup_s(spec)) * (spec.rate or ASSUMED_RPS) for spec in lanes.values())
