"""The variants that a run measured side by side: compared within blocks, they need no noise floor. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from harness.compare.rows import METRICS
from harness.compare.variants import Pair
from harness.report.cards_page import Card
from harness.report.comparable_labels import named_cells
from harness.report.comparison_words import sentence, tally, title
from harness.report.forest_plots import forest_picture, forest_row
from harness.report.page_model import Fold, Picture
from harness.report.pairs import page_table
from harness.report.run_summary import compared_within
from harness.scenarios import SCENARIOS
from harness.store.run_reader import Run


def within_cards(runs: Iterable[Run]) -> Iterator[Card]:
    """Returns a card for each scenario of a run with variants."""
    different = {run.path: run for run in runs if run.manifest.variants}
    for place, run in enumerate(different.values(), start=1):
        within = compared_within(run)
        for number, named in enumerate(named_cells((row.cell for row in run.rows), SCENARIOS), start=1):
            pairs = [pair for pair in within.pairs if pair.a.scenario == named.scenario]
            if not pairs:
                continue
            by_name = {named.cells[key].name: label for key, label in named.labels.items()}
            anchor = f"within-{place}-{number}"
            yield Card(
                name=f"{named.scenario}, within {run.run_id}",
                anchor=anchor,
                verdict=tally([row for pair in pairs for row in pair.rows]).verdict,
                answer=within_answer(pairs, by_name),
                note=named.common,
                pictures=tuple(within_pictures(pairs, by_name, anchor)),
                blocks=(Fold(title="All pairs", blocks=tuple(page_table(within, named.scenario, by_name))),),
            )


def within_answer(pairs: Sequence[Pair], labels: Mapping[str, str]) -> str:
    """Returns which variants are faster or slower than their baseline, as a sentence."""
    text = sentence(tally([row for pair in pairs for row in pair.rows]), "a variant", labels, "its baseline")
    return f"{text[0].upper()}{text[1:]}."


def within_pictures(pairs: Sequence[Pair], labels: Mapping[str, str], anchor: str) -> Iterator[Picture]:
    """Returns a forest plot for each metric that is compared."""
    for metric in METRICS:
        shown = [(pair, row) for pair in pairs for row in pair.rows if row.metric == metric and row.verdict != "shown"]
        if shown:
            yield forest_picture(
                [forest_row(row, labels[pair.b.name]) for pair, row in shown],
                title=title(tally([row for _, row in shown]), metric, "the variant"),
                subtitle=f"variant / {pairs[0].a.variant} within blocks, point and 95 % interval",
                metric=metric,
                prefix=f"chart-{anchor}-{metric}-",
                ratio="variant / baseline",
            )
