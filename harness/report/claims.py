"""The original page's table of five claims beside what was measured; a claim that does not hold is marked so. Pure.

What holds is judged by the scenario alone (harness/scenarios/sqlite_vs_postgres.py); this only lays it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.report.blocks import Table, Value, table
from harness.report.phrase import BACKEND_NAMES, NOTHING, change, count, number
from harness.report.summary import ScenarioSummary
from harness.scenarios.sqlite_vs_postgres import ALL_ANSWERS, SIDES

PREFIX = "claim: "


def claims_tables(summary: ScenarioSummary) -> Iterator[Table]:
    """The table, if the scenario's findings speak of claims."""
    findings = [f for f in summary.findings if f.check.startswith(PREFIX)]
    if not findings:
        return
    yield table(
        "The original page's claims, measured",
        (
            "metric", BACKEND_NAMES["sqlite-naive"], BACKEND_NAMES["sqlite-tuned"], BACKEND_NAMES["postgres"],
            "change from naive", "the page claims", "does the claim hold?",
        ),
        [_row(f.check.removeprefix(PREFIX), f.numbers, f.detail) for f in findings],
        note="A claim holds if the change from naive SQLite to PostgreSQL is at least as large as the page's own test "
        "asks for. The burst is of writes sent at once. Below the mean response of acknowledged answers stands that of "
        "all answers, in which quick refusals pass for speed. Even the former flatters a backend that refuses: who is "
        "refused leaves the line, and those behind wait less. Throughput counts acknowledged writes.",
    )  # fmt: skip


def _row(name: str, numbers: Mapping[str, Any], detail: str) -> list[Value]:
    if "held" not in numbers:
        return [Value(name), *(Value(NOTHING) for _ in range(5)), Value("unknown", detail, "unknown")]
    naive, tuned, postgres = (numbers.get(side) for side in SIDES)
    unit = f" {numbers['unit']}"
    shown = count if unit == " clients" else number
    held = bool(numbers["held"])
    every = numbers.get(ALL_ANSWERS, {})
    asides = [f"all answers: {number(every[side])}{unit}" if every.get(side) else "" for side in SIDES]
    return [
        Value(name, str(numbers.get("of", ""))),
        *(
            Value(NOTHING if v is None else shown(float(v)) + unit, aside)
            for v, aside in zip((naive, tuned, postgres), asides, strict=True)
        ),
        Value(change(float(naive), float(postgres)) if naive and postgres is not None else NOTHING),
        Value(" → ".join(numbers["claimed"]), str(numbers["change"])),
        Value("holds" if held else "does not hold", "", "pass" if held else "fail"),
    ]
