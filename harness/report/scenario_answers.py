"""The answer of a scenario in one or two sentences with its numbers, for the card of a scenario that passes. Pure.

A scenario without a function here is answered by the findings that decide it (`summary.deciding`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from harness.checks import names
from harness.model import BACKEND_NAMES, Finding
from harness.report.formatting import count, number, percent
from harness.report.section_input import SectionInput
from harness.report.sections.faults import fault_headline
from harness.report.summary import CellSummary, ScenarioSummary
from harness.text import plural


def kept_writes(summary: ScenarioSummary) -> str:
    """Returns `1,000 of 1,000 concurrent writes acknowledged over 4 app hosts, none lost`; empty if one was lost."""
    cells = [cell for cell in summary.cells if cell.cell.backend == "postgres"]
    if not cells or any(cell.lost != 0 for cell in cells):
        return ""
    sent, ok = sum(cell.sent or 0 for cell in cells), sum(cell.ok or 0 for cell in cells)
    hosts = sorted({cell.cell.hosts for cell in cells})
    clients = {cell.cell.clients for cell in cells}
    trials = sum(cell.trials for cell in cells)
    over = plural(hosts[0], "app host") if len(hosts) == 1 else f"{hosts[0]} to {hosts[-1]} app hosts"
    each = f" in {trials} trials of {min(clients):,} at once" if trials > 1 and len(clients) == 1 else ""
    return f"{ok:,.0f} of {sent:,.0f} concurrent writes acknowledged over {over}{each}, none lost"


def concurrent_writes(source: SectionInput) -> str:
    """Returns what was kept, and that the counter's values were in order where that was checked."""
    kept = kept_writes(source.summary)
    ordered = [f for f in source.summary.findings if f.check == names.REAL_TIME_ORDER and f.verdict == "pass"]
    return f"{kept}.{' Each value was returned once, in real-time order.' if ordered else ''}" if kept else ""


def sqlite_vs_postgres(source: SectionInput) -> str:
    """Returns the shares of the burst by backend, why SQLite refused, and how many of the published claims hold."""
    burst = [cell for cell in source.summary.cells if cell.cell.requests and cell.sent]
    shares = [f"{BACKEND_NAMES[cell.cell.backend]} {percent((cell.ok or 0) / (cell.sent or 1))}" for cell in burst]
    claims = {
        f.check.removeprefix(names.CLAIM): bool(f.numbers["held"])
        for f in source.summary.findings
        if "held" in f.numbers
    }
    others = [name for name, held in claims.items() if not held]
    parts = [f"Of {count(burst[0].sent)} writes at once were acknowledged: {', '.join(shares)}." if burst else ""]
    refused = ((cell, source.errors.get(cell.cell.name, {})) for cell in burst if "sqlite" in cell.cell.backend)
    if why := next(((cell, errors) for cell, errors in refused if errors), None):
        parts.append(f"{_sentence(BACKEND_NAMES[why[0].cell.backend])} failed with {commonest_error(why[1])}.")
    if claims:
        missing = f"; not held: {', '.join(others)}" if others else ""
        parts.append(f"{sum(claims.values())} of {plural(len(claims), 'published claim')} hold{missing}.")
    return " ".join(filter(None, parts))


def commonest_error(errors: Mapping[str, int]) -> str:
    """Returns `900 x SQLITE_BUSY: one writer locks the file`; `errors` is not empty: error name -> requests."""
    error, times = max(errors.items(), key=lambda item: item[1])
    locked = ": one writer locks the file" if "BUSY" in error else ""
    return f"{times:,} x {error or 'an error without a name'}{locked}"


def scaling(source: SectionInput) -> str:
    """Returns the speed-up of the most hosts, then that of CPU-bound work with its reservation."""
    return " ".join(_scaling(source.summary))


def _scaling(summary: ScenarioSummary) -> Iterator[str]:
    judged = [f for f in summary.findings if f.numbers.get("speedup") and f.check != names.SPEED_UP_CPU]
    if judged:
        best = max(judged, key=lambda f: _digits(f.check))
        hosts, up = _digits(best.check), float(best.numbers["speedup"])
        yield f"{hosts} hosts serve {up:.2f} times the requests of one while the pools are the limit."
    for one in summary.findings:
        ups = one.numbers.get("speedup")
        if one.check == names.SPEED_UP_CPU and isinstance(ups, dict) and ups:
            hosts = max(ups, key=int)
            shown = " (shown only: the hosts share cores)" if "shared cores" in one.detail else ""
            yield f"CPU-bound work reaches {float(ups[hosts]):.2f} times with {hosts}{shown}."
            return


def _digits(text: str) -> int:
    return int("".join(re.findall(r"\d", text)) or 0)


def throughput(source: SectionInput) -> str:
    """Returns the strategy with the most requests/s by number of keys, and what the negative control lost.

    Variants are compared within blocks: no median of theirs is the answer.
    """
    cells = [
        cell
        for cell in source.summary.cells
        if cell.cell.mode == "closed" and cell.cell.backend == "postgres" and "rps" in cell.medians
        and not cell.times_doubted and not cell.lost and not cell.cell.variant
    ]  # fmt: skip
    parts = []
    for keys in dict.fromkeys(str(cell.cell.params.get("keys", "")) for cell in cells):
        best = max((c for c in cells if str(c.cell.params.get("keys", "")) == keys), key=lambda c: c.medians["rps"])
        parts.append(f"{number(best.medians['rps'])} with {best.label}")
    judged = (
        "without a lost update" if all(cell.lost == 0 for cell in cells) else "(lost updates not judged in all cells)"
    )
    fastest = f"Most requests/s {judged}, by median: {'; '.join(parts)}." if parts else ""
    controls = [cell for cell in source.summary.cells if cell.lost and cell.cell.params.get("control")]
    return " ".join(filter(None, [fastest, *(_control(cell) for cell in controls[:1])]))


def _control(cell: CellSummary) -> str:
    return f"The negative control lost {cell.lost_text} updates, so the load is heavy enough to show a loss."


def deadlocks(source: SectionInput) -> str:
    """Returns how many pairs ended with one victim, and what a retry saved."""
    found = [f for f in source.summary.findings if f.verdict == "pass"]
    victims, retries = (_first(found, check) for check in (names.ONE_VICTIM, names.RETRY_COMMITS_BOTH))
    through = next((f for f in found if f.check == names.ONE_VICTIM and "through=service" in f.cell), victims)
    return " ".join(f"{_sentence(f.detail)}." for f in (through, retries) if f)


def isolation(source: SectionInput) -> str:
    """Returns that nothing forbidden occurred, with the number of anomalies and levels."""
    matrices = [trial.matrix for trial in source.trials if trial.matrix]
    if not matrices:
        return ""
    parts = []
    for rows in matrices:
        levels = {row["level"] for row in rows}
        prevented = sum(1 for row in rows if row["documented"] == "prevented")
        name = BACKEND_NAMES.get(rows[0]["backend"], "the database")
        parts.append(f"{name}: none of {prevented} at {plural(len(levels), 'level')}")
    return f"No anomaly occurred that the manual documents as prevented ({'; '.join(parts)})."


def long_transactions(source: SectionInput) -> str:
    """Returns the p90 of quick transactions without and beside the long one, and what waiting for its row costs."""
    found = source.summary.findings
    p90, waits = _first(found, names.QUICK_P90), _first(found, names.HELD_ROW_WAITS)
    return " ".join(f"{_sentence(f.detail)}." for f in (p90, waits) if f)


def bulk_insert(source: SectionInput) -> str:
    """Returns the most and the fewest rows per second by batch size, and that no request was stored in part."""
    found = {f.cell: f for f in source.summary.findings if f.check == names.ALL_OR_NOTHING and f.verdict == "pass"}
    rates = [
        (float(rate), cell.label)
        for cell in source.summary.cells
        if cell.cell.name in found and isinstance(rate := found[cell.cell.name].numbers.get("rows_per_s"), int | float)
    ]
    if not rates:
        return ""
    (most, where), (least, elsewhere) = max(rates), min(rates)
    beside = f", {number(least)} with {elsewhere}" if len(rates) > 1 else ""
    return f"Most rows per second: {number(most)} with {where}{beside}. Each request left all its rows or none."


def connections(source: SectionInput) -> str:
    """Returns what was served at once, then what was refused beyond the server's limit and served afterwards."""
    found = [f for f in source.summary.findings if f.verdict == "pass"]
    at_once, served, refused, recovered = (
        _first(found, check)
        for check in (names.CONCURRENT_REQUESTS, names.ACKNOWLEDGED, names.CLEAN_REFUSAL, names.RECOVERY)
    )
    parts = [f"{at_once.detail}: {served.detail}." if at_once and served else ""]
    if refused and recovered:
        parts.append(f"Beyond max_connections {refused.detail.split(':')[0]}; {recovered.detail}.")
    return " ".join(filter(None, parts))


def faults(source: SectionInput) -> str:
    """Returns what was lost, under how many faults, and the longest time without a success."""
    headline = fault_headline(source.summary)
    return f"{headline}." if headline else ""


def pool_sweep(source: SectionInput) -> str:
    """Returns where the knee is."""
    knee = _first(source.summary.findings, names.KNEE)
    return f"{_sentence(knee.detail)}." if knee else ""


def _first(findings: object, check: str) -> Finding | None:
    return next((f for f in findings if f.check == check), None) if isinstance(findings, list | tuple) else None


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
