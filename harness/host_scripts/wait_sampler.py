"""Samples what the database's sessions wait for. Standard library only: it is sent as text to the database host.

Its argument is a JSON object: `command` starts psql, `period_s` is the time between two ticks, `most_ticks` the limit
per trial. A line of standard input starts a trial (its order) or ends it (0). One JSON line is printed at each start,
and one at each end:

{"order": n, "now_us": now}
{"order": n, "ticks": [[at_us, "rows"], ...], "error": ""}

Times are CLOCK_MONOTONIC in microseconds, in the middle of the query. A row is `pid state type event`, separated by
tabs, for each session that is not idle, and `blocks pid name state` for the sessions that the longest waiter for a lock
waits for. Nothing is printed while a trial runs, and one statement, prepared once, is run 20 times per second, because
the sampler shares the host with the database that is measured. It ends with its standard input.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time

END = "--end--"
ANSWER_S = 5.0
"""Longest wait for one tick; a database that does not answer for longer is not sampled for the rest of the trial."""
PREPARE = """
SET application_name = 'pgcrucible'; SET statement_timeout = '4s'; SET jit = off;
PREPARE tick AS
WITH session AS MATERIALIZED (
  SELECT pid, state, wait_event_type, wait_event, query_start FROM pg_stat_activity
  WHERE backend_type = 'client backend' AND datname = current_database() AND state <> 'idle'
    AND pid <> pg_backend_pid()
), longest AS (
  SELECT pid FROM session WHERE wait_event_type = 'Lock' ORDER BY query_start LIMIT 1
)
SELECT pid::text, state, coalesce(wait_event_type, ''), coalesce(wait_event, '') FROM session
UNION ALL
SELECT 'blocks', blocker.pid::text, blocker.application_name, blocker.state
FROM longest, unnest(pg_blocking_pids(longest.pid)) AS of (pid)
JOIN pg_stat_activity AS blocker ON blocker.pid = of.pid;
"""
"""`pg_blocking_pids` is asked for one session only: it stops the lock manager for a moment (manual, 9.26)."""


def now_us() -> int:
    return time.monotonic_ns() // 1000


class Psql:
    """One psql process; `ask` sends a statement and returns the lines of its result."""

    def __init__(self, command: list[str]) -> None:
        options = ["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1"]
        self._process = subprocess.Popen(
            [*command, *options], cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )  # the user `postgres` may not enter root's folder, of which psql would warn first
        self._text = b""

    def ask(self, sql: str) -> str:
        """Raises OSError with psql's message where it ends, or TimeoutError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{sql}\n\\echo {END}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise OSError(self._message()) from None
        end, deadline = f"{END}\n".encode(), time.monotonic() + ANSWER_S
        while not self._text.endswith(end):
            wait = deadline - time.monotonic()
            if wait <= 0 or not select.select([self._process.stdout], [], [], wait)[0]:
                raise TimeoutError(f"the database did not answer within {ANSWER_S:g} s")
            part = os.read(self._process.stdout.fileno(), 1 << 16)
            if not part:
                raise OSError(self._message())
            self._text += part
        text, self._text = self._text[: -len(end)], b""
        return text.decode("utf-8", "replace")

    def _message(self) -> str:
        """What psql printed as errors, in one line: the cause comes first."""
        assert self._process.stderr is not None
        words = self._process.stderr.read().decode("utf-8", "replace").split()
        return " ".join(words)[:200] or "psql ended"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Trial:
    """The ticks of one trial. A failure ends the sampling, and is reported with the ticks before it."""

    def __init__(self, order: int, psql: Psql | None, error: str) -> None:
        self.order, self._psql, self.error = order, psql, error
        self._ticks: list[tuple[int, str]] = []

    def tick(self, most_ticks: int) -> bool:
        """Takes one sample; returns whether more can be taken."""
        if self._psql is None or len(self._ticks) >= most_ticks:
            return False
        before_us = now_us()
        try:
            rows = self._psql.ask("EXECUTE tick;")
        except OSError as error:
            self.error = str(error)
            self._psql.close()
            return False
        self._ticks.append(((before_us + now_us()) // 2, rows))
        return True

    def report(self) -> str:
        return json.dumps({"order": self.order, "ticks": self._ticks, "error": self.error})


def opened(command: list[str]) -> tuple[Psql | None, str]:
    """A psql that is ready, or None and the reason."""
    try:
        psql = Psql(command)
    except OSError as error:
        return None, str(error)
    try:
        psql.ask(PREPARE)
    except OSError as error:
        psql.close()
        return None, str(error)
    return psql, ""


def main() -> None:
    job = json.loads(sys.argv[1])
    psql: Psql | None = None
    trial: Trial | None = None
    more, due, rest = False, 0.0, b""
    try:
        while True:
            wait = max(0.0, due - time.monotonic()) if more else None
            if select.select([0], [], [], wait)[0]:
                part = os.read(0, 4096)
                if not part:
                    return
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    if trial is not None:
                        print(trial.report(), flush=True)
                        trial = None
                    more = False
                    if int(line):
                        print(json.dumps({"order": int(line), "now_us": now_us()}), flush=True)
                        if psql is not None:
                            psql.close()
                        psql, error = opened(job["command"])
                        trial, more, due = Trial(int(line), psql, error), psql is not None, time.monotonic()
            elif trial is not None and more:
                more = trial.tick(job["most_ticks"])
                due = max(due + job["period_s"], time.monotonic())
    finally:
        if psql is not None:
            psql.close()


if __name__ == "__main__":
    main()
