"""The cards of a trend: one a cell with its charts, lost updates, and the runs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.compare.environment import differences
from harness.compare.trend import LEAST_SERIES, Change, TrendRun, TrendSeries
from harness.report.cards_page import Card
from harness.report.charts.drawing import picture
from harness.report.charts.trend import ChangeMark, ChartPoint, Level, trend_chart
from harness.report.comparable_labels import Named
from harness.report.comparison_words import METRIC_NAMES
from harness.report.formatting import NOTHING, number
from harness.report.page_model import Block, Fold, Picture, Prose, Value, table
from harness.report.trend_words import TrendSource, change_text, letter, lost_of, when_of, writes_state, writes_verdict
from harness.text import plural

NEVER_VALID = Prose(paragraphs=("No run has a trial of this cell whose times count.",))
MOST_FACTS = 4
WORST_FIRST = ("slower", "faster")
"""Verdicts of the changes that are claimed."""
UNITS = {"rps": "requests/s", "p99_ms": "p99, ms"}


def cell_cards(source: TrendSource, named: Named) -> Iterator[Card]:
    """Returns a card for each cell in reading order; those with too few runs share the last one."""
    unjudged: list[Fold] = []
    for place, (cell, label) in enumerate(named.labels.items(), start=1):
        series = [one for one in source.trend.series if one.cell == cell]
        pictures = tuple(_picture(source, one, label, f"cell-{place}-{one.metric}-") for one in series)
        if not any(one.claimed and one.judged >= LEAST_SERIES for one in series):
            unjudged.append(Fold(title=label, blocks=pictures or (NEVER_VALID,)))
            continue
        claims = [(one, change) for one in series for change in one.changes if change.claimed]
        texts = "; ".join(change_text(source, one, change) for one, change in claims)
        newest = max((change.index for _, change in claims), default=0)
        last = min(
            (change.row.verdict for _, change in claims if change.index == newest),
            key=WORST_FIRST.index,
            default="no difference",
        )
        yield Card(
            name=label,
            anchor=f"cell-{place}",
            verdict=last,
            answer=f"{texts[0].upper()}{texts[1:]}." if texts else "No change is shown.",
            note=named.common,
            pictures=pictures,
            blocks=tuple({change.index: _what_changed(source, change) for _, change in claims}.values()),
        )
    if unjudged:
        yield Card(
            name="Not judged",
            anchor="not-judged",
            verdict="not judged",
            answer=f"Nothing is claimed about {plural(len(unjudged), 'cell')}: fewer than {LEAST_SERIES} runs can be "
            "compared, or only latencies of closed loops were measured.",
            note=named.common,
            blocks=tuple(replace(fold, open=len(unjudged) == 1) for fold in unjudged),
        )


def _picture(source: TrendSource, series: TrendSeries, label: str, prefix: str) -> Picture:
    trend = source.trend
    name = METRIC_NAMES[series.metric]
    claims = [change for change in series.changes if change.claimed]
    if not series.claimed:
        finding = "closed loop, drawn and not judged"
    elif series.judged < LEAST_SERIES:
        finding = f"{plural(series.judged, 'run')} that can be compared, too few to judge"
    elif claims:
        finding = change_text(source, series, claims[-1]).removeprefix(f"{name} ")
    else:
        finding = f"no change is shown in {plural(series.judged, 'run')}"
    how = "Median, smallest and largest trial of each run"
    if series.claimed:
        how += f"; band: noise floor of {series.floor - 1:.1%}" if series.floor else "; noise floor not measured"
    spec = trend_chart(
        [
            ChartPoint(place=point.index + 1, value=point.value, low=point.low, high=point.high,
                       state=_state(point.wrong, trend.runs[point.index]))
            for point in series.points
        ],
        when=[when_of(run) for run in source.runs],
        unit=UNITS[series.metric],
        title=f"{name if name[0] == 'p' else name.capitalize()}: {finding}",
        subtitle=how,
        levels=[
            Level(first=part[0] + 1, last=part[-1] + 1, value=value, floor=series.floor)
            for part, value in series.levels
            if series.claimed
        ],
        changes=[
            ChangeMark(place=change.index + 1, text=f"{change.row.ratio.value - 1:+.1%}" if change.row.ratio else "?",
                       kind=change.row.verdict)
            for change in series.changes
        ],
        other_code=[place for place, run in enumerate(trend.runs, start=1) if run.since],
    )  # fmt: skip
    values = ", ".join(f"run {point.index + 1} {number(point.value)}" for point in series.points)
    return picture("trend", spec, "", f"{name} of {label}: {finding}. {values}.", prefix=prefix)


def _state(wrong: bool, run: TrendRun) -> str:
    if wrong:
        return "failed a check"
    return "counted" if run.environment == 0 else "other environment"


def _what_changed(source: TrendSource, change: Change) -> Block:
    """Returns the recorded facts in which the runs beside a change differ."""
    before, after = source.runs[change.before[-1]], source.runs[change.index]
    unlike = differences(before.manifest.model_dump(), after.manifest.model_dump())
    between = f"run {before.run_id} and run {after.run_id}"
    if not unlike:
        return Prose(paragraphs=(f"No recorded fact differs between {between}.",))
    rows = [[one.fact, one.a, one.b] for one in unlike]
    return table(f"What differs between {between}", ("fact", "before", "after"), rows)


def lost_card(source: TrendSource) -> Card:
    """Returns the lost updates of each run."""
    counts = [(place, lost_of(run, source.scenario)) for place, run in enumerate(source.runs, start=1)]
    judged = [(place, count) for place, count in counts if count is not None]
    lost = sum(count for _, count in judged)
    losing = [source.runs[place - 1].run_id for place, count in judged if count]
    title = f"No acknowledged write was lost in {plural(len(judged), 'judged run')}"
    if lost:
        title = f"{lost:,} acknowledged writes were lost, first in run {losing[0]}"
    verdicts = [(run.run_id, writes_verdict(run, source.scenario)) for run in source.runs]
    failing = [run for run, verdict in verdicts if verdict == "fail"]
    unclear = [run for run, verdict in verdicts if verdict == "unknown"]
    notes = []
    if failing and not lost:
        notes.append(f"{plural(len(failing), 'run')} failed a check of the writes, first run {failing[0]}")
    if unclear:
        notes.append(f"in {plural(len(unclear), 'run')} a check of the writes is unknown, first in run {unclear[0]}")
    also = "".join(f" {note[0].upper()}{note[1:]}." for note in notes)
    state = writes_state(source)
    if not judged:
        answer = f"No run of this scenario judged lost updates.{also}"
        return Card(name="Lost updates", anchor="lost", verdict=state, answer=answer)
    missing = len(counts) - len(judged)
    spec = trend_chart(
        [ChartPoint(place=place, value=count, low=count, high=count, state="failed a check" if count else "counted")
         for place, count in judged],
        when=[when_of(run) for run in source.runs],
        unit="lost updates",
        title=title,
        subtitle=f"{missing} of {plural(len(counts), 'run')} did not judge them" if missing else "",
    )  # fmt: skip
    return Card(
        name="Lost updates",
        anchor="lost",
        verdict=state,
        answer=f"{title}.{also}",
        pictures=(picture("lost", spec, "", f"{title}.", prefix="lost-"),),
    )


def _few(facts: Sequence[str]) -> str:
    more = f" and {len(facts) - MOST_FACTS} more" if len(facts) > MOST_FACTS else ""
    return ", ".join(facts[:MOST_FACTS]) + more


def runs_card(source: TrendSource) -> Card:
    """Returns all runs with their environments, their checks and their code."""
    rows: list[list[Value | str]] = []
    for place, (run, of) in enumerate(zip(source.runs, source.trend.runs, strict=True), start=1):
        lost = lost_of(run, source.scenario)
        code = run.manifest.code
        rows.append([
            str(place), run.run_id, run.manifest.started,
            Value(letter(of.environment), _few([one.fact for one in of.differences if one.forbids])),
            Value(run.manifest.verdict, mark=run.manifest.verdict), NOTHING if lost is None else f"{lost:,}",
            Value(code.commit[:12] + (" +" if code.dirty else ""), _few(of.since)), code.command,
        ])  # fmt: skip
    head = ("no.", "run", "started", "environment", "own checks", "lost", "code", "command")
    note = (
        "Environment: below it the facts that differ from the newest run and forbid a comparison. Code: below it what "
        "is not as in the run before; +: with uncommitted changes."
    )
    return Card(name="Runs", anchor="runs", blocks=(table("Runs in the order of time", head, rows, note=note),))
