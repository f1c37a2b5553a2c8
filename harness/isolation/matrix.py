"""The matrix: what the standard allows, what the manual documents, what was observed. Pure.

Rows are judged anew from the stored transcripts, so that nobody has to trust the host that recorded them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from harness.errors import FormatError
from harness.model import BACKENDS, Backend

from .case import LEVELS, Case, Level, Rule
from .cases import CASES
from .judge import Observation, judge, verdict
from .transcript import Transcript, from_json

SQLITE_BASIS = "sqlite.org/isolation.html: all transactions are serializable, but for a shared cache"
SQLITE_NOTE = (
    "SQLite has no level but SERIALIZABLE: READ UNCOMMITTED needs a cache shared inside one process, which app\n"
    "hosts cannot have; READ COMMITTED and REPEATABLE READ do not exist (n/a)."
)
LEGEND = (
    "std: SQL-92, or where it is silent (*) the reading of Berenson and Adya.  doc: the database's manual.\n"
    "may = possible, no = prevented.  Seen: OCCURRED, or the strongest means that prevented it: abort (code),\n"
    "waited (as long as the schedule held the lock), snapshot (an older version was shown).\n"
    "!! = occurred although documented as prevented.  - = documented as possible, not observed."
)
HEAD = "std  doc seen"
MISSING = "         n/a"

Word = TypeVar("Word", bound=str)


def documented(backend: Backend, case: Case, level: Level) -> tuple[Rule, str]:
    """What the manual of that database says, and where."""
    if backend == "postgres":
        return case.documented(level), case.documented_basis
    return "prevented", SQLITE_BASIS


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A result of the cases, checked: what was asked for, and the transcripts there are."""

    backend: Backend
    version: str
    cases: tuple[Case, ...]
    levels: tuple[Level, ...]
    seen: Mapping[tuple[str, Level], Transcript]


def read(result: Mapping[str, Any]) -> Stored:
    """The stored result; FormatError if it is none."""
    try:
        stored = Stored(
            backend=_one_of(result["backend"], BACKENDS),
            version=" ".join(str(result["version"]).split()[:2]),  # `PostgreSQL 18.6` of what version() says
            cases=tuple(CASES[_one_of(name, tuple(CASES))] for name in result["cases"]),
            levels=tuple(_one_of(level, LEVELS) for level in result["levels"]),
            seen={
                (_one_of(cell["case"], tuple(CASES)), _one_of(cell["level"], LEVELS)): from_json(cell["transcript"])
                for cell in result["cells"]
            },
        )
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise FormatError(f"not a result of the isolation cases: {type(error).__name__}: {error}") from error
    if not (stored.cases and stored.levels):
        raise FormatError("a result of the isolation cases that asks for none")
    return stored


def _one_of(value: Any, known: tuple[Word, ...]) -> Word:
    if value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(known)}")
    return known[known.index(value)]


def matrix(stored: Stored) -> list[dict[str, Any]]:
    """One row for each case and level that was asked for; one that never ran is `unknown`."""
    return [_row(stored, case, level) for case in stored.cases for level in stored.levels]


def _row(stored: Stored, case: Case, level: Level) -> dict[str, Any]:
    never = Transcript(level=level, trouble="it was never run")
    transcript = stored.seen.get((case.name, level), never)
    observed = judge(case, level, transcript)
    rule, basis = documented(stored.backend, case, level)
    return {
        "backend": stored.backend,
        "version": stored.version,
        "case": case.name,
        "title": case.title,
        "level": level,
        "standard": case.standard(level),
        "standard_basis": case.basis(level),
        "standard_silent": case.silent(level),
        "documented": rule,
        "documented_basis": basis,
        "observed": str(observed),
        "kind": observed.kind,
        "ms": observed.ms,
        "code": observed.code,
        "reason": observed.reason,
        "verdict": verdict(rule, observed),
        "not_observed": _not_observed(rule, observed),
        "witness": list(transcript.witness()),
    }


def _not_observed(rule: Rule, observed: Observation) -> bool:
    return rule == "possible" and observed.kind not in ("occurred", "unknown")


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """The matrix as text for a terminal: a table for each of PostgreSQL and SQLite, and a legend."""
    parts = []
    for system in dict.fromkeys(_system(row) for row in rows):
        parts.append(_table([row for row in rows if _system(row) == system]))
        if system == "sqlite":
            parts.append(SQLITE_NOTE)
    return "\n\n".join([*parts, LEGEND])


def _system(row: Mapping[str, Any]) -> str:
    return str(row["backend"]).split("-", maxsplit=1)[0]


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys((row["backend"], row["level"]) for row in rows))
    shown = {(row["case"], row["backend"], row["level"]): _shown(row) for row in rows}
    names = {row["case"]: f"{row['case']:<8}  {row['title']}" for row in rows}
    heads = [level if backend == "postgres" else f"{backend}: {level}" for backend, level in columns]
    left = max(map(len, (*names.values(), rows[0]["version"])))
    width = max(map(len, (*shown.values(), *heads)))
    lines = [
        _line(rows[0]["version"], left, heads, width),
        _line("", left, [HEAD] * len(columns), width),
        _line("-" * left, left, ["-" * width] * len(columns), width),
    ]
    for case, name in names.items():
        lines.append(_line(name, left, [shown.get((case, *column), MISSING) for column in columns], width))
    return "\n".join(lines)


def _line(first: str, left: int, others: Iterable[str], width: int) -> str:
    return "  ".join([first.ljust(left), *(other.ljust(width) for other in others)]).rstrip()


def _shown(row: Mapping[str, Any]) -> str:
    word = {"possible": "may", "prevented": "no"}
    standard = word[row["standard"]] + ("*" if row["standard_silent"] else "")
    mark = " !!" if row["verdict"] == "fail" else " -" if row["not_observed"] else ""
    return f"{standard:<4} {word[row['documented']]:<3} {row['observed']}{mark}"
