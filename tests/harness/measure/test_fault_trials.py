"""Trials with faults on a real service, database and load hosts: what is stored of them, and how they are judged."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from harness.checks import names
from harness.errors import RigError
from harness.fault_record import FaultRecord, LogLine, PlannedFault
from harness.measure.runner import bench
from harness.model import Cell, Trial
from harness.plan.planner import Plan
from harness.scenarios import SCENARIOS
from harness.store.manifest import CodeRecord, RigRecord
from harness.store.run_reader import Run, load_run
from harness.store.run_writer import RunWriter
from tests.support.local_target import LocalTarget, exit_codes, serving
from tests.support.postgres_server import Database

SECONDS = 5.0
Control = Callable[..., contextlib.AbstractContextManager["FaultTarget"]]


def cell(fault: str, **params: object) -> Cell:
    return Cell(
        scenario="faults", strategy="upsert", mode="open", clients=8, rate=100.0, seconds=SECONDS,
        params={"fault": fault, **params},
    )  # fmt: skip


class FaultTarget(LocalTarget):
    """Injects by calling `hit` and heals by calling `heal`, at the planned instants."""

    hit: Callable[[], None] = staticmethod(lambda: None)
    host = "db-1"
    seen = "seen"
    at_end: Callable[[], None] = staticmethod(lambda: None)

    @contextlib.contextmanager
    def injecting(self, faults: Sequence[PlannedFault], began_s: float) -> Iterator[Sequence[FaultRecord]]:
        records: list[FaultRecord] = []
        entered_s = time.time()

        def run() -> None:
            for planned in faults:
                time.sleep(max(0.0, entered_s + planned.at_s - time.time()))
                injected_us = round((time.time() - began_s) * 1e6)
                self.hit()
                time.sleep(planned.hold_s)
                healed_us = round((time.time() - began_s) * 1e6)
                records.append(
                    FaultRecord(
                        planned=planned, hosts=(self.host,), injected_us=injected_us, healing_us=healed_us,
                        healed_us=healed_us, seen=self.seen, healed="healed", observed_us={"accepts": healed_us},
                    )
                )  # fmt: skip

        thread = threading.Thread(target=run)
        if faults:
            thread.start()
        yield records
        if faults:
            thread.join()
            self.at_end()

    def logs(self, began_s: float, since_s: float) -> Sequence[LogLine]:
        assert since_s >= began_s
        return [LogLine(at_us=1, host="db-1", unit="postgresql", text="terminating connection")]


@pytest.fixture
def target(database: Database, tmp_path: Path) -> Iterator[FaultTarget]:
    with (
        serving(database.environ, tmp_path / "log") as url,
        FaultTarget(url, database.dsn, tag=f"f{os.getpid()}") as made,
    ):
        yield made
        exit_codes(made.hosts)


def go(target: FaultTarget, tmp_path: Path, *cells: Cell) -> Run:
    code = CodeRecord(commit="", dirty=False, command="", seed=1)
    writer = RunWriter.start(tmp_path / "results", code=code, rig=RigRecord(name="t", provider="url"), options={})
    trials = tuple(Trial(cell=each, number=1, order=order, seed=order) for order, each in enumerate(cells, 1))
    try:
        return bench(Plan(trials=trials), SCENARIOS, target, writer, lambda _: None)
    except RigError:
        if writer.manifest.status != "aborted":
            raise
        return load_run(writer.path)


def verdicts(run: Run) -> dict[str, str]:
    return {finding.check: finding.verdict for finding in run.findings}


def terminate(database: Database) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND datname = current_database() AND application_name <> 'pgcrucible'"
        )


def await_commits(database: Database) -> None:
    """Waits until no session of the service has an open transaction."""
    deadline = time.monotonic() + 30
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        while connection.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' "
            "AND pid <> pg_backend_pid()"
        ).rowcount:
            assert time.monotonic() < deadline, "transactions stay open"
            time.sleep(0.1)


def test_a_fault_is_stored_with_its_logs_and_every_request_is_accounted_for(
    target: FaultTarget, database: Database, tmp_path: Path
) -> None:
    target.hit = lambda: terminate(database)
    run = go(target, tmp_path, cell("db-backend-kill"))
    (record,) = run.records()
    assert [fault.planned.fault for fault in record.evidence.faults] == ["db-backend-kill"]
    assert [line.text for line in record.evidence.logs] == ["terminating connection"]
    assert record.evidence.not_applicable[names.COUNTS_AGREE]
    injected_us = record.evidence.faults[0].injected_us or 0
    assert 0.9 < (injected_us - min(record.main.due_us)) / 1e6 < 4
    found = verdicts(run)
    assert found.pop(names.AVAILABILITY) == "shown"
    found.pop(names.RECOVERS)  # a loaded machine may not reach the rate within a second
    assert set(found.values()) == {"pass"}, run.findings


def test_each_retry_carries_the_id_of_the_first(target: FaultTarget, database: Database, tmp_path: Path) -> None:
    target.hit = lambda: terminate(database)
    run = go(target, tmp_path, cell("db-backend-kill", retries=4))
    found = verdicts(run)
    assert {found[name] for name in names.ACCOUNTED} == {"pass"}


def test_a_row_deleted_by_hand_is_a_lost_write(target: FaultTarget, database: Database, tmp_path: Path) -> None:
    deleted = list[str]()

    def delete() -> None:
        with psycopg.connect(database.dsn, autocommit=True) as connection:
            rows = connection.execute(
                "DELETE FROM ledger WHERE id = (SELECT id FROM ledger WHERE id LIKE '%-1-main-%' LIMIT 1) RETURNING id"
            ).fetchall()
            deleted.extend(ident for (ident,) in rows)

    target.at_end = delete
    run = go(target, tmp_path, cell("db-pause"))
    (lost,) = [finding for finding in run.findings if finding.check == names.NOTHING_LOST]
    assert lost.verdict == "fail"
    assert deleted[0] in lost.detail
    assert run.manifest.verdict == "fail"


@pytest.fixture
def control(database: Database, tmp_path: Path) -> Control:
    """Runs a module of controls/ instead of the service."""

    @contextlib.contextmanager
    def run(module: str, **environ: str) -> Iterator[FaultTarget]:
        with (
            serving(database.environ | environ, tmp_path / "log", module=f"controls.{module}") as url,
            FaultTarget(url, database.dsn, tag=f"f{os.getpid()}") as made,
        ):
            made.hit = lambda: terminate(database)
            yield made
            exit_codes(made.hosts)

    return run


def test_a_service_that_answers_before_its_commit_is_found_with_the_first_id(
    control: Control, database: Database, tmp_path: Path
) -> None:
    with control("early_answer") as target:
        run = go(target, tmp_path, replace(cell("db-backend-kill"), rate=20.0))
    (lost,) = [finding for finding in run.findings if finding.check == names.NOTHING_LOST]
    assert lost.verdict == run.manifest.verdict == "fail"
    named = re.search(r"(\S+-1-main-\S+) on '\S+' was acknowledged, but the ledger does not have it", lost.detail)
    assert named, lost.detail
    (record,) = run.records()
    assert record.main.outcome[record.main.id.index(named[1])] == "ok"
    with psycopg.connect(database.dsn) as connection:
        assert connection.execute("SELECT count(*) FROM ledger WHERE id = %s", (named[1],)).fetchone() == (0,)


def test_a_service_that_answers_before_its_commit_loses_nothing_without_a_fault(
    control: Control, database: Database, tmp_path: Path
) -> None:
    with control("early_answer") as target:
        target.hit, target.at_end = lambda: None, lambda: await_commits(database)
        run = go(target, tmp_path, replace(cell("db-backend-kill"), rate=20.0))
    assert {verdicts(run)[name] for name in names.ACCOUNTED} == {"pass"}, run.findings


def test_a_service_that_never_gives_connections_back_does_not_recover(control: Control, tmp_path: Path) -> None:
    with control("pool_leak", POOL_SIZE="5", POOL_MIN="5", POOL_WAIT_SECONDS="0.3") as target:
        run = go(target, tmp_path, replace(cell("db-backend-kill"), seconds=10.0, rate=20.0))
    (recovery,) = [finding for finding in run.findings if finding.check == names.RECOVERS]
    assert recovery.verdict == run.manifest.verdict == "fail"
    assert re.search(r"no request succeeded in \d+\.\d s after", recovery.detail), recovery.detail
    (record,) = run.records()
    assert record.main.error[-1] == "POOL_TIMEOUT"
    assert {verdicts(run)[name] for name in names.ACCOUNTED} == {"pass"}


def test_a_fault_that_nothing_shows_fails(target: FaultTarget, tmp_path: Path) -> None:
    target.seen = ""
    assert verdicts(go(target, tmp_path, cell("db-pause", control="no-injection")))[names.FAULT_SEEN] == "fail"


def test_a_load_host_that_is_killed_makes_its_trial_invalid_and_not_the_run(
    target: FaultTarget, tmp_path: Path
) -> None:
    def kill() -> None:
        target.hosts[1].processes[-1].kill()

    target.hit, target.host = kill, "load-2"
    run = go(target, tmp_path, cell("load-host-kill"))
    (row,) = run.rows
    assert row.validity == "broken"
    assert row.reason.startswith("a load host was killed; load-2: the load agent died")
    found = verdicts(run)
    assert {found[name] for name in names.ACCOUNTED} == {"pass"}
    (lost,) = [finding for finding in run.findings if finding.check == names.NOTHING_LOST]
    assert lost.numbers["perhaps_sent"] > 0
    assert run.manifest.verdict in ("pass", "unknown")  # unknown where half the rate is not reached again


def test_rows_that_an_earlier_trial_left_are_not_invented(
    target: FaultTarget, database: Database, tmp_path: Path
) -> None:
    def late() -> None:
        with psycopg.connect(database.dsn, autocommit=True) as connection:
            connection.execute("INSERT INTO ledger (id, key, value) VALUES ('run-0-main-load-1-9', 'fault0-3', 1)")
            connection.execute("INSERT INTO counters (key, value) VALUES ('fault0-3', 1)")

    target.at_end = late
    run = go(target, tmp_path, cell("db-pause"))
    found = {finding.check: finding for finding in run.findings}
    assert found[names.NOTHING_INVENTED].verdict == found[names.FINAL_VALUE].verdict == "pass"


def test_a_trial_is_stored_where_its_fault_cannot_be_healed(target: FaultTarget, tmp_path: Path) -> None:
    def stuck() -> None:
        raise RigError("db-1: still stopped")

    target.at_end = stuck
    run = go(target, tmp_path, cell("db-pause"), replace(cell("db-pause"), params={"fault": "db-restart"}))
    assert run.manifest.status == "aborted"
    assert [row.trial.order for row in run.rows] == [1]
    assert verdicts(run)[names.NOTHING_LOST] == "pass"
