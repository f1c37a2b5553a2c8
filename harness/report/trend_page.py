"""Builds the page of a trend: one scenario over the stored runs of a rig, with its changes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.compare.trend import LEAST_SERIES
from harness.plan.scenario import Scenario
from harness.report.cards_page import CardsPage
from harness.report.comparable_labels import Named, named_cells
from harness.report.comparison_words import METRIC_NAMES
from harness.report.formatting import NOTHING
from harness.report.run_summary import Headline
from harness.report.tiles import Tile
from harness.report.trend_cards import cell_cards, lost_card, runs_card
from harness.report.trend_words import TrendSource, change_text, claims_of, is_enough, letter, lost_of, writes_state
from harness.scenarios import SCENARIOS
from harness.text import plural

MOST_FACTS = 4
WORDS = (
    ("● ◇ ✗", "● a run that counts; ◇ a run of another environment than the newest; ✗ a run that failed a check"),
    ("Point and line", "the median of a run's valid trials, and its smallest and largest trial"),
    ("Level", "the geometric mean of the runs between two changes"),
    (
        "Band",
        "the noise floor around a level: two runs inside of it differ by no more than identical runs do. It is drawn "
        "where it was measured between runs (`bench --aa 5`)",
    ),
    (
        "Dashed line",
        "a change: E-divisive means propose it and Student's t decides, as Apache Otava does, with a threshold of "
        "p < 0.001 divided by the number of series; then `compare` judges the runs before it against those after it. "
        "It is between two runs, never inside one",
    ),
    ("Dotted line", "the first run of another revision or with other settings, see Runs"),
    (
        "A change",
        "something changed from this run on: the service, its settings, or conditions of the machine that no canary "
        "shows. Runs that were measured close together share such conditions",
    ),
    ("Environment", "a, of the newest run, b, c…: hosts, caps, versions and durability that are compared"),
    (
        "Closed loop",
        "each client waits for its answer, so latencies omit the stalls that it waits through (coordinated omission): "
        "they are drawn and not searched for changes",
    ),
)


def build(source: TrendSource, *, command: str, scenarios: Mapping[str, Scenario] = SCENARIOS) -> CardsPage:
    """Returns the page. With fewer than `LEAST_SERIES` comparable runs it says so and claims nothing."""
    cells = (row.cell for run in source.runs for row in run.rows if row.cell.scenario == source.scenario)
    (named,) = named_cells(cells, scenarios)
    first, last = source.runs[0], source.runs[-1]
    return CardsPage(
        title=f"{source.scenario} over time on rig {source.rig}",
        about=f"{plural(len(source.runs), 'run')}, {first.manifest.started} to {last.manifest.started}",
        headline=_headline(source, named),
        tiles=_tiles(source),
        limits=tuple(_limits(source)),
        cards=(*cell_cards(source, named), lost_card(source), runs_card(source)),
        words=WORDS,
        command=command,
    )


def _headline(source: TrendSource, named: Named) -> Headline:
    """Returns what changed; first, where the newest run is no pass, that its figures do not count."""
    about = _changes(source, named)
    newest = source.runs[-1].manifest
    if newest.status != "finished":
        why, verdict = f"is {newest.status}, so only its finished trials count", "unknown"
    elif newest.verdict != "pass":
        why, verdict = f"has the verdict {newest.verdict}, so what failed in it does not count", newest.verdict
    else:
        return about
    return Headline(
        verdict=verdict,
        word="FAILED CHECKS" if verdict == "fail" else "CHECKS NOT PASSED",
        sentence=f"the newest run {source.runs[-1].run_id} {why}; {about.sentence}",
    )


def _changes(source: TrendSource, named: Named) -> Headline:
    claims = claims_of(source)
    most = max((one.judged for one in source.trend.series), default=0)
    if not is_enough(source):
        sentence = (
            f"at most {plural(most, 'run')} of one environment can be compared, {LEAST_SERIES} are needed: nothing is "
            "claimed"
        )
        if most >= LEAST_SERIES:
            sentence = "only latencies of closed loops were measured, and nothing is claimed about them"
        return Headline(
            verdict="not judged", word="TOO FEW RUNS" if most < LEAST_SERIES else "NOT JUDGED", sentence=sentence
        )
    if not claims:
        return Headline(
            verdict="no difference",
            word="NO CHANGE SHOWN",
            sentence=f"no change is shown in {plural(source.trend.tested, 'series', 'series')} of at most "
            f"{plural(most, 'run')}; a small one, or one in the newest run, is not excluded",
        )
    series, change = claims[-1]
    more = f"; {plural(len(claims) - 1, 'more change')}" if len(claims) > 1 else ""
    return Headline(
        verdict="changed",
        word="CHANGED",
        sentence=f"newest change: {change_text(source, series, change)}, {named.labels[series.cell]}{more}",
    )


def _tiles(source: TrendSource) -> tuple[Tile, ...]:
    environments = len({run.environment for run in source.trend.runs})
    newest = sum(run.environment == 0 for run in source.trend.runs)
    floors = [one.floor for one in source.trend.series if one.floor and one.claimed]
    lost = [count for run in source.runs if (count := lost_of(run, source.scenario)) is not None]
    changes = len(claims_of(source))
    tested = f"in {plural(source.trend.tested, 'series', 'series')}" if is_enough(source) else ""
    return (
        Tile(label="Runs", value=str(len(source.runs)), note=f"{newest} of the newest run's environment"),
        Tile(label="Environments", value=str(environments), note="compared within each, never across",
             state="warning" if environments > 1 else ""),
        Tile(label="Changes", value=str(changes) if tested else NOTHING, note=tested or "too few runs to claim one",
             state="changed" if changes else ""),
        Tile(label="Noise floor", value=f"{max(floors) - 1:.1%}" if floors else NOTHING,
             note="at most, between runs of this rig" if floors else "not measured: ./run bench --aa 5"),
        Tile(label="Lost updates", value=f"{sum(lost):,}" if lost else NOTHING,
             note=f"in {plural(len(lost), 'judged run')}" if lost else "no run judged them",
             state=writes_state(source)),
    )  # fmt: skip


def _limits(source: TrendSource) -> Iterator[str]:
    """Returns what a reader of the verdict must know; the runs of other environments first."""
    for environment in sorted({run.environment for run in source.trend.runs} - {0}):
        members = [run for run in source.trend.runs if run.environment == environment]
        facts = [one.fact for one in members[-1].differences if one.forbids]
        more = f" and {len(facts) - MOST_FACTS} more" if len(facts) > MOST_FACTS else ""
        number = plural(len(members), "run")
        yield (
            f"{number} of environment {letter(environment)} (◇) not compared with the newest: other "
            f"{', '.join(facts[:MOST_FACTS])}{more}"
        )
    for run in source.runs:
        if run.manifest.status != "finished":
            yield f"run {run.run_id} is {run.manifest.status}: only its finished trials count"
        if run.manifest.verdict in ("fail", "unknown", "invalid"):
            yield f"run {run.run_id} has the verdict {run.manifest.verdict}"
    yield from source.unreadable
    for one in source.trend.series:
        for change in one.changes:
            if not change.claimed:
                yield (
                    f"a step of {METRIC_NAMES[one.metric]} with run {source.runs[change.index].run_id} is not claimed: "
                    f"{change.row.verdict}{f', {change.row.note}' if change.row.note else ''}"
                )
