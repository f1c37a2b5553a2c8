"""Converts the results of load agents into a trial result and evidence; selects the trials to measure once more."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from harness.analysis import foreign_load
from harness.analysis.figures import figures
from harness.analysis.foreign_load import NO_FOREIGN_LOAD, ForeignLoad
from harness.checks.names import COUNTS_AGREE, LEDGER, PER_REQUEST
from harness.checks.required_evidence import COUNTERS
from harness.checks.required_evidence import LEDGER as LEDGER_READ
from harness.fault_record import FaultRecord, LogLine
from harness.load import generator_checks
from harness.measure.load_controller import LoadResults
from harness.model import Trial
from harness.plan.blocks import block_of, left_to_measure, once_more
from harness.plan.load_share import as_planned, is_closed_cell_of
from harness.plan.planner import Plan
from harness.record import Captures, Evidence, TrialResult, Validity

REMEASURED_SHARE = 0.05
"""Largest share of the trials (at least one trial) that is measured once more. If the load generator limited more
trials, the rig is unsuitable and none is measured once more."""
NO_SAMPLES = "trials this long keep no samples (--samples keeps them)"


def trial_result(
    trial: Trial,
    first: str,
    results: LoadResults,
    *,
    timing_matters: bool,
    foreign: ForeignLoad = NO_FOREIGN_LOAD,
    misrouted: Sequence[str] = (),
    killed: bool = False,
) -> TrialResult:
    """Returns the trial's row: the figures of all its lanes together, and what it may be used for.

    A lane that was interrupted, or whose responses cannot be matched to requests, breaks any trial. A load generator
    that was the limit, or a `foreign` load beside it, makes only the times wrong: where no criterion is about times
    (not `timing_matters`), the trial stays valid, and its times are not compared. Without results of the `first` lane
    there are no figures. `misrouted`: see Evidence; such a trial measured other hosts than its cell says. `killed`: a
    load host was killed on purpose.
    """
    broken = [*(["a load host was killed"] if killed else []), *results.failures, *misrouted]
    for lane, summary in results.summaries.items():
        broken += [f"lane {lane}: {why}" for why in generator_checks.broken(summary)]
    if first not in results.summaries or results.total is None:
        return TrialResult(trial=trial, validity="broken", reasons=(*broken, f"no results of lane {first}"), figures={})
    several = len(results.summaries) > 1
    doubts = [
        f"lane {lane}: {doubt}" if several else doubt
        for lane, summary in results.summaries.items()
        for doubt in generator_checks.reasons(summary)
    ]
    doubts += foreign.reasons
    validity: Validity = "valid"
    if broken:
        validity = "broken"
    elif doubts:
        validity = "generator_bound" if timing_matters else "timing_doubtful"
    if not timing_matters:
        doubts = [f"times are doubtful: {doubt}" for doubt in doubts]
    return TrialResult(
        trial=trial,
        validity=validity,
        reasons=(*broken, *doubts),
        steady=results.summaries[first].steady,
        figures={**figures(results.total), **foreign.figures()},
    )


def read_captures(results: LoadResults) -> Captures:
    """Returns the captured fields; call it before the lanes' files are moved into the run."""
    captures: dict[str, list[Any]] = {}
    for lane, folder in results.folders.items():
        if (folder / "captures.jsonl").exists():
            lines = (folder / "captures.jsonl").read_text(encoding="utf-8").splitlines()
            captures[lane] = [json.loads(line) for line in lines]
    return captures


def add_client_counts(evidence: Evidence, results: LoadResults, captures: Captures) -> Evidence:
    """Adds the number of requests that the client sent, the captured fields and the load hosts without results."""
    lanes = results.summaries.values()
    sent = sum(lane.warmup.sent + lane.measure.sent - lane.not_sent for lane in lanes)
    return replace(
        evidence,
        counts={"client": sent, **evidence.counts},
        captures=captures,
        missing_hosts=tuple(results.failures),
    )


def with_faults(
    evidence: Evidence, faults: Sequence[FaultRecord], logs: Sequence[LogLine], *, busy: str = ""
) -> Evidence:
    """Adds what became of the faults of a trial. What the layers counted is not compared: a restart forgets it.

    `busy`: what was still at work when the ledger was read.
    """
    notes = (f"{busy}: what was applied later counts as not applied",) if busy else ()
    unread = {part: why for part, why in evidence.unread.items() if part in (COUNTERS, LEDGER_READ)}
    return replace(
        evidence,
        faults=tuple(faults),
        logs=tuple(logs),
        notes=(*evidence.notes, *notes),
        unread=unread,
        not_applicable={COUNTS_AGREE: "layers that a fault restarts count from zero", **evidence.not_applicable},
    )


def leave_out_per_request_checks(evidence: Evidence, *, ledger: bool) -> Evidence:
    """Marks the checks that need samples as not applicable. `ledger`: whether the trial wrote the ledger."""
    reasons = {check: NO_SAMPLES for check in PER_REQUEST if ledger or check != LEDGER}
    return replace(evidence, not_applicable={**reasons, **evidence.not_applicable})


def trials_to_measure(earlier: Collection[TrialResult], plan: Plan) -> list[Trial]:
    """Returns the trials of the plan that a resumed run lacks; of a plan with variants see `left_to_measure`."""
    if plan.variants:
        return left_to_measure(plan.trials, [row.trial for row in earlier])
    stored = {row.trial.order for row in earlier}
    return [trial for trial in plan.trials if trial.order not in stored]


def trials_to_remeasure(rows: Collection[TrialResult], plan: Plan) -> list[Trial]:
    """Returns the trials to measure once more after the plan: other programs disturbed them, or the load generator
    limited them.

    Counters of the machines and of the load generator decide that, never the measured figures, so results are not
    selected; the invalid row stays. With variants the whole block is measured once more, because its figures are
    compared. An open trial whose rate such a closed one set follows it. A trial of a resumed run that was measured once
    more before is not measured a third time.
    """
    planned = {trial.order for trial in plan.trials}
    doubted = [row for row in rows if row.trial.order in planned and row.validity == "generator_bound"]
    disturbed = [row.trial for row in doubted if (row.figure("foreign_cpu") or 0.0) > foreign_load.LIMIT]
    disturbed += [
        row.trial
        for row in doubted
        if row.trial not in disturbed
        and any(one.number == row.trial.number and is_closed_cell_of(row.cell, one.cell) for one in disturbed)
    ]
    limited = [row.trial for row in doubted if row.trial not in disturbed]
    if len(limited) > max(1, round(REMEASURED_SHARE * len(planned))):
        limited = []
    again = {(row.cell.name, row.trial.number) for row in rows if row.trial.order not in planned}
    missing = [trial for trial in (*disturbed, *limited) if (trial.cell.name, trial.number) not in again]
    if plan.variants:
        return once_more({block_of(trial) for trial in missing}, plan.trials, [row.trial for row in rows])
    after = max([*planned, *(row.trial.order for row in rows)], default=0)
    closed_first = sorted(map(as_planned, missing), key=lambda trial: trial.cell.rate_share is not None)
    return [replace(trial, order=after + n) for n, trial in enumerate(closed_first, 1)]
