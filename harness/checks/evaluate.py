"""From a run's records to its findings and its verdict. Pure: the same for a fresh run and for an old one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from harness.analysis.slowest import split_slowest
from harness.checks import names
from harness.checks.faults import ACCOUNTED_FOR
from harness.checks.finding import finding, merge, worst
from harness.checks.required_evidence import ABOUT_DATA, NEEDS
from harness.checks.slo_gate import SloGate
from harness.model import Finding, RunVerdict
from harness.plan.scenario import Scenario
from harness.record import Evidence, TrialRecord, TrialResult


def judge_trial(scenario: Scenario, measured: TrialRecord) -> list[Finding]:
    """One trial's findings. A check that raises an error is `unknown` with the reason; it never passes."""
    if measured.row.validity == "broken" and not _has_results(measured):
        return [finding(measured.cell, names.CHECKS_COMPLETED, "unknown", f"nothing to check: {measured.row.reason}")]
    try:
        findings = [each for each in scenario.check(measured) if each.check not in measured.evidence.not_applicable]
        findings = [_of_valid_times(_judged(each, measured.evidence), measured.row) for each in findings]
        missing = measured.evidence.missing_hosts
        return [_without_samples(each, missing[0]) for each in findings] if missing else findings
    except Exception as error:  # noqa: BLE001  # the record may be damaged in any way: that is a finding
        return [_crashed(measured, names.CHECKS_COMPLETED, error)]


def _has_results(measured: TrialRecord) -> bool:
    return bool(measured.lanes or measured.outcome_counts or measured.evidence.workload_result is not None)


def _judged(found: Finding, evidence: Evidence) -> Finding:
    """The finding; unknown where it needs a part that was not measured, or hosts that are not the cell's served."""
    reasons = [evidence.unread[part] for part in NEEDS.get(found.check, ()) if part in evidence.unread]
    if reasons:
        return replace(found, verdict="unknown", detail=f"not measured: {reasons[0]}", numbers={})
    if evidence.misrouted and not evidence.faults and found.check not in ABOUT_DATA:
        return replace(found, verdict="unknown", detail=f"{evidence.misrouted[0]}: {found.detail}")
    return found


def _of_valid_times(found: Finding, row: TrialResult) -> Finding:
    """The finding; unknown where it fails because of times that the load generator or other programs may have made."""
    if found.verdict != "fail" or found.check not in names.NEED_A_GENERATOR or row.times_valid:
        return found
    return replace(found, verdict="unknown", detail=f"its times are doubtful ({row.reason}): {found.detail}")


def _without_samples(found: Finding, reason: str) -> Finding:
    """The finding where some load host's samples are missing: unknown, except for acknowledged updates that are lost.

    The samples that are missing could not explain these. A check of faults accounts for a killed load host itself.
    """
    if ACCOUNTED_FOR in found.numbers or (found.verdict == "fail" and found.numbers.get("lost")):
        return found
    return replace(found, verdict="unknown", detail=f"samples are missing ({reason}): {found.detail}")


def _crashed(measured: TrialRecord, check: str, error: Exception) -> Finding:
    detail = f"the check raised an error: {type(error).__name__}: {error}"
    return finding(measured.cell, check, "unknown", detail)


def evaluate(
    scenarios: Mapping[str, Scenario],
    trials: Iterable[TrialRecord],
    *,
    gate: SloGate | None = None,
    replaced: Collection[int] = (),
) -> list[Finding]:
    """All findings of a run: per trial and merged per cell, then per scenario over its trials, each variant apart.

    `gate`: of a run with --slo. Trials of a search and trials with faults are not gated: they try what does not hold.
    `replaced`: the invalid trials, by order, that a valid one has replaced. What they show about data counts, and
    nothing about times.
    """
    by_variant: dict[str, dict[str, list[TrialRecord]]] = defaultdict(lambda: defaultdict(list))
    single: dict[str, list[Finding]] = defaultdict(list)
    for measured in trials:
        name = measured.cell.scenario
        if name not in scenarios:
            text = f"this version has no scenario '{name}'"
            single[name].append(finding(measured.cell, names.CHECKS_COMPLETED, "unknown", text))
            continue
        again = measured.row.trial.order in replaced
        own = [
            one for one in judge_trial(scenarios[name], measured) if not (again and one.check in names.NEED_A_GENERATOR)
        ]
        single[name] += [*own, *slowest_requests(measured)]
        gate_applies = scenarios[name].next_cells is None and not scenarios[name].faults(measured.cell) and not again
        if gate and gate_applies and (gated := gate.check(measured.row)):
            single[name].append(gated)
        # the comparison of trials reads rows and evidence only, so the samples are dropped here
        extracted = _extract(scenarios[name], measured)
        by_variant[name][measured.cell.variant].append(
            replace(measured, lanes={}, outcome_counts={}, extracted=extracted)
        )
    findings: list[Finding] = []
    for name, per_trial in single.items():
        findings += merge(per_trial)
        for of_variant in by_variant[name].values() if name in by_variant else ():
            findings += _judge_together(scenarios[name], of_variant)
    return findings


def slowest_requests(measured: TrialRecord) -> list[Finding]:
    """Where the slowest requests of the trial's first lane waited; nothing where that was not sampled."""
    if measured.waits is None or measured.cell.backend != "postgres" or not measured.row.times_valid:
        return []
    try:
        samples = next(iter(measured.lanes.values()), None)
        split = split_slowest(samples, measured.waits, measured.saturated) if samples is not None else None
    except Exception as error:  # noqa: BLE001  # as above
        return [_crashed(measured, names.SLOWEST, error)]
    if split is None:
        return []
    numbers = {"requests": split.requests, "from_ms": split.from_ms, "ticks": split.ticks, "shares": split.shares}
    return [finding(measured.cell, names.SLOWEST, "shown", split.sentence, **numbers, blocker=split.blocker)]


def _extract(scenario: Scenario, measured: TrialRecord) -> Mapping[str, float]:
    try:
        return scenario.extract(measured)
    except Exception:  # noqa: BLE001  # the trial's own findings name the damage
        return {}


def _judge_together(scenario: Scenario, trials: Sequence[TrialRecord]) -> list[Finding]:
    try:
        return list(scenario.judge(trials))
    except Exception as error:  # noqa: BLE001  # as above
        return [_crashed(trials[0], names.COMPARISON_COMPLETED, error)]


def verdict_of(findings: Sequence[Finding], *, invalid_trials: int) -> RunVerdict:
    """The verdict of a run: fail before invalid before unknown before pass. A lost update fails even if invalid."""
    verdict = worst(f.verdict for f in findings)
    if verdict != "fail" and invalid_trials:
        return "invalid"
    return "unknown" if verdict == "shown" else verdict
