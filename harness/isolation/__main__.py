"""`python -m harness.isolation`: a job as one JSON line on stdin, progress and the result as JSON lines on stdout.

It runs on a host beside the database (PostgreSQL: a load host; SQLite: an app host) and records transcripts.
The job comes on stdin because the DSN is a secret:

    {"what": "isolation", "dsn", "schema", "levels"?, "cases"?}         the matrix on PostgreSQL
    {"what": "isolation", "sqlite": {"path", "profile"}, "cases"?}      the cases on SQLite
    {"what": "deadlocks", "dsn", "schema", "pairs"?}                    1 and 20 pairs by default

The output: {"event": "progress", "done", "of", "text"} lines, then one line {"event": "result", "result"} or
{"event": "error", "message", "hint", "exit_code"}.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

from harness.errors import INTERRUPTED, CrucibleError, UsageError
from harness.isolation.case_model import LEVELS, Level
from harness.isolation.cases import CASES
from harness.isolation.deadlock_driver import measure
from harness.isolation.deadlock_pairs import MAX_PAIRS
from harness.isolation.observe import observe
from harness.isolation.postgres_driver import Postgres
from harness.isolation.sqlite_driver import Sqlite
from harness.isolation.stepper import LIMIT_S, SessionDriver, run_schedule, script
from harness.isolation.transcript import to_json
from harness.text import strict_json

KEYS = {"what", "dsn", "schema", "levels", "cases", "pairs", "sqlite", "limit_s"}

Progress = Callable[[int, int, str], None]
"""Called with (done, of, text)."""


def isolation(
    driver: SessionDriver,
    cases: Sequence[str],
    levels: Sequence[Level],
    progress: Progress,
    *,
    limit_s: float = LIMIT_S,
) -> dict[str, object]:
    """Runs each case at each level. Returns the stored form of the matrix, without backend and version."""
    start = monotonic()
    cells = []
    plan = [(name, level) for level in levels for name in cases]
    for number, (name, level) in enumerate(plan, start=1):
        case = CASES[name]
        transcript = run_schedule(driver, script(case, level, driver), limit_s=limit_s)
        progress(number, len(plan), f"{name} at {level}: {observe(case, level, transcript)}")
        cells.append({"case": name, "level": level, "transcript": to_json(transcript)})
    return {
        "what": "isolation",
        "cases": list(cases),
        "levels": list(levels),
        "seconds": round(monotonic() - start, 3),
        "cells": cells,
    }


def deadlocks(
    server: Postgres, pairs: Sequence[int], progress: Progress, *, limit_s: float = LIMIT_S
) -> dict[str, object]:
    """Runs one round for each number of pairs. Returns the stored form, without backend and version."""
    rounds = []
    for number, count in enumerate(pairs, start=1):
        rounds.append(measure(server, count, limit_s=limit_s))
        progress(number, len(pairs), f"deadlocks: {count} pairs at once")
    return {"what": "deadlocks", "rounds": rounds}


@dataclass(frozen=True, kw_only=True)
class Job:
    """A validated job."""

    what: str
    cases: tuple[str, ...]
    levels: tuple[Level, ...]
    pairs: tuple[int, ...]
    limit_s: float
    schema: str
    dsn: str = field(repr=False)
    sqlite: Path | None
    profile: str


def parse(line: str) -> Job:
    """Parses a JSON line into a job. Raises UsageError."""
    try:
        data = json.loads(line)
        unknown = set(data) - KEYS
        if unknown:
            raise UsageError(
                f"unknown keys in the job: {', '.join(sorted(unknown))}", hint=f"known: {', '.join(sorted(KEYS))}"
            )
        file = data.get("sqlite")
        on_file = file is not None
        job = Job(
            what=data["what"],
            cases=_known("cases", data.get("cases", list(CASES)), CASES),
            levels=_known("levels", data.get("levels", LEVELS), LEVELS),
            pairs=tuple(map(int, data.get("pairs", (1, 20)))),
            limit_s=float(data.get("limit_s", LIMIT_S)),
            schema="" if on_file else str(data["schema"]),
            dsn="" if on_file else str(data["dsn"]),
            sqlite=Path(file["path"]) if on_file else None,
            profile=str(file["profile"]) if on_file else "",
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"the job on stdin is invalid: {type(error).__name__}: {error}", hint="see harness/isolation/__main__.py"
        ) from None
    if job.what not in (("isolation",) if job.sqlite else ("isolation", "deadlocks")):
        raise UsageError(f"unknown job {job.what!r}", hint="isolation, or deadlocks on PostgreSQL")
    if not job.pairs or not all(1 <= count <= MAX_PAIRS for count in job.pairs):
        raise UsageError(f"pairs {list(job.pairs)} out of range", hint=f"1 to {MAX_PAIRS} at once")
    return job


def _known(key: str, requested: Iterable[Any], known: Iterable[Any]) -> tuple[Any, ...]:
    names, choice = tuple(requested), list(known)
    unknown = [str(name) for name in names if name not in choice]
    if unknown or not names:
        raise UsageError(f"unknown {key}: {', '.join(unknown) or '(empty)'}", hint=f"choose from {', '.join(choice)}")
    return names


def work(job: Job, progress: Progress) -> dict[str, object]:
    """Runs the job and returns its result. Raises CrucibleError."""
    if job.sqlite:
        with Sqlite(job.sqlite, job.profile) as file:
            result = isolation(file, job.cases, ("SERIALIZABLE",), progress, limit_s=job.limit_s)
            return {"backend": f"sqlite-{job.profile}", **file.facts(), **result}
    with Postgres(job.dsn, job.schema, limit_s=job.limit_s) as server:
        if job.what == "isolation":
            result = isolation(server, job.cases, job.levels, progress, limit_s=job.limit_s)
        else:
            result = deadlocks(server, job.pairs, progress, limit_s=job.limit_s)
        return {"backend": "postgres", **server.facts(), **result}


class Reporter:
    """Prints progress and stops the job on a signal. It stops between two cells, when no session or table is open."""

    def __init__(self) -> None:
        self.stopped = False

    def stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (a signal handler's signature)
        """Stops the job after the current cell."""
        self.stopped = True

    def progress(self, done: int, of: int, text: str) -> None:
        """Prints a progress line. Raises KeyboardInterrupt if a signal was received."""
        _print("progress", done=done, of=of, text=text)
        if self.stopped:
            raise KeyboardInterrupt


def main() -> int:
    """Reads the job, runs it and prints the result. Returns the exit code."""
    reporter = Reporter()
    try:
        job = parse(sys.stdin.readline())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, reporter.stop)
        result = work(job, reporter.progress)
    except CrucibleError as error:
        _print("error", message=error.message, hint=error.hint, exit_code=error.exit_code)
        return error.exit_code
    except KeyboardInterrupt:
        _print("error", message="interrupted", hint="", exit_code=INTERRUPTED)
        return INTERRUPTED
    _print("result", result=result)
    return 0


def _print(event: str, **fields: Any) -> None:
    print(strict_json({"event": event, **fields}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
