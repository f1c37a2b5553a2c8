"""Telemetry of a rig whose hosts are this machine: each row has its trial, lost hosts are named, processes end."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness.errors import RigError
from harness.model import Host
from harness.rig.connection import LocalConnection, RemoteProcess
from harness.rig.rig import Rig
from harness.store.csv_rows import TELEMETRY_COLUMNS
from harness.store.files import read_table
from harness.store.manifest import CodeRecord, HostRecord, RigRecord
from harness.store.run_writer import RunWriter
from harness.targets import samplers
from harness.targets.local_machine import boot_id
from harness.targets.samplers import SamplerLine, read_line
from harness.targets.telemetry import _CHECKPOINTS, Activity, Telemetry
from tests.support.builders import rig_state

WAIT_S = 30.0


def until(holds: Callable[[], bool], what: str) -> None:
    """Waits until `holds` returns true; fails after a timeout."""
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, f"timed out after {WAIT_S:g} s waiting until {what}"
        time.sleep(0.05)


class Local(LocalConnection):
    """This machine in place of a rig's host. `dead`: its streams end at once with an error message."""

    def __init__(self, host: Host, *, dead: bool) -> None:
        self.host, self.name, self.dead = host, host.name, dead
        self.streams: list[Any] = []

    def stream(self, command: Any) -> RemoteProcess:
        failing = ["sh", "-c", "echo 'no python here' >&2; exit 127"]
        command = failing if self.dead else [sys.executable, *command[1:]]
        self.streams.append(super().stream(command))
        return self.streams[-1]  # type: ignore[no-any-return]


@dataclass(kw_only=True)
class LocalRig(Rig):
    """A rig whose hosts are all this machine, with a real database."""

    dsn: str
    dead: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()
    opened: dict[str, Local] = field(default_factory=dict)

    def at(self, host: Any) -> Any:
        name = host if isinstance(host, str) else host.name
        record = next(h for h in self.hosts if h.name == name)
        host = self.opened.setdefault(name, Local(record, dead=name in self.dead))
        if name in self.unreachable:
            host.stream = self._refuse  # type: ignore[method-assign]
        return host

    def _refuse(self, command: Any) -> RemoteProcess:
        raise RigError("app-1 cannot be reached over SSH")

    @contextlib.contextmanager
    def database(self, limit_s: float = 60.0) -> Iterator[psycopg.Connection[Any]]:
        connection = psycopg.connect(self.dsn, autocommit=True, application_name="pgcrucible")
        with contextlib.closing(connection):
            yield connection

    def processes(self) -> list[subprocess.Popen[str]]:
        return [stream._process for host in self.opened.values() for stream in host.streams]

    def close_pipes(self) -> None:
        for process in self.processes():
            process.wait(WAIT_S)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


MakeRig = Callable[..., LocalRig]


@pytest.fixture
def make_rig(postgres: str) -> Iterator[MakeRig]:
    """`make_rig(…)` returns a rig; at the end its processes must have ended."""
    made: list[LocalRig] = []

    def make(dsn: str = postgres, **more: Any) -> LocalRig:
        hosts = tuple(
            Host(name=f"{role}-1", role=role, address="127.0.0.1", ssh_address="127.0.0.1")
            for role in ("db", "app", "lb", "load")
        )
        rig = LocalRig(state=rig_state(hosts, name="here"), key=None, known_hosts=None, secrets={}, dsn=dsn, **more)
        made.append(rig)
        return rig

    yield make
    for rig in made:
        rig.close_pipes()


@pytest.fixture
def recorder(tmp_path: Path) -> RunWriter:
    code = CodeRecord(commit="0", dirty=False, command="./run bench", seed=1)
    return RunWriter.start(tmp_path / "results", code=code, rig=RigRecord(name="here", provider="static"), options={})


def rows(recorder: RunWriter) -> list[dict[str, str]]:
    return read_table(recorder.path / "telemetry.csv", TELEMETRY_COLUMNS)


def recorded(telemetry: Telemetry, recorder: RunWriter, order: int, *wanted: tuple[str, str]) -> Callable[[], bool]:
    """Returns a function that returns whether each wanted (host, metric) was recorded for the trial."""

    def holds() -> bool:
        telemetry._write()
        pairs = {(row["host"], row["metric"]) for row in rows(recorder) if row["order"] == str(order)}
        return set(wanted) <= pairs

    return holds


EVERY_HOST = [(host, "cpu_used_cores") for host in ("db-1", "app-1", "lb-1", "load-1")]


def test_rows_are_recorded_by_trial_for_every_host_and_the_database(make_rig: MakeRig, recorder: RunWriter) -> None:
    rig = make_rig()
    with Telemetry(rig, recorder) as telemetry:
        with telemetry.during(1), psycopg.connect(rig.dsn, autocommit=True) as connection:
            connection.execute("CREATE TEMPORARY TABLE filled AS SELECT generate_series(1, 1000)")
            until(recorded(telemetry, recorder, 1, *EVERY_HOST, ("db-1", "pg_wal_bytes")), "trial 1 is recorded")
        with telemetry.during(2):
            until(recorded(telemetry, recorder, 2, *EVERY_HOST), "trial 2 is recorded")
        until(recorded(telemetry, recorder, 0, *EVERY_HOST), "the time after them is recorded")
    table = rows(recorder)
    assert recorder.manifest.warnings == []
    assert all(float(row["second"]) >= 0 for row in table)
    wal = [float(row["value"]) for row in table if row["metric"] == "pg_wal_bytes" and row["order"] == "1"]
    assert sum(wal) > 0
    assert {row["order"] for row in table if row["metric"] == "host_seconds"} == {"0", "1", "2"}
    assert [process.wait(WAIT_S) for process in rig.processes()] == [0, 0, 0, 0]
    assert not [thread for thread in threading.enumerate() if "_listen" in thread.name or "_poll" in thread.name]


def with_rig_cpu(line: str, host: str) -> SamplerLine:
    """A line of the sampler with `rig_cpu_cores`, which this machine has only as a container or with cgroup v2."""
    parsed = read_line(line, host)
    return replace(parsed, metrics={"rig_cpu_cores": 0.0, **parsed.metrics})


def test_foreign_load_is_judged_from_the_readings_of_the_last_trial(
    make_rig: MakeRig, recorder: RunWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("db-1", "app-1", "lb-1", "load-1")
    recorder.manifest.rig.hosts = [
        HostRecord(name=name, role=name[:-2], cpus=1, memory=1, kernel="", boot_id=boot_id()) for name in names
    ]
    monkeypatch.setattr(samplers, "read_line", with_rig_cpu)
    with Telemetry(make_rig(), recorder) as telemetry:
        for order, length_s in ((1, 0.2), (2, 1.0)):
            with telemetry.during(order):
                time.sleep(length_s)
            found = telemetry.foreign_load()
            if order == 1:
                assert (found.machines, len(found.unread)) == ((), 1)
    assert found.unread == ()
    (machine,) = found.machines
    assert machine.hosts == (*names, "controller")
    assert 0 <= machine.foreign <= 1


def test_a_lost_host_is_named_once_and_read_again(
    make_rig: MakeRig, recorder: RunWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samplers, "RESTART_S", 0.1)
    rig = make_rig(dead=("load-1",), unreachable=("app-1",))
    with Telemetry(rig, recorder) as telemetry, telemetry.during(1):
        until(
            recorded(telemetry, recorder, 1, ("db-1", "pg_active"), ("lb-1", "cpu_used_cores")), "others are recorded"
        )
        rig.opened["lb-1"].streams[0]._process.terminate()
        until(lambda: len(recorder.manifest.warnings) == 3, "the third is lost")
        with telemetry.during(2):
            until(recorded(telemetry, recorder, 2, *EVERY_HOST[::2]), "the others are recorded, and the lost one again")
    assert sorted(recorder.manifest.warnings) == [
        "telemetry: app-1 cannot be reached over SSH: no metrics of it until it answers again",
        "telemetry: lb-1: the sampler ended: no metrics of it until it answers again",
        "telemetry: load-1: no python here: no metrics of it until it answers again",
    ]


def test_a_lost_database_is_named_and_read_again_when_it_answers(
    make_rig: MakeRig, recorder: RunWriter, postgres: str
) -> None:
    rig = make_rig()
    with Telemetry(rig, recorder) as telemetry, telemetry.during(1):
        until(recorded(telemetry, recorder, 1, ("db-1", "pg_active")), "it is recorded")
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'pgcrucible' AND pid <> pg_backend_pid()"
            )
        until(lambda: bool(recorder.manifest.warnings), "a warning names it")
        with telemetry.during(2):
            until(recorded(telemetry, recorder, 2, *EVERY_HOST, ("db-1", "pg_wait_lock")), "all are recorded again")
    (warning,) = recorder.manifest.warnings
    assert warning.startswith("telemetry: db-1: terminating connection due to administrator command")
    assert warning.endswith(": no metrics of the database until it answers again")


def test_telemetry_works_without_a_database(make_rig: MakeRig, recorder: RunWriter) -> None:
    with Telemetry(make_rig(dsn="host=127.0.0.1 port=1 connect_timeout=2"), recorder) as telemetry, telemetry.during(1):
        until(recorded(telemetry, recorder, 1, *EVERY_HOST), "the hosts are recorded")
    (warning,) = recorder.manifest.warnings
    assert warning.startswith("telemetry: database: connection failed")


def test_a_full_disk_is_a_warning(make_rig: MakeRig, recorder: RunWriter) -> None:
    (recorder.path / "telemetry.csv").mkdir()  # writing fails, as on a full disk
    rig = make_rig()
    with Telemetry(rig, recorder) as telemetry:
        until(lambda: bool(telemetry._rows), "there are rows to write")
    assert "telemetry.csv" in recorder.manifest.warnings[0]


def test_activity_counts_wal_checkpoints_and_waits(postgres: str) -> None:
    with (
        psycopg.connect(postgres, autocommit=True) as ours,
        psycopg.connect(postgres) as holder,
        psycopg.connect(postgres) as waiter,
    ):
        activity, grown = Activity(ours), dict.fromkeys(("pg_wal_bytes", "pg_checkpoints"), 0.0)

        def polled(holds: Callable[[dict[str, float]], bool]) -> dict[str, float]:
            end = time.monotonic() + WAIT_S
            while True:
                metrics = activity.poll()
                for name in grown:
                    grown[name] += metrics[name] * metrics["pg_seconds"]
                if holds(metrics):
                    return metrics
                assert time.monotonic() < end, (metrics, grown)
                time.sleep(0.05)

        holder.execute("SELECT pg_advisory_xact_lock(1), pg_logical_emit_message(true, 'x', repeat('x', 100000))")
        blocked = threading.Thread(target=waiter.execute, args=("SELECT pg_advisory_xact_lock(1)",))
        blocked.start()
        try:
            metrics = polled(lambda metrics: metrics["pg_wait_lock"] == 1)
        finally:
            holder.rollback()
            blocked.join()
        assert metrics["pg_active"] >= 1
        assert metrics["pg_idle_in_transaction"] >= 1
        assert metrics["pg_oldest_xact_seconds"] > 0
        assert grown["pg_wal_bytes"] >= 100_000
        ours.execute("CHECKPOINT")
        grown["pg_checkpoints"] = 0.0
        polled(lambda _: round(grown["pg_checkpoints"]) >= 1)


def test_checkpoints_are_read_from_the_view_of_each_version() -> None:
    def source(version: int) -> str:
        return next(text for least, text in _CHECKPOINTS.items() if version >= least)

    assert "pg_stat_bgwriter" in source(14)
    assert "pg_stat_bgwriter" in source(16)
    assert "pg_stat_checkpointer" in source(17)
    assert "pg_stat_checkpointer" in source(18)
