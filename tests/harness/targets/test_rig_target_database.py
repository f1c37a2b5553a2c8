"""The tier of a rig on paper: its database is real, its hosts answer as real ones do and keep what they were told."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness.errors import RigError
from harness.model import Cell, Host
from harness.provision import podman_cli
from harness.rig.connection import Result
from harness.targets.rig_target import OVERRIDE, RigTarget
from tests.conftest import Database
from tests.support.builders import rig_state

NAMES = ("db-1", "app-1", "app-2", "lb-1", "load-1")
HOSTS = tuple(Host(name=name, role=name.split("-")[0], address=name, ssh_address=name) for name in NAMES)  # type: ignore[arg-type]
CELL = Cell(scenario="s", hosts=2)


class HostOnPaper:
    """Runs nothing: keeps the overrides, HAProxy's states and what was asked for."""

    def __init__(self, rig: RigOnPaper, name: str) -> None:
        self.rig, self.name = rig, name

    def run(self, command: list[str], *, stdin: str = "", timeout_s: float = 60.0, check: bool = True) -> Result:
        out, code = "", 0
        if command[:2] == ["test", "-e"]:
            code = int(self.name not in self.rig.overrides)
        elif command[:2] == ["python3", "-"]:
            self.rig.asked[self.name] = command[2:]
            out = '{"cpu_ms": 1.0}'
        elif command[0] == "socat":
            out = self.rig.haproxy(stdin.strip())
        elif command[0] == "sh" and OVERRIDE in command[-1]:
            self.rig.restarts.append(self.name)
            self.rig.silent.discard(self.name)
            if f"rm -f {OVERRIDE}" in command[-1]:
                self.rig.overrides.pop(self.name, None)
            else:
                self.rig.overrides[self.name] = dict(line.split("=") for line in stdin.splitlines())
        return Result(stdout=out, stderr="", code=code)

    def get(self, address: str, port: int, path: str, *, timeout_s: float = 10.0) -> tuple[int, str]:
        if address in self.rig.silent:
            return 0, "connection refused"
        settings = {"backend": "postgres", "pool_size": 10} | {
            name.lower(): value for name, value in self.rig.overrides.get(address, {}).items()
        }
        return 200, json.dumps({"settings": settings, "requests": {}, "transactions": 0})


class RigOnPaper:
    """What Tier asks of a Rig. `caps`: as the container engine was told last; `overrides`: what lies on the hosts."""

    name, hosts, authority = "paper", HOSTS, None
    variables: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.state = rig_state(HOSTS, provider="podman", cpus={"app-1": 0.5})
        self.caps: dict[str, float] = {}
        self.overrides: dict[str, dict[str, str]] = {}
        self.restarts: list[str] = []
        self.asked: dict[str, list[str]] = {}
        self.drained: set[str] = set()
        self.silent: set[str] = set()
        self.connections: list[psycopg.Connection[Any]] = []

    def role(self, role: str) -> list[Host]:
        return [host for host in self.hosts if host.role == role]

    def at(self, host: Host | str) -> HostOnPaper:
        return HostOnPaper(self, host if isinstance(host, str) else host.name)

    def each(self, hosts: list[Host], work: Callable[[HostOnPaper], Any]) -> dict[str, Any]:
        return {host.name: work(self.at(host)) for host in hosts}

    @contextlib.contextmanager
    def database(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            self.connections.append(connection)
            yield connection

    def haproxy(self, commands: str) -> str:
        for command in commands.split("; "):
            words = command.split()
            if words[:2] == ["set", "server"]:
                server = words[2].split("/")[1]
                (self.drained.add if words[-1] == "maint" else self.drained.discard)(server)
        rows = [f"app,{a.name},2,{'MAINT' if a.name in self.drained else 'UP'},0" for a in self.role("app")]
        return "\n".join(["# pxname,svname,type,status,stot", *rows, ""])


@pytest.fixture
def rig(database: Database, monkeypatch: pytest.MonkeyPatch) -> RigOnPaper:
    made = RigOnPaper(database.dsn)
    monkeypatch.setattr(podman_cli, "set_cpus", lambda _, cpus: made.caps.update(cpus))
    monkeypatch.setattr(podman_cli, "containers", lambda _: [])
    return made


@pytest.fixture
def tier(rig: RigOnPaper) -> Iterator[RigTarget]:
    with RigTarget(rig) as opened:  # type: ignore[arg-type]
        yield opened


def throttled(rig: RigOnPaper) -> None:
    """As a bench of `scaling` leaves it that was killed: a share of a core, overrides, a host drained."""
    rig.caps |= {"app-1": 0.08, "app-2": 0.08}
    rig.overrides |= {"app-1": {"BACKEND": "postgres", "POOL_SIZE": "1"}}
    rig.drained.add("app-2")


CORES = float(os.cpu_count() or 1)


def test_what_a_killed_bench_left_is_put_back_before_the_next(rig: RigOnPaper) -> None:
    throttled(rig)
    with RigTarget(rig) as tier:  # type: ignore[arg-type]
        tier.restore()
    assert rig.caps == {"app-1": 0.5, "app-2": CORES}, "the inventory's cap, or none where it has none"
    assert rig.overrides == {}
    assert rig.drained == set()
    assert rig.restarts == ["app-1"], "what runs as provisioned is not restarted"


@pytest.mark.parametrize("hosts", [["app-1"], ["app-1", "app-2"]])
def test_an_override_with_which_the_service_cannot_start_is_put_back_too(rig: RigOnPaper, hosts: list[str]) -> None:
    rig.overrides |= {name: {"BACKEND": "sqlite-naive"} for name in hosts}
    rig.silent |= set(hosts)
    with RigTarget(rig) as tier:  # type: ignore[arg-type]
        tier.restore()
    assert (rig.overrides, rig.restarts) == ({}, hosts)


def test_a_host_that_does_not_answer_as_provisioned_is_named_and_the_database_let_go(rig: RigOnPaper) -> None:
    rig.silent.add("app-2")
    with pytest.raises(RigError, match=r"app-2\.1: /metrics answered nothing"), RigTarget(rig):  # type: ignore[arg-type]
        raise AssertionError
    assert [connection.closed for connection in rig.connections] == [True]


def test_the_first_trial_sets_every_cap_whatever_it_wants(rig: RigOnPaper, tier: RigTarget) -> None:
    throttled(rig)
    tier.configure(CELL)
    assert rig.caps == {"app-1": 0.5, "app-2": CORES}
    tier.configure(Cell(scenario="s", hosts=2, params={"app_cpus": 0.08}))
    assert rig.caps == {"app-1": 0.08, "app-2": 0.08}
    rig.caps.clear()
    tier.configure(Cell(scenario="s", hosts=2, params={"app_cpus": 0.08}))
    assert rig.caps == {}, "a cap that holds is not set again"


def test_a_cap_outlives_a_reconfiguration(rig: RigOnPaper, tier: RigTarget) -> None:
    tier.configure(Cell(scenario="s", hosts=2, params={"app_cpus": 0.08}))
    tier.configure(Cell(scenario="s", hosts=2, pool=3, params={"app_cpus": 0.08}))
    assert rig.overrides["app-2"]["POOL_SIZE"] == "3"
    assert rig.caps == {"app-1": 0.08, "app-2": 0.08}


def test_hosts_that_do_not_serve_are_drained_and_come_back(rig: RigOnPaper, tier: RigTarget) -> None:
    tier.configure(Cell(scenario="s", hosts=1))
    assert rig.drained == {"app-2"}
    tier.restore()
    assert rig.drained == set()


def test_the_round_trip_is_to_the_neighbours_own_ssh_port(rig: RigOnPaper, tier: RigTarget) -> None:
    moved, forwarded = (
        replace(host, ssh_port=2222, ssh_address=way) for host, way in zip(HOSTS, ("db-1", "127.0.0.1"), strict=False)
    )
    rig.hosts = (moved, forwarded, *HOSTS[2:])
    assert tier.canaries().keys() == set(NAMES)
    assert (rig.asked["app-1"], rig.asked["app-2"]) == (["db-1", "2222"], ["app-1", "22"])


def checkpoints(dsn: str) -> str:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT redo_lsn FROM pg_control_checkpoint()").fetchone()
    assert row is not None
    return str(row[0])


def fill(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("INSERT INTO counters (key, value) VALUES ('hot-0', 7)")
        connection.execute("INSERT INTO data (content) VALUES ('x')")


def test_every_trial_starts_empty_vacuumed_and_from_a_checkpoint(tier: RigTarget, database: Database) -> None:
    fill(database.dsn)
    before = checkpoints(database.dsn)
    assert tier.reset_database(CELL) == []
    with psycopg.connect(database.dsn) as connection:
        for table in ("counters", "data", "ledger"):
            row = connection.execute(
                f"SELECT (SELECT count(*) FROM {table}), last_vacuum IS NOT NULL, last_analyze IS NOT NULL "  # type: ignore[arg-type]
                f"FROM pg_stat_user_tables WHERE relname = '{table}'"
            ).fetchone()
            assert row == (0, True, True), table
    assert checkpoints(database.dsn) != before


def test_what_the_role_may_not_do_is_said(rig: RigOnPaper, database: Database) -> None:
    """A role that may empty the tables, but neither vacuum those that are not its own nor make a checkpoint."""
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE little LOGIN PASSWORD 'only-for-tests'")
        connection.execute("GRANT SELECT, TRUNCATE ON counters, ledger TO little")
        connection.execute("ALTER TABLE data OWNER TO little")
    rig.dsn = psycopg.conninfo.make_conninfo(database.dsn, user="little")
    try:
        with RigTarget(rig) as tier:  # type: ignore[arg-type]
            left = tier.reset_database(CELL)
    finally:
        with psycopg.connect(database.dsn, autocommit=True) as connection:
            connection.execute("REASSIGN OWNED BY little TO postgres")
            connection.execute("DROP OWNED BY little")
            connection.execute("DROP ROLE little")
    assert [text.split(" before each trial")[0] for text in left] == [
        *["the tables were not vacuumed"] * 2,
        "no CHECKPOINT",
    ]


def test_a_database_that_goes_away_is_named(tier: RigTarget, database: Database) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", [tier.db.info.backend_pid])
    for ask in (lambda: tier.reset_database(CELL), tier.settings, tier.site):
        with pytest.raises(RigError, match="db-1: PostgreSQL: ") as caught:
            ask()
        assert "\n" not in caught.value.message


def test_a_database_that_goes_away_during_a_trial_is_named(tier: RigTarget, database: Database) -> None:
    before = tier.snapshot(CELL, {"counters"})
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", [tier.db.info.backend_pid])
    for since in (None, before):
        with pytest.raises(RigError, match="db-1: PostgreSQL: "):
            tier.snapshot(CELL, {"counters"}, since)


def test_sqlite_starts_packed_and_with_an_empty_log(tmp_path: Path) -> None:
    import sqlite3

    from harness.host_scripts.sqlite_file import main

    path = tmp_path / "shared.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        for table in ("counters", "data", "ledger"):
            other.execute(f"CREATE TABLE {table} (key TEXT, value INTEGER)")
        other.executemany("INSERT INTO data VALUES (?, 1)", [("x" * 1000,)] * 500)
        other.commit()
        large, log = path.stat().st_size, tmp_path / "shared.db-wal"
        assert log.stat().st_size > 0
        assert main(str(path), "empty") == {"not_done": []}
        assert log.stat().st_size == 0
        assert path.stat().st_size < max(large, 100_000)
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM data").fetchone()
        (said,) = main(str(path), "empty")["not_done"]
    assert "was not" in said
