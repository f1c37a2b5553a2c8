"""Names for readers of the cells that runs have in common, by their comparable name. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from harness.compare.cells import comparable_name
from harness.model import Cell
from harness.plan.scenario import Scenario, joined
from harness.report.cell_labels import labels, reading_order
from harness.text import plural


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The cells of a scenario in reading order: comparable name -> label; `common`: the settings that all share."""

    scenario: str
    labels: Mapping[str, str]
    common: str = ""
    cells: Mapping[str, Cell] = field(default_factory=dict)


def named_cells(cells: Iterable[Cell], scenarios: Mapping[str, Scenario]) -> list[Named]:
    """Returns the scenarios of the cells with their labels. Cells that differ only in the size of a trial have it."""
    found: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        found.setdefault(cell.scenario, {}).setdefault(comparable_name(cell), cell)
    named = []
    for scenario, of_scenario in found.items():
        ordered = dict(sorted(of_scenario.items(), key=lambda item: (*reading_order(item[1]), item[0])))
        made = labels(list({cell.name: cell for cell in ordered.values()}.values()), scenarios.get(scenario))
        names = [cell.name for cell in ordered.values()]
        texts = {
            key: joined(made.short[cell.name], _size(cell) if names.count(cell.name) > 1 else "")
            for key, cell in ordered.items()
        }
        named.append(Named(scenario=scenario, labels=texts, common=made.common, cells=ordered))
    return named


def _size(cell: Cell) -> str:
    if cell.requests is not None:
        return plural(cell.requests, "request")
    return f"{cell.seconds:g} s" if cell.seconds is not None else "as many as fit"
