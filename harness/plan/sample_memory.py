"""Refuses a trial whose samples could not be read again when it is judged. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.load.results.samples import MAX_BYTES, memory_bytes
from harness.load.spec import LoadSpec
from harness.model import Trial
from harness.plan.scenario import RemoteWorkload, Scenario

if TYPE_CHECKING:
    from harness.plan.planner import Plan


def require_readable(plan: Plan, scenarios: Mapping[str, Scenario]) -> None:
    """Raises UsageError if the samples of a trial of the plan take more memory than is allowed.

    A trial whose number of requests depends on the service (a closed load that ends by time, a share of a measured
    rate, the steps of a search) is not known before it is measured, and is not refused.
    """
    for trial in {trial.cell.name: trial for trial in plan.trials}.values():
        scenario = scenarios[trial.cell.scenario]
        if plan.keeps_samples(scenario, trial.cell) and trial.cell.rate_share is None:
            needs_them = replace(plan, samples=False).keeps_samples(scenario, trial.cell)
            _require_readable(trial, scenario, requested=not needs_them)


def _require_readable(trial: Trial, scenario: Scenario, *, requested: bool) -> None:
    workload = scenario.workload(trial)
    if isinstance(workload, RemoteWorkload):
        return
    requests = {name: _requests(spec) for name, spec in workload.items()}
    needed = sum(memory_bytes(requests[name], len(spec.captures)) for name, spec in workload.items())
    if needed <= MAX_BYTES:
        return
    number = sum(requests.values())
    limit = int(number * MAX_BYTES / needed / 1e6)
    remedy = "leave out --samples, or send fewer requests" if requested else "send fewer requests"
    raise UsageError(
        f"{'--samples: ' if requested else ''}{trial.cell.name} sends {number:,.0f} requests, and no more than about "
        f"{limit} million samples of a trial can be judged",
        hint=remedy,
    )


def _requests(spec: LoadSpec) -> float:
    """Returns how many requests the lane surely sends; 0 where the service decides that."""
    known = [] if spec.requests is None else [float(spec.requests)]
    if spec.rate is not None and spec.seconds is not None:
        known.append(spec.rate * spec.seconds)
    return 0.0 if spec.rate is None and spec.seconds is not None else min(known, default=0.0)
