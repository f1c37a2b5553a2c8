"""Facts of a rig: whether its app hosts can share SQLite files, its settings, its canaries."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import psycopg.conninfo
import pytest

from harness.errors import RigError, UsageError
from harness.model import BACKENDS
from harness.plan.options import BenchRequest
from harness.plan.planner import make_plan
from harness.scenarios import SCENARIOS
from harness.store.manifest import HostRecord
from harness.targets.app_workers import AppWorkers
from harness.targets.rig_database import RigDatabase
from harness.targets.rig_facts import RigFacts
from tests.support.fake_rig import FACTS, FakeRig
from tests.support.postgres_server import Database


@pytest.fixture
def connection(postgres: str) -> Iterator[RigDatabase]:
    with psycopg.connect(postgres, autocommit=True) as connection:
        yield RigDatabase(lambda: contextlib.nullcontext(connection), "db-1")


def facts(rig: FakeRig, database: RigDatabase) -> RigFacts:
    return RigFacts(rig, database, AppWorkers(rig))


@pytest.mark.parametrize("hosts", [1, 4])
def test_sqlite_is_offered_where_one_kernel_shares_one_directory(connection: RigDatabase, hosts: int) -> None:
    rig = FakeRig(apps=hosts)
    site = facts(rig, connection).site()
    assert (site.backends, site.no_sqlite, site.hosts, site.connections) == (BACKENDS, "", hosts, 100)
    assert rig.tokens == set()


def test_sqlite_is_skipped_without_a_shared_directory(connection: RigDatabase) -> None:
    site = facts(FakeRig(variables={"app_sqlite_directory": ""}), connection).site()
    assert (site.backends, "app_sqlite_directory" in site.no_sqlite) == (("postgres",), True)


@pytest.mark.parametrize(
    ("attribute", "value", "reason"),
    [
        ("filesystems", "nfs4", "is on nfs4 on app-3: SQLite's locks do not work"),
        ("directories", 2, "app-3 does not see what app-1 writes to"),
        ("kernels", "another", "run on 2 kernels"),
    ],
)
def test_sqlite_is_skipped_with_the_reason_where_hosts_do_not_share_it(
    connection: RigDatabase, attribute: str, value: object, reason: str
) -> None:
    """One directory per host would mean one database per host, which looks like lost updates."""
    rig = FakeRig(apps=4)
    getattr(rig, attribute)["app-3"] = value
    site = facts(rig, connection).site()
    assert (site.backends, rig.tokens) == (("postgres",), set())
    assert reason in site.no_sqlite
    plan = make_plan(BenchRequest.parse({}, known_scenarios=SCENARIOS), site, SCENARIOS)
    assert {part: why for part, why in plan.skipped.items() if part != "faults"} == dict.fromkeys(
        (
            "sqlite-vs-postgres",
            "concurrent-writes on sqlite-naive and sqlite-tuned",
            "isolation on sqlite-naive and sqlite-tuned",
        ),
        site.no_sqlite,
    )
    asked = BenchRequest.parse({"scenario": "isolation", "backend": "sqlite-naive"}, known_scenarios=SCENARIOS)
    with pytest.raises(
        UsageError, match="nothing to measure: isolation: needs sqlite-naive; this rig offers postgres"
    ) as error:
        make_plan(asked, site, SCENARIOS)
    assert reason in error.value.message


def test_canaries_measure_the_round_trip_to_the_ssh_port_of_the_peers_own_address(connection: RigDatabase) -> None:
    rig = FakeRig()
    db, app, *others = rig.hosts
    forwarded = (replace(db, ssh_port=2222), replace(app, ssh_port=2222, ssh_address="127.0.0.1"), *others)
    rig.state = replace(rig.state, hosts=forwarded)
    assert facts(rig, connection).canaries().keys() == {host.name for host in rig.hosts}
    assert (rig.arguments["app-1"][:2], rig.arguments["app-2"][:2]) == (["db-1", "2222"], ["app-1", "22"])


def test_the_disk_canary_writes_where_the_databases_lie(connection: RigDatabase) -> None:
    rig = FakeRig()
    rig.state = replace(rig.state, variables={**rig.state.variables, "app_sqlite_directory": "/srv/shared"})
    facts(rig, connection).canaries()
    directories = {name: arguments[2] for name, arguments in rig.arguments.items()}
    assert directories["db-1"] == str(connection.one("SHOW data_directory")[0])
    assert directories["db-1"].startswith("/")
    assert {directories["app-1"], directories["app-2"]} == {"/srv/shared"}
    assert {directories[name] for name in directories if name.startswith(("lb", "load"))} == {""}


def test_settings_are_those_of_the_server_the_load_balancer_and_one_worker(database: Database) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {database.name} SET work_mem = '5MB'")
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        settings = facts(FakeRig(), RigDatabase(lambda: contextlib.nullcontext(connection), "db-1")).settings()
    assert settings["postgres"]["work_mem"] == "5120kB"
    assert settings["postgres"]["server_version"]
    assert settings["haproxy"]["haproxy_port"] == 8080
    assert settings["app"].keys() == {"app-1.1"}
    assert settings.keys() == {"postgres", "haproxy", "app"}, "ciphers are those of a rig with TLS"


def test_the_record_has_every_host_with_its_facts(connection: RigDatabase) -> None:
    rig = FakeRig(code_hash="abc", provider="podman")
    record = facts(rig, connection).record()
    assert record.hosts == [HostRecord(name=host.name, role=host.role, **FACTS) for host in rig.hosts]
    assert (record.name, record.provider, record.code_hash, record.tls) == ("paper", "podman", "abc", False)


@pytest.fixture
def role(database: Database) -> Iterator[str]:
    """A login role as provisioned: with the time-outs of the inventory."""
    name = f"service_{database.name}"
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'only-for-tests'")
        connection.execute(f"ALTER ROLE {name} SET statement_timeout = '60s'")
        yield name
        connection.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("", ""),
        ("SET synchronous_commit = off", "synchronous_commit = off, provisioned is its default"),
        ("IN DATABASE {} SET statement_timeout = 0", "statement_timeout = 0, provisioned is 60s"),
        ("RESET statement_timeout", "statement_timeout = its default, provisioned is 60s"),
        ("SET default_transaction_isolation = serializable", "default_transaction_isolation = serializable, prov"),
    ],
)
def test_a_role_that_changed_its_own_settings_is_not_measured(
    database: Database, role: str, change: str, message: str
) -> None:
    """ALTER ROLE … SET by the service's own role: its sessions began with it, and no run showed it."""
    if change:
        dsn = psycopg.conninfo.make_conninfo(database.dsn, user=role)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(f"ALTER ROLE {role} {change.format(database.name)}".encode())
    rig = FakeRig(apps=1, variables={"postgres_app_user": role, "postgres_app_timeouts": {"statement_timeout": "60s"}})
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        read = facts(rig, RigDatabase(lambda: contextlib.nullcontext(connection), "db-1"))
        assert f"statement_timeout of {role}" in read.settings()["postgres"] or "RESET" in change
        if not message:
            read.require_role_settings()
            return
        with pytest.raises(RigError, match=re.escape(f"the role {role} has {message}")):
            read.require_role_settings()
