"""Records metrics of every host and the database each second while a bench runs: the rows of telemetry.csv.

There is one stream per host (samplers.py; the docstring of host_scripts/sampler.py lists the host metrics) and one
connection to the database, both opened again after they are lost. If a host or the database stops answering, the run's
warnings name it, and the bench goes on.

Metrics of the database, as rates per second unless stated otherwise, and of the service's database only where
PostgreSQL counts per database:

pg_commits pg_rollbacks pg_deadlocks pg_sessions    pg_stat_database; `pg_sessions` are new sessions
pg_rows_read pg_rows_inserted pg_rows_updated       tup_fetched, tup_inserted, tup_updated
pg_read_ms                                          blk_read_time: milliseconds spent reading blocks
pg_wal_bytes                                        from the insert position; pg_stat_wal is up to a second late
pg_checkpoints                                      started for any reason
pg_active pg_idle_in_transaction                    current number of sessions, without the harness's
pg_wait_lock pg_wait_io                             current number of sessions that wait for a lock; for a file or WAL
pg_oldest_xact_seconds                              age of the oldest open transaction
pg_seconds                                          length of the interval that the rates cover
"""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, Self

import psycopg

from harness.analysis.foreign_load import CONTROLLER, ForeignLoad, foreign_load
from harness.analysis.telemetry_totals import TelemetryReading, TelemetryTotals
from harness.errors import RigError
from harness.rig.rig import Rig
from harness.store.run_writer import RunWriter
from harness.targets.local_machine import LocalMachine, boot_id
from harness.targets.samplers import END_S, SamplerLine, Samplers

BATCH_S = 2.0
ANSWER_S = 4.0
"""Longest wait for a reading of the database; shorter than END_S, so that the poller ends in time."""
REOPEN_S = 2.0
"""Time between two attempts to reach a database that has stopped answering."""
LATE_S = 2.0
"""The longest wait for a host's last reading of a trial."""
GRAIN_S = 0.1
"""By how much the readings of a host may cover less than the trial: the time that messages take."""

_GROWING = """
SELECT xact_commit AS pg_commits, xact_rollback AS pg_rollbacks, deadlocks AS pg_deadlocks, sessions AS pg_sessions,
       tup_fetched AS pg_rows_read, tup_inserted AS pg_rows_inserted, tup_updated AS pg_rows_updated,
       blk_read_time AS pg_read_ms, pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS pg_wal_bytes,
       (SELECT {checkpoints}) AS pg_checkpoints
FROM pg_stat_database WHERE datname = current_database()
"""
_CHECKPOINTS = {
    17: "num_timed + num_requested FROM pg_stat_checkpointer",
    0: "checkpoints_timed + checkpoints_req FROM pg_stat_bgwriter",
}
_NOW = """
SELECT count(*) FILTER (WHERE state = 'active') AS pg_active,
       count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS pg_idle_in_transaction,
       count(*) FILTER (WHERE state = 'active' AND wait_event_type = 'Lock') AS pg_wait_lock,
       count(*) FILTER (WHERE state = 'active' AND (wait_event_type = 'IO' OR wait_event = 'WALWrite')) AS pg_wait_io,
       coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)), 0) AS pg_oldest_xact_seconds
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname = current_database() AND application_name <> 'pgcrucible'
"""


class Activity:
    """Reads the database's metrics over one connection. Raises psycopg.Error."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        version = connection.info.server_version // 10_000
        checkpoints = next(text for least, text in _CHECKPOINTS.items() if version >= least)
        self._growing = _GROWING.format(checkpoints=checkpoints).encode()
        self._since, self._before = time.monotonic(), self._row(self._growing)

    def _row(self, query: bytes) -> dict[str, float]:
        cursor = self._connection.execute(query)
        row = cursor.fetchone()
        assert row is not None
        assert cursor.description is not None
        return {column.name: float(value) for column, value in zip(cursor.description, row, strict=True)}

    def poll(self) -> dict[str, float]:
        """Returns the metrics, rates since the last call; a rate is 0 where the statistics were reset in between."""
        growing, now = self._row(self._growing), time.monotonic()
        seconds, self._since = max(now - self._since, 1e-6), now
        grown = {name: max(0.0, value - self._before[name]) / seconds for name, value in growing.items()}
        self._before = growing
        return {**grown, **self._row(_NOW.encode()), "pg_seconds": seconds}


class Telemetry:
    """Records a rig while the context lasts; `with telemetry.during(order):` marks the load of a trial."""

    def __init__(self, rig: Rig, recorder: RunWriter, hosts: Callable[[], Collection[int]] = tuple) -> None:
        """`hosts`: returns the processes of this machine that are hosts of the rig."""
        self._rig, self._recorder = rig, recorder
        self._local, self._totals = LocalMachine(hosts), dict[str, TelemetryTotals]()
        self._judged, self._began, self._lasted = 0, 0.0, 0.0
        self._boot_ids = {host.name: host.boot_id for host in recorder.manifest.rig.hosts}
        if hosts() or boot_id() in self._boot_ids.values():
            self._boot_ids[CONTROLLER] = boot_id()
        self._stack = contextlib.ExitStack()
        self._samplers = Samplers(rig, self._take, self._lost)
        self._database = contextlib.ExitStack()
        self._lock = threading.Lock()
        self._rows: list[dict[str, object]] = []
        self._written = time.monotonic()
        self._orders: list[int] = []
        self._wake, self._order, self._ending = threading.Event(), 0, False
        started = dt.datetime.fromisoformat(recorder.manifest.started)
        self._started = time.monotonic() - max(0.0, (dt.datetime.now(dt.UTC) - started).total_seconds())

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.callback(self._write)
            activity = None
            try:
                activity = self._open_database()
            except (RigError, OSError, psycopg.Error) as error:
                self._lost_database("database", error)
            poller = threading.Thread(target=self._poll, args=(activity,), daemon=True)
            poller.start()
            stack.callback(poller.join, END_S)
            stack.callback(self._end)
            stack.enter_context(self._samplers)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def during(self, order: int) -> Iterator[None]:
        """Assigns the readings to trial `order` while the context lasts; before and after it, to none."""
        self._begin(order)
        try:
            yield
        finally:
            self._begin(0)

    def foreign_load(self) -> ForeignLoad:
        """Returns how much CPU other programs used during the last trial, from the readings of all hosts."""
        deadline = time.monotonic() + LATE_S
        while self._is_waiting() and time.monotonic() < deadline:
            time.sleep(0.02)
        with self._lock:
            return foreign_load(self._totals, self._boot_ids)

    def _is_waiting(self) -> bool:
        """Whether the readings of some host do not cover the last trial yet."""
        with self._lock:
            covered = [self._totals.get(host, TelemetryTotals()).seconds for host in self._boot_ids]
        return any(seconds < self._lasted - GRAIN_S for seconds in covered)

    def _begin(self, order: int) -> None:
        self._samplers.begin(order)
        with self._lock:
            self._orders.append(order)
            if order:
                self._totals, self._judged, self._began = {}, order, time.monotonic()
            else:
                self._lasted = time.monotonic() - self._began
        self._wake.set()
        if order:
            self._local.begin()
        else:
            self._take(SamplerLine(host=CONTROLLER, order=self._judged, metrics=self._local.end()))

    def _end(self) -> None:
        self._ending = True
        self._wake.set()

    def _open_database(self) -> Activity:
        """Opens the connection to the database, and closes the one before it."""
        self._database.close()
        return Activity(self._database.enter_context(self._rig.database(limit_s=ANSWER_S)))

    def _poll(self, activity: Activity | None) -> None:
        """Reads once per second, and at the start and end of a trial; runs in its own thread.

        Opens the connection again where it is lost: a restart of the database costs only the readings in between.
        """
        host, order, due = self._rig.role("db")[0].name, 0, time.monotonic() + 1.0
        with self._database:
            while not self._ending:
                self._wake.wait(max(0.0, due - time.monotonic()))
                self._wake.clear()
                with self._lock:
                    orders, self._orders = self._orders, []
                if activity is not None:
                    try:
                        self._take(SamplerLine(host=host, order=order, metrics=activity.poll()))
                    except psycopg.Error as error:
                        self._lost_database(host, error)
                        activity = None
                elif not self._ending:
                    with contextlib.suppress(RigError, OSError, psycopg.Error):  # the loss is a warning already
                        activity = self._open_database()
                order = orders[-1] if orders else order
                now = time.monotonic()
                if activity is None:
                    due = now + REOPEN_S
                elif now >= due:
                    due = max(due + 1.0, now + 0.5)

    def _take(self, line: SamplerLine) -> None:
        now = time.monotonic()
        place = {"second": round(now - self._started, 2), "order": line.order, "host": line.host}
        rows = [{**place, "metric": name, "value": round(value, 6)} for name, value in line.metrics.items()]
        with self._lock:
            self._rows += rows
            if line.order and line.order == self._judged:
                reading = TelemetryReading(second=now, order=line.order, host=line.host, metrics=line.metrics)
                self._totals.setdefault(line.host, TelemetryTotals()).add(reading)
        if now - self._written > BATCH_S:
            self._write()

    def _write(self) -> None:
        with self._lock:
            rows, self._rows, self._written = self._rows, [], time.monotonic()
            try:
                self._recorder.append("telemetry", rows)
            except RigError as error:  # the bench itself reports a full disk and what is kept
                self._recorder.warn(f"telemetry: {error.message}")

    def _lost(self, reason: str) -> None:
        self._recorder.warn(f"telemetry: {reason}: no metrics of it until it answers again")

    def _lost_database(self, name: str, error: Exception) -> None:
        reason = " ".join(str(error).split())
        self._recorder.warn(f"telemetry: {name}: {reason}: no metrics of the database until it answers again")
