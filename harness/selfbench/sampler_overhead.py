"""What the sampler of the database's sessions costs: the rate with it against the rate without it, in one load.

A real PostgreSQL and one process of the service run on the loopback (local_stack.py) under a closed load that leaves no
core idle, so the sampler's work is work that the tier cannot do. The server does not wait for its disk (fsync off): a
tier that waits has time to spare, and a disk's rate varies by more than the sampler could cost. The sampler is switched
on and off within the load, in blocks of two short windows whose order is random: what changes during the load cancels
within a block.
"""

from __future__ import annotations

import contextlib
import math
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from harness.analysis import paired
from harness.load.job import Endpoint
from harness.load.spec import Keys, LoadSpec
from harness.measure.load_controller import LoadController
from harness.rig.connection import LocalConnection
from harness.scenarios.increment_workload import increment
from harness.selfbench.analysis import Entry, entry
from harness.selfbench.local_stack import SERVERS, Server, missing, programs, server, service
from harness.targets.session_waits import WaitSampler

BLOCKS = 100
WINDOW_S = 0.4
SETTLE_S = 0.3
"""After switching, before a window begins: the sampler connects and prepares its statement once per trial."""
TARGET = 0.02
_POOL = 16


def _applied(connection: psycopg.Connection[Any]) -> float:
    """Increments that are in the database."""
    row = connection.execute("SELECT sum(value) FROM counters").fetchone()
    assert row is not None
    return float(row[0])


def _window(connection: psycopg.Connection[Any]) -> float:
    """Increments per second of one window."""
    time.sleep(SETTLE_S)
    first, before = time.monotonic(), _applied(connection)
    time.sleep(WINDOW_S)
    last, after = time.monotonic(), _applied(connection)
    return (after - before) / (last - first)


def _blocks(running: Server, sampler: WaitSampler, ratios: list[float], ending: threading.Event) -> None:
    rng = random.Random(1)
    with running.connect() as connection:
        for block in range(BLOCKS):
            rates: dict[bool, float] = {}
            for sampled in rng.sample([True, False], 2):
                if ending.is_set():
                    return
                with sampler.during(block + 1) if sampled else contextlib.nullcontext():
                    rates[sampled] = _window(connection)
            ratios.append(rates[True] / rates[False])


@contextlib.contextmanager
def _switched(running: Server, sampler: WaitSampler, ratios: list[float]) -> Iterator[None]:
    """Measures the blocks while the context lasts. Raises RuntimeError where an error ended them."""
    ending, errors = threading.Event(), list[Exception]()

    def measure_blocks() -> None:
        try:
            _blocks(running, sampler, ratios, ending)
        except Exception as error:  # noqa: BLE001  # raised again outside of the thread
            errors.append(error)

    thread = threading.Thread(target=measure_blocks)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
    for error in errors:
        text = f"only {len(ratios)} of {BLOCKS} blocks: {type(error).__name__}: {error}"
        raise RuntimeError(text) from error


def measure(folder: Path, programs_at: Path) -> list[float]:
    """Returns the rate with the sampler divided by the rate without it, of each block."""
    ratios: list[float] = []
    ticks: list[int] = []
    warnings: list[str] = []
    host, began_s = LocalConnection(), time.time()
    load = LoadSpec(
        mode="closed",
        clients=2 * _POOL,
        seconds=BLOCKS * 2 * (SETTLE_S + WINDOW_S + 0.1),
        keys=Keys(kind="uniform", prefix="app", count=1000),
        operations=(increment("upsert"),),
    )
    with server(programs_at, folder, fsync="off") as running, service(running, folder, pool=_POOL) as (port, _):
        command = [sys.executable, "-m", "harness.load.agent"]
        with (
            LoadController([host], command=command, endpoint=Endpoint(host="127.0.0.1", port=port)) as controller,
            WaitSampler(
                host,
                [str(running.bin / "psql"), running.dsn],
                began_s=began_s,
                store=lambda _, rows: ticks.append(len(rows)),
                warn=warnings.append,
            ) as sampler,
        ):
            controller.run(
                {"main": load}, tag="selfbench", seed=1, scratch=folder, began_s=began_s,
                during=_switched(running, sampler, ratios),
            )  # fmt: skip
    if warnings or not all(ticks):
        raise RuntimeError(f"the sampler did not sample: {warnings[:1] or 'no rows'}")
    return ratios


def wait_sampler_overhead() -> Entry:
    """The largest loss of rate that the blocks do not exclude (95 %); None where no PostgreSQL can be started."""
    programs_at = programs(SERVERS)
    if reasons := missing(programs_at):
        return entry(None, "share", f"<= {TARGET}", "; ".join(reasons.values()))
    assert programs_at is not None
    with tempfile.TemporaryDirectory(prefix="pgcrucible-selfbench-") as name:
        ratios = measure(Path(name), programs_at)
    found = paired.interval([math.log(ratio) for ratio in ratios])
    if found is None:
        return entry(None, "share", f"<= {TARGET}", f"only {len(ratios)} blocks were measured")
    rate, low, high = (math.exp(one) for one in (found.value, found.low, found.high))
    detail = f"rate with / without {rate:.3f} [{low:.3f}, {high:.3f}], {len(ratios)} blocks, all cores busy"
    return entry(max(0.0, 1 - low), "share", f"<= {TARGET}", detail)
