"""From a run's records to its findings and its verdict. Pure: the same for a fresh run and for an old one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from harness.checks import names
from harness.checks.finding import finding, merge, worst
from harness.model import Finding, RunVerdict
from harness.plan.scenario import Scenario
from harness.record import TrialRecord


def judge_trial(scenario: Scenario, measured: TrialRecord) -> list[Finding]:
    """One trial's findings. A check that crashes says `unknown` with the reason; it never passes."""
    try:
        found = [each for each in scenario.check(measured) if each.check not in measured.evidence.not_applicable]
        missing = measured.evidence.missing_hosts
        return [_doubted(each, missing[0]) for each in found] if missing else found
    except Exception as error:  # noqa: BLE001  # the record may be damaged in any way: that is a finding
        return [_crashed(measured, names.CHECKS_COMPLETED, error)]


def _doubted(found: Finding, why: str) -> Finding:
    """What may be said without some load host's samples: nothing, but that what the others were promised is lost."""
    if found.verdict == "fail" and found.numbers.get("lost"):
        return found
    return replace(found, verdict="unknown", detail=f"samples are missing ({why}): {found.detail}")


def _crashed(measured: TrialRecord, check: str, error: Exception) -> Finding:
    why = f"the check could not be carried out: {type(error).__name__}: {error}"
    return finding(measured.cell, check, "unknown", why)


def evaluate(scenarios: Mapping[str, Scenario], trials: Iterable[TrialRecord]) -> list[Finding]:
    """All findings of a run: per trial and merged per cell, then per scenario over its trials."""
    by_scenario: dict[str, list[TrialRecord]] = defaultdict(list)
    single: dict[str, list[Finding]] = defaultdict(list)
    for measured in trials:
        name = measured.cell.scenario
        if name not in scenarios:
            text = f"this version has no scenario '{name}'"
            single[name].append(finding(measured.cell, names.CHECKS_COMPLETED, "unknown", text))
            continue
        single[name] += judge_trial(scenarios[name], measured)
        # what judges trials together looks at rows and evidence: the samples may be dropped now
        distilled = _distilled(scenarios[name], measured)
        by_scenario[name].append(replace(measured, lanes={}, outcome_counts={}, extracted=distilled))
    findings: list[Finding] = []
    for name, found in single.items():
        findings += merge(found)
        if name in by_scenario:
            findings += _judge_together(scenarios[name], by_scenario[name])
    return findings


def _distilled(scenario: Scenario, measured: TrialRecord) -> Mapping[str, float]:
    try:
        return scenario.extract(measured)
    except Exception:  # noqa: BLE001  # the trial's own findings say what is wrong with it
        return {}


def _judge_together(scenario: Scenario, trials: Sequence[TrialRecord]) -> list[Finding]:
    try:
        return list(scenario.judge(trials))
    except Exception as error:  # noqa: BLE001  # as above
        return [_crashed(trials[0], names.COMPARISON_COMPLETED, error)]


def verdict_of(findings: Sequence[Finding], *, invalid_trials: int) -> RunVerdict:
    """fail before invalid before unknown before pass: a lost update stays one however it was measured."""
    verdict = worst(f.verdict for f in findings)
    if verdict != "fail" and invalid_trials:
        return "invalid"
    return verdict
