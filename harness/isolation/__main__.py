"""`python -m harness.isolation`: a job as one JSON line on stdin, progress and the result as JSON lines on stdout.

It runs on a host beside the database (PostgreSQL: a load host; SQLite: an app host), records, and does not judge.
The job (the DSN is a secret, which is why it comes on stdin and goes nowhere else):

    {"what": "isolation", "dsn", "schema", "levels"?, "cases"?}         the matrix on PostgreSQL
    {"what": "isolation", "sqlite": {"path", "profile"}, "cases"?}      the cases on SQLite
    {"what": "deadlocks", "dsn", "schema", "pairs"?}                    1 and 20 pairs, unless said otherwise

The lines: {"event": "progress", "done", "of", "text"}, then one of {"event": "result", "result"} and
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
from harness.isolation.stepper import LIMIT_S, SessionDriver, drive, script
from harness.isolation.transcript import to_json

KEYS = {"what", "dsn", "schema", "levels", "cases", "pairs", "sqlite", "limit_s"}

Say = Callable[[int, int, str], None]
"""Called with (done, of, text)."""


def isolation(
    driver: SessionDriver, cases: Sequence[str], levels: Sequence[Level], say: Say, *, limit_s: float = LIMIT_S
) -> dict[str, Any]:
    """Run each case at each level; the stored form of the matrix, without backend and version."""
    start = monotonic()
    cells = []
    plan = [(name, level) for level in levels for name in cases]
    for number, (name, level) in enumerate(plan, start=1):
        case = CASES[name]
        seen = drive(driver, script(case, level, driver), limit_s=limit_s)
        say(number, len(plan), f"{name} at {level}: {observe(case, level, seen)}")
        cells.append({"case": name, "level": level, "transcript": to_json(seen)})
    return {
        "what": "isolation",
        "cases": list(cases),
        "levels": list(levels),
        "seconds": round(monotonic() - start, 3),
        "cells": cells,
    }


def deadlocks(server: Postgres, pairs: Sequence[int], say: Say, *, limit_s: float = LIMIT_S) -> dict[str, Any]:
    """A round for each number of pairs; the stored form, without backend and version."""
    rounds = []
    for number, count in enumerate(pairs, start=1):
        rounds.append(measure(server, count, limit_s=limit_s))
        say(number, len(pairs), f"deadlocks: {count} at once")
    return {"what": "deadlocks", "rounds": rounds}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to do, checked."""

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
    """The job of a JSON line. Raises UsageError."""
    try:
        data = json.loads(line)
        unknown = set(data) - KEYS
        if unknown:
            raise UsageError(f"a job has no {', '.join(sorted(unknown))}", hint=f"only {', '.join(sorted(KEYS))}")
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
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"not a job: {type(error).__name__}: {error}", hint="see harness.isolation") from None
    if job.what not in (("isolation",) if job.sqlite else ("isolation", "deadlocks")):
        raise UsageError(f"no such job: {job.what!r}", hint="isolation, or deadlocks on PostgreSQL")
    if not job.pairs or not all(1 <= count <= MAX_PAIRS for count in job.pairs):
        raise UsageError(f"pairs: {list(job.pairs)}", hint=f"1 to {MAX_PAIRS} at once")
    return job


def _known(what: str, asked: Iterable[Any], known: Iterable[Any]) -> tuple[Any, ...]:
    names, choice = tuple(asked), list(known)
    strange = [str(name) for name in names if name not in choice]
    if strange or not names:
        raise UsageError(f"unknown {what}: {', '.join(strange)}", hint=f"choose from {', '.join(choice)}")
    return names


def work(job: Job, say: Say) -> dict[str, Any]:
    """Do the job. Raises CrucibleError."""
    if job.sqlite:
        with Sqlite(job.sqlite, job.profile) as file:
            found = isolation(file, job.cases, ("SERIALIZABLE",), say, limit_s=job.limit_s)
            return {"backend": f"sqlite-{job.profile}", **file.facts(), **found}
    with Postgres(job.dsn, job.schema, limit_s=job.limit_s) as server:
        if job.what == "isolation":
            found = isolation(server, job.cases, job.levels, say, limit_s=job.limit_s)
        else:
            found = deadlocks(server, job.pairs, say, limit_s=job.limit_s)
        return {"backend": "postgres", **server.facts(), **found}


class Reporter:
    """Prints progress, and is where a job stops when it is told to: between two cells nothing is left over."""

    def __init__(self) -> None:
        self.stopped = False

    def stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (a signal handler's signature)
        """Stop after the cell under way, which has an end of its own."""
        self.stopped = True

    def say(self, done: int, of: int, text: str) -> None:
        """A line of progress. Raises KeyboardInterrupt if a signal has come."""
        _print("progress", done=done, of=of, text=text)
        if self.stopped:
            raise KeyboardInterrupt


def main() -> int:
    """Read the job, do it, print the lines; the exit code is that of the error."""
    reporter = Reporter()
    try:
        job = parse(sys.stdin.readline())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, reporter.stop)
        result = work(job, reporter.say)
    except CrucibleError as error:
        _print("error", message=error.message, hint=error.hint, exit_code=error.exit_code)
        return error.exit_code
    except KeyboardInterrupt:
        _print("error", message="interrupted", hint="", exit_code=INTERRUPTED)
        return INTERRUPTED
    _print("result", result=result)
    return 0


def _print(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
