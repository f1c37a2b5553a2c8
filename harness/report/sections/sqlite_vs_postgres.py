"""Why a shared SQLite file fails where it did, with the figures of this run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.checks import names
from harness.model import BACKEND_NAMES
from harness.report.formatting import NOTHING, change, count, number, percent
from harness.report.page_model import Prose, Table, Value, table
from harness.report.summary import CellSummary, ScenarioSummary
from harness.report.trial_data import TrialData
from harness.scenarios.sqlite_vs_postgres import ALL_ANSWERS, SIDES
from harness.text import plural

ANCHOR = "why-sqlite-fails"

WHY = (
    "SQLite keeps a database in one file and lets one connection write at a time: a writer locks the whole file, not "
    "a row. PostgreSQL locks the row, and lets readers and writers of other rows pass.",
    "SQLITE_BUSY is SQLite's answer to a connection that wants a lock which another one holds. It is not damage: "
    "nothing was written, and the request may be sent again. Here it is counted as a failed request.",
    "Naive: rollback journal, no busy timeout, deferred transactions. Such a transaction begins as a reader and asks "
    "for the write lock only at its first write. If another has it, the answer is SQLITE_BUSY at once; two readers "
    "that both want to become writers would wait for each other for ever, so SQLite refuses one of them whatever the "
    "busy timeout says.",
    "Tuned: write-ahead log (WAL), synchronous=FULL (as durable as PostgreSQL's default), BEGIN IMMEDIATE, and a busy "
    "timeout. The write lock is asked for at the start and waited for, so requests stand in line instead of failing: "
    "most of the errors turn into latency. There is still one writer at a time, on one kernel.",
)
_SETTINGS = {
    "journal_mode": "journal_mode {}", "synchronous": "synchronous {}", "busy_timeout": "busy_timeout {} ms",
    "begin": "{}",
}  # fmt: skip


def written(summary: ScenarioSummary) -> bool:
    """Whether the scenario wrote to a SQLite file under load."""
    return any(cell.cell.backend != "postgres" and cell.sent for cell in summary.cells)


def explained(
    summary: ScenarioSummary, readings: Sequence[TrialData], errors: Mapping[str, Mapping[str, int]], *, whole: bool
) -> list[Prose]:
    """What was measured on SQLite, set-up by set-up; below the whole explanation, or with a link to it."""
    if not written(summary):
        return []
    said = []
    for backend in ("sqlite-naive", "sqlite-tuned"):
        cells = [cell for cell in summary.cells if cell.cell.backend == backend and cell.sent]
        if cells:
            name = BACKEND_NAMES[backend]
            figures = "; ".join(_figures(cell, errors.get(cell.cell.name, {})) for cell in cells)
            measured = f"{name[0].upper()}{name[1:]}{_read_back(readings, backend)}: {figures}."
            said.append(" ".join([measured, *_seen(cells)]))
    outcome = ("outcome", "what ok, fail and unknown mean")
    if not whole:
        return [Prose(title="SQLite, measured here", paragraphs=tuple(said), see=((ANCHOR, TITLE.lower()), outcome))]
    return [Prose(title=TITLE, paragraphs=(*WHY, "Measured here:", *said), see=(outcome,), anchor=ANCHOR)]


TITLE = "Why a shared SQLite file fails"


def _figures(cell: CellSummary, errors: Mapping[str, int]) -> str:
    """`10 clients: 850 of 8,517 acknowledged (9.98 %), 7,667 x SQLITE_BUSY, p99 17.9 ms`."""
    words = ", ".join(part for part in cell.label.split(", ") if part != BACKEND_NAMES[cell.cell.backend])
    share = (cell.ok or 0) / cell.sent if cell.sent else None
    named = "".join(f", {times:,} x {error or 'an error without a name'}" for error, times in errors.items())
    late = cell.medians.get("p99_ms")
    return (
        (f"{words}: " if words else "")
        + f"{count(cell.ok)} of {count(cell.sent)} acknowledged ({percent(share)}){named}"
        + (f", p99 {number(late)} ms" if late is not None else "")
    )


def _read_back(readings: Sequence[TrialData], backend: str) -> str:
    """The pragmas that were in force, as the service read them back."""
    for reading in readings:
        facts = reading.evidence.sqlite.pragmas if reading.evidence and reading.evidence.sqlite else {}
        if reading.row.cell.backend == backend and facts:
            known = ", ".join(form.format(facts[name]) for name, form in _SETTINGS.items() if name in facts)
            known = known.replace("synchronous 2", "synchronous FULL")
            return f" (read back: {known})" if known else ""
    return ""


def _seen(cells: Sequence[CellSummary]) -> Iterator[str]:
    """What the figures show by themselves."""
    clean = [cell.cell.clients for cell in cells if cell.ok == cell.sent]
    refused = [cell.cell.clients for cell in cells if (cell.fail or 0) > 0]
    if clean and refused and max(clean) < min(refused):
        yield f"{plural(max(clean), 'client')} had every write acknowledged, {plural(min(refused), 'client')} had not."
    keys = {cell.cell.params.get("keys"): (cell.ok or 0) / (cell.sent or 1) for cell in cells if cell.fail}
    if {"hot", "spread"} <= keys.keys():
        yield (
            f"On one key {percent(keys['hot'])} were acknowledged, on many {percent(keys['spread'])}: the lock is the "
            "file's, not the row's."
        )


def claims_tables(summary: ScenarioSummary) -> Iterator[Table]:
    """The table, if the scenario's findings speak of claims."""
    findings = [f for f in summary.findings if f.check.startswith(names.CLAIM)]
    if not findings:
        return
    yield table(
        "The original page's claims, measured",
        (
            "metric", BACKEND_NAMES["sqlite-naive"], BACKEND_NAMES["sqlite-tuned"], BACKEND_NAMES["postgres"],
            "change from naive", "the page claims", "does the claim hold?",
        ),
        [_row(f.check.removeprefix(names.CLAIM), f.numbers, f.detail) for f in findings],
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
