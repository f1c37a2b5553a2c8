"""`watch`: sessions and lock waits of a real server, hosts, and hostile text made harmless."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from rich.console import Console

from harness.cli import watch
from harness.cli.watch import (
    STALE_S,
    Hosts,
    Session,
    block,
    database_line,
    host_line,
    read_sessions,
    run_watch,
    session_line,
    waits,
)
from harness.errors import RigError
from harness.model import Host
from harness.targets.samplers import SamplerLine

WAIT_S = 30.0
DATABASE = {
    "pg_commits": 1234.4, "pg_rollbacks": 2.0, "pg_deadlocks": 0.0, "pg_wal_bytes": 3 * 2.0**20, "pg_active": 7.0,
    "pg_wait_lock": 5.0, "pg_wait_io": 1.0, "pg_idle_in_transaction": 2.0, "pg_oldest_xact_seconds": 4.25,
}  # fmt: skip


def session(pid: int, *blockers: int, **more: Any) -> Session:
    values: dict[str, Any] = {"application": f"app-{pid}", "address": "10.0.0.1", "state": "active", "seconds": 1.5}
    values |= {"wait": "", "query": "SELECT 1", **more}
    return Session(pid=pid, blockers=blockers, **values)


@pytest.mark.parametrize(
    ("sessions", "lines"),
    [
        ([], []),
        ([session(1), session(2)], []),
        ([session(1), session(2, 1)], ["1 app-1 active 1.50 s", "  2 app-2 waits 1.50 s"]),
        (  # the queue of a hot row: each session waits for the lock holder and for all sessions before it
            [session(4, 2, 3), session(3, 2), session(2, 1), session(1, state="idle in transaction")],
            [
                "1 app-1 idle in transaction 1.50 s",
                "  2 app-2 waits 1.50 s",
                "    3 app-3 waits 1.50 s",
                "    4 app-4 waits 1.50 s, behind 1 more",
            ],
        ),
        (  # two chains
            [session(1), session(2, 1), session(8), session(9, 8)],
            ["1 app-1 active 1.50 s", "  2 app-2 waits 1.50 s", "8 app-8 active 1.50 s", "  9 app-9 waits 1.50 s"],
        ),
        (  # a deadlock, and a session that waits for one of its two
            [session(1, 2), session(2, 1), session(3, 2)],
            ["1 app-1 waits in a cycle 1.50 s", "  2 app-2 waits 1.50 s", "    3 app-3 waits 1.50 s"],
        ),
        ([session(2, 1)], ["1 (idle or ended)", "  2 app-2 waits 1.50 s"]),
        ([session(2, 0)], ["a prepared transaction", "  2 app-2 waits 1.50 s"]),
        (
            [session(1), session(2, 1, lock="ShareLock on transactionid of counters")],
            ["1 app-1 active 1.50 s", "  2 app-2 waits 1.50 s for ShareLock on transactionid of counters"],
        ),
        ([session(2, 1, 1), session(1)], ["1 app-1 active 1.50 s", "  2 app-2 waits 1.50 s"]),
        ([session(1), session(2, 1, application="")], ["1 app-1 active 1.50 s", "  2 10.0.0.1 waits 1.50 s"]),
    ],
)
def test_lock_waits_are_shown_as_a_tree(sessions: list[Session], lines: list[str]) -> None:
    assert waits(sessions) == lines


def test_a_session_is_one_line_that_fits_and_has_no_control_characters() -> None:
    line = session_line(session(7, query="UPDATE counters\n  SET\tvalue = 1", wait="Lock:tuple"), 100)
    assert line.split() == [
        "7",
        "app-7",
        "active",
        "1.50",
        "s",
        "Lock:tuple",
        *["UPDATE", "counters", "SET", "value", "=", "1"],
    ]
    hostile = session(7, query="SELECT '\x1b[2J\x07" + "x" * 500, application="\x1b]0;title\x07")
    assert len(session_line(hostile, 80)) == 80
    assert session_line(hostile, 80).isprintable()
    assert all(line.isprintable() for line in waits([hostile, session(8, 7)]))
    assert "idle in tx" in session_line(session(7, state="idle in transaction"), 80)


APP = Host(name="app-1", role="app", address="", ssh_address="")
CPU = {"cpu_used_cores": 0.05, "cpu_cap_cores": 0.1, "memory_used_bytes": 50.0 * 2**20}


@pytest.mark.parametrize(
    ("metrics", "line"),
    [
        ({}, "app-1     no reading"),
        (CPU, "app-1     cpu  50% of 0.1  memory    50 MiB"),
        (
            {**CPU, "pool_total": 5.0, "pool_idle": 1.0, "pool_waiting": 9.0},
            "app-1     cpu  50% of 0.1  memory    50 MiB  pool 4 of 5 busy, 9 waiting",
        ),
        (
            {
                "pool_total.1": 5.0,
                "pool_idle.1": 5.0,
                "pool_waiting.1": 0.0,
                "pool_waiting.2": 3.0,
                "pool_total.2": 5.0,
            },
            "app-1     pool.1 0 of 5 busy, 0 waiting  pool.2 5 of 5 busy, 3 waiting",
        ),
        (
            {"haproxy_requests": 1234.0, "haproxy_sessions": 7.0, "haproxy_queued": 2.0},
            "app-1     haproxy 1,234 req/s, 7 sessions, 2 queued",
        ),
    ],
)
def test_a_host_is_one_line_of_its_known_metrics(metrics: dict[str, float], line: str) -> None:
    assert host_line(APP, metrics) == line


def test_stale_readings_of_a_host_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = Hosts([APP])
    hosts.take(SamplerLine(host="app-1", order=0, metrics=CPU))
    assert list(hosts.lines()) == [host_line(APP, CPU)]
    later = time.monotonic() + STALE_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert list(hosts.lines()) == ["app-1     no reading"]


def test_the_line_of_the_database_has_its_rates() -> None:
    assert database_line(DATABASE) == (
        "database 1,234 commits/s, 2 rollbacks/s, 0 deadlocks/s, WAL 3.00 MiB/s; 7 active (5 wait for locks, "
        "1 for I/O), 2 idle in a transaction, oldest 4.2 s"
    )


def test_a_block_prints_how_many_lines_it_omits() -> None:
    sessions = [session(1), *(session(pid, 1) for pid in range(2, 9))]
    lines = list(block("title", DATABASE, sessions, ["app-1"], width=80, rows=3))
    assert lines[0] == "title"
    assert lines[2] == "app-1"
    assert lines[3].split() == ["pid", "application", "state", "since", "waits", "for", "statement"]
    assert lines[4:8] == [*(session_line(each, 80) for each in sessions[:3]), "  … and 5 more"]
    assert lines[8] == "lock waits"
    assert lines[9:] == ["  " + line for line in waits(sessions)[:3]] + ["  … and 5 more"]
    assert "lock waits" not in list(block("title", DATABASE, [session(1)], [], width=80, rows=3))


def poll(read: Callable[[], list[Session]], is_ready: Callable[[list[Session]], bool]) -> list[Session]:
    end = time.monotonic() + WAIT_S
    while not is_ready(sessions := read()):
        assert time.monotonic() < end, sessions
        time.sleep(0.02)
    return sessions


def test_sessions_and_blockers_are_read_from_a_real_server(postgres: str) -> None:
    with (
        psycopg.connect(postgres, autocommit=True) as ours,
        psycopg.connect(postgres, application_name="app-1") as holder,
        psycopg.connect(postgres, application_name="app-2") as waiter,
    ):
        holder.execute("SELECT pg_advisory_xact_lock(77)")
        thread = threading.Thread(target=waiter.execute, args=("SELECT pg_advisory_xact_lock(77) AS wanted",))
        thread.start()
        try:
            pids = holder.info.backend_pid, waiter.info.backend_pid
            sessions = poll(
                lambda: [s for s in read_sessions(ours) if s.pid in pids],
                lambda sessions: any(s.blockers and s.state == "active" for s in sessions),
            )
        finally:
            holder.rollback()
            thread.join()
    by_pid = {s.pid: s for s in sessions}
    holding, waiting = (by_pid[pid] for pid in pids)
    assert (holding.application, holding.state, holding.blockers) == ("app-1", "idle in transaction", ())
    assert (waiting.application, waiting.state, waiting.blockers) == ("app-2", "active", (pids[0],))
    assert waiting.wait == "Lock:advisory"
    assert waiting.query == "SELECT pg_advisory_xact_lock(77) AS wanted"
    assert waiting.seconds >= 0
    assert waiting.lock == "ExclusiveLock on advisory"
    assert waits(sessions)[1].startswith(f"  {pids[1]} app-2 waits ")


@contextlib.contextmanager
def queue_for_a_row(dsn: str) -> Iterator[list[int]]:
    """Yields the pids of three sessions: the first holds a row, the second waits for it, the third for the second."""
    names = ("app-1", "app-2", "app-3")
    with contextlib.ExitStack() as stack:
        admin = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        admin.execute("CREATE TABLE hot (key int PRIMARY KEY, value int NOT NULL)")
        admin.execute("INSERT INTO hot VALUES (1, 0)")
        stack.callback(admin.execute, "DROP TABLE hot")
        update, threads, pids = "UPDATE hot SET value = value + 1 WHERE key = 1", [], []
        for name in names:
            connection = stack.enter_context(psycopg.connect(dsn, application_name=name))
            pids.append(connection.info.backend_pid)
            if name == "app-1":
                connection.execute(update)
                holder = connection
                continue
            threads.append(threading.Thread(target=lambda c=connection: (c.execute(update), c.rollback())))
            threads[-1].start()
            poll(
                lambda: read_sessions(admin), lambda sessions: {s.pid for s in sessions if s.blockers} == set(pids[1:])
            )
        try:
            yield pids
        finally:
            holder.rollback()
            for thread in threads:
                thread.join()


def test_a_waiting_session_shows_its_lock_and_the_table(postgres: str) -> None:
    with queue_for_a_row(postgres) as pids, psycopg.connect(postgres, autocommit=True) as ours:
        by_pid = {s.pid: s for s in read_sessions(ours)}
    assert [by_pid[pid].lock for pid in pids] == [
        "",
        "ShareLock on transactionid of hot",
        "ExclusiveLock on tuple of hot",
    ]


class FakeRig:
    """A rig without hosts and with a local database."""

    name, hosts = "fake", ()

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def database(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._dsn, autocommit=True)


@pytest.mark.parametrize("live", [True, False])
def test_a_terminal_gets_a_screen_and_a_pipe_gets_plain_lines(
    postgres: str, live: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watch, "open_rig", lambda _: contextlib.nullcontext(FakeRig(postgres)))
    monkeypatch.setattr(watch, "Samplers", lambda *_: contextlib.nullcontext())
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=live, width=100, height=30, highlight=False)
    with queue_for_a_row(postgres) as pids:
        run_watch("fake", 1.0, 0.2, console=console)
    output = screen.getvalue() if live else capsys.readouterr().out
    assert ("\x1b[?1049h" in output, "\x1b[?1049l" in output) == (live, live)  # the alternate screen, left at the end
    assert "rig fake" in output
    assert "lock waits" in output
    assert f"{pids[1]} app-2 waits" in output
    assert "for ShareLock on transactionid of hot" in output
    assert live or "\x1b" not in output


def test_an_unknown_rig_is_refused() -> None:
    with pytest.raises(RigError, match="there is no rig 'test-none'"):
        run_watch("test-none", 1.0, None)
