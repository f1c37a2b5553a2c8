"""The same cases on SQLite, with both profiles."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from harness.checks.isolation import findings_isolation
from harness.errors import RigError, UsageError
from harness.host_scripts import shared_directory
from harness.isolation import sqlite_driver
from harness.isolation.__main__ import isolation
from harness.isolation.case_model import Script, Step
from harness.isolation.cases import CASES, CLEANUP, FINAL, SETUP
from harness.isolation.matrix import matrix, read
from harness.isolation.sqlite_driver import Sqlite
from harness.isolation.stepper import run_schedule

WAITED = {"G0", "G1c", "OTV", "P4", "G2-item", "G2", "PMP-write", "G-single-del", "read-only"}


def run(path: Path, profile: str) -> dict[str, object]:
    with Sqlite(path, profile) as driver:
        result = isolation(driver, tuple(CASES), ("SERIALIZABLE",), lambda *_: None)
        return {"backend": f"sqlite-{profile}", **driver.facts(), **result}


def test_naive_aborts_with_busy_except_where_a_snapshot_suffices(tmp_path: Path) -> None:
    kinds = {row["case"]: (row["kind"], row["code"]) for row in matrix(read(run(tmp_path / "a.db", "naive")))}
    assert kinds.pop("G1a") == ("snapshot", "")
    assert set(kinds.values()) == {("aborted", "SQLITE_BUSY")}
    assert not list(tmp_path.iterdir())


def test_tuned_waits_or_reads_a_snapshot(tmp_path: Path) -> None:
    result = run(tmp_path / "a.db", "tuned")
    rows = matrix(read(result))
    assert {row["case"] for row in rows if row["kind"] == "waited"} == WAITED
    assert {row["kind"] for row in rows if row["case"] not in WAITED} == {"snapshot"}
    assert [f.verdict for f in findings_isolation(result)] == ["pass", "pass", "pass"]
    assert not list(tmp_path.iterdir())


def test_the_pragmas_in_force_are_stored(tmp_path: Path) -> None:
    with Sqlite(tmp_path / "a.db", "tuned") as driver:
        facts = driver.facts()
    assert facts["version"] == f"SQLite {sqlite3.sqlite_version}"
    assert (facts["settings"]["journal_mode"], facts["settings"]["synchronous"]) == ("wal", 2)


def damage(path: Path) -> None:
    """Overwrites all pages but the first without SQLite's knowledge."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))


def test_the_integrity_check_is_evaluated(tmp_path: Path) -> None:
    result = run(tmp_path / "a.db", "tuned")
    with Sqlite(tmp_path / "b.db", "naive") as driver:
        driver.admin(
            "CREATE TABLE t AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000)"
            " SELECT i FROM n"
        )
        damage(tmp_path / "b.db")
        broken = driver.facts()["integrity_check"]
    for output, verdict in (
        (["ok"], "pass"),
        (broken, "fail"),
        (["database disk image is malformed"], "fail"),
        ([], "unknown"),
    ):
        findings = {f.check: f for f in findings_isolation(result | {"integrity_check": output})}
        assert findings["integrity"].verdict == verdict
        assert findings["integrity"].cell == "isolation.sqlite-tuned.SERIALIZABLE"
    assert "page 2" in broken[0].lower() or "malformed" in broken[0]


def test_an_existing_file_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "precious.db"
    path.write_text("precious")
    with pytest.raises(UsageError, match="exists"):
        Sqlite(path, "naive")
    assert path.read_text() == "precious"


def test_a_network_filesystem_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_directory, "mounted_type", lambda path, mountinfo: "nfs4")
    with pytest.raises(RigError, match="is on nfs4"):
        Sqlite(tmp_path / "a.db", "naive")
    assert not list(tmp_path.iterdir())


def test_an_unknown_profile_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown SQLite profile"):
        Sqlite(tmp_path / "a.db", "fast")


def test_a_writer_fails_after_the_busy_timeout(tmp_path: Path, monkeypatch) -> None:
    with Sqlite(tmp_path / "a.db", "tuned") as driver:
        monkeypatch.setattr(driver, "_profile", type(driver._profile)(
            journal_mode="wal", busy_timeout=500, begin="BEGIN IMMEDIATE"))  # fmt: skip
        steps = (Step("T1", "BEGIN IMMEDIATE"), Step("T2", "BEGIN IMMEDIATE", "T2 begins"))
        plan = Script(
            level="SERIALIZABLE", setup=SETUP, rounds=((steps[0],), (steps[1],)), final=FINAL, cleanup=CLEANUP
        )
        event = run_schedule(driver, plan).event("T2 begins")
    assert (event.code, event.waited_for) == ("SQLITE_BUSY", ("T1",))


def test_a_session_that_has_just_got_the_lock_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its statement has ended in SQLite and not yet in its thread: it would be sent out of the schedule's order."""
    got_lock, goes_on = Event(), Event()

    def execute(conn: sqlite3.Connection, sql: str) -> object:
        if sql == "PRAGMA busy_timeout=0":
            got_lock.set()
            assert goes_on.wait(60)
        return original(conn, sql)

    original = sqlite_driver._execute
    monkeypatch.setattr(sqlite_driver, "_execute", execute)
    with Sqlite(tmp_path / "a.db", "tuned") as driver, ThreadPoolExecutor(1) as pool:
        driver.open(("T1", "T2"))
        driver.execute("T1", "BEGIN IMMEDIATE")
        second = pool.submit(driver.execute, "T2", "BEGIN IMMEDIATE")
        try:
            deadline = monotonic() + 60
            while not driver.waiting(("T2",)):
                assert monotonic() < deadline
            driver.execute("T1", "COMMIT")
            assert got_lock.wait(60)
            assert driver.waiting(("T2",)) == {}
        finally:
            goes_on.set()
        second.result(60)
        assert driver.waiting(("T2",)) == {}


def test_a_hung_statement_is_interrupted(tmp_path: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with Sqlite(tmp_path / "a.db", "naive") as driver:
        plan = Script(level="SERIALIZABLE", setup=SETUP, rounds=((Step("T1", endless),),), final=FINAL, cleanup=CLEANUP)
        assert "neither ended nor observed to wait" in run_schedule(driver, plan, limit_s=0.2).trouble
    assert not list(tmp_path.iterdir())
