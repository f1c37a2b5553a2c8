"""A bench end to end on two load hosts and a real service: measured, interrupted and resumed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.foreign_load import ForeignLoad, MachineLoad
from harness.checks.evaluate import evaluate
from harness.cli.bench import end_with
from harness.cli.signals import Interrupted, interruptible
from harness.errors import CriterionFailed, InvalidMeasurement, RigError
from harness.load import generator_checks, littles_law
from harness.load.spec import LoadSpec
from harness.measure.resume import require_same_plan
from harness.measure.runner import bench, evaluate_run
from harness.model import Cell, Finding, Trial
from harness.plan.load_share import open_cell
from harness.plan.planner import Plan
from harness.plan.scenario import RemoteWorkload, Scenario
from harness.plan.variants import parse_vary, varied_keys, with_variant
from harness.record import TrialResult
from harness.report.page import write_report
from harness.report.run_summary import summarise
from harness.report.terminal import lines, print_summary
from harness.scenarios.increment_workload import check_counters, increment
from harness.store.manifest import CodeRecord, FindingRecord, RigRecord
from harness.store.run_reader import Run, load_run
from harness.store.run_writer import RunWriter
from harness.targets.base import During
from harness.targets.snapshot import Snapshot
from tests.conftest import Database
from tests.support.builders import Made, store
from tests.support.local_target import LocalTarget, exit_codes, remaining_folders, serving

SCENARIO = Scenario(
    name="counting",
    question="Does it count?",
    criteria=(),
    cells=lambda *_: [],
    workload=lambda trial: {
        "main": LoadSpec(
            mode=trial.cell.mode, clients=4, requests=trial.cell.requests, seconds=trial.cell.seconds,
            rate=trial.cell.rate,
            operations=(increment(trial.cell.strategy, idempotency=trial.cell.requests is not None),),
        )
    },
    check=check_counters,
    timing_matters=False,
)  # fmt: skip
SCENARIOS = {"counting": SCENARIO}
SHORT, LONG = (Cell(scenario="counting", clients=4, requests=40, params={"n": 1}),
               Cell(scenario="counting", clients=4, seconds=4.0, params={"n": 2}))  # fmt: skip


def plan(*cells: Cell) -> Plan:
    return Plan(trials=tuple(Trial(cell=c, number=1, order=n, seed=n) for n, c in enumerate(cells, start=1)))


class Bench:
    """`go(plan)` runs a bench, or resumes the `earlier` run; `lines`: what it printed."""

    def __init__(self, target: LocalTarget, root: Path) -> None:
        self.target, self.root, self.lines = target, root, list[str]()
        self.writer: RunWriter | None = None

    def go(self, plan: Plan, watch: Callable[[str], None] = lambda _: None, *, earlier: Run | None = None) -> Run:
        def echo(line: str) -> None:
            self.lines.append(line)
            watch(line)

        if earlier:
            self.writer = RunWriter.resume(earlier)
        else:
            code = CodeRecord(commit="", dirty=False, command="", seed=1)
            self.writer = RunWriter.start(self.root, code=code, rig=RigRecord(name="t", provider="url"), options={})
        rows = earlier.rows if earlier else ()
        return bench(plan, SCENARIOS, self.target, self.writer, echo, earlier=rows)

    def stored(self) -> Run:
        assert self.writer is not None
        return load_run(self.writer.path)


@pytest.fixture
def benches(database: Database, tmp_path: Path) -> Iterator[Bench]:
    with (
        serving(database.environ, tmp_path / "log") as url,
        LocalTarget(url, database.dsn, tag=f"t{os.getpid()}") as target,
    ):
        made = Bench(target, tmp_path / "results")
        yield made
        exit_codes(target.hosts)
        if made.writer is not None:
            assert remaining_folders(made.writer.manifest.run_id) == []


def verdicts(findings: Iterable[Finding | FindingRecord]) -> dict[tuple[str, str], str]:
    return {(f.cell, f.check): f.verdict for f in findings}


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


def test_a_load_host_that_dies_makes_its_trial_invalid_and_its_checks_unknown(benches: Bench) -> None:
    def kill(line: str) -> None:
        if "ok/s" in line:
            benches.target.hosts[1].processes[-1].kill()

    run = benches.go(plan(LONG, SHORT), kill)
    first, second = run.rows
    assert (first.valid, second.valid) == (False, True)
    assert first.reason.startswith("load-2: the load agent died")
    assert (run.manifest.status, run.manifest.verdict) == ("finished", "invalid")
    found = verdicts(run.findings)
    assert found[LONG.name, "final value"] == "unknown"
    assert found[SHORT.name, "final value"] == "pass"
    assert any("invalid: load-2" in line for line in benches.lines)


def test_a_trial_whose_generator_was_held_up_is_measured_once_more(
    benches: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCENARIOS, "counting", replace(SCENARIOS["counting"], timing_matters=True))
    doubts = iter([["the load generator was held up"]])
    monkeypatch.setattr(generator_checks, "reasons", lambda *_: next(doubts, []))
    run = benches.go(plan(SHORT))
    assert [(row.trial.order, row.trial.seed, row.valid) for row in run.rows] == [(1, 1, False), (2, 1, True)]
    assert run.manifest.verdict == "pass"


def test_the_trials_of_a_block_that_is_measured_once_more_are_counted_together(
    benches: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCENARIOS, "counting", replace(SCENARIOS["counting"], timing_matters=True))
    doubts = iter([["the load generator was held up"]])
    monkeypatch.setattr(generator_checks, "reasons", lambda *_: next(doubts, []))
    variants = parse_vary("vary", "app_pool_size=5,20")
    cells = [with_variant(SHORT, variant, varied_keys(variants)) for variant in variants]
    benches.go(replace(plan(*cells), variants=variants))
    shown = [line.split()[0] for line in benches.lines if line.startswith("[")]
    assert shown == ["[1/2]", "[2/2]", "[3/4]", "[4/4]"]


def test_a_trial_that_other_programs_disturbed_is_measured_once_more(
    benches: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCENARIOS, "counting", replace(SCENARIOS["counting"], timing_matters=True))
    monkeypatch.setattr(generator_checks, "reasons", lambda *_: [])
    busy = MachineLoad(hosts=("db-1",), foreign=0.8, stolen=0.0, pressure=1.0)
    loads = iter([ForeignLoad(machines=(busy,), unread=("app-1 is not known",))])
    monkeypatch.setattr(benches.target, "foreign_load", lambda: next(loads, ForeignLoad()))
    run = benches.go(plan(SHORT))
    assert [(row.valid, row.validity, row.figure("foreign_cpu")) for row in run.rows] == [
        (False, "generator_bound", 0.8),
        (True, "valid", None),
    ]
    assert run.rows[0].reason.startswith("other programs used 80% of the CPU of the machine of db-1")
    assert "app-1 is not known" in run.manifest.warnings
    assert run.manifest.verdict == "pass"


def test_a_generator_that_is_always_held_up_stays_invalid(benches: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCENARIOS, "counting", replace(SCENARIOS["counting"], timing_matters=True))
    monkeypatch.setattr(generator_checks, "reasons", lambda *_: ["the load generator was held up"])
    run = benches.go(plan(SHORT, LONG))
    assert [row.valid for row in run.rows] == [False, False]
    assert run.manifest.verdict == "invalid"


@contextmanager
def starved(agents: Sequence[subprocess.Popen[str]]) -> Iterator[None]:
    """The last agent runs for 10 ms in each 100 ms, as in a control group with a tenth of a core."""
    finished = threading.Event()

    def starve() -> None:
        while not finished.wait(0.01):
            agents[-1].send_signal(signal.SIGSTOP)
            finished.wait(0.09)
            agents[-1].send_signal(signal.SIGCONT)

    thread = threading.Thread(target=starve)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def test_a_trial_of_doubtful_times_is_reported_as_valid(benches: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator_checks, "reasons", lambda *_: ["the load generator was held up"])
    run = benches.go(plan(SHORT))
    assert [(row.valid, row.reason) for row in run.rows] == [
        (True, "times are doubtful: the load generator was held up")
    ]
    assert f"{SHORT.name}: times are doubtful: the load generator was held up" in run.manifest.warnings
    assert run.manifest.verdict == "pass"
    assert not any("invalid" in line for line in benches.lines)


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


def test_a_starved_generator_is_named_and_exits_with_4(benches: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def telemetry(_: RunWriter) -> Iterator[During]:
        yield lambda _: starved(benches.target.hosts[1].processes)

    monkeypatch.setattr(benches.target, "telemetry", telemetry)
    monkeypatch.setitem(SCENARIOS, "counting", replace(SCENARIO, timing_matters=True))
    run = benches.go(plan(Cell(scenario="counting", clients=4, seconds=1.5)))
    assert run.manifest.verdict == "invalid"
    assert {finding.verdict for finding in run.findings} == {"pass"}, "the counts are correct nevertheless"
    with pytest.raises(InvalidMeasurement, match="load-2: the load generator was stalled for") as caught:
        end_with(run)
    assert caught.value.exit_code == 4
    assert "load-1" not in caught.value.message


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


def test_ctrl_c_keeps_finished_trials_and_resume_runs_only_the_rest(benches: Bench) -> None:
    wanted = plan(SHORT, LONG, SHORT)

    def interrupt(line: str) -> None:
        if "ok/s" in line:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        benches.go(wanted, interrupt)
    exit_codes(benches.target.hosts)
    cut = benches.stored()
    assert cut.manifest.status == "aborted"
    assert "aborted: interrupted" in cut.manifest.warnings
    assert [row.trial.order for row in cut.rows] == [1]
    assert set(verdicts(cut.findings).values()) == {"pass"}
    assert f"  finished trials are kept in {cut.path}" in benches.lines
    assert benches.target.restored == 1
    kept = (cut.path / "evidence" / "001.json").stat().st_mtime_ns

    measured_before = benches.target.trials
    run = benches.go(wanted, earlier=cut)
    assert benches.target.trials - measured_before == 2
    assert run.path == cut.path
    assert (run.manifest.status, [row.trial.order for row in run.rows]) == ("finished", [1, 2, 3])
    assert [row.trial for row in run.rows] == list(wanted.trials)
    assert {line["order"] for line in run.timeline()} == {"1", "2", "3"}
    assert (run.path / "evidence" / "001.json").stat().st_mtime_ns == kept


def test_a_second_ctrl_c_skips_the_restore(benches: Bench) -> None:
    def restore() -> None:
        raise KeyboardInterrupt

    def configure(cell: Cell) -> None:
        raise KeyboardInterrupt

    benches.target.restore = restore  # type: ignore[method-assign]
    benches.target.configure = configure  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        benches.go(plan(SHORT))
    assert benches.stored().manifest.status == "aborted"
    assert "Ctrl-C skips this" in benches.lines[-1]


def test_a_failed_restore_is_reported(benches: Bench) -> None:
    def broken(*_: object) -> None:
        raise RigError("app-1 cannot be reached over SSH")

    benches.target.restore = benches.target.configure = broken  # type: ignore[method-assign]
    with pytest.raises(RigError):
        benches.go(plan(SHORT))
    assert benches.lines[-1] == "  not restored: app-1 cannot be reached over SSH; the next bench restores them first"


def test_a_trial_that_the_generator_limited_before_an_interruption_is_measured_once_more(
    benches: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The canaries from before the first trial stay: the hosts may have changed since."""
    monkeypatch.setitem(SCENARIOS, "counting", replace(SCENARIOS["counting"], timing_matters=True))
    doubts = iter([["the load generator was held up"]])
    monkeypatch.setattr(generator_checks, "reasons", lambda *_: next(doubts, []))

    def interrupt(line: str) -> None:
        if line.startswith("[2/"):
            raise KeyboardInterrupt

    wanted = plan(SHORT, SHORT)
    with pytest.raises(KeyboardInterrupt):
        benches.go(wanted, interrupt)
    monkeypatch.setattr(benches.target, "canaries", lambda: {"load-1": {"cpu_ms": 7.0}})
    run = benches.go(wanted, earlier=benches.stored())
    assert [(row.trial.order, row.valid) for row in run.rows] == [(1, False), (2, True), (3, True)]
    assert run.rows[2].trial.seed == wanted.trials[0].seed
    assert "hosts changed during the trials: CPU canary load-1 1 ms, then 7 ms" in run.manifest.warnings
    assert {when: found["load-1"]["cpu_ms"] for when, found in run.manifest.canaries.items()} == {
        "before": 1.0, "after": 7.0,
    }  # fmt: skip


def test_a_trial_that_was_broken_before_an_interruption_stays_invalid(
    benches: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without an interruption: responses that nothing asked for may be the service's fault."""
    monkeypatch.setitem(SCENARIOS, "counting", replace(SCENARIOS["counting"], timing_matters=True))
    unasked = iter([["3 answers came unasked"]])
    monkeypatch.setattr(generator_checks, "broken", lambda *_: next(unasked, []))

    def interrupt(line: str) -> None:
        if line.startswith("[2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        benches.go(plan(SHORT, SHORT), interrupt)
    run = benches.go(plan(SHORT, SHORT), earlier=benches.stored())
    assert [(row.trial.order, row.valid) for row in run.rows] == [(1, False), (2, True)]


def test_an_error_of_the_target_keeps_finished_trials(benches: Bench) -> None:
    def configure(cell: Cell) -> None:
        if cell is LONG:
            raise RigError("app-1 cannot be reached over SSH")

    benches.target.configure = configure  # type: ignore[method-assign]
    with pytest.raises(RigError):
        benches.go(plan(SHORT, LONG))
    cut = benches.stored()
    assert (cut.manifest.status, len(cut.rows)) == ("aborted", 1)
    assert "aborted: app-1 cannot be reached over SSH" in cut.manifest.warnings


@pytest.mark.parametrize("error", [RigError("db-1: PostgreSQL: the server is gone"), KeyError("settings")])
def test_a_trial_whose_evidence_cannot_be_read_is_stored_and_not_measured_again(
    benches: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A database restart after the load cost the whole trial: nothing was kept, and --resume refused the run."""
    monkeypatch.setattr("harness.measure.trial_runner.ANSWER_S", 0.2)
    snapshot = benches.target.snapshot

    def read(cell: Cell, reads: Any, since: Snapshot | None = None) -> Snapshot:
        if since is not None:
            raise error
        if benches.target.trials > 1:
            raise RigError("db-1: PostgreSQL: the server is gone")
        return snapshot(cell, reads, since)

    monkeypatch.setattr(benches.target, "snapshot", read)
    with pytest.raises(RigError, match="the server is gone"):
        benches.go(plan(SHORT, SHORT))
    cut = benches.stored()
    assert [(row.trial.order, row.valid, row.figure("ok")) for row in cut.rows] == [(1, True, 40)]
    (measured,) = cut.records()
    assert len(measured.main) == 40
    reason = "db-1: PostgreSQL: the server is gone" if isinstance(error, RigError) else "KeyError: 'settings'"
    assert set(measured.evidence.unread.values()) == {f"{reason} (asked for 0.2 s)"}
    found = {f.check: f for f in cut.findings}
    assert {found[check].verdict for check in ("final value", "value sequence", "ledger")} == {"unknown"}
    assert found["final value"].detail == f"not measured: {reason} (asked for 0.2 s)"
    assert found["real-time order"].verdict == "pass"
    assert f"      not measured: {reason} (asked for 0.2 s)" in benches.lines
    monkeypatch.setattr(benches.target, "snapshot", snapshot)
    run = benches.go(plan(SHORT, SHORT), earlier=cut)
    assert [row.trial.order for row in run.rows] == [1, 2]


def test_a_trial_is_stored_where_ctrl_c_ends_the_reading_of_its_evidence(
    benches: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a paused database the reading takes a minute; --resume refused the run where its first trial had ended."""
    snapshot = benches.target.snapshot

    def read(cell: Cell, reads: Any, since: Snapshot | None = None) -> Snapshot:
        if since is not None:
            raise Interrupted(signal.SIGTERM)
        return snapshot(cell, reads, since)

    monkeypatch.setattr(benches.target, "snapshot", read)
    with pytest.raises(Interrupted) as caught:
        benches.go(plan(SHORT, SHORT))
    assert caught.value.exit_code == 143
    cut = benches.stored()
    assert cut.manifest.status == "aborted"
    assert "aborted: interrupted by SIGTERM" in cut.manifest.warnings
    assert [(row.trial.order, row.valid, row.figure("ok")) for row in cut.rows] == [(1, True, 40)]
    (measured,) = cut.records()
    assert set(measured.evidence.unread.values()) == {"interrupted"}
    assert {f.detail for f in cut.findings if f.verdict == "unknown"} == {"not measured: interrupted"}
    monkeypatch.setattr(benches.target, "snapshot", snapshot)
    run = benches.go(plan(SHORT, SHORT), earlier=cut)
    assert [row.trial.order for row in run.rows] == [1, 2]


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


def test_a_trial_that_other_hosts_served_is_invalid(benches: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = benches.target.snapshot

    def read(cell: Cell, reads: Any, since: Snapshot | None = None) -> Snapshot:
        taken = snapshot(cell, reads, since)
        return replace(
            taken, hosts=("app-1",), serving=("app-1",), server_requests={"app-1": 0, "app-2": 9 if since else 0}
        )

    monkeypatch.setattr(benches.target, "snapshot", read)
    run = benches.go(plan(SHORT))
    reason = "HAProxy sent requests to hosts that do not serve in this trial: app-2 (9)"
    assert [(row.valid, row.reason) for row in run.rows] == [(False, reason)]
    assert run.manifest.verdict == "invalid"
    assert load_run(run.path).evidence(1).misrouted == (reason,)


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


def doubled(results: Sequence[TrialResult]) -> list[Cell]:
    """Twice the requests of the last trial, up to 160."""
    last = results[-1].cell
    return [replace(last, requests=2 * last.requests)] if last.requests and last.requests < 160 else []


def test_a_search_measures_what_its_results_ask_and_goes_on_after_an_interruption(
    benches: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCENARIOS, "counting", replace(SCENARIO, next_cells=doubled))
    wanted = replace(plan(SHORT), later={"counting": 5})

    def interrupt(line: str) -> None:
        if line.startswith("[3/at most 6]"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        benches.go(wanted, interrupt)
    cut = benches.stored()
    assert [row.figure("sent") for row in cut.rows] == [40, 80]
    run = benches.go(wanted, earlier=cut)
    assert [(row.trial.order, row.figure("sent")) for row in run.rows] == [(1, 40), (2, 80), (3, 160)]
    assert run.manifest.verdict == "pass"
    require_same_plan(run, wanted)


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


@pytest.mark.parametrize(
    ("step", "counters_are_read"), [("lane", False), ("evidence", True), ("append", True), ("save", True)]
)
def test_a_signal_while_a_trial_is_stored_loses_nothing_of_it(
    benches: Bench, monkeypatch: pytest.MonkeyPatch, step: str, *, counters_are_read: bool
) -> None:
    """Between the samples and the trial's row, a signal left samples without a row: measured, then lost."""
    write = getattr(RunWriter, step)

    def write_and_signal(writer: RunWriter, *arguments: Any) -> None:
        measured = any((writer.path / "samples").iterdir()) or step == "lane"
        if measured and arguments[:1] != ("timeline",):
            monkeypatch.setattr(RunWriter, step, write)
            signal.raise_signal(signal.SIGTERM)
        write(writer, *arguments)

    monkeypatch.setattr(RunWriter, step, write_and_signal)
    with pytest.raises(Interrupted), interruptible():
        benches.go(plan(SHORT, SHORT))
    run = benches.stored()
    (row,) = run.rows
    assert (run.manifest.status, row.valid, row.figure("ok")) == ("aborted", True, 40)
    (measured,) = run.records()
    assert len(measured.main) == 40
    assert ("counters" in measured.evidence.unread) != counters_are_read
    assert measured.evidence.unread.get("counters", "interrupted") == "interrupted"
