"""Drives a schedule against a database, each step when the one before has ended or is *seen* to wait.

Nothing here sleeps to make an order: a statement is sent, and then the stepper looks, at the statement and
through the driver's separate observer at who waits for whom, until every statement in flight has ended or
waits for another session of the case. Every wait has an end: what neither ends nor is seen waiting within
the limit makes the run's `trouble`, and the judge then answers `unknown`.

Threads, not asyncio: tried side by side against PostgreSQL they cost the same (2.4 ms a blocking pair), and
sqlite3 needs the threads anyway.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from harness.isolation.case_model import Case, Level, Script, Step
from harness.isolation.cases import CLEANUP, FINAL, SETUP
from harness.isolation.transcript import LEVEL, ROLLBACK_AFTER_ERROR, Event, Rows, Transcript

LIMIT_S = 15.0
"""Longest time without any progress; well above deadlock_timeout (1 s) and SQLite's busy time-out."""
LOOK_S = 0.001
"""How long a statement may take before the observer is asked about it."""


class Refused(Exception):
    """The database answered a statement with an error; `code` is the SQLSTATE or SQLite's result code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message


class Stuck(Exception):
    """A statement neither ended nor was seen waiting for another session within the limit."""


class SessionDriver(Protocol):
    """A database as the stepper needs it. Only `execute` is called from the sessions' threads."""

    level_sql: str
    """Statement whose single value is the level the transaction really runs at."""

    def begin(self, level: Level, *, writes: bool) -> str:
        """The statement that starts a transaction at this level."""
        ...

    def open(self, sessions: Sequence[str]) -> Mapping[str, int]:
        """Connect each session; their server processes, where there are such. Refused if it cannot."""
        ...

    def execute(self, session: str, sql: str) -> Rows:
        """Run one statement in its session until it ends. Raises Refused."""
        ...

    def waiting(self, sessions: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """Which of these wait right now for other sessions of the case, and for whom."""
        ...

    def interrupt(self) -> None:
        """Make whatever still runs in the sessions end, so that their threads come back."""
        ...

    def end_sessions(self) -> None:
        """Close the sessions; none of their threads uses them any more."""
        ...

    def admin(self, sql: str) -> Rows:
        """Run one statement outside the sessions. Raises Refused."""
        ...


def script(case: Case, level: Level, driver: SessionDriver) -> Script:
    """The case at a level: each session begins and says its level, then the steps one by one."""
    opening = []
    for session in case.sessions:
        writes = any(step.writes for step in case.steps if step.session == session)
        opening += [Step(session, driver.begin(level, writes=writes)), Step(session, driver.level_sql, LEVEL)]
    rounds = tuple((step,) for step in (*opening, *case.steps))
    return Script(level=level, setup=SETUP, rounds=rounds, final=FINAL, cleanup=CLEANUP)


def drive(driver: SessionDriver, plan: Script, *, limit_s: float = LIMIT_S) -> Transcript:
    """Run the script and record it; leaves no session open and no table behind, whatever happens.

    An error of the database in set-up, connecting or clean-up becomes the transcript's `trouble`.
    """
    final: Rows = ()
    pids: Mapping[str, int] = {}
    run = _Run(driver, limit_s)
    trouble = ""
    try:
        for sql in plan.setup:
            driver.admin(sql)
        try:
            pids = driver.open(plan.sessions)
            with ThreadPoolExecutor(len(plan.sessions), thread_name_prefix="session") as pool:
                try:
                    run.go(pool, plan.rounds)
                finally:
                    driver.interrupt()  # leaving the pool waits for the statements that still run
        finally:
            driver.end_sessions()
        final = driver.admin(plan.final)
    except (Refused, Stuck) as error:
        trouble = str(error)
    finally:
        try:
            for sql in plan.cleanup:
                driver.admin(sql)
        except Refused as error:
            trouble = trouble or f"clean-up failed: {error}"
    return Transcript(level=plan.level, events=tuple(run.events), final=final, trouble=trouble, pids=pids)


@dataclass(slots=True)
class _InFlight:
    step: Step
    future: Future[tuple[Rows, Refused | None, float]]
    sent: float
    waited_for: tuple[str, ...] = ()


class _Run:
    """The state of one run: what is in flight, and what queues behind it in the same session."""

    def __init__(self, driver: SessionDriver, limit_s: float) -> None:
        self.events: list[Event] = []
        self._driver = driver
        self._limit_s = limit_s
        self._start = monotonic()
        self._flying: dict[str, _InFlight] = {}
        self._queued: dict[str, deque[Step]] = {}
        self._failed: set[str] = set()

    def go(self, pool: ThreadPoolExecutor, rounds: Sequence[Sequence[Step]]) -> None:
        """Send round after round, then wait for the rest. Raises Stuck."""
        self._pool = pool
        self._start = monotonic()
        for round_ in rounds:
            for step in round_:
                self._send(step)
            self._settle()
        while self._flying:  # only sessions that were seen waiting are left: one of them must move
            futures = [flight.future for flight in self._flying.values()]
            if not wait(futures, timeout=self._limit_s, return_when=FIRST_COMPLETED).done:
                raise Stuck(f"{self._picture()} and nothing ended it within {self._limit_s:g} s")
            self._settle()

    def _send(self, step: Step) -> None:
        if step.session in self._failed:
            return  # its transaction is gone
        if step.session in self._flying:
            self._queued.setdefault(step.session, deque()).append(step)
            return
        sent = monotonic()
        self._flying[step.session] = _InFlight(step, self._pool.submit(self._execute, step), sent)

    def _execute(self, step: Step) -> tuple[Rows, Refused | None, float]:
        try:
            rows = self._driver.execute(step.session, step.sql)
        except Refused as error:
            return (), error, monotonic()
        return rows, None, monotonic()

    def _settle(self) -> None:
        """Return when each statement in flight is seen to wait for another session, or has ended."""
        deadline = monotonic() + self._limit_s
        while self._flying:
            moving = [flight.future for flight in self._flying.values()]
            wait(moving, timeout=LOOK_S, return_when=FIRST_COMPLETED)
            if self._collect():
                deadline = monotonic() + self._limit_s
                continue
            seen = self._driver.waiting(tuple(self._flying))
            for session, holders in seen.items():
                flight = self._flying[session]
                flight.waited_for = tuple(dict.fromkeys((*flight.waited_for, *holders)))
            if len(seen) == len(self._flying):
                return
            if monotonic() > deadline:
                running = ", ".join(f"{s}: {f.step.sql}" for s, f in self._flying.items() if s not in seen)
                raise Stuck(f"neither ended nor seen waiting within {self._limit_s:g} s: {running}")

    def _collect(self) -> bool:
        """Record what has ended and start what queued behind it; whether there was any."""
        ended = [flight for flight in self._flying.values() if flight.future.done()]
        for flight in sorted(ended, key=lambda f: f.future.result()[2]):
            rows, error, done = flight.future.result()
            step = flight.step
            del self._flying[step.session]
            self.events.append(
                Event(
                    session=step.session,
                    sql=step.sql,
                    label=step.label,
                    sent_ms=round((flight.sent - self._start) * 1e3, 3),
                    done_ms=round((done - self._start) * 1e3, 3),
                    waited_for=flight.waited_for,
                    rows=rows,
                    code=error.code if error else "",
                    message=error.message if error else "",
                )
            )
            if error and step.session not in self._failed:
                self._send(Step(step.session, "ROLLBACK", ROLLBACK_AFTER_ERROR))
                self._failed.add(step.session)
            elif self._queued.get(step.session):
                self._send(self._queued[step.session].popleft())
        return bool(ended)

    def _picture(self) -> str:
        return ", ".join(
            f"{s} waits for {' and '.join(f.waited_for) or 'nobody seen'} in {f.step.sql}"
            for s, f in self._flying.items()
        )
