"""The original page's table of five claims beside what was measured; a claim that does not hold is marked so. Pure.

What holds is judged by the scenario alone (harness/scenarios/sqlite_vs_postgres.py); this only lays it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.report.blocks import Table, Value, table
from harness.report.phrase import BACKEND_NAMES, NOTHING, change, count, number
from harness.report.summary import ScenarioSummary

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
        "asks for. Success, errors and mean response are of 1,000 writes at once; the mean is over all answers, and a "
        "refusal is a quick answer; throughput is the best steady rate of acknowledged writes; "
        "connections are the largest number of clients tried at which every request was acknowledged.",
    )  # fmt: skip


def _row(name: str, numbers: Mapping[str, Any], detail: str) -> list[Value]:
    if "held" not in numbers:
        return [Value(name), *(Value(NOTHING) for _ in range(5)), Value("not measured", detail, "unknown")]
    naive, tuned, postgres = (numbers.get(side) for side in ("naive", "tuned", "postgres"))
    unit = f" {numbers['unit']}"
    shown = count if unit == " clients" else number
    held = bool(numbers["held"])
    return [
        Value(name),
        *(Value(NOTHING if v is None else shown(float(v)) + unit) for v in (naive, tuned, postgres)),
        Value(change(float(naive), float(postgres)) if naive and postgres is not None else NOTHING),
        Value(" → ".join(numbers["claimed"]), str(numbers["change"])),
        Value("holds" if held else "does not hold", "", "pass" if held else "fail"),
    ]
