"""The success criteria of the original page over a collected run, from what is stored alone.

A criterion whose scenario is not in the run is skipped with that reason; it never passes unmeasured.
"""

from __future__ import annotations

from collections import Counter

import pytest

from harness.analysis.trial_validity import unreplaced
from harness.checks.evaluate import verdict_of
from harness.model import Finding
from harness.report.criteria import CRITERIA, Criterion, answer
from harness.store.run_reader import Run


def sentences(findings: list[Finding]) -> str:
    return "\n".join(f"{f.verdict}: {f.cell}: {f.check}: {f.detail}" for f in findings)


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: c.name)
def test_success_criterion(criterion: Criterion, run: Run, findings: list[Finding]) -> None:
    found = answer(criterion, run, findings)
    if found.state == "not measured":
        pytest.skip(f"not measured: {found.because}")
    assert found.state == "pass", f"{criterion.title} ({criterion.original}): {found.because}"


def test_every_finding_passes(findings: list[Finding]) -> None:
    wrong = [f for f in findings if f.verdict != "pass"]
    assert not wrong, sentences(wrong)
    assert findings, "nothing was judged"


def test_scenarios_that_could_not_run(run: Run) -> None:
    if run.manifest.skipped:
        pytest.skip("; ".join(f"{name} skipped: {why}" for name, why in run.manifest.skipped.items()))
    assert run.rows, "the run has no trial"


def test_run_is_whole(run: Run) -> None:
    assert run.manifest.status == "finished", f"status: {run.manifest.status}"


def test_every_trial_is_valid(run: Run) -> None:
    wrong = [f"trial {row.trial.order} ({row.cell.name}): {row.reason}" for row in unreplaced(run.rows)]
    assert not wrong, "\n".join(wrong)


def test_samples_are_those_the_figures_were_made_of(run: Run) -> None:
    """trials.csv and the samples tell the same counts: neither was edited or lost."""
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


def test_counts_by_key_are_those_the_load_hosts_counted(run: Run) -> None:
    """Where no samples were kept, the counts by key add up to what the summaries say of both phases."""
    for row in run.rows:
        summaries = run.summaries(row.trial.order)
        for lane, tally in run.outcome_counts(row.trial.order).items():
            warmup, measure = summaries[lane].warmup, summaries[lane].measure
            told = {
                "ok": warmup.ok + measure.ok,
                "fail": warmup.fail + measure.fail,
                "unknown": warmup.unknown + measure.unknown,
            }
            counted = dict.fromkeys(told, 0)
            for (_, _, outcome), requests in tally.items():
                counted[outcome] += requests
            assert counted == told, f"trial {row.trial.order}: {lane}.keys.csv and its summary differ"


def test_stored_findings_are_what_the_samples_say(run: Run, findings: list[Finding]) -> None:
    """The manifest's verdict is the one that the stored samples lead to."""
    stored = {(f.cell, f.check): f.verdict for f in run.findings}
    made = {(f.cell, f.check): f.verdict for f in findings}
    assert made == stored
    assert run.manifest.verdict == verdict_of(findings, invalid_trials=len(unreplaced(run.rows)))
