"""The trials of scenarios that search: they follow from the results so far. Pure, so a resumed run goes on the same."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from harness.model import Cell, Trial
from harness.plan.planner import Plan
from harness.plan.scenario import Scenario
from harness.record import TrialResult


def is_search(scenarios: Mapping[str, Scenario], cell: Cell) -> bool:
    """Whether the cell is a step of a search: it may fail, or not count, without a fault of the service or the run."""
    scenario = scenarios.get(cell.scenario)
    return scenario is not None and scenario.next_cells is not None


def next_trials(plan: Plan, scenarios: Mapping[str, Scenario], results: Sequence[TrialResult]) -> list[Trial]:
    """Returns the trials to measure after `results`; none when every search has ended or has had its most trials.

    They are numbered after all others; their seeds follow from the plan's seed and their order.
    """
    trials: list[Trial] = []
    order = max([trial.order for trial in plan.trials] + [row.trial.order for row in results], default=0)
    for name, most in plan.later.items():
        propose = scenarios[name].next_cells
        own = sorted((row for row in results if row.cell.scenario == name), key=lambda row: row.trial.order)
        planned = sum(trial.cell.scenario == name for trial in plan.trials)
        if propose is None or len(own) < planned:
            continue
        numbers = Counter(row.cell.name for row in own)
        for cell in list(propose(own))[: max(0, planned + most - len(own))]:
            order += 1
            numbers[cell.name] += 1
            seed = random.Random(f"{plan.seed} {order}").getrandbits(32)
            trials.append(Trial(cell=cell, number=numbers[cell.name], order=order, seed=seed))
    return trials
