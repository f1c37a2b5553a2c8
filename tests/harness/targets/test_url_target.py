"""What a bench of an external service refuses, reads and stores: consent, addresses, secrets, keys."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from harness.cli.bench import run_bench
from harness.errors import RigError, UsageError
from harness.load.job import Endpoint
from harness.load.spec import Keys, LoadSpec, Operation
from harness.model import Cell
from harness.plan.variants import parse_vary
from harness.targets.url import locate, permit
from harness.targets.url_target import ONLY_THE_LOAD_HOST, UrlTarget
from tests.support.pooler import Pooler

from .conftest import Start, bench

OTHER_IP = "192.0.2.7"  # TEST-NET-1


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
