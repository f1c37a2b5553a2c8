"""The anomalies by isolation level: allowed by the standard, documented by the database, observed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.isolation.case_model import Rule
from harness.isolation.matrix import MatrixRow
from harness.model import BACKEND_NAMES
from harness.report.formatting import SYMBOLS
from harness.report.page_model import Block, Fold, Prose, Table, Value, table
from harness.report.section_input import SectionInput


def isolation_blocks(source: SectionInput) -> Iterator[Block]:
    """Returns the transcript of each anomaly that should not occur, then one table per level."""
    tables: list[Table] = []
    for trial in source.trials:
        yield from _witnesses(trial.matrix)
        levels: dict[str, list[MatrixRow]] = {}
        for row in trial.matrix:
            levels.setdefault(row["level"], []).append(row)
        tables += [_level(level, rows) for level, rows in levels.items()]
    if tables:
        yield Fold(title="The matrix as tables", blocks=tuple(tables))


def _level(level: str, rows: Sequence[MatrixRow]) -> Table:
    name, version = BACKEND_NAMES[rows[0]["backend"]], rows[0]["version"]
    caption = f"{level}: {version if name in version else f'{name} ({version})'}"
    return table(caption, ("anomaly", "standard", "documented", "observed", "verdict"), map(_anomaly, rows))


def _anomaly(row: MatrixRow) -> list[Value]:
    return [
        Value(f"{row['case']} ({row['title']})", row["meaning"]),
        Value(_rule(row["standard"]) + ("*" if row["standard_silent"] else "")),
        Value(_rule(row["documented"])),
        Value(_observed(row), row["reason"]),
        Value(row["verdict"], mark=row["verdict"]),
    ]


def _witnesses(rows: Sequence[MatrixRow]) -> Iterator[Prose]:
    """Returns the statements by which each anomaly occurred that is documented as prevented."""
    for row in rows:
        if row["verdict"] == "fail":
            title = f"Transcript: {row['case']} at {row['level']}"
            yield Prose(title=title, paragraphs=tuple(f"$ {line}" for line in row["witness"]))


def _rule(rule: Rule) -> str:
    return {"possible": "may occur", "prevented": "prevented"}[rule]


def _observed(row: MatrixRow) -> str:
    if row["kind"] == "occurred":
        return f"{SYMBOLS['invalid']} occurred" if row["verdict"] == "fail" else "occurred"
    return f"not observed ({row['observed']})" if row["kind"] != "unknown" else "unknown"
