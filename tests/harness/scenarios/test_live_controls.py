"""Scenarios against the real service and database, configured as planned and differently: the check detects it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from harness.measure.runner import bench
from harness.model import Cell, Finding, Trial
from harness.plan.planner import Plan
from harness.scenarios import SCENARIOS
from harness.store.manifest import CodeRecord, RigRecord
from harness.store.run_writer import RunWriter
from tests.support.local_target import LocalTarget, serving
from tests.support.postgres_server import Database
from tests.support.records import cell


def run_cell(of: Cell, database: Database, tmp_path: Path, **settings: object) -> dict[str, Finding]:
    """Runs the cell on a service with these settings and returns its findings by check."""
    environ = database.environ | {name: str(value) for name, value in settings.items()}
    plan = Plan(trials=(Trial(cell=of, number=1, order=1, seed=1),))
    code = CodeRecord(commit="", dirty=False, command="", seed=1)
    tmp_path.mkdir(exist_ok=True)
    recorder = RunWriter.start(tmp_path / "results", code=code, rig=RigRecord(name="t", provider="url"), options={})
    with serving(environ, tmp_path / "log") as url, LocalTarget(url, database.dsn, tag=f"t{os.getpid()}") as tier:
        run = bench(plan, SCENARIOS, tier, recorder, lambda _: None)
    return {f.check: f for f in run.findings if f.cell == of.name}


@pytest.mark.slow
@pytest.mark.parametrize(("called", "size", "verdict"), [(5, 5, "pass"), (50, 1, "fail"), (5, 50, "fail")])
def test_a_pool_of_another_size_is_detected(
    database: Database, tmp_path: Path, called: int, size: int, verdict: str
) -> None:
    findings = run_cell(cell("pool-sweep", pool=called), database, tmp_path, POOL_SIZE=size)
    assert findings["acknowledged"].verdict == "pass"
    assert findings["effective pool size"].verdict == verdict, findings["effective pool size"].detail


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "verdict"), [(100, "pass"), (0, "fail")])
def test_a_service_that_does_not_retry_victims_is_detected(
    database: Database, tmp_path: Path, limit: int, verdict: str
) -> None:
    asked = cell("deadlocks", through="service", retry=True)
    findings = run_cell(asked, database, tmp_path, POOL_SIZE=40, POOL_MIN=40, RETRY_LIMIT=limit)
    assert findings["retry commits both"].verdict == verdict, findings["retry commits both"].detail
    assert ("40P01" in findings["retry commits both"].detail) == (verdict == "fail")


LOSSY = """
    CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN IF random() < 0.1 THEN new.elements := old.elements; END IF; RETURN new; END $$;
    CREATE TRIGGER lose BEFORE UPDATE ON lists FOR EACH ROW EXECUTE FUNCTION lose();
"""


@pytest.mark.slow
@pytest.mark.parametrize("level", ["read-uncommitted", "read-committed", "repeatable-read", "serializable"])
def test_no_level_shows_what_it_excludes(database: Database, tmp_path: Path, level: str) -> None:
    asked = replace(cell("list-append", level=level), requests=600, hosts=1, pool=0)
    found = run_cell(asked, database, tmp_path, POOL_SIZE=12)["no forbidden anomaly"]
    assert found.numbers["forbidden"] == [], found.detail
    assert found.numbers["committed"] > 100
    assert found.numbers["reads"] > 100
    (history,) = (tmp_path / "results").glob("2*/samples/*.history.json")
    events = json.loads(history.read_text(encoding="utf-8"))
    assert sum(event["type"] == "invoke" for event in events) == 600
    assert sum(event["type"] == "ok" for event in events) == found.numbers["committed"]


@pytest.mark.slow
@pytest.mark.parametrize("level", ["read-committed", "serializable"])
def test_a_database_that_loses_appends_is_detected(database: Database, tmp_path: Path, level: str) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as db:
        db.execute(LOSSY)
    asked = replace(cell("list-append", level=level), requests=400, hosts=1, pool=0)
    found = run_cell(asked, database, tmp_path, POOL_SIZE=12)["no forbidden anomaly"]
    assert found.verdict == "fail"
    assert "lost append" in found.numbers["forbidden"]


@pytest.mark.slow
@pytest.mark.parametrize("level", ["repeatable-read", "serializable"])
def test_transfers_keep_the_total_and_a_database_that_does_not_is_detected(
    database: Database, tmp_path: Path, level: str
) -> None:
    asked = replace(cell("bank", level=level), requests=300, hosts=1, pool=0)
    kept = run_cell(asked, database, tmp_path / "kept", POOL_SIZE=12)
    assert kept["total never changes"].numbers["wrong"] == 0, kept["total never changes"].detail
    with psycopg.connect(database.dsn, autocommit=True) as db:
        db.execute(LOSSY)
    lost = run_cell(asked, database, tmp_path / "lost", POOL_SIZE=12)
    assert lost["total never changes"].verdict == "fail"
