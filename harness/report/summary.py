"""A run in short: its cells over their trials, the answer of each scenario. Pure; terminal and page show it."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.analysis.trial_validity import unreplaced
from harness.checks import names
from harness.checks.finding import judged, losses, worst
from harness.model import Cell, Finding
from harness.plan.scenario import Scenario
from harness.record import TrialResult
from harness.report.cell_labels import Labels, labels, reading_order
from harness.report.formatting import NOTHING
from harness.report.warning_groups import brief
from harness.store.run_reader import Run

OF_SEVERAL = (names.CLAIM, names.KNEE, names.TIME_RATIO.partition("{")[0])
"""How the checks begin that compare cells, whose finding has the name of any one of them."""
NO_REASON = "no reason was recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSummary:
    """A cell over its trials.

    Counts are totals over all trials, valid or not. Figures are medians over the valid trials, with the smallest and
    the largest; a figure that no valid trial has is absent. Figures about time are of the trials whose times hold, or
    of all valid ones where there is none (`times_doubted`).
    """

    cell: Cell
    label: str
    """Tells the cell from the scenario's other cells; `aside`: its other settings that are not those of all cells."""
    aside: str
    trials: int
    valid: int
    sent: float | None
    ok: float | None
    fail: float | None
    unknown: float | None
    lost: int | None
    """Lost updates by `losses`: None where it is not known whether any is lost. A lower bound with several trials."""
    compared: int | None
    """Acknowledged writes among which the oracle looked for losses, those of the warm-up too."""
    medians: Mapping[str, float]
    spans: Mapping[str, tuple[float, float]]
    reasons: tuple[str, ...] = ()
    """Why trials are invalid; not of those that were replaced, which decide nothing."""
    doubted: int = 0
    """Valid trials whose times are doubted: the load generator may have been the limit."""

    @property
    def times_doubted(self) -> bool:
        """Whether the figures about time are of trials whose times are doubted."""
        return 0 < self.valid == self.doubted

    @property
    def lost_text(self) -> str:
        """Lost updates: exact, or `≥ n` where other trials may have lost more."""
        if self.lost is None:
            return NOTHING
        return f"{'≥ ' if self.lost and self.trials > 1 else ''}{self.lost:,}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioSummary:
    """A scenario's cells in reading order, the settings they share, and its findings in the order of the cells."""

    name: str
    cells: tuple[CellSummary, ...]
    common: str
    findings: tuple[Finding, ...]
    labels: Mapping[str, str] = field(default_factory=dict)

    def label_of(self, finding: Finding) -> str:
        """Returns the label of the finding's cell; empty for a check that compares cells, which names only one."""
        return "" if finding.check.startswith(OF_SEVERAL) else self.labels.get(finding.cell, "")

    @property
    def has_load(self) -> bool:
        """Whether any cell counted requests."""
        return any(cell.sent is not None for cell in self.cells)


def names_of(run: Run) -> list[str]:
    """Returns the names of the variants that a run compares, the baseline first."""
    return [variant.name for variant in run.manifest.variants]


def summarise_scenarios(run: Run, scenarios: Mapping[str, Scenario]) -> tuple[ScenarioSummary, ...]:
    """Returns the scenarios of a run in the order they were measured."""
    rows: dict[str, list[TrialResult]] = {}
    findings: dict[str, list[Finding]] = {}
    for row in sorted(run.rows, key=lambda row: row.trial.order):
        rows.setdefault(row.cell.scenario, []).append(row)
    for finding in run.findings:
        findings.setdefault(finding.scenario, []).append(finding)
    for of_scenario in rows.values():
        of_scenario.sort(key=lambda row: reading_order(row.cell, names_of(run)))
    return tuple(
        _scenario(name, scenarios.get(name), rows.get(name, []), findings.get(name, []))
        for name in dict.fromkeys([*rows, *findings])
    )


def _scenario(
    name: str, scenario: Scenario | None, rows: Sequence[TrialResult], findings: Sequence[Finding]
) -> ScenarioSummary:
    grouped: dict[str, list[TrialResult]] = {}
    for row in rows:
        grouped.setdefault(row.cell.name, []).append(row)
    named = labels([group[0].cell for group in grouped.values()], scenario)
    counted: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.check in names.LOSSES:
            counted.setdefault(finding.cell, []).append(finding)
    order = {cell: number for number, cell in enumerate(grouped)}
    return ScenarioSummary(
        name=name,
        cells=tuple(_cell(group, named, counted.get(cell, [])) for cell, group in grouped.items()),
        common=named.common,
        findings=tuple(sorted(findings, key=lambda f: order.get(f.cell, -1))),
        labels=named.short,
    )


def _cell(rows: Sequence[TrialResult], named: Labels, counted: Sequence[Finding]) -> CellSummary:
    lost = losses(counted)
    valid = [row for row in rows if row.valid]
    timed = [row for row in valid if row.times_valid]
    values = {
        name: known
        for name in dict.fromkeys(name for row in valid for name in row.figures)
        if (known := _known(timed if timed and is_time(name) else valid, name))
    }
    return CellSummary(
        cell=rows[0].cell,
        label=named.short[rows[0].cell.name],
        aside=named.aside[rows[0].cell.name],
        trials=len(valid) + len(unreplaced(rows)),
        valid=len(valid),
        sent=_total(rows, "sent"),
        ok=_total(rows, "ok"),
        fail=_total(rows, "fail"),
        unknown=_total(rows, "unknown"),
        lost=lost,
        compared=None if lost is None else _compared(counted),
        medians={name: statistics.median(known) for name, known in values.items()},
        spans={name: (min(known), max(known)) for name, known in values.items()},
        reasons=tuple(dict.fromkeys(row.reason or NO_REASON for row in unreplaced(rows))),
        doubted=len(valid) - len(timed),
    )


def is_time(figure: str) -> bool:
    """Whether a figure is about time, so that it needs a trial whose times hold."""
    return figure.endswith("_ms") or figure in ("rps", "seconds")


def _known(rows: Iterable[TrialResult], name: str) -> list[float]:
    """Returns the finite values of a figure."""
    return [value for row in rows if (value := row.figure(name)) is not None and math.isfinite(value)]


def _total(rows: Sequence[TrialResult], name: str) -> float | None:
    known = _known(rows, name)
    return sum(known) if known else None


def _compared(counted: Sequence[Finding]) -> int | None:
    """Returns the acknowledged writes of the check that compared most of them."""
    values = [one.numbers.get(name) for one in counted for name in ("ok", "acknowledged")]
    return max((value for value in values if isinstance(value, int) and not isinstance(value, bool)), default=None)


MOST_DECIDING = 2
"""An answer names at most this many of the findings that judge several cells together."""
_LONG_ASIDE = re.compile(r" \([^()]{50,}\)")
"""An explanation in brackets: the list of findings below an answer has it."""


def deciding(scenario: ScenarioSummary) -> str:
    """Returns the findings that decide, in one sentence: those about several cells together, or else the first one."""
    findings = judged(scenario.findings)
    if not findings:
        figures = "; ".join(f"{f.check}: {f.detail}" for f in scenario.findings[:MOST_DECIDING])
        return f"Not judged: {figures}." if figures else "Not judged: there are no findings."
    verdict = worst(f.verdict for f in findings)
    same = [f for f in findings if f.verdict == verdict]
    shown = [f for f in scenario.findings if f.verdict == "shown"]
    likely = [*same, *shown] if verdict == "pass" else same
    times = Counter(f.check for f in likely)
    chosen = [f for f in likely if times[f.check] == 1 and len(scenario.cells) > 1] or same[:1]
    return "; ".join(f"{f.check}: {_LONG_ASIDE.sub('', brief(f.detail))}" for f in chosen[:MOST_DECIDING]) + "."
