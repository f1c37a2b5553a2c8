"""The cards of a comparison that are not about a scenario: its runs, their environments, how it is judged. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.compare import table as comparison_table
from harness.compare.compare import Comparison
from harness.compare.environment import Difference
from harness.report.cards_page import Card
from harness.report.comparison_words import METRIC_NAMES
from harness.report.formatting import NOTHING
from harness.report.page_model import Block, Fold, Prose, Table, Value, table
from harness.store.run_reader import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Runs `name` against the baseline. `comparison` is None where it was refused, with the reason in `refusal`."""

    name: str
    runs: tuple[Run, ...]
    comparison: Comparison | None = None
    refusal: str = ""
    differences: tuple[Difference, ...] = ()


def differences_table(one: Compared) -> Table:
    """Returns the facts in which the environments differ."""
    rows: list[list[Value | str]] = [
        [Value(difference.fact, mark="refused" if difference.forbids else ""), difference.a, difference.b,
         "forbids the comparison" if difference.forbids else "shown only"]
        for difference in one.differences
    ]  # fmt: skip
    return table(f"A against {one.name}", ("fact", "A", one.name, "effect"), rows)


def runs_card(sides: Mapping[str, Sequence[Run]], compared: Sequence[Compared], warnings: Sequence[str]) -> Card:
    """Returns the runs of all sides, the facts in which they differ, and the `warnings` that are not shown above."""
    rows: list[list[Value | str]] = [
        [name, run.run_id, run.manifest.started, Value(run.manifest.verdict, mark=run.manifest.verdict),
         str(len(run.rows)), run.manifest.rig.name or NOTHING, run.manifest.code.commit[:12], run.manifest.code.command]
        for name, runs in sides.items()
        for run in runs
    ]  # fmt: skip
    head = ("side", "run", "started", "own checks", "trials", "rig", "code", "command")
    blocks: list[Block] = [table("Runs", head, rows)]
    blocks += [differences_table(one) for one in compared if one.differences and one.comparison is not None]
    alike = [one.name for one in compared if not one.differences]
    if alike:
        blocks.append(Prose(paragraphs=(f"No recorded fact differs between A and {', '.join(alike)}.",)))
    if warnings:
        blocks.append(Fold(title=f"{len(warnings)} more warnings", blocks=(Prose(points=tuple(warnings)),)))
    refused = any(one.comparison is None for one in compared)
    return Card(
        name="Runs and environments", anchor="environment", verdict="refused" if refused else "", blocks=tuple(blocks)
    )


def judged_card(compared: Sequence[Compared]) -> Card:
    """Returns the tests and the noise floors behind the verdicts."""
    points = []
    for one in compared:
        if one.comparison is not None:
            floors = ", ".join(
                f"{METRIC_NAMES.get(metric, metric)} {floor - 1:.1%}"
                for metric, floor in one.comparison.noise_floor.items()
            )
            source = ", ".join(one.comparison.floor_sources) or "assumed"
            points.append(
                f"{one.name} against A: {comparison_table.how_tested(one.comparison)}. "
                f"Noise floor, at most: {floors} ({source})."
            )
    if len(compared) > 1:
        points.append(
            f"{len(compared)} comparisons were made with A. p is corrected over all of them, so `./run compare` of "
            "two sides alone may show a difference that is not shown here."
        )
    points.append(
        "A difference is claimed only where its interval excludes 1, its corrected p is below 5 % and its ratio is "
        "beyond the noise floor; with several runs a side, each run is one observation and their spread takes the "
        "place of a measured floor."
    )
    return Card(name="How it is judged", anchor="judged", blocks=(Prose(points=tuple(points)),))
