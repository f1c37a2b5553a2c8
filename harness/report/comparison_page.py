"""Builds the page of a comparison: stored runs against a baseline, with the verdicts of harness/compare. Pure.

It shows what `./run compare` prints. It computes nothing itself, so both always agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.compare import table as comparison_table
from harness.compare.rows import ALL_METRICS, METRICS, Row
from harness.plan.scenario import Scenario
from harness.report.cards_page import Card, CardsPage
from harness.report.comparable_labels import Named, named_cells
from harness.report.comparison_facts import Compared, differences_table, judged_card, runs_card
from harness.report.comparison_words import METRIC_NAMES, sentence, tally, title
from harness.report.forest_plots import forest_picture, forest_row
from harness.report.notices import with_labels
from harness.report.page_model import Block, Fold, Picture, Prose, Value, table
from harness.report.run_summary import Headline
from harness.report.tiles import Tile
from harness.report.within_card import within_cards
from harness.scenarios import SCENARIOS
from harness.store.run_reader import Run
from harness.text import plural

WORST_FIRST = ("slower", "refused", "not judged", "no difference", "faster")
MOST_LIMITS = 5
"""Warnings on the first screen besides those that take away the claims; the others are folded."""
WORDS = (
    ("▲ ▼ ~ ?", "▲ faster, ▼ slower, ~ no difference is shown (not: there is none), ? not judged"),
    ("B / A", "the median of B over that of A; with several runs a side the geometric mean of the runs' medians"),
    ("95 % interval", "where the ratio lies; it is not drawn where there are too few trials for one"),
    ("Band", "the noise floor: two identical runs differ by as much, so no ratio within it is called a difference"),
    ("p", "how likely such a difference is without any cause, corrected over all that was tested together"),
    ("MISSING", "only one side measured it; it is neither better nor worse"),
    ("Row", "one metric of one cell (a scenario with its backend, strategy, hosts, pool and load), or a whole cell"),
    (
        "Closed loop",
        "each client waits for its answer, so latencies omit the stalls that it waits through (coordinated omission): "
        "they are shown in the table, and nothing is claimed",
    ),
)


def build(
    baseline: Sequence[Run],
    compared: Sequence[Compared],
    *,
    command: str,
    scenarios: Mapping[str, Scenario] = SCENARIOS,
) -> CardsPage:
    """Returns the page of one or several comparisons with one baseline, `A`."""
    sides = {"A": tuple(baseline)} | {one.name: one.runs for one in compared}
    cells = (row.cell for runs in sides.values() for run in runs for row in run.rows)
    named = named_cells(cells, scenarios)
    labels = _full_labels(named)
    decisive = list(dict.fromkeys(_decisive(compared, labels)))
    limits = [text for text in dict.fromkeys(_limits(compared, labels)) if text not in decisive]
    return CardsPage(
        title="comparison of " + ", ".join(f"{name} {_ids(runs)}" for name, runs in sides.items()),
        about=plural(len(compared), "comparison"),
        headline=_headline(sides, compared, labels),
        tiles=_tiles(compared),
        limits=(*decisive, *limits[:MOST_LIMITS]),
        cards=(
            *(card for one in compared for card in _cards(one, named, several=len(compared) > 1)),
            *within_cards(run for runs in sides.values() for run in runs),
            runs_card(sides, compared, limits[MOST_LIMITS:]),
            judged_card(compared),
        ),
        words=WORDS,
        command=command,
    )


def _ids(runs: Sequence[Run]) -> str:
    return ", ".join(run.run_id for run in runs)


def _full_labels(named: Sequence[Named]) -> dict[str, str]:
    """Returns the labels by comparable name and by the cell's name; those of several scenarios have it before them."""
    several = len(named) > 1
    found: dict[str, str] = {}
    for one in named:
        for key, label in one.labels.items():
            text = f"{one.scenario}, {label}" if several else label
            found |= {key: text, one.cells[key].name: text}
    return found


def _lettered(text: str, name: str) -> str:
    """Returns a sentence of a comparison, whose sides are always A and B, with the letter of this side."""
    return text if name == "B" else re.sub(r"\bB\b", name, text)


def _decisive(compared: Sequence[Compared], labels: Mapping[str, str]) -> Iterator[str]:
    """Returns what takes away all claims of a comparison: unlike environments, and machines not equally fast."""
    for one in compared:
        if one.comparison is None:
            continue
        if one.comparison.anyway:
            unlike = ", ".join(difference.fact for difference in one.differences if difference.forbids)
            yield f"A and {one.name} were compared although {unlike} differ (--anyway): this proves nothing"
    for one in compared:
        for moved in one.comparison.moved if one.comparison else ():
            yield with_labels(_lettered(moved, one.name), labels)


def _limits(compared: Sequence[Compared], labels: Mapping[str, str]) -> Iterator[str]:
    for one in compared:
        for warning in one.comparison.warnings if one.comparison else ():
            yield with_labels(_lettered(warning, one.name), labels)


def _headline(sides: Mapping[str, Sequence[Run]], compared: Sequence[Compared], labels: Mapping[str, str]) -> Headline:
    verdicts, sentences = [], []
    for one in compared:
        if one.comparison is None:
            verdicts.append("refused")
            unlike = ", ".join(difference.fact for difference in one.differences if difference.forbids)
            sentences.append(f"{one.name} was not compared with A, because their environments are unlike: {unlike}")
            continue
        of = tally(one.comparison.rows)
        verdicts.append(of.verdict)
        sentences.append(_lettered(sentence(of, one.name, labels), one.name))
    verdict = min(verdicts, key=WORST_FIRST.index)
    word = "NO DIFFERENCE SHOWN" if verdict == "no difference" else verdict.upper()
    if verdict == "slower" and any(one.comparison and tally(one.comparison.rows).faster for one in compared):
        word = "SLOWER AND FASTER"
    for bad in ("unknown", "invalid", "fail"):
        wrong = [name for name, runs in sides.items() if any(run.manifest.verdict == bad for run in runs)]
        if wrong and verdict != "refused":
            verb = "has" if len(wrong) == 1 else "have"
            verdict, word = bad, "FAILED CHECKS" if bad == "fail" else "CHECKS NOT PASSED"
            sentences.insert(0, f"{' and '.join(wrong)} {verb} the verdict {bad}, so its speed does not count")
    return Headline(verdict=verdict, word=word, sentence="; ".join(sentences))


def _tiles(compared: Sequence[Compared]) -> tuple[Tile, ...]:
    """Returns the numbers of figures by verdict, over all comparisons."""
    rows = [row for one in compared if one.comparison for row in one.comparison.rows]
    of = tally(rows)
    shown = sum(row.verdict == "shown" for row in rows)
    parts = (
        ("Slower", of.slower, "slower", "shown beyond interval and floor"),
        ("Faster", of.faster, "faster", "shown beyond interval and floor"),
        ("No difference shown", of.same, "no difference", "a small one is not excluded"),
        ("Not judged", of.unjudged, "not judged", "too few trials, invalid or missing"),
    )
    total = plural(of.total, "row")
    tiles = [
        Tile(label=label, value=str(len(rows)), note=f"of {total}; {note}", state=state if rows else "")
        for label, rows, state, note in parts
    ]
    return (*tiles, Tile(label="Only shown", value=str(shown), note="latencies of closed loops: no claim"))


def _cards(one: Compared, named: Sequence[Named], *, several: bool) -> Iterator[Card]:
    """Returns the cards of a comparison: one a scenario, or the refusal."""
    if one.comparison is None:
        yield Card(
            name=f"{one.name} against A",
            anchor=f"refused-{one.name.lower()}",
            verdict="refused",
            answer=f"{one.refusal}.",
            blocks=(differences_table(one),),
        )
        return
    for place, scenario in enumerate(named, start=1):
        rows = [_with_letter(row, one.name) for row in one.comparison.rows if row.cell in scenario.labels]
        if rows:
            yield _card(one.name, scenario, rows, anchor=f"{one.name.lower()}-{place}", several=several)


def _with_letter(row: Row, name: str) -> Row:
    return replace(row, note=_lettered(row.note, name))


def _card(b: str, named: Named, rows: Sequence[Row], *, anchor: str, several: bool) -> Card:
    of = tally(rows)
    name = f"{named.scenario}, {b}" if several else named.scenario
    text = sentence(of, b, named.labels)
    pictures = tuple(_pictures(b, named, rows, anchor))
    unjudged = not (of.faster or of.slower or of.same)
    folded = (Fold(title="Ratios that could not be judged", blocks=pictures),) if unjudged and pictures else ()
    return Card(
        name=name,
        anchor=anchor,
        verdict=of.verdict,
        answer=f"{text[0].upper()}{text[1:]}.",
        note=named.common,
        pictures=() if unjudged else pictures,
        blocks=(*folded, *_whole_cells(named, rows), _all_rows(b, named, rows)),
    )


def _pictures(b: str, named: Named, rows: Sequence[Row], anchor: str) -> Iterator[Picture]:
    """Returns a forest plot for each metric about which something can be claimed."""
    order = {key: place for place, key in enumerate(named.labels)}
    for metric in METRICS:
        of_metric = [row for row in rows if row.metric == metric and row.verdict != "shown"]
        if not of_metric:
            continue
        of_metric.sort(key=lambda row: order[row.cell])
        of = tally(of_metric)
        notes = dict.fromkeys(row.note for row in of.same if row.note)
        how = f"{b} / A, point and 95 % interval; band: noise floor" + "".join(f"; {note}" for note in notes)
        yield forest_picture(
            [forest_row(row, named.labels[row.cell]) for row in of_metric],
            title=title(of, metric, b),
            subtitle=how,
            metric=metric,
            prefix=f"{anchor}-{metric}-",
            ratio=f"{b} / A",
        )


def _whole_cells(named: Named, rows: Sequence[Row]) -> Iterator[Block]:
    """Returns the notes about whole cells: missing in a side, or without a valid trial."""
    points = [f"{comparison_table.verdict(row)}: {named.labels[row.cell]}" for row in rows if row.metric == ALL_METRICS]
    if points:
        yield Prose(title="Not compared", points=tuple(points))


def _all_rows(b: str, named: Named, rows: Sequence[Row]) -> Block:
    order = {key: place for place, key in enumerate(named.labels)}
    lines: list[list[Value | str]] = []
    for row in sorted(rows, key=lambda row: order[row.cell]):
        metric, *texts, _ = comparison_table.texts(row)
        verdict = Value(comparison_table.verdict(replace(row, note="")), row.note)
        lines.append([named.labels[row.cell], METRIC_NAMES.get(metric, metric), *texts, verdict])
    head = ("cell", "metric", "A", b, f"{b} / A", "95 % interval", "p", "n", "verdict")
    return Fold(
        title=f"All {plural(len(rows), 'row')} with their figures",
        blocks=(
            table(
                "Medians over the valid trials", head, lines, note="Latencies in ms. n: trials, or runs, of both sides."
            ),
        ),
    )
