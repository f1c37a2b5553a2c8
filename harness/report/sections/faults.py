"""The faults of a run: one table of what each cost, each trial over time, and the stories of wrong requests. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from harness.analysis.availability import outage_ended
from harness.checks import names
from harness.model import Finding
from harness.report.charts import faults as charts
from harness.report.charts.drawing import Chart, drawn
from harness.report.formatting import NOTHING, count, number
from harness.report.page_model import Block, Fold, Value, table
from harness.report.section_input import SectionInput
from harness.report.summary import ScenarioSummary
from harness.report.trial_data import TrialData
from harness.text import plural

WRONG = {"lost": "lost", "doubled": "doubled", "invented": "invented", "false_aborted": "falsely refused"}
"""Number of the accounting's findings -> head of its column."""
HEAD = (
    "fault", "longest without a success, s", "first success, s", "rate back, s", "failed", "unknown", "of them applied",
    "p99 before, ms", "p99 during, ms", "p99 after, ms", "acknowledged",
)  # fmt: skip
MOST_STORIES = 12
NOTE = (
    "Longest without a success: the longest time in the window in which no request succeeded; ≥: it had not ended when "
    "the load did. First success and rate back (95 % of the rate before) count from the heal. Failed: surely not "
    "applied; unknown: applied or not, which the ledger tells afterwards. Latencies count from the instant at which a "
    "request was due. Lost: acknowledged, and neither in ledger nor counter; doubled: applied more than once; "
    "invented: applied though never sent; falsely refused: reported as surely not applied, but applied."
)


def fault_charts(source: SectionInput) -> Iterator[Chart]:
    """Returns the course of the trial with the longest time without a success."""
    worst = max(_with_course(source), key=lambda trial: _gap_s(source, trial), default=None)
    if worst is not None:
        yield _course(source, worst)


def fault_blocks(source: SectionInput) -> Iterator[Block]:
    """Returns the table of all faults, the courses of all trials, and the stories of wrong requests."""
    rows = [_row(source, trial) for trial in source.trials if _figures(source, trial)]
    if rows:
        yield table("What each fault cost", (*HEAD, *WRONG.values()), rows, note=NOTE)
    yield from _stories(source)
    courses = list(_with_course(source))
    if len(courses) > 1:
        pictures = drawn(f"{source.summary.name} over time", [_course(source, trial) for trial in courses])
        yield Fold(title=f"All {len(courses)} faults over time", blocks=tuple(pictures))


def fault_headline(summary: ScenarioSummary) -> str:
    """Returns `0 of 412,000 acknowledged writes lost under 17 faults, at most 5.1 s without a success`.

    Empty where a check fails, or where it is not known of some cell whether a write is lost.
    """
    counted = [f for f in summary.findings if f.check == names.NOTHING_LOST]
    accounts = [f.numbers for f in counted if f.numbers.get("faults")]
    gaps = [f.numbers for f in summary.findings if f.check == names.AVAILABILITY and f.numbers.get("faults")]
    open_checks = any(f.verdict != "pass" for f in counted) or any(f.verdict == "fail" for f in summary.findings)
    if not accounts or open_checks:
        return ""
    acknowledged = sum(one["acknowledged"] for one in accounts)
    faults = plural(sum(one["faults"] for one in accounts), "fault")
    bound = "at most" if all(map(outage_ended, gaps)) else "at least"
    longest = f", {bound} {max(gap['gap_s'] for gap in gaps):.1f} s without a success" if gaps else ""
    return f"0 of {acknowledged:,} acknowledged writes lost under {faults}{longest}"


def _with_course(source: SectionInput) -> Iterator[TrialData]:
    return (trial for trial in source.trials if trial.faults.steps)


def _course(source: SectionInput, trial: TrialData) -> Chart:
    view, label = trial.faults, source.summary.labels[trial.row.cell.name]
    title = f"{label}: {_gap_s(source, trial):.1f} s without a success"
    if not outage_ended(_figures(source, trial)):
        title = f"{label}: no success in the last {_gap_s(source, trial):.1f} s of the load"
    return Chart(
        name="faults-over-time",
        spec=charts.over_time(
            [asdict(step) for step in view.steps],
            [asdict(band) for band in view.bands],
            title=title,
            subtitle=f"Trial {trial.row.trial.order}: {_offered(trial)}; the band is the time from injection to heal.",
        ),
        alt=f"{title}. The table of faults has the figures.",
    )


def _offered(trial: TrialData) -> str:
    rate = trial.row.cell.rate
    return f"{rate:,.0f} requests/s are due" if rate else "closed loop"


def _finding(source: SectionInput, trial: TrialData, check: str) -> Finding | None:
    """The finding of this trial: findings have their cell, and those of its trials are in their order."""
    cell = trial.row.cell.name
    of_cell = [finding for finding in source.summary.findings if (finding.check, finding.cell) == (check, cell)]
    position = [other.row.trial.order for other in source.trials if other.row.cell.name == cell and other.faults.steps]
    order = trial.row.trial.order
    index = position.index(order) if order in position else 0
    return of_cell[index] if index < len(of_cell) else None


def _figures(source: SectionInput, trial: TrialData) -> Mapping[str, Any]:
    found = _finding(source, trial, names.AVAILABILITY)
    return found.numbers if found else {}


def _gap_s(source: SectionInput, trial: TrialData) -> float:
    return float(_figures(source, trial).get("gap_s", 0.0))


def _row(source: SectionInput, trial: TrialData) -> Sequence[Value]:
    figures, counted = _figures(source, trial), _finding(source, trial, names.NOTHING_LOST)
    account: Mapping[str, Any] = counted.numbers if counted else {}
    known = counted is not None and counted.verdict != "unknown"
    effects = figures.get("effects", [])
    evidence = trial.evidence
    seen = "; ".join(fault.seen or f"not seen: {fault.problem}" for fault in evidence.faults) if evidence else ""
    return (
        Value(source.summary.labels[trial.row.cell.name], seen[:160]),
        Value(("" if outage_ended(figures) else "≥ ") + number(figures.get("gap_s"))),
        *(Value(_latest(effects, name)) for name in ("first_success_s", "back_s")),
        *(Value(count(account.get(name))) for name in ("aborted", "unknown", "unknown_applied")),
        *(Value(number(figures.get(f"p99_{when}_ms"))) for when in ("before", "during", "after")),
        Value(count(account.get("acknowledged"))),
        *(
            Value(count(account.get(name)) if known else NOTHING, mark="fail" if known and account.get(name) else "")
            for name in WRONG
        ),
    )


def _latest(effects: Sequence[Mapping[str, Any]], name: str) -> str:
    """The largest of several faults; nothing where it did not happen after one of them."""
    values = [effect[name] for effect in effects if effect.get(name) is not None]
    return number(max(values)) if values and len(values) == len(effects) else NOTHING


def _stories(source: SectionInput) -> Iterator[Fold]:
    """Returns the pictures of the first wrong requests, hidden behind what is wrong with them."""
    shown = [(trial, story) for trial in source.trials for story in trial.faults.stories][:MOST_STORIES]
    for number_, (trial, story) in enumerate(shown, 1):
        label = source.summary.labels[trial.row.cell.name]
        title = f"A request that was {story.kind}"
        spec = charts.story([asdict(event) for event in story.events], title=title, subtitle=f"{story.ident}, {label}")
        events = "; ".join(f"{event.where}: {event.what}" for event in story.events)
        pictures = drawn(
            f"{source.summary.name} story {number_}", [Chart(name="story", spec=spec, alt=f"{title}: {events}.")]
        )
        yield Fold(title=f"The story of {story.ident}: {story.kind}", blocks=tuple(pictures))
