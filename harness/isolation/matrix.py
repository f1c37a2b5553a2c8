"""The matrix: what the standard allows, what the manual documents, what was observed. Pure.

Rows are judged anew from the stored transcripts, so that nobody has to trust the host that recorded them.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from harness.errors import FormatError
from harness.isolation.case_model import LEVELS, Case, Level, Rule
from harness.isolation.cases import CASES
from harness.isolation.observe import Observation, observe, verdict
from harness.isolation.transcript import Transcript, from_json
from harness.model import BACKENDS, Backend, Verdict

SQLITE_BASIS = "sqlite.org/isolation.html: all transactions are serializable, but for a shared cache"
SQLITE_NOTE = (
    "SQLite has no level but SERIALIZABLE: READ UNCOMMITTED needs a cache shared inside one process, which app hosts "
    "cannot have; READ COMMITTED and REPEATABLE READ do not exist."
)
LEGEND = (
    "std: what SQL-92 says (*: at SERIALIZABLE only; below it the reading of Berenson and Adya). doc: what the "
    "database's manual says. may = it may occur, no = prevented. seen: OCCURRED, or the strongest means that "
    "prevented it: abort (code), wait (as long as the schedule held the lock), snapshot (an older version was shown). "
    "!! = it occurred although documented as prevented. - = it may occur and was not seen."
)
HEAD = "std doc seen"
MISSING = "        not run"
WORST: Mapping[Verdict, int] = {"fail": 0, "unknown": 1, "pass": 2}

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
    observed = observe(case, level, transcript)
    rule, basis = documented(stored.backend, case, level)
    return {
        "backend": stored.backend,
        "version": stored.version,
        "case": case.name,
        "title": case.title,
        "meaning": case.meaning,
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


def render(rows: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    """The matrix as lines of at most `width` characters: PostgreSQL level by level, SQLite set-up by set-up, a legend.

    Where a case was run more than once at a level, the run that speaks most against the database is shown.
    """
    lines: list[str] = []
    rows = sorted(rows, key=lambda row: BACKENDS.index(row["backend"]))
    for system in dict.fromkeys(_system(row) for row in rows):
        mine = [row for row in rows if _system(row) == system]
        columns = list(dict.fromkeys((row["backend"], row["level"]) for row in mine))
        for group in _groups(mine, columns, width):
            lines += [*_table(mine, group), ""]
        lines += [*textwrap.wrap(SQLITE_NOTE, width), ""] if system == "sqlite" else []
    titles = "; ".join(dict.fromkeys(f"{_short(row['case'])} = {row['title']}" for row in rows))
    return [*lines, *textwrap.wrap(f"{titles}.", width), *textwrap.wrap(LEGEND, width)]


_Column = tuple[str, str]


def _system(row: Mapping[str, Any]) -> str:
    return str(row["backend"]).split("-", maxsplit=1)[0]


def _groups(rows: Sequence[Mapping[str, Any]], columns: Sequence[_Column], width: int) -> list[Sequence[_Column]]:
    """The columns in as few tables as fit the width, of even size."""
    left, wide = _widths(rows)
    fit = max(1, (width - left) // (wide + 2))
    size = math.ceil(len(columns) / math.ceil(len(columns) / fit))
    return [columns[start : start + size] for start in range(0, len(columns), size)]


def _widths(rows: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Characters of the anomalies' names, and of a level's column."""
    names = (rows[0]["version"], *(_name(row) for row in rows))
    return max(map(len, names)), max(len(text) for row in rows for text in (_shown(row), _head(row), MISSING))


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[_Column]) -> list[str]:
    left, wide = _widths(rows)
    worst_last = sorted(rows, key=lambda row: -WORST[row["verdict"]])
    shown = {(row["case"], row["backend"], row["level"]): _shown(row) for row in worst_last}
    heads = {(row["backend"], row["level"]): _head(row) for row in rows}
    names: dict[str, str] = {}
    for row in rows:
        names[row["case"]] = max(names.get(row["case"], ""), _name(row), key=len)
    lines = [(rows[0]["version"], [heads[column] for column in columns]), ("", [HEAD] * len(columns))]
    lines += [(name, [shown.get((case, *column), MISSING) for column in columns]) for case, name in names.items()]
    return ["  ".join([first.ljust(left), *(text.ljust(wide) for text in others)]).rstrip() for first, others in lines]


def _head(row: Mapping[str, Any]) -> str:
    return str(row["level"] if row["backend"] == "postgres" else row["backend"])


def _short(case: str) -> str:
    """`dirty-read` is said as `dirty`, so that four levels have room in a line."""
    return case.removesuffix("-read")


def _name(row: Mapping[str, Any]) -> str:
    return _short(row["case"]) + ("*" if row["standard_silent"] else "")


def _shown(row: Mapping[str, Any]) -> str:
    word = {"possible": "may", "prevented": "no"}
    mark = "!!" if row["verdict"] == "fail" else " -" if row["not_observed"] else ""
    seen = f"wait {row['ms']:.0f} ms" if row["kind"] == "waited" else row["observed"]
    return f"{word[row['standard']]:<3} {word[row['documented']]:<3} {seen}{mark}"
