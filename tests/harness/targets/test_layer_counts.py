"""Snapshots of a rig's layers: its database is real, its hosts are not."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from harness.errors import RigError
from harness.model import Cell
from harness.record import BulkRows, DeadlockCounts, DeadRows, SqliteEvidence, TransactionCounts
from harness.targets.app_workers import AppWorkers
from harness.targets.haproxy import HAProxy
from harness.targets.layer_counts import COUNT_LOGGED, LayerCounters
from harness.targets.rig_database import RigDatabase
from harness.targets.snapshot import Snapshot, difference
from tests.support.fake_rig import SHARED, FakeRig
from tests.support.postgres_server import Database

CELL = Cell(scenario="s", hosts=2)


@pytest.fixture
def rig(database: Database) -> FakeRig:
    return FakeRig(dsn=database.dsn)


@pytest.fixture
def counters(rig: FakeRig) -> Iterator[LayerCounters]:
    with rig.database() as connection:
        database = RigDatabase(lambda: contextlib.nullcontext(connection), "db-1")
        yield LayerCounters(rig, database, AppWorkers(rig), HAProxy(rig), idle_timeout_s=0.5)


def test_a_trial_on_postgresql_is_counted_by_every_layer(
    rig: FakeRig, counters: LayerCounters, database: Database
) -> None:
    reads = {"counters", "ledger", "data", "dead-rows"}
    rig.requests["app-1.1"] = {"increment": {"ok": 2}, "metrics": {"ok": 9}}
    rig.frontend_requests = 2
    before = counters.snapshot(CELL, reads)
    rig.requests["app-1.1"] = {"increment": {"ok": 2, "error": 1}, "metrics": {"ok": 11}, "health": {"ok": 1}}
    rig.requests["app-2.1"] = {"bulk-insert": {"ok": 1}}
    rig.transactions["app-1.1"] = 2
    rig.frontend_requests, rig.server_requests = 4, {"app-1": 1, "app-2": 1}
    with psycopg.connect(database.dsn, autocommit=True) as service:
        service.execute("INSERT INTO counters (key, value) VALUES ('hot-0', 1)")
        service.execute("INSERT INTO ledger (id, key, value) VALUES ('i1', 'hot-0', 1)")
        service.execute("INSERT INTO data (content) VALUES ('1-0'), ('1-1')")
    after = counters.snapshot(CELL, reads, before)
    evidence = difference(before, after)
    assert (evidence.initial, evidence.final) == ({}, {"hot-0": 1})
    assert evidence.ledger == {"i1": ("hot-0", 1)}
    assert evidence.counts == {"haproxy": 2, "app": 2}
    assert evidence.servers == {"app-1": 1, "app-2": 1}
    assert evidence.transactions == TransactionCounts(app=2, database=3)
    assert evidence.unread == {}
    assert before.processes.keys() == {"haproxy", "database", "app-1.1", "app-2.1"}
    assert evidence.bulk_rows == BulkRows(requests={1: 2}, ranges=((1, 2),))
    assert evidence.dead_rows == DeadRows(removed=0, not_removable=0)
    assert (before.vacuum, before.bulk_rows) == (None, None), "they are read after the load only"


def test_a_trial_on_sqlite_is_read_from_the_file_that_the_workers_use(rig: FakeRig, counters: LayerCounters) -> None:
    path = f"{SHARED}/sqlite-tuned.db"
    rig.runs["app-1"] = {"BACKEND": "sqlite-tuned", "POOL_SIZE": "1", "SQLITE_PATH": path}
    rig.sqlite_answers = [
        {"counters": {}, "ledger": {}, "integrity": ["ok"]},
        {"counters": {"hot-0": 2}, "ledger": {"i1": ["hot-0", 2]}, "integrity": ["ok"]},
    ]
    cell = Cell(scenario="s", backend="sqlite-tuned", hosts=1)
    before = counters.snapshot(cell, {"counters", "ledger"})
    evidence = difference(before, counters.snapshot(cell, {"counters", "ledger"}, before))
    assert [command[-2:] for host, command in rig.commands if command[0] == "runuser"] == [[path, "read"]] * 2
    assert (evidence.final, evidence.ledger) == ({"hot-0": 2}, {"i1": ("hot-0", 2)})
    assert evidence.sqlite == SqliteEvidence(integrity_check=("ok",), pragmas={"journal_mode": "wal"}), "app-2 is idle"


def test_a_remote_workload_reads_nothing_from_the_service(rig: FakeRig, counters: LayerCounters) -> None:
    rig.silent |= {"app-1", "app-2"}
    for backend in ("postgres", "sqlite-naive"):
        assert counters.snapshot(Cell(scenario="s", backend=backend), ()) == Snapshot()  # type: ignore[arg-type]
    assert rig.commands == []


def test_a_reload_of_haproxy_during_a_trial_is_named_with_the_hosts_that_got_requests(
    rig: FakeRig, counters: LayerCounters
) -> None:
    rig.drained.add("app-2")
    cell = Cell(scenario="s", hosts=1)
    before = counters.snapshot(cell, {"counters"})
    rig.reload_haproxy()
    rig.frontend_requests, rig.server_requests = 9, {"app-1": 4, "app-2": 5}
    evidence = difference(before, counters.snapshot(cell, {"counters"}, before))
    assert evidence.misrouted == (
        "HAProxy sent requests to hosts that do not serve in this trial: app-2 (5)",
        "HAProxy served from app-1, app-2 after the load, not from app-1",
    )
    assert evidence.unread == {"haproxy": "HAProxy restarted"}
    assert "haproxy" not in evidence.counts


def test_counts_of_a_worker_that_restarted_are_unread(rig: FakeRig, counters: LayerCounters) -> None:
    """It counts from zero again; by then it may have counted more requests than before the load."""
    rig.requests["app-2.1"] = {"increment": {"ok": 2}}
    before = counters.snapshot(CELL, {"counters"})
    rig.restart("app-2", None)
    rig.requests["app-2.1"] = {"increment": {"ok": 9}}
    evidence = difference(before, counters.snapshot(CELL, {"counters"}, before))
    assert evidence.unread == {"app": "app-2 restarted", "transactions": "app-2 restarted"}
    assert "app" not in evidence.counts


def test_parts_that_do_not_answer_after_the_load_are_unread_and_the_others_are_read(
    rig: FakeRig, counters: LayerCounters
) -> None:
    """`podman kill app-2`: it cost the whole trial."""
    reads = {"counters", "ledger"}
    before = counters.snapshot(CELL, reads)
    rig.silent.add("app-2")
    evidence = difference(before, counters.snapshot(CELL, reads, before))
    assert evidence.unread.keys() == {"app", "transactions"}
    assert evidence.unread["app"].startswith("app-2.1: /metrics answered nothing")
    assert (evidence.counts, evidence.ledger) == ({"haproxy": 0}, {})


def test_a_database_that_is_gone_is_unread_and_raises_before_the_load(rig: FakeRig, database: Database) -> None:
    with rig.database() as connection:
        connections = [contextlib.nullcontext(connection)]
        lost = RigDatabase(connections.pop, "db-1")
        counters = LayerCounters(rig, lost, AppWorkers(rig), HAProxy(rig), idle_timeout_s=0.0)
        reads = {"counters", "ledger", "data", "dead-rows"}
        before = counters.snapshot(CELL, reads)
        connection.close()
        refused = psycopg.OperationalError("connection refused")
        lost._connect = lambda: (_ for _ in ()).throw(refused)
        evidence = difference(before, counters.snapshot(CELL, reads, before))
        assert evidence.unread["counters"] == "db-1: PostgreSQL: connection refused"
        assert evidence.unread.keys() >= {"counters", "ledger", "transactions", "bulk rows", "dead rows"}
        assert evidence.counts == {"haproxy": 0}
        with pytest.raises(RigError, match="db-1: PostgreSQL: connection refused"):
            counters.snapshot(CELL, reads)


def test_a_database_host_without_a_sign_of_life_is_not_waited_for(rig: FakeRig, database: Database) -> None:
    """A paused host: each reading waited for its own deadline, and the bench ended after four minutes."""
    reads, asked = {"counters", "ledger", "data", "deadlocks"}, list[bool]()

    def is_alive() -> bool:
        asked.append(True)
        return len(asked) == 1

    with RigDatabase(rig.database, "db-1", is_alive) as opened:
        counters = LayerCounters(rig, opened, AppWorkers(rig), HAProxy(rig))
        before = counters.snapshot(CELL, reads)
        assert counters.snapshot(CELL, reads, before).unread == {}
        evidence = difference(before, counters.snapshot(CELL, reads, before))
        opened.reset()  # the next trial asks the database itself, over a new connection
        assert counters.snapshot(CELL, reads).counters == {}
    assert evidence.unread["app"] == "the host of the database db-1 gives no sign of life"
    assert {evidence.unread[part] for part in ("counters", "ledger", "bulk rows", "deadlocks")} == {
        "db-1: the host gives no sign of life"
    }
    assert len(asked) == 2


def test_a_database_that_restarted_is_read_over_a_new_connection(rig: FakeRig, database: Database) -> None:
    with RigDatabase(rig.database, "db-1") as opened, psycopg.connect(database.dsn, autocommit=True) as admin:
        counters = LayerCounters(rig, opened, AppWorkers(rig), HAProxy(rig))
        before = counters.snapshot(CELL, {"counters"})
        admin.execute("INSERT INTO counters (key, value) VALUES ('hot-0', 1)")
        admin.execute("SELECT pg_terminate_backend(%s)", [opened.connection.info.backend_pid])
        evidence = difference(before, counters.snapshot(CELL, {"counters"}, before))
        assert (evidence.final, evidence.unread) == ({"hot-0": 1}, {})


def test_the_counters_are_read_once_the_services_sessions_are_idle(rig: FakeRig, database: Database) -> None:
    """Requests that the client gave up on still run: the service counts them later."""
    with RigDatabase(rig.database, "db-1") as opened, psycopg.connect(database.dsn, autocommit=True) as service:
        counters = LayerCounters(rig, opened, AppWorkers(rig), HAProxy(rig))
        before = counters.snapshot(CELL, {"counters"})
        slow = "BEGIN; INSERT INTO counters VALUES ('hot-0', 1); SELECT pg_sleep(1.5); COMMIT"
        thread = threading.Thread(target=service.execute, args=(slow.encode(),))
        thread.start()
        time.sleep(0.3)
        evidence = difference(before, counters.snapshot(CELL, {"counters"}, before))
        thread.join(10)
        assert (evidence.final, evidence.unread) == ({"hot-0": 1}, {})
        counters = LayerCounters(rig, opened, AppWorkers(rig), HAProxy(rig), idle_timeout_s=0.3)
        thread = threading.Thread(target=service.execute, args=(b"SELECT pg_sleep(2)",))
        thread.start()
        time.sleep(0.3)
        evidence = difference(before, counters.snapshot(CELL, {"counters"}, before))
        thread.join(10)
        reason = "1 sessions of the service were still at work in the database 0.3 s after the load"
        assert evidence.unread == {"app": reason, "transactions": reason}


def cross(dsn: str) -> None:
    """Makes two transactions deadlock."""
    locked = threading.Barrier(2, timeout=30)

    def work(first: int, second: int) -> None:
        with contextlib.suppress(psycopg.errors.DeadlockDetected), psycopg.connect(dsn) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [first])
            locked.wait()
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [second])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, (1, 2), (2, 1)))


def test_deadlocks_are_counted_once_the_statistics_are_stable(
    rig: FakeRig, counters: LayerCounters, database: Database
) -> None:
    rig.logged_deadlocks = "4\n"
    before = counters.snapshot(CELL, {"deadlocks"})
    cross(database.dsn)
    rig.logged_deadlocks = "5\n"
    evidence = difference(before, counters.snapshot(CELL, {"deadlocks"}, before))
    assert evidence.deadlocks == DeadlockCounts(statistics=1, log=1)


@pytest.mark.parametrize(
    ("logs", "printed"),
    [
        ({}, ""),
        ({"main.log": "LOG:  ready\n"}, "0"),
        ({"a.log": "x ERROR:  deadlock detected\n", "b.log": "ERROR:  deadlock detected\nLOG:  x\n", "c.gz": "?"}, "2"),
    ],
)
def test_a_missing_log_prints_no_count_of_deadlocks(tmp_path: Path, logs: dict[str, str], printed: str) -> None:
    for name, text in logs.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(["sh", "-c", COUNT_LOGGED, "sh", str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == printed
