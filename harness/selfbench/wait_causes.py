"""Whether the cause of slow requests is named: each cause is injected alone, on this machine, and must come first.

A real PostgreSQL and one process of the service run on the loopback (local_stack.py), the load comes from the project's
load agent, and the session samples from the sampler of the rigs. What is injected:

queue          an open load above what one connection of the load host can carry
pool           statements that hold every connection of the pool
row lock       a session that locks the row, for longer than the requests take
WAL            sessions that write WAL in large pieces, which commits have to flush too
database CPU   a trigger that computes for some tens of milliseconds
app CPU        a closed load above what one process of the service can answer
network        a relay between load and service that delays each piece of data
"""

from __future__ import annotations

import contextlib
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.analysis import slowest
from harness.analysis.bottleneck import FULL
from harness.analysis.slowest import SlowestSplit, split_slowest
from harness.load.job import Endpoint
from harness.load.results.samples import read_samples, sample_file
from harness.load.spec import Keys, LoadSpec, Operation
from harness.measure.load_controller import LoadController
from harness.rig.connection import LocalConnection
from harness.scenarios.increment_workload import increment
from harness.selfbench.analysis import Entry, entry
from harness.selfbench.local_stack import SERVERS, Server, missing, programs, server, service
from harness.store import waits_file
from harness.targets.session_waits import WaitSampler

ROUNDS = 3
SECONDS = 3.0
POOL = 16
DELAY_S = 0.02
"""Of the relay, each way."""
TARGET = 0.9
_SLEEP = Operation(name="hold", path="/api/transaction", body={"keys": [], "hold_ms": 200})
_FLOOD = "SELECT pg_logical_emit_message(false, 'pgcrucible', repeat('x', 8000000))"
_COMPUTE = """
CREATE OR REPLACE FUNCTION compute() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM count(*) FROM generate_series(1, 300000); RETURN NEW; END $$;
CREATE OR REPLACE TRIGGER compute BEFORE INSERT OR UPDATE ON counters FOR EACH ROW EXECUTE FUNCTION compute();
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What an injection works on: the server, the port of the service, and the service's process id."""

    server: Server
    port: int
    pid: int


Injection = Callable[[Stack], contextlib.AbstractContextManager[int]]
"""Holds while the context lasts; yields the port that the load goes to."""


@contextlib.contextmanager
def nothing(stack: Stack) -> Iterator[int]:
    """The cause lies in the load itself."""
    yield stack.port


@contextlib.contextmanager
def _repeated(stack: Stack, sql: Sequence[str], sessions: int = 1) -> Iterator[int]:
    """Runs the statements repeatedly, in `sessions` sessions."""
    ending = threading.Event()

    def work() -> None:
        with stack.server.connect() as connection:
            while not ending.is_set():
                for statement in sql:
                    connection.execute(statement.encode())

    threads = [threading.Thread(target=work) for _ in range(sessions)]
    for thread in threads:
        thread.start()
    try:
        yield stack.port
    finally:
        ending.set()
        for thread in threads:
            thread.join(30)


def locked_row(stack: Stack) -> contextlib.AbstractContextManager[int]:
    """A session holds the lock of the row for 0.15 s, again and again."""
    lock = "UPDATE counters SET value = value WHERE key = 'app-0'"
    return _repeated(stack, ["BEGIN", lock, "SELECT pg_sleep(0.15)", "COMMIT"])


def wal_flood(stack: Stack) -> contextlib.AbstractContextManager[int]:
    """Two sessions write 8 MB of WAL at a time."""
    return _repeated(stack, [_FLOOD], sessions=2)


@contextlib.contextmanager
def computing_trigger(stack: Stack) -> Iterator[int]:
    """Every update of a counter computes."""
    with stack.server.connect() as connection:
        connection.execute(_COMPUTE.encode())
        try:
            yield stack.port
        finally:
            connection.execute("DROP TRIGGER compute ON counters; DROP FUNCTION compute()")


@contextlib.contextmanager
def slow_relay(stack: Stack) -> Iterator[int]:
    """A relay on the loopback that waits before it passes data on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_accept, args=(listener, stack.port))
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # a close alone does not end accept(), which may take the next file
            thread.join()


def _accept(listener: socket.socket, port: int) -> None:
    with contextlib.suppress(OSError):  # the listener was shut down
        while True:
            near, _ = listener.accept()
            threading.Thread(target=_relay, args=(near, port), daemon=True).start()


def _relay(near: socket.socket, port: int) -> None:
    """Relays one connection until either side ends it, and closes both when nothing reads from them any more."""
    with near, socket.create_connection(("127.0.0.1", port), 5) as far:
        far.settimeout(None)
        back = threading.Thread(target=_pass_on, args=(far, near), daemon=True)
        back.start()
        _pass_on(near, far)
        back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            time.sleep(DELAY_S)
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _spread(name: str) -> Keys:
    return Keys(kind="uniform", prefix=name, count=1000)


def _increments(*, rate: float | None = None, clients: int = POOL, hot: bool = False) -> LoadSpec:
    return LoadSpec(
        mode="closed" if rate is None else "open",
        clients=clients,
        rate=rate,
        seconds=SECONDS,
        keys=Keys(kind="one", prefix="app", count=1) if hot else _spread("app"),
        operations=(increment("upsert"),),
    )


_HOLDS = LoadSpec(mode="closed", clients=2 * POOL, seconds=SECONDS, operations=(_SLEEP,))

CAUSES: dict[str, tuple[Injection, dict[str, LoadSpec]]] = {
    slowest.QUEUE: (computing_trigger, {"main": _increments(rate=40.0, clients=1)}),
    slowest.POOL: (nothing, {"main": _increments(rate=100.0, clients=64), "holds": _HOLDS}),
    slowest.LOCK: (locked_row, {"main": _increments(rate=20.0, clients=64, hot=True)}),
    slowest.WAL: (wal_flood, {"main": _increments(rate=20.0, clients=64)}),
    slowest.DATABASE_CPU: (computing_trigger, {"main": _increments(rate=10.0, clients=64)}),
    slowest.APP_CPU: (nothing, {"main": _increments(clients=POOL)}),
    slowest.NETWORK: (slow_relay, {"main": _increments(rate=100.0, clients=64)}),
}
"""Cause -> how it is injected, and the load whose slowest requests it must explain."""


def _wanted_cpu_s(pid: int) -> float:
    """Seconds that the process ran or waited for a core (proc(5), schedstat): a busy machine must not hide its need."""
    ran_ns, waited_ns, _ = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()
    return (int(ran_ns) + int(waited_ns)) / 1e9


def measure(stack: Stack, cause: str, folder: Path) -> SlowestSplit | None:
    """Injects one cause, sends its load and divides the time of its slowest requests."""
    inject, lanes = CAUSES[cause]
    stored: list[waits_file.Row] = []
    host, began_s = LocalConnection(), time.time()
    psql = [str(stack.server.bin / "psql"), stack.server.dsn]
    with inject(stack) as port, contextlib.ExitStack() as open_until_the_end:
        endpoint = Endpoint(host="127.0.0.1", port=port)
        load = LoadController([host], command=[sys.executable, "-m", "harness.load.agent"], endpoint=endpoint)
        sampler = WaitSampler(host, psql, began_s=began_s, store=lambda _, rows: stored.extend(rows), warn=print)
        open_until_the_end.enter_context(load)
        open_until_the_end.enter_context(sampler)
        wanted_s = _wanted_cpu_s(stack.pid)
        results = load.run(lanes, tag="selfbench", seed=1, scratch=folder, began_s=began_s, during=sampler.during(1))
        share = (_wanted_cpu_s(stack.pid) - wanted_s) / SECONDS
    path = sample_file(results.folders["main"])
    assert path is not None
    waits_file.write(folder / "waits.csv.gz", stored)
    waits = waits_file.read(folder / "waits.csv.gz")
    assert waits is not None
    return split_slowest(read_samples(path), waits, {"app CPU"} if share >= FULL else set())


def wait_cause_named(rounds: int = ROUNDS) -> Entry:
    """The share of injections whose cause was named first; None where this machine has no PostgreSQL to start."""
    programs_at = programs(SERVERS)
    if reasons := missing(programs_at):
        return entry(None, "share", f">= {TARGET}", "; ".join(reasons.values()))
    assert programs_at is not None
    named, wrong = Counter[str](), []
    with (
        tempfile.TemporaryDirectory(prefix="pgcrucible-selfbench-") as name,
        server(programs_at, folder := Path(name)) as running,
        service(running, folder, pool=POOL) as (port, pid),
    ):
        stack = Stack(server=running, port=port, pid=pid)
        for number in range(rounds):
            for cause in CAUSES:
                with tempfile.TemporaryDirectory(dir=folder) as scratch:
                    split = measure(stack, cause, Path(scratch))
                first = split.first if split else "nothing"
                named[cause] += first == cause
                if first != cause:
                    wrong.append(f"{cause} in round {number + 1}: {split.sentence if split else 'not divided'}")
    tries = rounds * len(CAUSES)
    detail = f"{named.total()} of {tries} injections; " + ("; ".join(wrong[:3]) or "each cause was named first")
    return entry(named.total() / tries, "share", f">= {TARGET}", detail)
