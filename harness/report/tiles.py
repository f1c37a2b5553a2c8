"""The figures of the first screen: what was kept, how fast, how it scales, how long it was away. Pure.

A tile without a figure says why it has none: a figure that was not measured is never left out silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.availability import outage_ended
from harness.analysis.trial_validity import never_steady
from harness.checks import names
from harness.model import BACKEND_NAMES, Finding
from harness.plan.scenario import joined
from harness.report.formatting import NOTHING, count, number, percent
from harness.report.run_summary import RunSummary
from harness.report.scenario_answers import commonest_error
from harness.report.section_input import SectionInput
from harness.report.summary import CellSummary, ScenarioSummary

RATES = ("throughput", "concurrent-writes", "sqlite-vs-postgres")
"""Scenarios whose closed loops give the rate of the tile, best first; all of them increment counters."""
BURSTS = ("sqlite-vs-postgres", "concurrent-writes")
"""Scenarios that send SQLite a burst of writes, best first."""
REFUSALS_EXPECTED = ("deadlocks", "connections", "faults")
"""Scenarios in which requests are refused as they should be, or while a part of the tier is stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A figure with its label and what it is of. `state`: a verdict whose symbol is shown, or empty."""

    label: str
    value: str
    note: str
    state: str = ""
    see: str = ""
    """The scenario that has the details."""
    cells: tuple[str, ...] = ()
    """Names of the cells that the figure is of."""


def tiles(summary: RunSummary, sources: Sequence[SectionInput]) -> tuple[Tile, ...]:
    """Returns the tiles in reading order; those about faults and SQLite only where a run has them."""
    scenarios = summary.scenarios
    return (
        _kept(scenarios),
        _rate(scenarios),
        _latency(sources),
        _speed_up(scenarios),
        *_gap(scenarios),
        *_sqlite(sources),
    )


def _kept(scenarios: Sequence[ScenarioSummary]) -> Tile:
    """Acknowledged writes of the burst, or of the whole run without one; lost updates of the whole run."""
    label = "Acknowledged / lost"
    counted = [(one, cell) for one in scenarios for cell in _on_postgres(one)]
    burst = [(one, cell) for one, cell in counted if one.name == "concurrent-writes"]
    shown = burst or [pair for pair in counted if pair[0].name not in REFUSALS_EXPECTED]
    sent, ok = (int(sum(getattr(cell, name) or 0 for _, cell in shown)) for name in ("sent", "ok"))
    if not sent:
        return Tile(label=label, value=NOTHING, note="no writes to PostgreSQL were counted", state="not measured")
    judged = [cell for _, cell in counted if cell.lost is not None]
    lost = sum(cell.lost or 0 for cell in judged)
    open_checks = [f for one, cell in counted for f in _about_writes(one, cell) if f.verdict in ("fail", "unknown")]
    uncounted = any(cell.lost is None for _, cell in shown) or any(
        cell.lost is None and any(f.check in names.LOSSES for f in _about_writes(one, cell)) for one, cell in counted
    )
    failed = next((f.check for f in open_checks if f.verdict == "fail"), "")
    of = f"of {count(sent)} writes" + (f", {max(cell.cell.clients for _, cell in burst):,} at once" if burst else "")
    compared = [cell.compared for cell in judged if cell.compared is not None]
    kept = sum(compared) if compared else sum(cell.ok or 0 for cell in judged)
    loss = f"{lost:,} of {count(kept)} acknowledged in the run are lost" if lost else f"none of {count(kept)} lost"
    if failed and not lost:
        loss = f"'{failed}' fails"
    elif uncounted and not lost:
        loss = "some loss is not judged"
    elif open_checks and not lost:
        loss = f"none of {count(kept)} lost, but '{open_checks[0].check}' is unknown"
    states = (
        ("fail", lost > 0 or bool(failed)),
        ("unknown", uncounted or bool(open_checks)),
        ("pass", ok == sent),
        ("fail", bool(burst)),
    )
    state = next((state for state, applies in states if applies), "")
    return Tile(
        label=label,
        value=f"{count(ok)} / {'?' if uncounted and not lost else f'{lost:,}'}",
        note=f"{of}; {loss}",
        state=state,
        see=shown[0][0].name,
        cells=tuple(cell.cell.name for _, cell in shown),
    )


def _about_writes(scenario: ScenarioSummary, cell: CellSummary) -> list[Finding]:
    """Returns the findings of a cell that must pass for a claim that it lost nothing."""
    return [f for f in scenario.findings if f.cell == cell.cell.name and f.check in names.WRITES]


def _on_postgres(scenario: ScenarioSummary) -> list[CellSummary]:
    """Returns the cells that must not lose writes: not those of SQLite, not the negative control."""
    return [
        cell
        for cell in scenario.cells
        if cell.cell.backend == "postgres" and cell.sent and not cell.cell.params.get("control")
    ]


def _rate(scenarios: Sequence[ScenarioSummary]) -> Tile:
    """The highest rate of a closed loop of increments that lost nothing, or the capacity that a search found.

    Where no check counted losses, the tile says so; a cell whose writes fail a check has no rate.
    """
    label = "Requests/s"
    for one in scenarios:
        found = [f for f in one.findings if f.check == names.CAPACITY and f.verdict == "pass" and f.numbers.get("rate")]
        if found:
            most = max(found, key=lambda f: _float(f.numbers["rate"]))
            low, high = (number(_float(most.numbers.get(name))) for name in ("low", "high"))
            note = f"hold the SLO, open load [{low}, {high}]"
            rate = number(_float(most.numbers["rate"]))
            return Tile(label=label, value=rate, note=note, see=one.name, cells=(most.cell,))
    for name in RATES:
        for one in scenarios:
            cells = [
                c for c in _on_postgres(one) if one.name == name and _may_claim(one, c) and c.cell.mode == "closed"
            ]
            if cells:
                best = max(cells, key=lambda cell: cell.medians["rps"])
                how = "" if best.cell.omits_stalls else "in a burst"
                unjudged = "lost updates not judged" if best.lost is None else ""
                note = joined(("fastest: " if len(cells) > 1 else "") + _words(one, best), how, unjudged)
                rate = number(best.medians["rps"])
                return Tile(label=label, value=rate, note=note, see=one.name, cells=(best.cell.name,))
    return Tile(label=label, value=NOTHING, note=_no_rate(scenarios), state="not measured")


def _may_claim(scenario: ScenarioSummary, cell: CellSummary) -> bool:
    wrong = cell.lost or any(one.verdict == "fail" for one in _about_writes(scenario, cell))
    return "rps" in cell.medians and not cell.times_doubted and not wrong


def _no_rate(scenarios: Sequence[ScenarioSummary]) -> str:
    cells = [cell for one in scenarios if one.name in RATES for cell in _on_postgres(one)]
    if not cells:
        return "no scenario of this run measures the rate of writes"
    return "no trial whose times hold: each is invalid or its load generator may have been the limit"


def _latency(sources: Sequence[SectionInput]) -> Tile:
    """The percentiles of an open load; those of a closed loop omit the stalls its clients wait through."""
    label = "p50 / p99"
    for name in dict.fromkeys([*RATES, *(source.summary.name for source in sources)]):
        for source in sources:
            summary = source.summary
            cells = [
                cell
                for cell in _on_postgres(summary)
                if summary.name == name and cell.cell.mode == "open" and "p50_ms" in cell.medians
                and not cell.times_doubted and not cell.cell.params.get("fault")
            ]  # fmt: skip
            if not cells:
                continue
            best = min(cells, key=lambda cell: (cell.medians.get("p99_ms") is None, -(cell.medians.get("rps") or 0.0)))
            rows = [trial.row for trial in source.trials if trial.row.cell.name == best.cell.name]
            few = "" if "p99_ms" in best.medians else "too few requests for a p99"
            unsteady = "not in a steady state" if never_steady(rows) else ""
            p50, p99 = (number(best.medians.get(name)) for name in ("p50_ms", "p99_ms"))
            at = f"at {number(best.medians.get('rps'))} requests/s offered"
            note = joined(at, _words(summary, best), few, unsteady)
            value = f"{p50} / {p99}"
            return Tile(label=f"{label}, ms", value=value, note=note, see=summary.name, cells=(best.cell.name,))
    opened = any(cell.cell.mode == "open" for source in sources for cell in _on_postgres(source.summary))
    note = "no open load in this run (--rate R); closed loops omit stalls"
    if opened:
        note = "no trial of an open load whose times hold"
    return Tile(label=f"{label}, ms", value=NOTHING, note=note, state="not measured")


def _speed_up(scenarios: Sequence[ScenarioSummary]) -> Tile:
    """The speed-up of the most hosts over one, for the bound that is judged."""
    judged = {
        names.SPEED_UP.format(hosts): hosts for one in scenarios for hosts in {cell.cell.hosts for cell in one.cells}
    }
    found = [(judged[f.check], f) for one in scenarios for f in one.findings if f.check in judged]
    if not found:
        reason = "scaling was not part of this run"
        if any(one.name == "scaling" for one in scenarios):
            reason = "the run has no speed-up over one host"
        return Tile(label="Speed-up", value=NOTHING, note=reason, state="not measured")
    hosts, one = max(found, key=lambda pair: pair[0])
    label = f"Speed-up, {hosts} hosts"
    if "speedup" not in one.numbers:
        return Tile(label=label, value=NOTHING, note=one.detail, state=one.verdict, see="scaling")
    note = f"pool-bound{_interval(one)}, required {_float(one.numbers.get('wanted')):g}x"
    value = f"{_float(one.numbers['speedup']):.2f}x"
    return Tile(label=label, value=value, note=note, state=one.verdict, see="scaling", cells=(one.cell,))


def _interval(one: Finding) -> str:
    low, high = one.numbers.get("low"), one.numbers.get("high")
    return f" [{_float(low):.2f}, {_float(high):.2f}]" if low is not None and high is not None else ", one repetition"


def _gap(scenarios: Sequence[ScenarioSummary]) -> Iterator[Tile]:
    """The longest time without a success under a fault."""
    for one in scenarios:
        found = [f for f in one.findings if f.check == names.AVAILABILITY and f.numbers.get("gap_s") is not None]
        if found:
            worst = max(found, key=lambda f: _float(f.numbers["gap_s"]))
            ended = outage_ended(worst.numbers)
            yield Tile(
                label="Longest outage",
                value=f"{'' if ended else '≥ '}{_float(worst.numbers['gap_s']):.1f} s",
                note=joined(
                    "without a success",
                    one.labels.get(worst.cell, "under a fault"),
                    "" if ended else "not back when the load ended",
                ),
                state="" if worst.verdict == "shown" else worst.verdict,
                see=one.name,
            )


def _sqlite(sources: Sequence[SectionInput]) -> Iterator[Tile]:
    """The share of a burst that SQLite acknowledged, the error of the rest and its cause, and the share of others."""
    for name in BURSTS:
        for source in sources:
            cells = {
                cell.cell.backend: cell
                for cell in reversed(source.summary.cells)
                if source.summary.name == name and cell.cell.requests and cell.sent
            }
            worst = cells.get("sqlite-naive") or cells.get("sqlite-tuned")
            if worst is None:
                continue
            others = [cells[name] for name in ("sqlite-tuned", "postgres") if cells.get(name) not in (None, worst)]
            beside = joined(*(f"{BACKEND_NAMES[c.cell.backend]} {percent(_share(c))}" for c in others))
            yield Tile(
                label=BACKEND_NAMES[worst.cell.backend].capitalize().replace("sql", "SQL"),
                value=percent(_share(worst)),
                note=f"{_cause(source.errors.get(worst.cell.name, {}), worst)}{'; ' * bool(beside)}{beside}",
                see=name,
            )
            return


def _cause(errors: Mapping[str, int], cell: CellSummary) -> str:
    if not errors:
        return f"acknowledged of {count(cell.sent)} at once" + (
            "" if cell.ok == cell.sent else ", the errors have no name"
        )
    return f"acknowledged of {count(cell.sent)} at once; {commonest_error(errors)}"


def _share(cell: CellSummary) -> float | None:
    return (cell.ok or 0) / cell.sent if cell.sent else None


def _words(scenario: ScenarioSummary, cell: CellSummary) -> str:
    """Returns what tells the cell apart, or what all cells share where it is the only one."""
    return cell.label if len(scenario.cells) > 1 else joined(scenario.common, cell.label)


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
