"""Benches of an external service: its defects are found, and where its counters are read."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness.errors import CriterionFailed
from harness.targets.url_target import UrlTarget
from tests.support.odd_service import EARLY_HINTS, OddService

from .conftest import Start, bench, by_check, process


def test_the_external_services_first_writes_fail(
    external: Start, server: Any, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, dsn = external("page"), server.dsn("page")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO counters (key, value) VALUES ('hot-0', 41)")  # a row of the user
    run, error = bench(results, base_url=url, dsn=dsn, scenario="concurrent-writes", requests="200")
    assert isinstance(error, CriterionFailed)
    assert error.exit_code == 1
    assert f"load goes to {url}: 2 trials, 400 requests, at most 200 connections at once" in capsys.readouterr().out
    hot = by_check(run, "keys=hot")
    assert hot["acknowledged"].verdict == "fail"
    assert "23505" in hot["acknowledged"].detail
    assert hot["final value"].numbers["unknown"] == sum(hot["acknowledged"].numbers["errors"].values())
    assert hot["final value"].verdict == hot["value sequence"].verdict == hot["real-time order"].verdict == "pass"
    assert not {"counts agree", "spread"} & hot.keys()
    assert any("'counts agree' is not judged" in text for text in run.manifest.warnings)
    assert run.manifest.rig.provider == "url"
    assert [host.name for host in run.manifest.rig.hosts] == ["controller"]
    assert run.manifest.settings["service"]["oracle"] == "the database"
    with psycopg.connect(dsn) as connection:
        rows = dict(connection.execute("SELECT key, value FROM counters").fetchall())
    assert rows.pop("hot-0") == 41
    tag = next(key for key in rows if key.startswith("proof-")).removeprefix("proof-")
    assert all(tag in key for key in rows)
    assert len({key.split("-")[2] for key in rows if not key.startswith("proof-")}) == 2  # one number per trial
    assert (run.path / "report.html").exists()


def test_the_external_service_passes_where_the_keys_exist(
    external: Start, server: Any, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, dsn = external("written"), server.dsn("written")
    real = UrlTarget.__init__
    monkeypatch.setattr(UrlTarget, "__init__", lambda self, *a, **k: real(self, *a, **k | {"tag": "known"}))
    with psycopg.connect(dsn, autocommit=True) as connection:
        for number in (1, 2):
            connection.execute("INSERT INTO counters (key, value) VALUES (%s, 7)", [f"hot-known-{number}-0"])
            keys = [(f"spread-known-{number}-{i}",) for i in range(100)]
            connection.cursor().executemany("INSERT INTO counters (key, value) VALUES (%s, 3)", keys)
    run, error = bench(results, base_url=url, dsn=dsn, scenario="concurrent-writes", requests="200")
    assert error is None
    assert run.manifest.verdict == "pass"
    assert "final - initial = 200" in by_check(run, "keys=hot")["final value"].detail
    assert by_check(run, "keys=hot")["acknowledged"].numbers["ok"] == 200


def test_without_a_dsn_the_counters_are_read_from_the_service_with_a_warning(external: Start, results: Path) -> None:
    run, error = bench(results, base_url=external("asked"), scenario="concurrent-writes", requests="200", hosts="1")
    assert isinstance(error, CriterionFailed)
    hot = by_check(run, "keys=hot")
    assert "23505" in hot["acknowledged"].detail
    assert hot["final value"].verdict == "pass"
    assert hot["spread"].verdict == "pass"  # possible because of --hosts 1
    assert any("the oracle is weaker" in text for text in run.manifest.warnings)
    assert run.manifest.settings["service"]["oracle"] == "the service's own answers"


def test_a_lost_update_is_found_through_the_services_api_too(external: Start, results: Path) -> None:
    run, error = bench(results, base_url=external("loses", "forgetful"), scenario="concurrent-writes", requests="200")
    assert isinstance(error, CriterionFailed)
    assert by_check(run, "keys=hot")["final value"].numbers["lost"] > 0


def test_spread_is_not_checked_where_the_service_does_not_report_its_container(external: Start, results: Path) -> None:
    url = external("nameless", "nameless")
    run, _ = bench(results, base_url=url, scenario="concurrent-writes", requests="50", hosts="1")
    assert "spread" not in by_check(run, "keys=hot")
    assert any("'spread' is not judged: the service does not report" in text for text in run.manifest.warnings)


@pytest.mark.slow
def test_our_service_passes_every_scenario_that_works_by_url(database: Any, results: Path) -> None:
    environ = {**database.environ, "HOST": "127.0.0.1", "PORT": "0", "CONTAINER_ID": "ours"}
    with process([sys.executable, "-m", "app"], environ) as line:
        url = f"http://localhost:{json.loads(line)['port']}"
        run, error = bench(
            results, base_url=url, dsn=database.dsn, requests="60", quick=True, hosts="1",
            scenario="concurrent-writes,bulk-insert,long-transactions,pool-sweep,sqlite-vs-postgres,scaling",
        )  # fmt: skip
        assert error is None, error
        crossed, error = bench(results, base_url=url, dsn=database.dsn, quick=True, hosts="1", scenario="deadlocks")
        assert error is None, error
        without_dsn, _ = bench(results, base_url=url, requests="60", scenario="concurrent-writes,isolation,bulk-insert")
    assert run.manifest.verdict == "pass"
    spread = by_check(run, "keys=spread")
    assert spread["ledger"].verdict == "pass"
    assert "60 rows for 60 acknowledged" in spread["ledger"].detail
    assert {f.scenario for f in run.findings} == {"concurrent-writes", "bulk-insert"}
    assert {f.scenario for f in crossed.findings} == {"deadlocks"}
    assert run.manifest.skipped.keys() == {"long-transactions", "pool-sweep", "sqlite-vs-postgres", "scaling"}
    assert without_dsn.manifest.skipped.keys() == {"isolation", "bulk-insert"}
    assert all("--dsn" in why for why in without_dsn.manifest.skipped.values())
    with psycopg.connect(database.dsn) as connection:
        schemas = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgcrucible%'").fetchall()
    assert schemas == []


@pytest.mark.parametrize(
    "habits",
    [
        {"gzip_unless_identity": True, "interim": EARLY_HINTS},
        {"announce_close": True},
        {"per_connection": 100, "framing": "chunked"},
        {"family": socket.AF_INET6, "needs_brackets": True},
    ],
    ids=["gzip and Early Hints", "closes", "100 requests a connection", "IPv6"],
)
def test_a_service_with_unusual_but_valid_http_passes_a_bench(results: Path, habits: dict[str, Any]) -> None:
    with OddService(**habits) as odd:
        run, error = bench(results, base_url=odd.url, scenario="concurrent-writes", requests="150", quick=True)
    assert error is None
    assert run.manifest.verdict == "pass"
