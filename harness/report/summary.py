"""What a run says in short: its cells over their trials, its headline. Pure; the terminal and the page show it."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.analysis.trial_validity import unreplaced
from harness.checks import names
from harness.checks.finding import worst
from harness.model import Cell, Finding
from harness.record import TrialResult
from harness.report.cell_labels import Labels, labels, place
from harness.report.formatting import NOTHING
from harness.store.run_reader import Run
from harness.text import plural


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSummary:
    """A cell over its trials.

    Counts are totals over all its trials, so that nothing hides in a median. Figures are medians over the valid
    trials, with the smallest and the largest; None where no valid trial carries the figure.
    """

    cell: Cell
    label: str
    """The fewest words that tell it from the other cells; `aside`: what else it has of its own."""
    aside: str
    trials: int
    valid: int
    sent: float | None
    ok: float | None
    fail: float | None
    unknown: float | None
    lost: int | None
    """Lost updates as the oracle found them: of one trial if there are several, so a lower bound then."""
    medians: Mapping[str, float]
    spans: Mapping[str, tuple[float, float]]
    reasons: tuple[str, ...] = ()
    """Why trials are invalid."""

    @property
    def lost_text(self) -> str:
        """Lost updates: exact, or `≥ n` where other trials may have lost more."""
        if self.lost is None:
            return NOTHING
        return f"{'≥ ' if self.lost and self.trials > 1 else ''}{self.lost:,}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioSummary:
    """A scenario's cells in a reader's order, what they share, and its findings in the order of the cells."""

    name: str
    cells: tuple[CellSummary, ...]
    common: str
    findings: tuple[Finding, ...]
    labels: Mapping[str, str] = field(default_factory=dict)


def summarise(run: Run) -> tuple[ScenarioSummary, ...]:
    """The scenarios of a run in the order they were measured."""
    rows: dict[str, list[TrialResult]] = {}
    found: dict[str, list[Finding]] = {}
    for row in sorted(run.rows, key=lambda row: row.trial.order):
        rows.setdefault(row.cell.scenario, []).append(row)
    for one in run.findings:
        found.setdefault(one.scenario, []).append(one)
    return tuple(_scenario(name, rows.get(name, []), found.get(name, [])) for name in dict.fromkeys([*rows, *found]))


def _scenario(name: str, rows: Sequence[TrialResult], findings: Sequence[Finding]) -> ScenarioSummary:
    grouped: dict[str, list[TrialResult]] = {}
    for row in sorted(rows, key=lambda row: place(row.cell)):
        grouped.setdefault(row.cell.name, []).append(row)
    named = labels(group[0].cell for group in grouped.values())
    lost = {
        f.cell: _whole(f.numbers.get("lost"))
        for f in findings
        if f.check in (names.FINAL_VALUE, names.NEGATIVE_CONTROL)
    }
    order = {cell: number for number, cell in enumerate(grouped)}
    return ScenarioSummary(
        name=name,
        cells=tuple(_cell(group, named, lost.get(cell)) for cell, group in grouped.items()),
        common=named.common,
        findings=tuple(sorted(findings, key=lambda f: (order.get(f.cell, -1), ".sqlite-" in f.cell))),
        labels=named.short,
    )


def _cell(rows: Sequence[TrialResult], named: Labels, lost: int | None) -> CellSummary:
    valid = [row for row in rows if row.valid]
    values = {
        name: known
        for name in dict.fromkeys(name for row in valid for name in row.figures)
        if (known := [v for row in valid if (v := row.figure(name)) is not None and math.isfinite(v)])
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
        medians={name: statistics.median(known) for name, known in values.items()},
        spans={name: (min(known), max(known)) for name, known in values.items()},
        reasons=tuple(dict.fromkeys(row.reason or "no reason was recorded" for row in rows if not row.valid)),
    )


def _total(rows: Sequence[TrialResult], name: str) -> float | None:
    known = [v for row in rows if (v := row.figure(name)) is not None and math.isfinite(v)]
    return sum(known) if known else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The verdict in a word, and why in a sentence."""

    verdict: str
    word: str
    sentence: str


def headline(run: Run, scenarios: Sequence[ScenarioSummary]) -> Headline:
    """`PASS` with what was proved, else the first thing that stands against it."""
    manifest, findings = run.manifest, run.findings
    verdict: str = manifest.verdict
    if manifest.status == "aborted":
        done = f"{plural(len(run.rows), 'trial')} and {plural(len(findings), 'finding')} are kept"
        why = next((w.removeprefix("aborted: ") for w in manifest.warnings if w.startswith("aborted: ")), "interrupted")
        return Headline(verdict=verdict, word="ABORTED", sentence=f"{why}; {done}")
    if manifest.status != "finished":
        return Headline(
            verdict="unknown", word="UNFINISHED", sentence=f"the run's status is '{manifest.status}': not judged"
        )
    sentence = {
        "pass": lambda: _passed(scenarios, findings),
        "fail": lambda: _against(findings, "fail"),
        "unknown": lambda: _against(findings, "unknown"),
        "invalid": lambda: _invalid(run.rows),
    }[manifest.verdict]()
    return Headline(verdict=verdict, word=verdict.upper(), sentence=sentence)


def _passed(scenarios: Sequence[ScenarioSummary], findings: Sequence[Finding]) -> str:
    every = f"all {plural(len(findings), 'check')} pass"
    proved = _proved(scenarios)
    if not proved:
        return every
    return f"{proved}; {every} in {len(scenarios)} scenarios" if len(scenarios) > 1 else proved


def _proved(scenarios: Iterable[ScenarioSummary]) -> str:
    """`1,000 of 1,000 concurrent writes acknowledged over 4 app hosts, none lost`, if that was shown."""
    for scenario in scenarios:
        cells = [c for c in scenario.cells if c.cell.backend == "postgres"]
        if scenario.name != "concurrent-writes" or not cells or any(c.lost != 0 for c in cells):
            continue
        sent, ok = (sum(getattr(c, name) or 0 for c in cells) for name in ("sent", "ok"))
        hosts = sorted({c.cell.hosts for c in cells})
        at_once = sorted({c.cell.clients for c in cells})
        trials = sum(c.trials for c in cells)
        over = plural(hosts[0], "app host") if len(hosts) == 1 else f"{hosts[0]} to {hosts[-1]} app hosts"
        each = f" in {trials} trials of {at_once[0]:,} at once" if trials > 1 and len(at_once) == 1 else ""
        return f"{ok:,.0f} of {sent:,.0f} concurrent writes acknowledged over {over}{each}, none lost"
    return ""


def _against(findings: Sequence[Finding], verdict: str) -> str:
    against = [one for one in findings if one.verdict == verdict]
    if not against:
        return "no check was made" if not findings else "no finding says why"
    verb = {"fail": "fail" if len(against) > 1 else "fails", "unknown": "could not be answered"}[verdict]
    first = against[0]
    lead = "first: " if len(against) > 1 else ""
    return (
        f"{len(against)} of {plural(len(findings), 'check')} {verb}; "
        f"{lead}{first.scenario}, {first.check}: {first.detail.split('; ')[0]}"
    )


def _invalid(rows: Sequence[TrialResult]) -> str:
    bad = unreplaced(rows)
    why = f"; first: {bad[0].reason or 'no reason was recorded'}" if bad else ""
    verb = "is" if len(bad) == 1 else "are"
    return f"{len(bad)} of {plural(len(rows), 'trial')} {verb} invalid, so no claim rests on them{why}"


MOST_DECIDING = 3
"""So many findings that judge the trials together are named in an answer."""


def scenario_answer(scenario: ScenarioSummary) -> str:
    """The answer in one sentence: how many checks pass, and those that decide: made of all cells, else the first."""
    findings = scenario.findings
    if not findings:
        return "Not judged: there is no finding."
    verdict = worst(f.verdict for f in findings)
    same = [f for f in findings if f.verdict == verdict]
    total = plural(len(findings), "check")
    said = {
        "pass": f"All {total} pass" if len(findings) > 1 else "The check passes",
        "fail": f"{len(same)} of {total} {'fails' if len(same) == 1 else 'fail'}",
        "unknown": f"{len(same)} of {total} could not be answered",
    }[verdict]
    invalid = sum(cell.trials - cell.valid for cell in scenario.cells)
    doubt = f" No claim rests on {plural(invalid, 'invalid trial')}." if invalid else ""
    claims = {f.check.removeprefix(names.CLAIM): bool(f.numbers["held"]) for f in findings if "held" in f.numbers}
    if claims and verdict == "pass":
        others = ", ".join(name for name, held in claims.items() if not held)
        also = f" ({others} {'does' if others.count(',') == 0 else 'do'} not)" if others else ""
        return f"{said}; {sum(claims.values())} of the page's {len(claims)} claims hold{also}.{doubt}"
    times = Counter(f.check for f in same)
    deciding = [f for f in same if times[f.check] == 1 and len(scenario.cells) > 1] or same[:1]
    shown = "; ".join(f"{f.check}: {f.detail}" for f in deciding[:MOST_DECIDING])
    return f"{said}; {shown}.{doubt}"
