"""`./run watch`: a live view of a rig: active statements, lock waits, pools, HAProxy, CPU.

A terminal shows one screen that is redrawn; a pipe gets plain lines. The view changes nothing and costs little: per
interval one query to the database, and the output of harness/host_scripts/sampler.py on every host.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from rich.console import Console
from rich.live import Live
from rich.text import Text

from harness.errors import RigError
from harness.model import Host
from harness.rig.rig import open_rig
from harness.targets.samplers import SamplerLine, Samplers
from harness.targets.telemetry import Activity
from harness.text import printable

PLAIN_S, PLAIN_WIDTH, PLAIN_ROWS = 2.0, 160, 20
"""Without a terminal: seconds between two blocks of lines, characters per line, lines per part."""
STALE_S = 5.0
"""Older readings are not shown."""

_SESSIONS = """
SELECT a.pid, application_name, coalesce(host(client_addr), 'local'), state,
       coalesce(extract(epoch FROM clock_timestamp() - state_change), 0),
       coalesce(wait_event_type || ':' || wait_event, ''), query,
       CASE wait_event_type WHEN 'Lock' THEN pg_blocking_pids(a.pid) ELSE '{}' END,
       coalesce(w.mode || ' on ' || w.locktype, '')
           || coalesce(' of ' || coalesce(w.relation, t.relation)::regclass, '')
FROM pg_stat_activity AS a
LEFT JOIN pg_locks AS w ON w.pid = a.pid AND NOT w.granted
LEFT JOIN LATERAL (  -- a session that waits for the transaction of a row's holder has the tuple lock
    SELECT relation FROM pg_locks WHERE pid = w.pid AND granted AND locktype = 'tuple' LIMIT 1
) AS t ON w.locktype = 'transactionid'
WHERE backend_type = 'client backend' AND datname = current_database() AND state <> 'idle'
  AND a.pid <> pg_backend_pid()
ORDER BY 5 DESC
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session of the database that is not idle.

    `blockers`: the pids that it waits for (0: a prepared transaction). `lock`: the lock that it waits for, as
    `ShareLock on transactionid of counters`.
    """

    pid: int
    application: str
    address: str
    state: str
    seconds: float
    wait: str
    query: str
    blockers: tuple[int, ...] = ()
    lock: str = ""


def read_sessions(connection: psycopg.Connection[Any]) -> list[Session]:
    """Returns the current sessions, longest in their state first. Raises psycopg.Error."""
    return [
        Session(
            pid=pid, application=app, address=address, state=state, seconds=float(seconds),
            wait=wait, query=query, blockers=tuple(blockers), lock=lock,
        )
        for pid, app, address, state, seconds, wait, query, blockers, lock in connection.execute(_SESSIONS.encode())
    ]  # fmt: skip


_COLUMNS = "    pid  application   state             since  waits for             statement"


def session_line(session: Session, width: int) -> str:
    """Formats a session as one line of at most `width` characters."""
    state = {"idle in transaction": "idle in tx", "idle in transaction (aborted)": "aborted tx"}.get(
        session.state, session.state
    )
    client = session.application or session.address
    line = f"{session.pid:>7}  {client:<12.12}  {state:<10.10}  {session.seconds:7.2f} s  {session.wait:<20.20}  "
    return printable((line + " ".join(session.query.split()))[:width])


def waits(sessions: Sequence[Session]) -> list[str]:
    """Formats the lock waits as a tree: sessions that wait for nothing first, below each its waiters.

    A session that waits for several appears once, at the shallowest place. A cycle (a deadlock that is not detected
    yet) begins at its lowest pid.
    """
    known = {session.pid: session for session in sessions}
    waiters: dict[int, list[int]] = {}
    for session in sessions:
        for blocker in set(session.blockers):
            waiters.setdefault(blocker, []).append(session.pid)
    roots = sorted(pid for pid in waiters if pid not in known or not known[pid].blockers)
    under: dict[int, list[int]] = {}
    placed: set[int] = set()

    def place(pids: Sequence[int]) -> None:
        placed.update(pids)
        queue = list(pids)
        for pid in queue:
            under[pid] = [waiter for waiter in sorted(waiters.get(pid, ())) if waiter not in placed]
            placed.update(under[pid])
            queue += under[pid]

    place(roots)
    for pid in sorted(waiters):
        if pid not in placed:
            roots.append(pid)
            place([pid])

    def tree_lines(pid: int, depth: int) -> Iterator[str]:
        session = known.get(pid)
        if session is None:
            yield f"{pid} (idle or ended)" if pid else "a prepared transaction"
        else:
            blockers = set(session.blockers)
            activity = "waits in a cycle" if blockers else session.state
            if depth:
                activity = "waits"
            wanted = f" for {session.lock}" if session.lock else ""
            more = f", behind {len(blockers) - 1} more" if len(blockers) > 1 and depth else ""
            client = session.application or session.address
            yield printable(f"{'  ' * depth}{pid} {client} {activity} {session.seconds:.2f} s{wanted}{more}")
        for waiter in under[pid]:
            yield from tree_lines(waiter, depth + 1)

    return [line for root in roots for line in tree_lines(root, 0)]


class Hosts:
    """The newest readings of every host. Several threads add to it; each replaces whole values."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = hosts
        self._readings: dict[tuple[str, str], tuple[float, float]] = {}

    def take(self, line: SamplerLine) -> None:
        """Stores the readings of a line."""
        now = time.monotonic()
        for metric, value in line.metrics.items():
            self._readings[line.host, metric] = (now, value)

    def lines(self) -> Iterator[str]:
        """Yields one line per host."""
        fresh = time.monotonic() - STALE_S
        recent = {key: value for key, (when, value) in list(self._readings.items()) if when >= fresh}
        for host in self._hosts:
            metrics = {metric: value for (name, metric), value in recent.items() if name == host.name}
            yield host_line(host, metrics)


def host_line(host: Host, metrics: Mapping[str, float]) -> str:
    """Formats CPU, memory, pools and HAProxy rates of one host; unknown metrics are left out."""
    parts = [f"{host.name:<8}"]
    if "cpu_used_cores" in metrics:
        parts.append(f"cpu {metrics['cpu_used_cores'] / metrics['cpu_cap_cores']:4.0%} of {metrics['cpu_cap_cores']:g}")
        parts.append(f"memory {metrics['memory_used_bytes'] / 2**20:5.0f} MiB")
    elif not metrics:
        parts.append("no reading")
    for metric in sorted(name for name in metrics if name.startswith("pool_waiting")):
        suffix = metric.removeprefix("pool_waiting")
        total, idle = metrics.get(f"pool_total{suffix}", 0.0), metrics.get(f"pool_idle{suffix}", 0.0)
        parts.append(f"pool{suffix} {total - idle:.0f} of {total:.0f} busy, {metrics[metric]:.0f} waiting")
    if "haproxy_requests" in metrics:
        parts.append(
            f"haproxy {metrics['haproxy_requests']:,.0f} req/s, {metrics['haproxy_sessions']:.0f} sessions, "
            f"{metrics['haproxy_queued']:.0f} queued"
        )
    return "  ".join(parts)


def database_line(metrics: Mapping[str, float]) -> str:
    """Formats the database's rates and waits as one line."""
    return (
        f"database {metrics['pg_commits']:,.0f} commits/s, {metrics['pg_rollbacks']:,.0f} rollbacks/s, "
        f"{metrics['pg_deadlocks']:.0f} deadlocks/s, WAL {metrics['pg_wal_bytes'] / 2**20:.2f} MiB/s; "
        f"{metrics['pg_active']:.0f} active ({metrics['pg_wait_lock']:.0f} wait for locks, "
        f"{metrics['pg_wait_io']:.0f} for I/O), {metrics['pg_idle_in_transaction']:.0f} idle in a transaction, "
        f"oldest {metrics['pg_oldest_xact_seconds']:.1f} s"
    )


def block(
    title: str,
    database: Mapping[str, float],
    sessions: Sequence[Session],
    hosts: Iterable[str],
    *,
    width: int,
    rows: int,
) -> Iterator[str]:
    """Yields the lines of one update: at most `rows` sessions and `rows` lines of lock waits."""
    yield title
    yield database_line(database)
    yield from hosts
    yield _COLUMNS[:width]
    yield from _shortened([session_line(session, width) for session in sessions], rows)
    tree = waits(sessions)
    if tree:
        yield "lock waits"
        yield from _shortened([f"  {line}" for line in tree], rows)


def _shortened(lines: Sequence[str], rows: int) -> Iterator[str]:
    yield from lines[:rows]
    if len(lines) > rows:
        yield f"  … and {len(lines) - rows} more"


def run_watch(rig_name: str, seconds: float | None, interval: float | None, *, console: Console | None = None) -> None:
    """Shows the rig for `seconds` (None: until Ctrl-C), with an update every `interval` seconds.

    Raises RigError where the rig does not exist or its database stops responding.
    """
    console = console or Console(highlight=False)
    live = console.is_terminal
    interval = interval or (1.0 if live else PLAIN_S)
    width = console.width if live else PLAIN_WIDTH
    lost_hosts: dict[str, None] = {}
    with open_rig(rig_name) as rig, rig.database() as connection:
        hosts = Hosts(rig.hosts)

        def updates() -> Iterator[str]:
            activity = Activity(connection)
            end = math.inf if seconds is None else time.monotonic() + seconds
            while (remaining := end - time.monotonic()) > 0:
                time.sleep(min(interval, remaining))
                title = f"rig {rig.name}  {time.strftime('%H:%M:%S')}"
                rows = max(3, (console.height - len(rig.hosts) - len(lost_hosts) - 7) // 2) if live else PLAIN_ROWS
                sessions, database = read_sessions(connection), activity.poll()
                lines = block(title, database, sessions, [*hosts.lines(), *lost_hosts], width=width, rows=rows)
                yield "\n".join(lines)

        try:
            with Samplers(rig, hosts.take, lambda message: lost_hosts.update({printable(message): None})):
                if not live:
                    for update in updates():
                        print(update, flush=True)
                    return
                with Live(console=console, auto_refresh=False, screen=True) as screen:
                    for update in updates():
                        screen.update(Text(update, no_wrap=True, overflow="ellipsis"), refresh=True)
        except psycopg.Error as error:
            raise RigError(
                f"the database of rig '{rig.name}' stopped responding: {' '.join(str(error).split())}",
                hint="./run status shows which hosts respond",
            ) from None
