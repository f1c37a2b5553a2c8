"""Why requests to a shared SQLite file fail, with the figures of the run, and the measured claims. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.checks import names
from harness.model import BACKEND_NAMES, Finding
from harness.report.cell_labels import without
from harness.report.formatting import NOTHING, change, count, figure, number, percent
from harness.report.page_model import Fold, Prose, Table, Value, table
from harness.report.section_input import SectionInput
from harness.report.summary import CellSummary, ScenarioSummary
from harness.report.trial_data import TrialData
from harness.scenarios.sqlite_vs_postgres import ALL_ANSWERS, SIDES
from harness.text import plural

ANCHOR = "why-sqlite-fails"
TITLE = "Why a shared SQLite file fails"

WHY = (
    "SQLite keeps a database in one file and lets one connection write at a time: a writer locks the whole file, not "
    "a row. PostgreSQL locks the row, so readers and writers of other rows do not wait.",
    "SQLITE_BUSY is SQLite's answer to a connection that needs a lock which another one holds. Nothing is damaged: "
    "nothing was written, and the request may be sent again. Here it counts as a failed request.",
    "Naive: rollback journal, no busy timeout, deferred transactions. Such a transaction begins as a reader and asks "
    "for the write lock at its first write. If another connection holds the lock, the answer is SQLITE_BUSY at once. "
    "Two readers that both want to write would wait for each other forever, so SQLite refuses one of them whatever "
    "the busy timeout is.",
    "Tuned: write-ahead log (WAL), synchronous=FULL (as durable as PostgreSQL's default), BEGIN IMMEDIATE, and a busy "
    "timeout. A transaction asks for the write lock at its start and waits for it, so requests queue instead of "
    "failing: most errors become latency. There is still one writer at a time, on one kernel.",
)
_SETTINGS = {
    "journal_mode": "journal_mode {}", "synchronous": "synchronous {}", "busy_timeout": "busy_timeout {} ms",
    "begin": "{}",
}  # fmt: skip


def wrote_to_sqlite(summary: ScenarioSummary) -> bool:
    """Whether the scenario wrote to a SQLite file under load."""
    return any(cell.cell.backend != "postgres" and cell.sent for cell in summary.cells)


def sqlite_fold(source: SectionInput) -> tuple[Fold, ...]:
    """Returns the results on SQLite by set-up, with the whole explanation or with a link to it."""
    if not wrote_to_sqlite(source.summary):
        return ()
    results = []
    for backend in ("sqlite-naive", "sqlite-tuned"):
        cells = [cell for cell in source.summary.cells if cell.cell.backend == backend and cell.sent]
        if cells:
            name = BACKEND_NAMES[backend]
            figures = "; ".join(_figures(cell, source.errors.get(cell.cell.name, {})) for cell in cells)
            measured = f"{name[0].upper()}{name[1:]}{_read_back(source.trials, backend)}: {figures}."
            results.append(" ".join([measured, *_conclusions(cells)]))
    outcome = ("outcome", "the meaning of ok, fail and unknown")
    if not source.explains_sqlite:
        link = (ANCHOR, TITLE.lower().replace("sqlite", "SQLite"))
        return (Fold(title="Results on SQLite", blocks=(Prose(paragraphs=tuple(results), see=(link, outcome)),)),)
    prose = Prose(paragraphs=(*WHY, "Results of this run:", *results), see=(outcome,))
    return (Fold(title=TITLE, blocks=(prose,), anchor=ANCHOR),)


def _figures(cell: CellSummary, errors: Mapping[str, int]) -> str:
    """Returns `10 clients: 850 of 8,517 acknowledged (9.98 %), 7,667 x SQLITE_BUSY, p99 17.9 ms`."""
    load = without(cell.label, BACKEND_NAMES[cell.cell.backend])
    share = (cell.ok or 0) / cell.sent if cell.sent else None
    named = "".join(f", {times:,} x {error or 'an error without a name'}" for error, times in errors.items())
    name = "ok_p99_ms" if "ok_p99_ms" in cell.medians else "p99_ms"
    of = " of acknowledged" if name == "ok_p99_ms" else ""
    p99_ms = cell.medians.get(name)
    closed = " (closed loop)" if cell.cell.omits_stalls else ""
    return (
        (f"{load}: " if load else "")
        + f"{count(cell.ok)} of {count(cell.sent)} acknowledged ({percent(share)}){named}"
        + (f", p99{of} {figure(p99_ms, doubted=cell.times_doubted)} ms{closed}" if p99_ms is not None else "")
    )


def _read_back(trials: Sequence[TrialData], backend: str) -> str:
    """Returns the pragmas that were in force, as the service read them back."""
    for trial in trials:
        pragmas = trial.evidence.sqlite.pragmas if trial.evidence and trial.evidence.sqlite else {}
        if trial.row.cell.backend == backend and pragmas:
            known = ", ".join(form.format(pragmas[name]) for name, form in _SETTINGS.items() if name in pragmas)
            known = known.replace("synchronous 2", "synchronous FULL")
            return f" (read back: {known})" if known else ""
    return ""


def _conclusions(cells: Sequence[CellSummary]) -> Iterator[str]:
    """Returns conclusions from the figures: the number of clients at which errors begin, and the lock on the file."""
    clean = [cell.cell.clients for cell in cells if cell.ok == cell.sent]
    refused = [cell.cell.clients for cell in cells if (cell.fail or 0) > 0]
    if clean and refused and max(clean) < min(refused):
        yield f"With {plural(max(clean), 'client')} every write was acknowledged, with {min(refused):,} not."
    shares = {cell.cell.params.get("keys"): (cell.ok or 0) / (cell.sent or 1) for cell in cells if cell.fail}
    if {"hot", "spread"} <= shares.keys():
        yield (
            f"On one key {percent(shares['hot'])} were acknowledged, on many {percent(shares['spread'])}: SQLite "
            "locks the file, not the row."
        )


def claims_tables(source: SectionInput) -> Iterator[Table]:
    """Returns the table of claims, if the scenario's findings are about claims."""
    findings = [f for f in source.summary.findings if f.check.startswith(names.CLAIM)]
    if not findings:
        return
    yield table(
        "Claims about PostgreSQL instead of naive SQLite, measured",
        (
            "metric", BACKEND_NAMES["sqlite-naive"], BACKEND_NAMES["sqlite-tuned"], BACKEND_NAMES["postgres"],
            "change from naive", "claimed", "does the claim hold?",
        ),
        [_row(finding) for finding in findings],
        note="A claim holds if the change from naive SQLite to PostgreSQL is at least as large as its threshold. The "
        "burst is of writes sent at once. Below the mean response of acknowledged answers is that of all answers, "
        "which quick rejections lower. Even the mean of acknowledged answers favours a backend that rejects requests: "
        "a rejected request leaves the queue, so those behind it wait less. Throughput counts acknowledged writes.",
    )  # fmt: skip


def _row(finding: Finding) -> list[Value]:
    name, numbers = finding.check.removeprefix(names.CLAIM), finding.numbers
    if "held" not in numbers:
        return [Value(name), *(Value(NOTHING) for _ in range(5)), Value("unknown", finding.detail, "unknown")]
    naive, tuned, postgres = (numbers.get(side) for side in SIDES)
    unit = f" {numbers['unit']}"
    text = count if unit == " clients" else number
    held = bool(numbers["held"])
    every = numbers.get(ALL_ANSWERS, {})
    notes = [f"all answers: {number(every[side])}{unit}" if every.get(side) else "" for side in SIDES]
    return [
        Value(name, str(numbers.get("of", ""))),
        *(
            Value(NOTHING if value is None else text(float(value)) + unit, note)
            for value, note in zip((naive, tuned, postgres), notes, strict=True)
        ),
        Value(change(float(naive), float(postgres)) if naive and postgres is not None else NOTHING),
        Value(" → ".join(numbers["claimed"]), str(numbers["change"])),
        Value("holds" if held else "does not hold", "", "pass" if held else "fail"),
    ]
