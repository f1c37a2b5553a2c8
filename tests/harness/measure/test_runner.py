"""A bench end to end on two load hosts and a real service: measured, stored, evaluated."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.checks.evaluate import evaluate
from harness.cli.bench import end_with
from harness.errors import CriterionFailed, RigError
from harness.load import generator_checks, littles_law
from harness.load.spec import LoadSpec
from harness.measure.resume import require_same_plan
from harness.measure.runner import evaluate_run
from harness.model import Cell
from harness.plan.load_share import open_cell
from harness.plan.scenario import RemoteWorkload
from harness.plan.variants import parse_vary, varied_keys, with_variant
from harness.report.page import write_report
from harness.report.run_summary import summarise
from harness.report.terminal import lines, print_summary
from harness.scenarios.increment_workload import increment
from harness.store.run_reader import Run, load_run
from harness.store.run_writer import RunWriter
from harness.targets.snapshot import Snapshot
from tests.support.builders import Made, store
from tests.support.local_bench import SCENARIO, SCENARIOS, SHORT, Bench, doubled, plan, verdicts


def test_a_bench_measures_stores_and_evaluates(benches: Bench) -> None:
    run = benches.go(plan(SHORT, SHORT))
    assert (run.manifest.status, run.manifest.verdict) == ("finished", "pass")
    assert [(r.figure("sent"), r.figure("ok"), r.valid) for r in run.rows] == [(40, 40, True)] * 2
    assert {check for _, check in verdicts(run.findings)} == {
        "final value", "value sequence", "real-time order", "ledger",
    }  # fmt: skip
    for measured in run.records():
        assert len(measured.main) == 40
        assert set(measured.main.load_host) == {"load-1", "load-2"}
        assert measured.evidence.counts["client"] == 40
        assert measured.evidence.ledger is not None
        assert len(measured.evidence.ledger) == 40
    assert sum(int(line["sent"]) for line in run.timeline()) == 80
    assert {"load", "store", "settle", "judge"} <= set(run.manifest.stages)
    assert verdicts(evaluate(SCENARIOS, run.records())) == verdicts(run.findings)  # from disk alone, the same


def test_a_run_says_where_responses_tell_no_duration_and_nowhere_else(
    benches: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert littles_law.NOT_JUDGED not in benches.go(plan(SHORT)).manifest.warnings
    without = replace(increment("upsert", idempotency=True), capture=("retries",))
    spec = LoadSpec(mode="closed", clients=4, requests=40, operations=(without,))
    monkeypatch.setitem(SCENARIOS, "counting", replace(SCENARIO, workload=lambda _: {"main": spec}))
    assert benches.go(plan(SHORT)).manifest.warnings.count(littles_law.NOT_JUDGED) == 1


def test_an_open_cell_gets_its_rate_from_the_closed_trial_before_it(benches: Bench) -> None:
    closed = Cell(scenario="counting", clients=4, seconds=1.0)
    wanted = plan(closed, open_cell(closed, 1.0))
    run = benches.go(wanted)
    first, second = run.rows
    assert second.cell.rate == pytest.approx(0.7 * (first.figure("rps") or 0.0), abs=0.1)
    assert second.cell.name == wanted.trials[1].cell.name
    assert second.figure("sent") == pytest.approx(second.cell.rate, rel=0.1)
    require_same_plan(run, wanted)  # the rate that was used is no other plan
    assert run.manifest.verdict == "pass"


def test_open_cells_of_all_variants_get_the_rate_of_the_baseline(benches: Bench) -> None:
    variants = parse_vary("vary", "app_retry_limit=1,9")
    closed = Cell(scenario="counting", clients=4, seconds=0.5)
    first, second = (with_variant(closed, variant, varied_keys(variants)) for variant in variants)
    cells = (second, first, open_cell(second, 0.5), open_cell(first, 0.5))
    run = benches.go(replace(plan(*cells), variants=variants))
    baseline = next(row for row in run.rows if row.cell.variant == variants[0].name and row.cell.mode == "closed")
    rates = [row.cell.rate for row in run.rows if row.cell.mode == "open"]
    assert rates == [pytest.approx(0.7 * (baseline.figure("rps") or 0.0), abs=0.1)] * 2


def test_an_open_cell_whose_closed_trial_has_no_rate_is_invalid(benches: Bench) -> None:
    closed = Cell(scenario="counting", clients=4, seconds=1.0)
    run = benches.go(plan(open_cell(closed, 1.0)))
    (row,) = run.rows
    assert (row.valid, row.cell.rate, row.figure("sent")) == (False, 0.0, None)
    assert row.reason == "its rate is a share of a closed cell's, which acknowledged nothing"
    assert run.manifest.verdict == "invalid"
    write_report(summarise(run))


@pytest.mark.parametrize(
    ("path", "message"),
    [("/health", ""), ("/nowhere-at-all", "could not be measured: no GET /nowhere-at-all was answered with success")],
)
def test_a_null_endpoint_that_exists_must_answer(
    benches: Bench, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    """Otherwise the ceiling check would be off without a message."""
    monkeypatch.setattr("harness.measure.runner.CEILING_S", 0.2)
    monkeypatch.setattr(benches.target, "null_path", lambda: path)
    if not message:
        assert benches.go(plan(SHORT)).manifest.settings["generator"]["ceiling_rps"] > 0
        return
    with pytest.raises(RigError, match=message):
        benches.go(plan(SHORT))


def test_a_changed_sample_fails_when_the_stored_run_is_evaluated_again(benches: Bench) -> None:
    run = benches.go(plan(SHORT))
    file = run.path / "samples" / "001-main.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, re.sub(r"-(load-\d)-", r"-\1-0", lines[-1])]) + "\n")
    changed = verdicts(evaluate(SCENARIOS, load_run(run.path).records()))
    assert changed[SHORT.name, "final value"] == "fail"


def test_long_trials_are_evaluated_and_reported_without_samples(
    benches: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counts per key are enough: `upsert` loses nothing, `unsafe` does, a changed count fails."""
    monkeypatch.setattr("harness.plan.planner.LONG_S", 0.5)
    monkeypatch.setitem(SCENARIOS, "counting", replace(SCENARIO, works_without_samples=True))
    upsert, unsafe = (Cell(scenario="counting", strategy=name, clients=4, seconds=1.0) for name in ("upsert", "unsafe"))
    run = benches.go(plan(upsert, unsafe))
    assert sorted(path.name for path in run.path.glob("samples/*.csv*")) == ["001-main.keys.csv", "002-main.keys.csv"]
    assert verdicts(run.findings) == {(upsert.name, "final value"): "pass", (unsafe.name, "final value"): "fail"}
    assert verdicts(evaluate(SCENARIOS, run.records())) == verdicts(run.findings)
    warnings = [text for text in run.manifest.warnings if "--samples" in text]
    assert [text.split(" is not judged: ")[0] for text in warnings] == ["'value sequence'", "'real-time order'"]
    for row in run.rows:
        (counts,) = run.outcome_counts(row.trial.order).values()
        assert counts.total() == row.figure("sent")
        assert (row.figure("p50_ms") or 0) > 0
        assert (row.figure("transactions") or 0) > 0
    write_report(summarise(run))
    print_summary(summarise(run))
    assert "updates; key 'hot-" in capsys.readouterr().out

    file = run.path / "samples" / "001-main.keys.csv"
    file.write_text(file.read_text().rstrip() + "5\n")
    assert verdicts(evaluate(SCENARIOS, load_run(run.path).records()))[upsert.name, "final value"] == "fail"


def test_samples_are_stored_before_the_target_is_asked(benches: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stored: list[bool] = []
    snapshot = benches.target.snapshot

    def read(cell: Cell, reads: Any, since: Snapshot | None = None) -> Snapshot:
        assert benches.writer is not None
        stored.append((benches.writer.path / "samples" / "001-main.csv").exists())
        return snapshot(cell, reads, since)

    monkeypatch.setattr(benches.target, "snapshot", read)
    benches.go(plan(SHORT))
    assert stored == [False, True]


def test_a_target_that_answers_late_after_the_load_is_read(benches: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = iter([RigError("the database system is starting up")] * 2)
    snapshot = benches.target.snapshot

    def read(cell: Cell, reads: Any, since: Snapshot | None = None) -> Snapshot:
        if since is not None and (error := next(fails, None)):
            raise error
        return snapshot(cell, reads, since)

    monkeypatch.setattr(benches.target, "snapshot", read)
    assert benches.go(plan(SHORT)).manifest.verdict == "pass"


def test_a_remote_workload_neither_configures_nor_reads_the_service(
    benches: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven = replace(
        SCENARIO, name="driven", workload=lambda _: RemoteWorkload(role="load", module="m", job={}), check=lambda _: []
    )
    monkeypatch.setitem(SCENARIOS, "driven", driven)
    configured: list[Cell] = []
    monkeypatch.setattr(benches.target, "configure", configured.append)
    monkeypatch.setattr(benches.target, "run_workload", lambda driver: {"module": driver.module})
    run = benches.go(plan(Cell(scenario="driven", backend="sqlite-naive"), SHORT))
    assert configured == [SHORT]
    first, second = run.records()
    assert (first.evidence.workload_result, first.evidence.final) == ({"module": "m"}, {})
    assert sum(second.evidence.final.values()) == 40


def test_a_finished_run_warns_of_cells_that_began_unsteady(tmp_path: Path) -> None:
    made = store(tmp_path, [Made(cell=SHORT, steady=False), Made(cell=SHORT, number=2, steady=True)], status="started")
    writer = RunWriter(made.path.parent, made.manifest, made.path)
    assert evaluate_run(writer, {}, finish=False).manifest.warnings == []
    (warning,) = evaluate_run(writer, {}, finish=True).manifest.warnings
    assert warning.startswith(f"{SHORT.name}: 1 of 2 trials were not steady")
    assert "! counting (PostgreSQL, upsert, 1 host): 1 of 2 trials were not steady" in " ".join(
        " ".join(lines(summarise(load_run(made.path)))).split()
    )


def test_the_gate_names_the_second_of_a_stored_run(benches: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator_checks, "reasons", lambda *_: [])  # a busy machine makes times doubtful
    spec = LoadSpec(mode="open", clients=8, rate=300.0, seconds=2.0, operations=(increment("upsert"),))
    monkeypatch.setitem(SCENARIOS, "counting", replace(SCENARIO, workload=lambda _: {"main": spec}))
    benches.go(plan(Cell(scenario="counting", mode="open", rate=300.0, clients=8, seconds=2.0)))
    writer = benches.writer
    assert writer is not None

    def judged(slo: str) -> Run:
        writer.manifest.options = {"slo": slo}
        writer.save()
        return evaluate_run(writer, SCENARIOS, finish=True)

    run = judged("p95:1us")
    (gated,) = [finding for finding in run.findings if finding.check == "SLO"]
    assert gated.verdict == run.manifest.verdict == "fail"
    assert re.search(r"trial 1: p95 [\d.]+m?s, above 0.001ms, first in second [0-9] \(p\d\d [\d.]+m?s\)", gated.detail)
    with pytest.raises(CriterionFailed, match="SLO: trial 1: p95"):
        end_with(run)

    assert judged("max:60s").manifest.verdict == "pass"
    monkeypatch.setitem(SCENARIOS, "counting", replace(SCENARIOS["counting"], next_cells=doubled))
    assert "SLO" not in {f.check for f in judged("p95:1us").findings}  # a search tries what does not hold
