"""The sampler of session waits against a real PostgreSQL, started on this machine as on a database host."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import psycopg
import pytest

from harness.rig.connection import LocalConnection
from harness.store.waits_file import Row
from harness.targets.session_waits import WaitSampler

from ...conftest import Database, Server


class Trials:
    """What the sampler stores, and its warnings."""

    def __init__(self) -> None:
        self.rows: dict[int, Sequence[Row]] = {}
        self.warnings: list[str] = []

    def sampler(self, psql: Sequence[str], began_s: float) -> WaitSampler:
        return WaitSampler(
            LocalConnection(), psql, began_s=began_s, store=self.rows.__setitem__, warn=self.warnings.append
        )

    def waits(self, order: int) -> set[tuple[int, str]]:
        return {(pid, wait) for _, pid, wait in self.rows[order]}


@pytest.fixture
def psql(server: Server, database: Database) -> list[str]:
    return [str(server.program("psql")), database.dsn]


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.02)


def waiting(database: Database) -> bool:
    with psycopg.connect(database.dsn) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        row = connection.execute(query).fetchone()
        return row is not None and row[0] == 1


def test_a_lock_wait_and_the_session_that_holds_the_lock_are_sampled(psql: list[str], database: Database) -> None:
    trials, began_s = Trials(), time.time() - 100
    with (
        psycopg.connect(database.dsn, application_name="holder") as holder,
        psycopg.connect(database.dsn, application_name="waiter") as waiter,
        trials.sampler(psql, began_s) as sampler,
    ):
        with sampler.during(7):
            holder.execute("INSERT INTO counters (key, value) VALUES ('k', 0)")
            waiter.execute("SET lock_timeout = '1s'")
            began_us = round((time.time() - began_s) * 1e6)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                waiter.execute("INSERT INTO counters (key, value) VALUES ('k', 0)")
            ended_us = round((time.time() - began_s) * 1e6)
        assert trials.warnings == []
        waits = trials.waits(7)
        assert (holder.info.backend_pid, "idle in transaction") in waits
        assert (waiter.info.backend_pid, "Lock:transactionid") in waits
        assert (holder.info.backend_pid, "blocks:holder (idle in transaction)") in waits
        times = [
            at for at, pid, wait in trials.rows[7] if (pid, wait) == (waiter.info.backend_pid, "Lock:transactionid")
        ]
        assert len(times) >= 5
        late_us = 1_000_000  # the clocks are compared by one answer, which comes late on a loaded machine
        assert began_us <= min(times) < max(times) <= ended_us + late_us, "on the clock of the run"


def test_each_trial_has_its_own_samples(psql: list[str]) -> None:
    trials = Trials()
    with trials.sampler(psql, time.time()) as sampler:
        for order in (1, 2):
            with sampler.during(order):
                time.sleep(0.3)
    assert trials.warnings == []
    assert sorted(trials.rows) == [1, 2]
    assert max(at for at, _, _ in trials.rows[1]) < min(at for at, _, _ in trials.rows[2])


@pytest.mark.parametrize("command", [["psql-that-does-not-exist"], ["false"]])
def test_a_sampler_that_cannot_start_is_a_warning(command: list[str]) -> None:
    trials = Trials()
    with trials.sampler(command, time.time()) as sampler, sampler.during(1):
        time.sleep(0.2)
    assert trials.rows.get(1, []) == []
    assert len(trials.warnings) == 1
    assert "what sessions wait for was not sampled" in trials.warnings[0]


def test_a_database_that_ends_the_session_is_a_warning_and_the_next_trial_is_sampled(
    psql: list[str], database: Database
) -> None:
    trials = Trials()
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgcrucible'"
    with trials.sampler(psql, time.time()) as sampler:
        with sampler.during(1):
            time.sleep(0.3)
            with psycopg.connect(database.dsn) as connection:
                eventually(lambda: connection.execute(end).fetchone() is not None)
            time.sleep(0.3)
        with sampler.during(2):
            time.sleep(0.3)
    (warning,) = trials.warnings
    assert "terminating connection due to administrator command" in warning
    assert trials.rows[1]
    assert trials.rows[2]


def test_a_sampler_that_dies_is_a_warning_and_started_again() -> None:
    trials = Trials()
    sampler = trials.sampler(["false"], time.time())
    with sampler:
        assert sampler._stream is not None
        sampler._stream.end()
        with sampler.during(1):
            pass
        assert len(trials.warnings) == 1
        with sampler.during(2):
            pass
    assert 2 in trials.rows


def test_a_session_is_not_sampled_after_its_trial(psql: list[str], database: Database) -> None:
    trials = Trials()
    with trials.sampler(psql, time.time()) as sampler:
        with sampler.during(1):
            time.sleep(0.1)
        with psycopg.connect(database.dsn) as connection:
            connection.execute("SELECT pg_sleep(0.3)")
            pid = connection.info.backend_pid
    assert all(other != pid for _, other, _ in trials.rows[1])
