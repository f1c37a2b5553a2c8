"""The success criteria, applied to a stored run.

A criterion whose scenario is not in the run is skipped with that reason; it never passes without a measurement.
"""

from __future__ import annotations

from collections import Counter

import pytest

from harness.analysis.trial_validity import unreplaced
from harness.checks.evaluate import verdict_of
from harness.checks.finding import judged
from harness.model import Finding
from harness.report.criteria import CRITERIA, Criterion, answer
from harness.store.run_reader import Run


def listed(findings: list[Finding]) -> str:
    """Returns one line per finding."""
    return "\n".join(f"{f.verdict}: {f.cell}: {f.check}: {f.detail}" for f in findings)


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: c.name)
def test_success_criterion(criterion: Criterion, run: Run, findings: list[Finding]) -> None:
    result = answer(criterion, run, findings)
    if result.state == "not measured":
        pytest.skip(f"not measured: {result.because}")
    assert result.state == "pass", f"{criterion.title} ({criterion.original}): {result.because}"


def test_every_finding_passes(findings: list[Finding]) -> None:
    others = [f for f in judged(findings) if f.verdict != "pass"]
    assert not others, listed(others)
    assert findings, "the run has no findings"


def test_no_scenario_was_skipped(run: Run) -> None:
    if run.manifest.skipped:
        pytest.skip("; ".join(f"{name} skipped: {reason}" for name, reason in run.manifest.skipped.items()))
    assert run.rows, "the run has no trial"


def test_run_is_finished(run: Run) -> None:
    assert run.manifest.status == "finished", f"status: {run.manifest.status}"


def test_every_trial_is_valid(run: Run) -> None:
    invalid = [f"trial {row.trial.order} ({row.cell.name}): {row.reason}" for row in unreplaced(run.rows)]
    assert not invalid, "\n".join(invalid)


def test_samples_and_trials_have_the_same_counts(run: Run) -> None:
    """trials.csv and the samples have the same counts, so neither was edited or lost."""
    for row in run.rows:
        lanes = run.lanes(row.trial.order)
        if not lanes or row.figure("sent") is None:
            continue
        samples = lanes["main"] if "main" in lanes else next(iter(lanes.values()))
        measured = [o for o, phase in zip(samples.outcome, samples.phase, strict=True) if phase != "warmup"]
        counted = Counter(measured)
        assert (counted["ok"], counted["fail"], counted["unknown"]) == tuple(
            int(row.figure(name) or 0) for name in ("ok", "fail", "unknown")
        ), f"trial {row.trial.order}: trials.csv and samples/ differ"


def test_counts_by_key_equal_the_summaries(run: Run) -> None:
    """If no samples were kept, the counts by key add up to the counts of both phases in the summaries."""
    for row in run.rows:
        summaries = run.summaries(row.trial.order)
        for lane, by_key in run.outcome_counts(row.trial.order).items():
            warmup, measure = summaries[lane].warmup, summaries[lane].measure
            expected = {
                "ok": warmup.ok + measure.ok,
                "fail": warmup.fail + measure.fail,
                "unknown": warmup.unknown + measure.unknown,
            }
            counted = dict.fromkeys(expected, 0)
            for (_, _, outcome), requests in by_key.items():
                counted[outcome] += requests
            assert counted == expected, f"trial {row.trial.order}: {lane}.keys.csv and its summary differ"


def test_stored_findings_follow_from_the_samples(run: Run, findings: list[Finding]) -> None:
    """The stored verdicts are those that the stored samples give."""
    computed = {(f.cell, f.check): f.verdict for f in findings}
    stored = {(f.cell, f.check): f.verdict for f in run.findings}
    for each, verdict in computed.items():
        if verdict == "shown" and stored.get(each) == "pass":  # a run stored before figures had the verdict `shown`
            stored[each] = verdict
    assert computed == stored
    assert run.manifest.verdict == verdict_of(findings, invalid_trials=len(unreplaced(run.rows)))
