"""What the agents of a trial brought, as its row and its evidence say it, and which trials that leaves in doubt."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from harness.analysis.figures import figures
from harness.load import generator_checks
from harness.measure.load_controller import Collected
from harness.model import Trial
from harness.plan.planner import Plan
from harness.record import Evidence, TrialResult, Validity

MADE_UP = 0.05
"""Share of the trials (one at least) that may be measured once more because the generator was held up. More are no
hiccup: the rig is not fit to measure."""


def trial_result(
    trial: Trial, first: str, collected: Collected, *, ceiling_rps: float | None, timing_matters: bool
) -> TrialResult:
    """The trial's row: the figures of its `first` lane, and no other's; why no claim may rest on it.

    Whether its times can be believed is one question, whether its outcomes can is another. Where no claim rests on
    times (not `timing_matters`), a doubt about these leaves the trial valid; the row holds the doubt, so that its times
    are not compared. `ceiling_rps`: see generator_checks.reasons.
    """
    broken = list(collected.failures)
    for lane, summary in collected.summaries.items():
        broken += [f"lane {lane}: {why}" for why in generator_checks.broken(summary)]
    if first not in collected.summaries:
        return TrialResult(trial=trial, validity="broken", reasons=(*broken, f"no results of lane {first}"), figures={})
    summary = collected.summaries[first]
    doubts = generator_checks.reasons(summary, ceiling_rps)
    validity: Validity = "valid"
    if broken:
        validity = "broken"
    elif doubts:
        validity = "generator_bound" if timing_matters else "timing_doubtful"
    if not timing_matters:
        doubts = [f"times are the generator's too: {doubt}" for doubt in doubts]
    return TrialResult(
        trial=trial,
        validity=validity,
        reasons=(*broken, *doubts),
        steady=summary.warmup_steady,
        figures=figures(summary),
    )


def add_client_counts(evidence: Evidence, collected: Collected) -> Evidence:
    """The client's own count of requests that left it, and lists captured from answers."""
    lanes = collected.summaries.values()
    sent = sum(lane.warmup.sent + lane.measure.sent - lane.not_sent for lane in lanes)
    captures: dict[str, list[Any]] = {}
    for lane, folder in collected.folders.items():
        if (folder / "captures.jsonl").exists():
            lines = (folder / "captures.jsonl").read_text(encoding="utf-8").splitlines()
            captures[lane] = [json.loads(line) for line in lines]
    return replace(
        evidence,
        counts={"client": sent, **evidence.counts},
        captures=captures,
        missing_hosts=tuple(collected.failures),
    )


def trials_to_remeasure(rows: Collection[TrialResult], plan: Plan) -> list[Trial]:
    """Trials to be measured once more, last of all, because the generator and not the tier was the limit. Pure.

    The generator alone says so, never what was measured, so no result is chosen; the invalid row stays. Of a run that
    is resumed, those that were measured once more before it ended count too, and are not measured a third time.
    """
    planned = {trial.order for trial in plan.trials}
    doubted = [row.trial for row in rows if row.trial.order in planned and row.validity == "generator_bound"]
    if len(doubted) > max(1, round(MADE_UP * len(planned))):
        return []
    again = {(row.cell.name, row.trial.number) for row in rows if row.trial.order not in planned}
    missing = [trial for trial in doubted if (trial.cell.name, trial.number) not in again]
    after = max([*planned, *(row.trial.order for row in rows)], default=0)
    return [replace(trial, order=after + n) for n, trial in enumerate(missing, 1)]
