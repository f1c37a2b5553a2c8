"""Benches that Ctrl-C, a signal or an error ends: what is kept, and what a resumed run measures."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.cli.signals import Interrupted, interruptible
from harness.errors import RigError
from harness.load import generator_checks
from harness.measure.resume import require_same_plan
from harness.model import Cell
from harness.store.run_writer import RunWriter
from harness.targets.snapshot import Snapshot
from tests.support.local_bench import LONG, SCENARIO, SCENARIOS, SHORT, Bench, doubled, plan, verdicts
from tests.support.local_target import exit_codes


def ctrl_c_at(begin: str) -> Callable[[str], None]:
    """Returns a function for lines of progress that raises KeyboardInterrupt at one that begins so."""

    def interrupt(line: str) -> None:
        if line.startswith(begin):
            raise KeyboardInterrupt

    return interrupt


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

    wanted = plan(SHORT, SHORT)
    with pytest.raises(KeyboardInterrupt):
        benches.go(wanted, ctrl_c_at("[2/"))
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

    with pytest.raises(KeyboardInterrupt):
        benches.go(plan(SHORT, SHORT), ctrl_c_at("[2/"))
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


def test_a_search_measures_what_its_results_ask_and_goes_on_after_an_interruption(
    benches: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCENARIOS, "counting", replace(SCENARIO, next_cells=doubled))
    wanted = replace(plan(SHORT), later={"counting": 5})

    with pytest.raises(KeyboardInterrupt):
        benches.go(wanted, ctrl_c_at("[3/at most 6]"))
    cut = benches.stored()
    assert [row.figure("sent") for row in cut.rows] == [40, 80]
    run = benches.go(wanted, earlier=cut)
    assert [(row.trial.order, row.figure("sent")) for row in run.rows] == [(1, 40), (2, 80), (3, 160)]
    assert run.manifest.verdict == "pass"
    require_same_plan(run, wanted)


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
