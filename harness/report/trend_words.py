"""A trend in words: its claims, its runs and what they lost. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from harness.checks import names
from harness.checks.finding import losses, worst
from harness.compare.trend import LEAST_SERIES, Change, Trend, TrendSeries
from harness.model import Finding, Verdict
from harness.report.comparison_words import METRIC_NAMES
from harness.report.formatting import NOTHING
from harness.store.run_reader import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendSource:
    """What a page is made of. `runs`: in the order of `trend.runs`; `unreadable`: sentences about damaged runs."""

    rig: str
    scenario: str
    runs: tuple[Run, ...]
    trend: Trend
    unreadable: tuple[str, ...] = ()


def claims_of(source: TrendSource) -> list[tuple[TrendSeries, Change]]:
    """Returns the changes that are claimed, the oldest first."""
    found = [(one, change) for one in source.trend.series for change in one.changes if change.claimed]
    return sorted(found, key=lambda pair: (pair[1].index, pair[1].row.change))


def is_enough(source: TrendSource) -> bool:
    """Returns whether some series has enough runs for a claim."""
    return any(one.claimed and one.judged >= LEAST_SERIES for one in source.trend.series)


def change_text(source: TrendSource, series: TrendSeries, change: Change) -> str:
    """Returns `requests/s fell by 12.3% with run X`."""
    verb = "rose" if change.row.ratio and change.row.ratio.value > 1 else "fell"
    run = source.runs[change.index].run_id
    return f"{METRIC_NAMES[series.metric]} {verb} by {change.row.change:.1%} with run {run} ({change.row.verdict})"


def lost_of(run: Run, scenario: str) -> int | None:
    """Returns the acknowledged writes that a scenario's oracle missed, over its cells.

    None where it is not known: no cell was judged, or one is open and no loss is proven. The negative control, which
    is meant to lose some, has another check.
    """
    of_cells: dict[str, list[Finding]] = {}
    for finding in _about_writes(run, scenario):
        if finding.check in names.LOSSES:
            of_cells.setdefault(finding.cell, []).append(finding)
    counts = [losses(findings) for findings in of_cells.values()]
    lost = sum(count or 0 for count in counts)
    return lost if lost or (counts and None not in counts) else None


def writes_verdict(run: Run, scenario: str) -> Verdict | None:
    """Returns the worst verdict of the checks that account for a scenario's writes; None where there was none."""
    found = _about_writes(run, scenario)
    if not found:
        return None
    verdict = worst(one.verdict for one in found)
    return "unknown" if verdict == "pass" and lost_of(run, scenario) is None else verdict


def writes_state(source: TrendSource) -> str:
    """Returns the worst verdict about the writes over the runs; empty where no run judged them.

    A run whose losses are not known is not a pass.
    """
    verdicts = [verdict for run in source.runs if (verdict := writes_verdict(run, source.scenario))]
    return worst(verdicts) if verdicts else ""


def _about_writes(run: Run, scenario: str) -> list[Finding]:
    return [one for one in run.findings if one.scenario == scenario and one.check in names.WRITES]


def letter(environment: int) -> str:
    """Returns the name of an environment: a, b, … z, then its number."""
    return chr(ord("a") + environment) if environment < 26 else str(environment)


def when_of(run: Run) -> str:
    """Returns `28 Nov 20:44`; the run's text is not trusted."""
    try:
        return f"{datetime.fromisoformat(run.manifest.started):%d %b %H:%M}"
    except ValueError:
        return NOTHING
