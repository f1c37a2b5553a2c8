"""The same cases on SQLite, with both profiles."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from harness.errors import RigError, UsageError
from harness.host_scripts import shared_directory
from harness.isolation.__main__ import isolation
from harness.isolation.case_model import Script, Step
from harness.isolation.cases import CASES, CLEANUP, FINAL, SETUP
from harness.isolation.findings import findings_isolation
from harness.isolation.matrix import matrix, read
from harness.isolation.sqlite_driver import Sqlite
from harness.isolation.stepper import drive

WAITED = {"G0", "G1c", "OTV", "P4", "G2-item", "G2"}


def run(path: Path, profile: str) -> dict[str, object]:
    with Sqlite(path, profile) as driver:
        found = isolation(driver, tuple(CASES), ("SERIALIZABLE",), lambda *_: None)
        return {"backend": f"sqlite-{profile}", **driver.facts(), **found}


def test_naive_aborts_with_busy_whatever_it_cannot_show_an_older_version_for(tmp_path: Path) -> None:
    kinds = {row["case"]: (row["kind"], row["code"]) for row in matrix(read(run(tmp_path / "a.db", "naive")))}
    assert kinds.pop("G1a") == ("snapshot", "")
    assert set(kinds.values()) == {("aborted", "SQLITE_BUSY")}
    assert not list(tmp_path.iterdir())


def test_tuned_waits_or_shows_the_snapshot(tmp_path: Path) -> None:
    result = run(tmp_path / "a.db", "tuned")
    rows = matrix(read(result))
    assert {row["case"] for row in rows if row["kind"] == "waited"} == WAITED
    assert {row["kind"] for row in rows if row["case"] not in WAITED} == {"snapshot"}
    assert [f.verdict for f in findings_isolation(result)] == ["pass", "pass", "pass"]
    assert not list(tmp_path.iterdir())


def test_what_was_granted_is_stored(tmp_path: Path) -> None:
    with Sqlite(tmp_path / "a.db", "tuned") as driver:
        facts = driver.facts()
    assert facts["version"] == f"SQLite {sqlite3.sqlite_version}"
    assert (facts["settings"]["journal_mode"], facts["settings"]["synchronous"]) == ("wal", 2)


def damage(path: Path) -> None:
    """Overwrite all pages but the first, beneath SQLite's feet."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))


def test_the_file_of_the_cases_is_checked_at_the_end(tmp_path: Path) -> None:
    result = run(tmp_path / "a.db", "tuned")
    with Sqlite(tmp_path / "b.db", "naive") as driver:
        driver.admin(
            "CREATE TABLE t AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000)"
            " SELECT i FROM n"
        )
        damage(tmp_path / "b.db")
        broken = driver.facts()["integrity_check"]
    for said, verdict in (
        (["ok"], "pass"),
        (broken, "fail"),
        (["database disk image is malformed"], "fail"),
        ([], "unknown"),
    ):
        found = {f.check: f for f in findings_isolation(result | {"integrity_check": said})}
        assert found["integrity"].verdict == verdict
        assert found["integrity"].cell == "isolation.sqlite-tuned.SERIALIZABLE"
    assert "page 2" in broken[0].lower() or "malformed" in broken[0]


def test_a_file_that_exists_is_never_touched(tmp_path: Path) -> None:
    path = tmp_path / "precious.db"
    path.write_text("precious")
    with pytest.raises(UsageError, match="exists"):
        Sqlite(path, "naive")
    assert path.read_text() == "precious"


def test_a_network_filesystem_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_directory, "mounted_type", lambda path, mountinfo: "nfs4")
    with pytest.raises(RigError, match="is on nfs4"):
        Sqlite(tmp_path / "a.db", "naive")
    assert not list(tmp_path.iterdir())


def test_an_unknown_profile(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no SQLite profile"):
        Sqlite(tmp_path / "a.db", "fast")


def test_a_writer_that_waits_too_long_is_refused(tmp_path: Path, monkeypatch) -> None:
    with Sqlite(tmp_path / "a.db", "tuned") as driver:
        monkeypatch.setattr(driver, "_profile", type(driver._profile)(
            journal_mode="wal", busy_timeout=50, begin="BEGIN IMMEDIATE"))  # fmt: skip
        steps = (Step("T1", "BEGIN IMMEDIATE"), Step("T2", "BEGIN IMMEDIATE", "T2 begins"))
        plan = Script(
            level="SERIALIZABLE", setup=SETUP, rounds=((steps[0],), (steps[1],)), final=FINAL, cleanup=CLEANUP
        )
        refused = drive(driver, plan).event("T2 begins")
    assert (refused.code, refused.waited_for) == ("SQLITE_BUSY", ("the holder of the write lock",))


def test_a_hung_statement_is_interrupted(tmp_path: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with Sqlite(tmp_path / "a.db", "naive") as driver:
        plan = Script(level="SERIALIZABLE", setup=SETUP, rounds=((Step("T1", endless),),), final=FINAL, cleanup=CLEANUP)
        assert "neither ended nor seen waiting" in drive(driver, plan, limit_s=0.2).trouble
    assert not list(tmp_path.iterdir())
