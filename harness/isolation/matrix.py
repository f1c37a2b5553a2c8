"""The matrix: what the standard allows, what the manual documents, what was observed. Pure.

Rows are always computed from the stored transcripts, never taken from the host that recorded them.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar

from harness.errors import FormatError
from harness.isolation.case_model import LEVELS, Case, Level, Rule
from harness.isolation.cases import CASES
from harness.isolation.observe import Kind, Observation, not_interleaved, observe, verdict
from harness.isolation.transcript import Transcript, from_json
from harness.model import BACKENDS, VERDICTS, Backend, Verdict

SQLITE_BASIS = "sqlite.org/isolation.html: all transactions are serializable, except with a shared cache"
SQLITE_NOTE = (
    "SQLite has only SERIALIZABLE. READ UNCOMMITTED needs a cache that connections of one process share, which app "
    "hosts cannot do; READ COMMITTED and REPEATABLE READ do not exist."
)
LEGEND = (
    "std: according to SQL-92 (*: SQL-92 covers SERIALIZABLE only; lower levels after Berenson and Adya). "
    "doc: according to the database's manual. may = it may occur, no = prevented. seen: OCCURRED, or the strongest "
    "mechanism that prevented it: abort (error code), wait (for as long as the schedule held the lock), snapshot (an "
    "older version was read). !! = it occurred although documented as prevented. - = it may occur but "
    "was not observed: no result on PostgreSQL, where it always occurs if the sessions interleave."
)
HEAD = "std doc seen"
NOT_OBSERVED = "PostgreSQL lets it occur at this level, but it was not observed: the sessions did not interleave"
"""Each statement has its own snapshot at READ COMMITTED, and a snapshot allows write skew (PG 13.2): the schedule of a
case then leads to its anomaly every time."""
MISSING = "        not run"

Word = TypeVar("Word", bound=str)


def documented(backend: Backend, case: Case, level: Level) -> tuple[Rule, str]:
    """Returns whether the database's manual documents the anomaly as prevented, and the source."""
    if backend == "postgres":
        return case.documented(level), case.documented_basis
    return "prevented", SQLITE_BASIS


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationResult:
    """A validated result: the requested cases and levels, and the transcripts that exist."""

    backend: Backend
    version: str
    cases: tuple[Case, ...]
    levels: tuple[Level, ...]
    transcripts: Mapping[tuple[str, Level], Transcript]


class MatrixRow(TypedDict):
    """What the standard, the manual and the run say about one case at one level."""

    backend: Backend
    version: str
    case: str
    title: str
    meaning: str
    level: Level
    standard: Rule
    standard_basis: str
    standard_silent: bool
    documented: Rule
    documented_basis: str
    observed: str
    kind: Kind
    ms: float
    code: str
    reason: str
    verdict: Verdict
    not_observed: bool
    witness: list[str]


def read(result: Mapping[str, Any]) -> IsolationResult:
    """Parses a stored result. Raises FormatError."""
    try:
        stored = IsolationResult(
            backend=_one_of(result["backend"], BACKENDS),
            version=" ".join(str(result["version"]).split()[:2]),  # `PostgreSQL 18.6` of version()'s text
            cases=tuple(CASES[_one_of(name, tuple(CASES))] for name in result["cases"]),
            levels=tuple(_one_of(level, LEVELS) for level in result["levels"]),
            transcripts={
                (_one_of(cell["case"], tuple(CASES)), _one_of(cell["level"], LEVELS)): from_json(cell["transcript"])
                for cell in result["cells"]
            },
        )
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise FormatError(f"not an isolation result: {type(error).__name__}: {error}") from error
    if not (stored.cases and stored.levels):
        raise FormatError("the isolation result has no cases or no levels")
    return stored


def _one_of(value: Any, known: tuple[Word, ...]) -> Word:
    if value not in known:
        raise ValueError(f"{value!r} is not one of {', '.join(known)}")
    return known[known.index(value)]


def matrix(stored: IsolationResult) -> list[MatrixRow]:
    """Returns one row for each requested case and level. A case that did not run is `unknown`."""
    return [_row(stored, case, level) for case in stored.cases for level in stored.levels]


def _row(stored: IsolationResult, case: Case, level: Level) -> MatrixRow:
    missing = Transcript(level=level, trouble="the case was not run")
    transcript = stored.transcripts.get((case.name, level), missing)
    observed = observe(case, level, transcript)
    if observed.kind != "unknown" and (fault := not_interleaved(case, transcript)):
        observed = Observation(kind="unknown", reason=fault)
    rule, basis = documented(stored.backend, case, level)
    not_observed = rule == "possible" and observed.kind not in ("occurred", "unknown")
    reason, judged = observed.reason, verdict(rule, observed)
    if not_observed and stored.backend == "postgres":
        reason, judged = NOT_OBSERVED, "unknown"
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
        "reason": reason,
        "verdict": judged,
        "not_observed": not_observed,
        "witness": list(transcript.witness()),
    }


def render(rows: Sequence[MatrixRow], width: int) -> list[str]:
    """Returns the matrix as lines of at most `width` characters: PostgreSQL by level, SQLite by profile, a legend.

    If a case was run more than once at a level, the run with the worst verdict is shown.
    """
    lines: list[str] = []
    rows = sorted(rows, key=lambda row: BACKENDS.index(row["backend"]))
    for system in dict.fromkeys(_system(row) for row in rows):
        own = [row for row in rows if _system(row) == system]
        columns = list(dict.fromkeys((row["backend"], row["level"]) for row in own))
        for group in _groups(own, columns, width):
            lines += [*_table(own, group), ""]
        lines += [*textwrap.wrap(SQLITE_NOTE, width), ""] if system == "sqlite" else []
    titles = "; ".join(dict.fromkeys(f"{_short(row['case'])} = {row['title']}" for row in rows))
    return [*lines, *textwrap.wrap(f"{titles}.", width), *textwrap.wrap(LEGEND, width)]


_Column = tuple[Backend, Level]


def _system(row: MatrixRow) -> str:
    return str(row["backend"]).split("-", maxsplit=1)[0]


def _groups(rows: Sequence[MatrixRow], columns: Sequence[_Column], width: int) -> list[Sequence[_Column]]:
    """Splits the columns into as few tables as fit the width, of about equal size."""
    name_width, column_width = _widths(rows)
    fit = max(1, (width - name_width) // (column_width + 2))
    size = math.ceil(len(columns) / math.ceil(len(columns) / fit))
    return [columns[start : start + size] for start in range(0, len(columns), size)]


def _widths(rows: Sequence[MatrixRow]) -> tuple[int, int]:
    """Returns the width of the anomalies' names and of a level's column, in characters."""
    names = (rows[0]["version"], *(_name(row) for row in rows))
    return max(map(len, names)), max(len(text) for row in rows for text in (_cell_text(row), _head(row), MISSING))


def _table(rows: Sequence[MatrixRow], columns: Sequence[_Column]) -> list[str]:
    name_width, column_width = _widths(rows)
    worst_last = sorted(rows, key=lambda row: VERDICTS.index(row["verdict"]), reverse=True)
    texts = {(row["case"], row["backend"], row["level"]): _cell_text(row) for row in worst_last}
    heads = {(row["backend"], row["level"]): _head(row) for row in rows}
    names: dict[str, str] = {}
    for row in rows:
        names[row["case"]] = max(names.get(row["case"], ""), _name(row), key=len)
    lines = [(rows[0]["version"], [heads[column] for column in columns]), ("", [HEAD] * len(columns))]
    lines += [(name, [texts.get((case, *column), MISSING) for column in columns]) for case, name in names.items()]
    return [
        "  ".join([name.ljust(name_width), *(text.ljust(column_width) for text in cells)]).rstrip()
        for name, cells in lines
    ]


def _head(row: MatrixRow) -> str:
    return str(row["level"] if row["backend"] == "postgres" else row["backend"])


def _short(case: str) -> str:
    """Shortens `dirty-read` to `dirty`, because four levels must fit into one line."""
    return case.removesuffix("-read")


def _name(row: MatrixRow) -> str:
    return _short(row["case"]) + ("*" if row["standard_silent"] else "")


def _cell_text(row: MatrixRow) -> str:
    word = {"possible": "may", "prevented": "no"}
    mark = " -" if row["not_observed"] else ""
    if row["verdict"] == "fail":
        mark = "!!"
    observed = f"wait {row['ms']:.0f} ms" if row["kind"] == "waited" else row["observed"]
    return f"{word[row['standard']]:<3} {word[row['documented']]:<3} {observed}{mark}"
