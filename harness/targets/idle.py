"""Waits after a load until the service and its database are idle, then reads part by part what can be read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from typing import TypeVar

from harness.errors import CrucibleError
from harness.targets.app_workers import AppWorkers
from harness.targets.rig_database import RigDatabase

T = TypeVar("T")

IDLE_TIMEOUT_S = 30.0
"""Longest wait for requests that clients gave up on, and for a server that restarts."""
POLL_S = 0.2
ASK_S = 5.0
"""Time between two questions for a sign of life of the database's host."""
_AT_WORK = """
SELECT count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname = current_database() AND application_name <> 'pgcrucible'
  AND pid <> pg_backend_pid() AND state <> 'idle'
"""


class PartReader:
    """Reads parts of the evidence. With `keep_errors` a part that cannot be read is noted in `unread`, else raises."""

    def __init__(self, *, keep_errors: bool) -> None:
        self.keep_errors = keep_errors
        self.unread: dict[str, str] = {}

    def read(self, parts: Collection[str], source: Callable[[], T], default: T) -> T:
        """Returns what `source` returns; `default` where it fails, with the reason for all these parts."""
        try:
            return source()
        except Exception as error:
            if not self.keep_errors:
                raise
            self.unread |= dict.fromkeys(parts, reason_of(error))
            return default


def reason_of(error: Exception) -> str:
    """Returns why something could not be read, as one line."""
    message = error.message if isinstance(error, CrucibleError) else f"{type(error).__name__}: {error}"
    return " ".join(message.split())[:300]


def wait_until_idle(workers: AppWorkers | None, database: RigDatabase, timeout_s: float) -> str:
    """Waits until no worker and no session of the service is busy; returns what still was at the deadline, or "".

    A server that does not answer counts as busy, because it may be starting again. A database host without a sign of
    life is not waited for.
    """
    deadline, ask_s = time.monotonic() + timeout_s, 0.0
    while True:
        if time.monotonic() >= ask_s:
            if database.is_silent():
                return f"the host of the database {database.host} gives no sign of life"
            ask_s = time.monotonic() + ASK_S
        reason = (_busy_worker(workers) if workers else "") or _busy_database(database)
        if not reason:
            return ""
        if time.monotonic() > deadline:
            return f"{reason} {timeout_s:g} s after the load"
        time.sleep(POLL_S)


def _busy_worker(workers: AppWorkers) -> str:
    for worker, (status, body) in workers.get(workers.hosts, "/metrics?database=0").items():
        if status != 200:
            return f"{worker} did not answer"
        pool = json.loads(body).get("pool", {})
        if pool.get("waiting", 0) or pool.get("total", 0) > pool.get("idle", 0):
            return f"{worker} was still busy with requests"
    return ""


def _busy_database(database: RigDatabase) -> str:
    try:
        (sessions,) = database.one(_AT_WORK)
    except CrucibleError as error:
        return f"{error.message},"
    return f"{sessions} sessions of the service were still at work in the database" if sessions else ""
