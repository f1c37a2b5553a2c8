"""A run stored by the version before the packages, with its check names, is read, evaluated and compared today."""

from __future__ import annotations

from pathlib import Path

from harness.checks.evaluate import evaluate
from harness.compare.cells import RunData
from harness.compare.compare import compare
from harness.scenarios import SCENARIOS
from harness.store.manifest import OLD_NAMES
from harness.store.run_reader import load_run

ROOT = Path(__file__).parents[3]
OLD, NEW = ROOT / "tests/data/run_of_the_flat_layout", ROOT / "results/example"


def test_stored_findings_have_todays_names_and_todays_verdicts() -> None:
    run = load_run(OLD)
    stored = {(finding.cell, finding.check): finding.verdict for finding in run.findings}
    assert not {check for _, check in stored} & set(OLD_NAMES)
    today = {(finding.cell, finding.check): finding.verdict for finding in evaluate(SCENARIOS, run.records())}
    assert stored
    assert {key: today.get(key) for key in stored} == stored


def test_evidence_samples_and_summaries_of_each_trial_are_read() -> None:
    run = load_run(OLD)
    records = list(run.records())
    assert [record.row.trial.order for record in records] == [1, 2, 3, 4, 5, 6]
    assert [len(record.lanes.get("main", ())) for record in records][:2] == [1000, 1000]
    assert all(record.evidence.counts for record in records if record.lanes)


def test_it_is_compared_with_a_run_of_today() -> None:
    sides = [
        RunData(run_id=run.run_id, manifest=run.manifest.model_dump(), rows=run.rows)
        for run in (load_run(OLD), load_run(NEW))
    ]
    rows = compare(*sides, anyway=True).rows
    assert {row.verdict for row in rows} & {"too few trials", "~"}
