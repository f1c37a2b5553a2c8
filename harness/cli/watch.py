"""`./run watch`: what is going on in a rig now. Statements, who waits on whom, pools, HAProxy, CPU.

On a terminal one picture is drawn anew; into a pipe go plain lines. Only looks, and looks cheaply: once an
interval one query to the database, and what harness/host_scripts/sampler.py says on every host.
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
from harness.targets.telemetry import Activity, Reading, Samplers
from harness.text import plain

PLAIN_S, PLAIN_WIDTH, PLAIN_ROWS = 2.0, 160, 20
"""Where there is no terminal: seconds between two blocks of lines, characters of a line, lines of each part."""
STALE_S = 5.0
"""What was said longer ago is not shown as if it were so now."""

_SESSIONS = """
SELECT a.pid, application_name, coalesce(host(client_addr), 'local'), state,
       coalesce(extract(epoch FROM clock_timestamp() - state_change), 0),
       coalesce(wait_event_type || ':' || wait_event, ''), query,
       CASE wait_event_type WHEN 'Lock' THEN pg_blocking_pids(a.pid) ELSE '{}' END,
       coalesce(w.mode || ' on ' || w.locktype, '')
           || coalesce(' of ' || coalesce(w.relation, t.relation)::regclass, '')
FROM pg_stat_activity AS a
LEFT JOIN pg_locks AS w ON w.pid = a.pid AND NOT w.granted
LEFT JOIN LATERAL (  -- who waits for the transaction that has a row holds the row's place in the line
    SELECT relation FROM pg_locks WHERE pid = w.pid AND granted AND locktype = 'tuple' LIMIT 1
) AS t ON w.locktype = 'transactionid'
WHERE backend_type = 'client backend' AND datname = current_database() AND state <> 'idle'
  AND a.pid <> pg_backend_pid()
ORDER BY 5 DESC
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session of the database that is not idle. `blockers`: pids it waits for (0: a prepared transaction).

    `lock`: the one it waits for, as `ShareLock on transactionid of counters`.
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
    """The sessions now, the longest in their state first. Raises psycopg.Error."""
    return [
        Session(
            pid=pid, application=app, address=address, state=state, seconds=float(seconds),
            wait=wait, query=query, blockers=tuple(blockers), lock=lock,
        )
        for pid, app, address, state, seconds, wait, query, blockers, lock in connection.execute(_SESSIONS.encode())
    ]  # fmt: skip


_COLUMNS = "    pid  application   state             since  waits for             statement"


def session_line(session: Session, width: int) -> str:
    """One session in one line of at most `width` characters."""
    state = {"idle in transaction": "idle in tx", "idle in transaction (aborted)": "aborted tx"}.get(
        session.state, session.state
    )
    who = session.application or session.address
    line = f"{session.pid:>7}  {who:<12.12}  {state:<10.10}  {session.seconds:7.2f} s  {session.wait:<20.20}  "
    return plain((line + " ".join(session.query.split()))[:width])


def waits(sessions: Sequence[Session]) -> list[str]:
    """Who waits on whom, as a tree: first who waits for nobody, under each those that wait for it.

    A session that waits for several stands once, where the tree is shallowest. A cycle (a deadlock not detected
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

    def told(pid: int, depth: int) -> Iterator[str]:
        session = known.get(pid)
        if session is None:
            yield f"{pid} (idle or ended)" if pid else "a prepared transaction"
        else:
            blockers = set(session.blockers)
            does = "waits" if depth else "waits in a cycle" if blockers else session.state
            wanted = f" for {session.lock}" if session.lock else ""
            more = f", behind {len(blockers) - 1} more" if len(blockers) > 1 and depth else ""
            who = session.application or session.address
            yield plain(f"{'  ' * depth}{pid} {who} {does} {session.seconds:.2f} s{wanted}{more}")
        for waiter in under[pid]:
            yield from told(waiter, depth + 1)

    return [line for root in roots for line in told(root, 0)]


class Hosts:
    """The last that was said of every host; filled by several threads, each of which replaces whole values."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = hosts
        self._said: dict[tuple[str, str], tuple[float, float]] = {}

    def take(self, reading: Reading) -> None:
        """Keeps a reading."""
        now = time.monotonic()
        for metric, value in reading.metrics.items():
            self._said[reading.host, metric] = (now, value)

    def lines(self) -> Iterator[str]:
        """One line a host."""
        fresh = time.monotonic() - STALE_S
        said = {key: value for key, (when, value) in list(self._said.items()) if when >= fresh}
        for host in self._hosts:
            of = {metric: value for (name, metric), value in said.items() if name == host.name}
            yield host_line(host, of)


def host_line(host: Host, of: Mapping[str, float]) -> str:
    """CPU of its cap, pool and HAProxy's figures of one host; what is not known is not there."""
    parts = [f"{host.name:<8}"]
    if "cpu_used_cores" in of:
        parts.append(f"cpu {of['cpu_used_cores'] / of['cpu_cap_cores']:4.0%} of {of['cpu_cap_cores']:g}")
        parts.append(f"memory {of['memory_used_bytes'] / 2**20:5.0f} MiB")
    elif not of:
        parts.append("says nothing")
    for metric in sorted(name for name in of if name.startswith("pool_waiting")):
        suffix = metric.removeprefix("pool_waiting")
        total, idle = of.get(f"pool_total{suffix}", 0.0), of.get(f"pool_idle{suffix}", 0.0)
        parts.append(f"pool{suffix} {total - idle:.0f} of {total:.0f} busy, {of[metric]:.0f} waiting")
    if "haproxy_requests" in of:
        parts.append(
            f"haproxy {of['haproxy_requests']:,.0f} req/s, {of['haproxy_sessions']:.0f} sessions, "
            f"{of['haproxy_queued']:.0f} queued"
        )
    return "  ".join(parts)


def database_line(of: Mapping[str, float]) -> str:
    """The database's rates and waits in one line."""
    return (
        f"database {of['pg_commits']:,.0f} commits/s, {of['pg_rollbacks']:,.0f} rollbacks/s, "
        f"{of['pg_deadlocks']:.0f} deadlocks/s, WAL {of['pg_wal_bytes'] / 2**20:.2f} MiB/s; "
        f"{of['pg_active']:.0f} active ({of['pg_wait_lock']:.0f} wait for locks, {of['pg_wait_io']:.0f} for I/O), "
        f"{of['pg_idle_in_transaction']:.0f} idle in a transaction, oldest {of['pg_oldest_xact_seconds']:.1f} s"
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
    """All that is shown at one moment: at most `rows` sessions, and as many lines of who waits on whom."""
    yield title
    yield database_line(database)
    yield from hosts
    yield _COLUMNS[:width]
    yield from _shortened([session_line(session, width) for session in sessions], rows)
    tree = waits(sessions)
    if tree:
        yield "who waits on whom"
        yield from _shortened([f"  {line}" for line in tree], rows)


def _shortened(lines: Sequence[str], rows: int) -> Iterator[str]:
    yield from lines[:rows]
    if len(lines) > rows:
        yield f"  … and {len(lines) - rows} more"


def run_watch(rig_name: str, seconds: float | None, interval: float | None, *, console: Console | None = None) -> None:
    """Shows the rig until `seconds` have passed (None: until Ctrl-C), anew every `interval` seconds.

    Raises RigError where there is no such rig, or its database stops answering.
    """
    console = console or Console(highlight=False)
    live = console.is_terminal
    interval = interval or (1.0 if live else PLAIN_S)
    width = console.width if live else PLAIN_WIDTH
    lost: list[str] = []
    with open_rig(rig_name) as rig, rig.database() as connection:
        hosts = Hosts(rig.hosts)

        def pictures() -> Iterator[str]:
            activity = Activity(connection)
            end = math.inf if seconds is None else time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                time.sleep(min(interval, left))
                title = f"rig {rig.name}  {time.strftime('%H:%M:%S')}"
                rows = max(3, (console.height - len(rig.hosts) - len(lost) - 7) // 2) if live else PLAIN_ROWS
                sessions, database = read_sessions(connection), activity.poll()
                lines = block(title, database, sessions, [*hosts.lines(), *lost], width=width, rows=rows)
                yield "\n".join(lines)

        try:
            with Samplers(rig, hosts.take, lambda why: lost.append(plain(why))):
                if not live:
                    for picture in pictures():
                        print(picture, flush=True)
                    return
                with Live(console=console, auto_refresh=False, screen=True) as screen:
                    for picture in pictures():
                        screen.update(Text(picture, no_wrap=True, overflow="ellipsis"), refresh=True)
        except psycopg.Error as error:
            raise RigError(
                f"the database of rig '{rig.name}' stopped answering: {' '.join(str(error).split())}",
                hint="see ./run status",
            ) from None
