"""A provisioned rig as a target: its database is real, its hosts are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from harness.errors import RigError, UsageError
from harness.model import Cell
from harness.plan.scenario import RemoteWorkload
from harness.plan.variants import Variant, parse_vary, varied_keys, with_variant
from harness.provision import podman_cli, revision
from harness.targets.app_revisions import AppRevisions
from harness.targets.rig_target import RigTarget
from harness.targets.server_settings import ServerSettings
from harness.targets.snapshot import difference
from harness.targets.variant_settings import in_force
from tests.support.fake_rig import SHARED, FakeRig
from tests.support.postgres_server import Database

CELL = Cell(scenario="s", hosts=2)
DAMAGED = {"integrity": ["malformed"], "counters": {}}


@pytest.fixture
def rig(database: Database) -> FakeRig:
    return FakeRig(apps=4, dsn=database.dsn)


@pytest.fixture
def target(rig: FakeRig) -> Iterator[RigTarget]:
    with RigTarget(rig) as opened:
        yield opened


def test_a_host_that_does_not_answer_as_provisioned_is_named_and_the_connection_closed(rig: FakeRig) -> None:
    rig.silent.add("app-2")
    with pytest.raises(RigError, match=r"app-2\.1: /metrics answered nothing"), RigTarget(rig):
        raise AssertionError
    assert [connection.closed for connection in rig.connections] == [True]


@pytest.mark.parametrize(("provider", "capped"), [("podman", True), ("static", False)])
def test_only_containers_are_capped(
    database: Database, monkeypatch: pytest.MonkeyPatch, provider: str, *, capped: bool
) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(podman_cli, "set_cpus", lambda *arguments: calls.append(arguments))
    rig = FakeRig(dsn=database.dsn, provider=provider, cpus={"app-1": 0.5, "app-2": 0.75})
    with RigTarget(rig) as target:
        target.restore()
    assert calls == ([("paper", {"app-1": 0.5, "app-2": 0.75})] if capped else [])


def test_a_damaged_sqlite_file_is_replaced_once_no_host_has_it_open(rig: FakeRig, target: RigTarget) -> None:
    cell = replace(CELL, backend="sqlite-tuned")
    rig.sqlite_answers = [{"not_done": []}, DAMAGED, {"not_done": ["vacuum"]}]
    target.configure(replace(cell, hosts=4))  # two hosts will be drained, with the file open
    target.configure(cell)
    assert target.reset_database(cell) == []
    removed = len(rig.removed)
    (message,) = target.reset_database(cell)
    assert message == f"the SQLite file was damaged and was replaced before {cell.name}: malformed"
    assert rig.removed[removed:] == [f"{SHARED}/sqlite-tuned.db"]
    assert [rig.runs[name]["BACKEND"] for name in rig.names] == ["sqlite-tuned"] * 2 + ["postgres"] * 2
    assert target.reset_database(cell) == ["vacuum"]


def test_a_remote_workload_on_sqlite_gets_a_new_file(rig: FakeRig, target: RigTarget) -> None:
    job = {"what": "isolation", "sqlite": {"profile": "naive"}}
    result = target.run_workload(RemoteWorkload(role="app", module="harness.isolation", job=job))
    path = f"{SHARED}/isolation.sqlite"
    assert result == {"done": True}
    assert rig.jobs == [("app-1", {"what": "isolation", "sqlite": {"profile": "naive", "path": path}})]
    (cleaned, removal), (driven, command) = rig.commands[-2:]
    assert (cleaned, driven) == ("app-1", "app-1")
    assert {"rm", path, f"{path}-wal", f"{path}-shm", f"{path}-journal"} <= set(removal)
    assert command[-2:] == ["-m", "harness.isolation"]


def test_a_remote_workload_on_postgresql_gets_the_database_and_free_connections(
    rig: FakeRig, target: RigTarget
) -> None:
    target.configure(replace(CELL, pool=25, params={"app_pool_min": 25}))
    target.run_workload(RemoteWorkload(role="load", module="harness.isolation", job={"pairs": 20}))
    assert [rig.runs[name].get("POOL_MIN") for name in rig.names] == [None] * 4
    dsn = "port=5432 dbname=crucible user=crucible_harness password=secret host=db-1"
    ((host, job),) = rig.jobs
    assert (host, job["pairs"], job["schema"]) == ("load-1", 20, "isolation")
    assert sorted(job["dsn"].split()) == sorted(dsn.split())


def test_a_connection_that_the_server_closed_is_opened_again(
    rig: FakeRig, target: RigTarget, database: Database
) -> None:
    """A restart of PostgreSQL between two trials ends no bench."""
    before = target.snapshot(CELL, {"counters"})
    for ask in (
        lambda: target.reset_database(CELL), target.settings, target.site,
        lambda: target.snapshot(CELL, {"counters"}), lambda: target.snapshot(CELL, {"counters"}, before),
    ):  # fmt: skip
        with psycopg.connect(database.dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", [rig.connections[-1].info.backend_pid])
        ask()
    assert len(rig.connections) == 6


def test_a_database_that_is_down_is_reported_with_its_host(rig: FakeRig, target: RigTarget) -> None:
    rig.connections[-1].close()
    rig.dsn = "host=127.0.0.1 port=1 connect_timeout=2"
    for ask in (
        lambda: target.reset_database(CELL), target.settings, target.site,
        lambda: target.snapshot(CELL, {"counters"}),
    ):  # fmt: skip
        with pytest.raises(RigError, match="db-1: PostgreSQL: ") as error:
            ask()
        assert "\n" not in error.value.message


def test_vacuum_runs_during_the_load_only_where_dead_rows_are_read(target: RigTarget) -> None:
    with target.vacuuming({"counters"}) as results:
        assert results == ()
    with target.vacuuming({"dead-rows"}) as results:
        assert results == []


def of_code(*codes: str) -> tuple[Variant, ...]:
    return tuple(Variant(name=f"code={code}", settings={"code": code}) for code in codes)


def test_names_of_revisions_become_commits_before_the_plan(target: RigTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revision, "resolve", {"main": "0" * 12, "HEAD": "1" * 12, "same": "0" * 12}.__getitem__)
    resolved = target.resolve(of_code("main", "HEAD"))
    assert [(one.name, one.settings["code"]) for one in resolved] == [("code=main", "0" * 12), ("code=HEAD", "1" * 12)]
    with pytest.raises(UsageError, match="the variants 'code=main' and 'code=same' are the same"):
        target.resolve(of_code("main", "same"))


def test_revisions_are_tried_before_anything_is_measured_and_the_rig_is_as_provisioned_after_it(
    rig: FakeRig, target: RigTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = "0" * 12, "1" * 12

    def deploy(revisions: AppRevisions, names: Sequence[str]) -> list[str]:
        revisions._own_packages |= {(host, name): False for host in rig.names for name in names}
        return ["another schema"]

    monkeypatch.setattr(AppRevisions, "deploy", deploy)
    monkeypatch.setattr("harness.targets.rig_target.require_values", lambda *_: None)
    assert target.preflight(of_code(one, other)) == ["another schema"]
    assert rig.restarts.count("app-1") == 3
    assert set(rig.drop_ins.values()) == {""}
    rig.start_fails.add(other)
    monkeypatch.setattr(target._apps, "_timeout_s", 0.0)
    with pytest.raises(RigError, match=f"code={other} does not start"):
        target.preflight(of_code(one, other))
    assert set(rig.drop_ins.values()) == {""}, "restored after a failure too"


def test_variants_are_tried_before_anything_is_measured_and_the_server_is_put_back(
    rig: FakeRig, target: RigTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database of this rig is real, but takes no settings from the file: the first value is refused."""
    variants = target.resolve(parse_vary("vary", "postgres.work_mem=1MB,2MB"))
    with pytest.raises(UsageError, match="PostgreSQL does not take work_mem from /etc/zz-"):
        target.preflight(variants)
    assert rig.server_settings == ""
    monkeypatch.setattr(ServerSettings, "configure", lambda *_: None)
    with pytest.raises(UsageError, match=r"the variants 'work_mem=1MB' and 'work_mem=2MB' are the same on this rig"):
        target.preflight(variants)
    target.preflight(())


def test_a_setting_that_the_service_does_not_have_is_refused(target: RigTarget) -> None:
    with pytest.raises(UsageError, match="no setting for 'app_pool_sise'") as caught:
        target.resolve(parse_vary("vary", "app_pool_sise=1,2"))
    assert "did you mean 'app_pool_size'?" in caught.value.hint
    assert target.resolve(()) == ()


def test_a_pool_of_a_variant_is_in_the_snapshot_as_the_workers_have_it(
    rig: FakeRig, target: RigTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target._layers, "_idle_timeout_s", 0.5)  # one host will not answer
    variants = parse_vary("vary", "app_pool_size=3,4")
    cell = with_variant(CELL, variants[0], varied_keys(variants))
    target.configure(cell)
    before = target.snapshot(cell, {"counters"})
    assert before.settings == {"app_pool_size": "3"}
    rig.restart("app-2", "POOL_SIZE=4\n")  # somebody else
    changed = difference(before, target.snapshot(cell, {"counters"}, before))
    assert "app_pool_size changed during the trial: 3, then 3, 4" in changed.misrouted
    rig.silent.add("app-2")
    assert in_force(cell, target._workers, target._server) == {}, "the trial's other evidence is kept"
    assert target.snapshot(CELL, {"counters"}, before).settings == {}


def test_a_database_host_that_does_not_answer_leaves_no_app_host_as_it_is(
    rig: FakeRig, target: RigTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.configure(replace(CELL, pool=3))

    def fail(_: ServerSettings) -> None:
        raise RigError("db-1 is paused")

    monkeypatch.setattr(ServerSettings, "restore", fail)
    with pytest.raises(RigError, match="db-1 is paused"):
        target.restore()
    assert rig.overrides == {}
