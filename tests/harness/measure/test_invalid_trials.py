"""Trials that cannot be used: a load host that dies, a generator that is held up, other programs, other hosts."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from harness.analysis.foreign_load import ForeignLoad, MachineLoad
from harness.cli.bench import end_with
from harness.errors import InvalidMeasurement
from harness.load import generator_checks
from harness.model import Cell
from harness.plan.variants import parse_vary, varied_keys, with_variant
from harness.store.run_reader import load_run
from harness.store.run_writer import RunWriter
from harness.targets.base import During
from harness.targets.snapshot import Snapshot
from tests.support.local_bench import LONG, SCENARIO, SCENARIOS, SHORT, Bench, plan, verdicts


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
    shares = re.findall(r"(load-\d): the load generator was stalled for (\d+)%", caught.value.message)
    assert max(shares, key=lambda one: int(one[1]))[0] == "load-2", "other tests may hold load-1 up too, but less"


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
