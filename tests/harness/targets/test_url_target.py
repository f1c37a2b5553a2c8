"""Benches of an external service: its defects are found, its data does not change, other addresses get no load."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from harness.cli.bench import run_bench
from harness.errors import CriterionFailed, InvalidMeasurement, RigError, UsageError
from harness.load.job import Endpoint
from harness.load.spec import Keys, LoadSpec, Operation
from harness.model import Cell, Finding
from harness.plan.variants import parse_vary
from harness.rig import state
from harness.store.run_reader import Run, load_run
from harness.targets.url import locate, permit
from harness.targets.url_target import ONLY_THE_LOAD_HOST, UrlTarget
from tests.support.odd_service import EARLY_HINTS, OddService
from tests.support.pooler import Pooler

SERVICE = Path(__file__).parents[3] / "tests/support/external_service.py"
Start = Callable[..., str]
OTHER_IP = "192.0.2.7"  # TEST-NET-1


@contextmanager
def process(command: list[str], environ: Mapping[str, str]) -> Iterator[str]:
    """Runs a process that prints a line once it listens; yields the line."""
    with subprocess.Popen(
        command, cwd=state.ROOT, env={"PATH": os.environ["PATH"], **environ}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        try:
            yield running.stdout.readline().strip()
        finally:
            running.terminate()
            try:
                running.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                running.kill()


@pytest.fixture
def external(postgres: str, server: Any) -> Iterator[Start]:
    """`external(database, fault)` starts the external service on a new database and returns its URL."""
    with ExitStack() as stack:

        def drop(name: str) -> None:
            with psycopg.connect(postgres, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

        def start(name: str, fault: str = "") -> str:
            with psycopg.connect(postgres, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}".encode())
            stack.callback(drop, name)
            command = [sys.executable, str(SERVICE), server.dsn(name), "20", "node-1", *filter(None, [fault])]
            port = stack.enter_context(process(command, {}))
            assert port.isdigit(), port
            return f"http://127.0.0.1:{port}"

        yield start


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs of this test are stored."""
    monkeypatch.setattr("harness.cli.bench.RESULTS", tmp_path / "results")
    return tmp_path / "results"


def bench(results: Path, **options: Any) -> tuple[Run, Exception | None]:
    """Returns the stored run, and the error that the bench ended with."""
    error: Exception | None = None
    try:
        run_bench(**{"rig": "no-such-rig", "repeat": "1"} | options)
    except (CriterionFailed, InvalidMeasurement) as caught:
        error = caught
    return load_run((results / "latest").resolve()), error


def by_check(run: Run, cell_part: str) -> dict[str, Finding]:
    return {f.check: f for f in run.findings if cell_part in f.cell}


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


def test_a_dsn_of_another_database_is_refused_before_any_load(external: Start, server: Any, results: Path) -> None:
    url, elsewhere = external("here"), external("elsewhere")
    assert url != elsewhere
    with pytest.raises(UsageError, match="in the database of --dsn is None") as refused:
        run_bench(rig="none", base_url=url, dsn=server.dsn("elsewhere"), scenario="concurrent-writes")
    assert "is --dsn the database that the service uses?" in refused.value.hint
    with pytest.raises(UsageError, match="GET /api/counter/proof-"):
        run_bench(rig="none", base_url=external("deaf", "deaf"), scenario="concurrent-writes")
    assert not results.exists()


def test_foreign_load_is_judged_on_the_load_host_only_and_not_beside_the_service() -> None:
    near = UrlTarget(locate("http://127.0.0.1:9/"))
    with near._observed(1):
        pass
    assert near.foreign_load().machines == ()
    assert near.foreign_load().unread == (
        "CPU use by other programs is not known: http://127.0.0.1:9 is on this machine",
    )
    far = UrlTarget(locate("http://192.0.2.1:9/"), owned=True)
    with far._observed(1):
        time.sleep(0.6)
    found = far.foreign_load()
    assert [machine.hosts for machine in found.machines] == [("controller",)]
    assert found.unread == (ONLY_THE_LOAD_HOST,)
    with far._observed(2):
        pass
    assert far.foreign_load().machines == ()


def test_load_goes_to_other_addresses_only_with_consent() -> None:
    with pytest.raises(UsageError, match="neither loopback") as refused:
        run_bench(rig="none", base_url=f"http://{OTHER_IP}:8080")
    assert refused.value.exit_code == 2
    assert "--yes-this-is-mine" in refused.value.hint
    permit("it", OTHER_IP, (), owned=True)
    permit("it", OTHER_IP, {OTHER_IP}, owned=False)


def test_a_database_at_another_address_is_not_read(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def refuse(name: str, ip: str, known: Any, *, owned: bool) -> None:
        asked.append((name, ip))
        if "--dsn" in name:
            raise UsageError("not permitted")

    monkeypatch.setattr("harness.targets.url_target.permit", refuse)
    with pytest.raises(UsageError, match="not permitted"), UrlTarget(locate("http://127.0.0.1:1"), server.dsn()):
        pass
    assert asked == [("the service", "127.0.0.1"), ("the database of --dsn", "127.0.0.1")]


def test_the_endpoint_has_the_name_and_the_address_of_the_first_look_up() -> None:
    address = locate("http://localhost:8080")
    place = UrlTarget(address).endpoint()
    assert place == Endpoint(host="localhost", port=8080, address=address.ip)


def test_secrets_are_neither_stored_nor_printed(
    external: Start, server: Any, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = external("secretive")
    dsn = f"postgresql://postgres:only-for-tests@127.0.0.1:{server.port}/secretive?sslmode=disable"
    for options in (["--dsn", dsn], [f"--dsn={dsn}"]):
        monkeypatch.setattr(sys, "argv", ["invoke", "bench", "--base-url", url, *options])
        run, _ = bench(results, base_url=url, dsn=dsn, scenario="concurrent-writes", requests="20")
        for path in run.path.rglob("*"):
            assert path.is_dir() or b"only-for-tests" not in path.read_bytes(), path
        assert "***" in run.manifest.code.command
    assert "only-for-tests" not in "".join(capsys.readouterr())
    with pytest.raises(UsageError) as wrong:
        run_bench(rig="none", base_url="http://me:hunter2@127.0.0.1/")
    assert "hunter2" not in str(wrong.value)
    for broken in ("host=127.0.0.1 password hunter2", "postgresql://u:hunter2@[::"):
        with pytest.raises(UsageError) as wrong, UrlTarget(locate(url), broken):
            pass
        assert "hunter2" not in str(wrong.value)
        assert wrong.value.__suppress_context__


def test_an_unreachable_database_is_reported_without_its_password(server: Any) -> None:
    with pytest.raises(RigError, match="--dsn: connection") as wrong:
        UrlTarget(locate("http://127.0.0.1:1"), "host=127.0.0.1 port=1 user=u password=hunter2").__enter__()
    assert "hunter2" not in str(wrong.value)


def test_options_that_cannot_be_combined_are_refused() -> None:
    with pytest.raises(UsageError, match="--dsn needs --base-url"):
        run_bench(rig="none", dsn="host=x")
    with pytest.raises(UsageError, match="cannot be combined with --aa or --resume"):
        run_bench(rig="none", base_url="http://127.0.0.1", aa="5")


def test_each_trial_has_new_keys() -> None:
    service = UrlTarget(locate("http://127.0.0.1:1"), tag="t")
    spec = LoadSpec(
        mode="closed",
        clients=1,
        requests=1,
        operations=(Operation(name="x", path="/x", body={"key": "{key}"}),),
        keys=Keys(kind="cycle", prefix="p", count=2),
    )
    bulk = Operation(name="bulk", path="/b", body={"data": ["{n}"]})
    cell = Cell(scenario="s")
    seen = []
    for _ in range(2):
        service.reset_database(cell)
        lanes = service.with_unique_keys({"main": spec, "bulk": replace(spec, operations=(bulk,), keys=Keys())})
        assert lanes["main"].keys.kind == "cycle"
        seen.append(service._keys)
    assert seen == [["p-t-1-0", "p-t-1-1"], ["p-t-2-0", "p-t-2-1"]]
    assert spec.keys.prefix == "p"


@pytest.mark.parametrize(
    ("read", "check"), [("deadlocks", "deadlocks in the log"), ("dead-rows", "dead rows"), ("data", None)]
)
def test_checks_that_need_the_servers_log_or_vacuum_are_not_applicable(read: str, check: str | None) -> None:
    service = UrlTarget(locate("http://127.0.0.1:1"), tag="t")
    always = service._not_applicable(())
    assert service._not_applicable({read}).keys() - always.keys() == ({check} if check else set())


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


def test_deadlocks_behind_a_pooler_are_refused_without_a_failed_check(
    external: Start, server: Any, results: Path
) -> None:
    url = external("pooled")
    with Pooler(server.dsn("pooled"), 4) as pooler:
        dsn = make_conninfo(server.dsn("pooled"), port=pooler.port)
        with pytest.raises(UsageError, match="its connections ") as refused:
            run_bench(rig="none", base_url=url, dsn=dsn, scenario="deadlocks", quick=True)
    assert refused.value.exit_code == 2


def test_by_url_only_the_strategy_can_be_varied() -> None:
    target = UrlTarget(locate("http://127.0.0.1:1"))
    variants = parse_vary("vary", "strategy=upsert,coalesce")
    assert target.resolve(variants) == variants
    for vary in ("app_pool_size=5,20", "postgres.work_mem=1MB,2MB", "backend=postgres,sqlite-tuned"):
        with pytest.raises(
            UsageError, match=f"^{vary.split('=')[0]} cannot be varied: the service is known by its URL"
        ):
            target.resolve(parse_vary("vary", vary))
