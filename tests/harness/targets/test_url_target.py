"""A service known by its URL is measured as it is: its flaw is found, its data stays, and strangers get no load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness.checks.evaluate import judge_trial
from harness.checks.finding import finding
from harness.cli.bench import run_bench
from harness.errors import CriterionFailed, InvalidMeasurement, RigError, UsageError
from harness.load.job import Endpoint
from harness.load.spec import Keys, LoadSpec, Operation
from harness.model import Cell, Finding, Trial
from harness.plan.options import BenchRequest
from harness.plan.planner import Plan, make_plan, volume
from harness.plan.scenario import Scenario, Site
from harness.record import Evidence, TrialRecord, TrialResult
from harness.rig import state
from harness.scenarios import SCENARIOS
from harness.store.run_reader import Run, load_run
from harness.targets.counter_source import DatabaseCounters
from harness.targets.url import is_ours, locate, permit
from harness.targets.url_target import UrlTarget

FOREIGN = Path(__file__).parents[3] / "tests/support/external_service.py"
Start = Callable[..., str]
STRANGER = "192.0.2.7"  # TEST-NET-1: nobody's


@contextmanager
def process(command: list[str], environ: Mapping[str, str]) -> Iterator[str]:
    """A process that prints a line once it listens; the line."""
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
def foreign(postgres: str, server: Any) -> Iterator[Start]:
    """`foreign(database, fault)`: the URL of the page's own service on that database, which is dropped at the end."""
    with ExitStack() as stack:

        def drop(name: str) -> None:
            with psycopg.connect(postgres, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

        def start(name: str, fault: str = "") -> str:
            with psycopg.connect(postgres, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}".encode())
            stack.callback(drop, name)
            command = [sys.executable, str(FOREIGN), server.dsn(name), "20", "node-1", *filter(None, [fault])]
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
    """The stored run, and what it ended with."""
    ended: Exception | None = None
    try:
        run_bench(**{"rig": "no-such-rig", "repeat": "1"} | options)
    except (CriterionFailed, InvalidMeasurement) as error:
        ended = error
    return load_run((results / "latest").resolve()), ended


def by_check(run: Run, cell_part: str) -> dict[str, Finding]:
    return {f.check: f for f in run.findings if cell_part in f.cell}


def test_the_pages_own_service_fails_its_first_writes_and_is_found_out(
    foreign: Start, server: Any, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, dsn = foreign("page"), server.dsn("page")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO counters (key, value) VALUES ('hot-0', 41)")  # a user's
    run, ended = bench(results, base_url=url, dsn=dsn, scenario="concurrent-writes", requests="200")
    assert isinstance(ended, CriterionFailed)
    assert ended.exit_code == 1
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
    assert len({key.split("-")[2] for key in rows if not key.startswith("proof-")}) == 2  # one number a trial
    assert (run.path / "report.html").exists()


def test_where_the_key_is_there_the_flaw_does_not_show(
    foreign: Start, server: Any, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, dsn = foreign("written"), server.dsn("written")
    real = UrlTarget.__init__
    monkeypatch.setattr(UrlTarget, "__init__", lambda self, *a, **k: real(self, *a, **k | {"tag": "known"}))
    with psycopg.connect(dsn, autocommit=True) as connection:
        for number in (1, 2):
            connection.execute("INSERT INTO counters (key, value) VALUES (%s, 7)", [f"hot-known-{number}-0"])
            keys = [(f"spread-known-{number}-{i}",) for i in range(100)]
            connection.cursor().executemany("INSERT INTO counters (key, value) VALUES (%s, 3)", keys)
    run, ended = bench(results, base_url=url, dsn=dsn, scenario="concurrent-writes", requests="200")
    assert ended is None
    assert run.manifest.verdict == "pass"
    assert "final - initial = 200" in by_check(run, "keys=hot")["final value"].detail
    assert by_check(run, "keys=hot")["acknowledged"].numbers["ok"] == 200


def test_without_a_dsn_the_service_is_asked_and_the_run_says_that_this_is_weaker(foreign: Start, results: Path) -> None:
    run, ended = bench(results, base_url=foreign("asked"), scenario="concurrent-writes", requests="200", hosts="1")
    assert isinstance(ended, CriterionFailed)
    hot = by_check(run, "keys=hot")
    assert "23505" in hot["acknowledged"].detail
    assert hot["final value"].verdict == "pass"
    assert hot["spread"].verdict == "pass"  # --hosts 1 said how many there are
    assert any("the oracle is weaker" in text for text in run.manifest.warnings)
    assert run.manifest.settings["service"]["oracle"] == "the service's own answers"


def test_a_lost_update_is_found_through_the_services_own_answers_too(foreign: Start, results: Path) -> None:
    run, ended = bench(results, base_url=foreign("loses", "forgetful"), scenario="concurrent-writes", requests="200")
    assert isinstance(ended, CriterionFailed)
    assert by_check(run, "keys=hot")["final value"].numbers["lost"] > 0


def test_a_service_that_does_not_name_itself_is_not_judged_by_its_spread(foreign: Start, results: Path) -> None:
    url = foreign("nameless", "nameless")
    run, _ = bench(results, base_url=url, scenario="concurrent-writes", requests="50", hosts="1")
    assert "spread" not in by_check(run, "keys=hot")
    assert any("'spread' is not judged: the service does not name" in text for text in run.manifest.warnings)


@pytest.mark.slow
def test_our_own_service_passes_all_that_a_url_can_carry(database: Any, results: Path) -> None:
    environ = {**database.environ, "HOST": "127.0.0.1", "PORT": "0", "CONTAINER_ID": "ours"}
    with process([sys.executable, "-m", "app"], environ) as line:
        url = f"http://localhost:{json.loads(line)['port']}"
        run, ended = bench(
            results, base_url=url, dsn=database.dsn, requests="60", quick=True, hosts="1",
            scenario="concurrent-writes,bulk-insert,long-transactions,pool-sweep,sqlite-vs-postgres,scaling",
        )  # fmt: skip
        assert ended is None, ended
        crossed, ended = bench(results, base_url=url, dsn=database.dsn, quick=True, hosts="1", scenario="deadlocks")
        assert ended is None, ended
        seen, _ = bench(results, base_url=url, requests="60", scenario="concurrent-writes,isolation,bulk-insert")
    assert run.manifest.verdict == "pass"
    spread = by_check(run, "keys=spread")
    assert spread["ledger"].verdict == "pass"
    assert "60 rows for 60 acknowledged" in spread["ledger"].detail
    assert {f.scenario for f in run.findings} == {"concurrent-writes", "bulk-insert"}
    assert {f.scenario for f in crossed.findings} == {"deadlocks"}
    assert run.manifest.skipped.keys() == {"long-transactions", "pool-sweep", "sqlite-vs-postgres", "scaling"}
    assert seen.manifest.skipped.keys() == {"isolation", "bulk-insert"}
    assert all("--dsn" in why for why in seen.manifest.skipped.values())
    with psycopg.connect(database.dsn) as connection:
        left = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgcrucible%'").fetchall()
    assert left == []


def test_an_oracle_that_looks_elsewhere_is_refused_before_any_load(foreign: Start, server: Any, results: Path) -> None:
    url, elsewhere = foreign("here"), foreign("elsewhere")
    assert url != elsewhere
    with pytest.raises(UsageError, match="holds None") as refused:
        run_bench(rig="none", base_url=url, dsn=server.dsn("elsewhere"), scenario="concurrent-writes")
    assert "does --dsn lead to the database that the service uses?" in refused.value.hint
    with pytest.raises(UsageError, match="GET /api/counter/proof-"):
        run_bench(rig="none", base_url=foreign("deaf", "deaf"), scenario="concurrent-writes")
    assert not results.exists()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://127.0.0.1", "not http or https"),
        ("127.0.0.1:80", "not http or https"),
        ("http://", "not http or https"),
        ("http://127.0.0.1:0", "not http or https"),
        ("http://127.0.0.1:99999", "valid host and port"),
        ("http://127.0.0.1/v1", "a path is not supported"),
        ("http://127.0.0.1/?a=b", "a path is not supported"),
        ("http://a b:80", "not http or https"),
    ],
)
def test_a_url_that_cannot_be_is_refused(url: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        locate(url)


def test_strangers_get_no_load_unless_the_user_vouches_for_them() -> None:
    with pytest.raises(UsageError, match="neither loopback") as refused:
        run_bench(rig="none", base_url=f"http://{STRANGER}:8080")
    assert refused.value.exit_code == 2
    assert "--yes-this-is-mine" in refused.value.hint
    permit("it", STRANGER, (), owned=True)
    permit("it", STRANGER, {STRANGER}, owned=False)
    for ours in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "198.18.3.4", "198.19.255.254"):
        assert is_ours(ours, ())
    for theirs in (STRANGER, "10.0.0.1", "0.0.0.0", "198.20.0.1", "::ffff:192.0.2.7", "2001:db8::1", "", "localhost"):
        assert not is_ours(theirs, ())


def test_the_database_of_a_stranger_is_not_read_either(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def refuse(what: str, ip: str, known: Any, *, owned: bool) -> None:
        asked.append((what, ip))
        if "--dsn" in what:
            raise UsageError("a stranger's")

    monkeypatch.setattr("harness.targets.url_target.permit", refuse)
    with pytest.raises(UsageError, match="stranger's"), UrlTarget(locate("http://127.0.0.1:1"), server.dsn()):
        pass
    assert asked == [("the service", "127.0.0.1"), ("the database of --dsn", "127.0.0.1")]


def test_the_oracles_connection_cannot_write(server: Any) -> None:
    database = DatabaseCounters(server.dsn(), lambda _: None)
    try:
        with pytest.raises(RigError, match="read-only transaction"), database._reading("nothing"):
            database._db.execute("CREATE TABLE intruder ()")
    finally:
        database.close()


def test_the_name_is_looked_up_once_and_requests_still_name_it() -> None:
    address = locate("http://localhost:8080")
    place = UrlTarget(address).endpoint()
    assert place == Endpoint(host="localhost", port=8080, address=address.ip)


def test_secrets_are_neither_stored_nor_said(
    foreign: Start, server: Any, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = foreign("secretive")
    dsn = f"postgresql://postgres:only-for-tests@127.0.0.1:{server.port}/secretive?sslmode=disable"
    for given in (["--dsn", dsn], [f"--dsn={dsn}"]):
        monkeypatch.setattr(sys, "argv", ["invoke", "bench", "--base-url", url, *given])
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


def test_a_database_that_does_not_answer_is_named_without_its_password(server: Any) -> None:
    with pytest.raises(RigError, match="--dsn: connection") as wrong:
        UrlTarget(locate("http://127.0.0.1:1"), "host=127.0.0.1 port=1 user=u password=hunter2").__enter__()
    assert "hunter2" not in str(wrong.value)


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="--dsn needs --base-url"):
        run_bench(rig="none", dsn="host=x")
    with pytest.raises(UsageError, match="cannot be combined with --aa or --resume"):
        run_bench(rig="none", base_url="http://127.0.0.1", aa=True)


def test_each_trial_has_keys_of_its_own() -> None:
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


def test_a_check_that_the_target_cannot_answer_is_left_out_and_not_passed() -> None:
    cell = Cell(scenario="s")

    def check(_: TrialRecord) -> list[Finding]:
        return [finding(cell, "spread", "unknown", "nobody said"), finding(cell, "final value", False, "lost")]

    scenario = Scenario(name="s", question="?", criteria=(), cells=lambda *_: [], workload=lambda _: {}, check=check)
    row = TrialResult(trial=Trial(cell=cell, number=1, order=1, seed=0), figures={})
    for unjudged, left in ({}, 2), ({"spread": "why"}, 1):
        measured = TrialRecord(row=row, lanes={}, evidence=Evidence(not_applicable=unjudged))
        assert len(judge_trial(scenario, measured)) == left


@pytest.mark.parametrize(
    ("read", "check"), [("deadlocks", "deadlocks in the log"), ("dead-rows", "dead rows"), ("data", None)]
)
def test_what_only_the_server_itself_tells_is_left_out_where_it_would_be_read(read: str, check: str | None) -> None:
    service = UrlTarget(locate("http://127.0.0.1:1"), tag="t")
    always = service._not_applicable(())
    assert service._not_applicable({read}).keys() - always.keys() == ({check} if check else set())


def test_how_much_load_a_plan_sends_is_said() -> None:
    cells = [
        Cell(scenario="s", clients=100, requests=1000),
        Cell(scenario="s", clients=8, seconds=2.5),
        Cell(scenario="s", mode="open", rate=50, clients=300, seconds=1.0, requests=40),
    ]
    trials = tuple(Trial(cell=cell, number=1, order=n, seed=0) for n, cell in enumerate(cells, 1))
    said = volume(Plan(trials=trials))
    assert (
        said
        == "3 trials, 1,040 requests and 2.5 s of steady load at up to 50 requests/s, at most 300 connections at once"
    )
    assert volume(Plan(trials=())) == "0 trials, no HTTP load, at most 0 connections at once"


def test_a_service_that_is_not_ours_keeps_its_strategy_and_its_pool() -> None:
    site = Site(hosts=1, managed=False, database=False)
    plan = make_plan(BenchRequest.parse({}, known_scenarios=SCENARIOS), site, SCENARIOS)
    assert {trial.cell.scenario for trial in plan.trials} == {"concurrent-writes", "throughput"}
    assert {(trial.cell.strategy, trial.cell.pool) for trial in plan.trials} == {("", 0)}
    for trial in plan.trials:
        assert ".p" not in trial.cell.name.replace(".postgres", "")
        lanes: Any = SCENARIOS[trial.cell.scenario].workload(trial)
        assert lanes["main"].operations[0].body == {"key": "{key}"}
