"""The cells of a scenario with variants: groups whose cells differ only in the variant, and blocks of trials. Pure.

A block is one repetition of one group: every variant once, one after the other, in an order that the seed shuffles,
with the same keys and arrivals. What changes slowly (heat, neighbours, the size of tables) is then the same for the
cells that are compared. An open group follows its closed one, whose baseline sets its rate (load_share.py).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from harness.analysis.paired import blocks_needed
from harness.model import Cell, Trial
from harness.plan.load_share import after_closed, is_closed_cell_of
from harness.plan.options import BenchRequest
from harness.plan.scenario import RemoteWorkload, Scenario, Skip
from harness.plan.variants import CHOICES, POOL, Variant, same_settings, varied_keys, without_variant
from harness.text import plural

Group = tuple[Cell, ...]
"""The cells of all variants, in the order of the variants."""
Block = tuple[str, int]
"""The name of the group and the number of the repetition."""


def request_of(variant: Variant, options: BenchRequest) -> BenchRequest:
    """Returns the request from which a scenario plans the cells of a variant."""
    chosen = variant.settings
    return replace(
        options,
        strategies=(chosen["strategy"],) if "strategy" in chosen else options.strategies,
        backends=(chosen["backend"],) if "backend" in chosen else options.backends,  # type: ignore[arg-type]  # one of BACKENDS
    )


def require_varies_nothing_itself(scenario: Scenario, cells: Sequence[Cell], varied: Sequence[str]) -> None:
    """Raises Skip for a scenario without HTTP load, or whose own cells differ in a setting that the variants set."""
    for cell in cells:
        if isinstance(scenario.workload(Trial(cell=cell, number=1, order=1, seed=1)), RemoteWorkload):
            raise Skip("has no HTTP load whose figures the variants could change")
    for key in varied:
        values = {cell.pool if key == POOL else str(cell.params.get(key)) for cell in cells}
        if key not in CHOICES and len(values) > 1:
            raise Skip(f"its own cells differ in {key}")


def groups(by_variant: Sequence[Sequence[Cell]]) -> tuple[list[Group], str]:
    """Returns the groups that can be compared, and a sentence about the cells that are left out (empty: none are).

    `by_variant`: the cells of each variant. A group is left out where not every variant has its cell, and where two
    variants change nothing: the strategy of a scenario without increments.
    """
    found: dict[str, list[Cell]] = {}
    for cell in itertools.chain(*by_variant):
        found.setdefault(without_variant(cell).name, []).append(cell)
    kept, absent, equal = [], [], []
    for name, cells in found.items():
        if [cell.variant for cell in cells] != [cell.variant for cell in next(zip(*by_variant, strict=False), ())]:
            absent.append(name)
        elif any(same_settings(one, other) for one, other in itertools.combinations(cells, 2)):
            equal.append(name)
        else:
            kept.append(tuple(cells))
    reasons = [f"not every variant has {', '.join(absent)}"] if absent else []
    reasons += [f"the variants change nothing in {', '.join(equal)}"] if equal else []
    return kept, "; ".join(reasons)


def blocks(found: Sequence[Group], number: int, rng: random.Random, orders: Iterator[int]) -> list[Trial]:
    """Returns the trials of repetition `number` of all groups; `orders` counts the trials of the run."""
    trials = []
    by_first = {group[0].name: group for group in rng.sample(found, len(found))}
    for group in (by_first[cell.name] for cell in after_closed([group[0] for group in by_first.values()])):
        seed = rng.getrandbits(32)
        trials += [
            Trial(cell=cell, number=number, order=next(orders), seed=seed) for cell in rng.sample(group, len(group))
        ]
    return trials


def block_of(trial: Trial) -> Block:
    """Returns what the trials of a block have in common; those of one attempt to measure it have the same seed too."""
    return without_variant(trial.cell).name, trial.number


def left_to_measure(trials: Sequence[Trial], stored: Sequence[Trial]) -> list[Trial]:
    """Returns the trials of a plan that an interrupted run lacks.

    A block of which a part is stored is measured once more as a whole: its ratios would else be between sessions. So
    is an open block of a rate that such a block sets.
    """
    attempts: dict[tuple[Block, int], set[str]] = {}
    for trial in stored:
        attempts.setdefault((block_of(trial), trial.seed), set()).add(trial.cell.name)
    whole: dict[Block, set[str]] = {}
    for trial in trials:
        whole.setdefault(block_of(trial), set()).add(trial.cell.name)
    begun = {block for block, _ in attempts}
    complete = {block for (block, _), names in attempts.items() if names == whole.get(block)}
    broken = begun - complete
    closed = [trial for trial in trials if block_of(trial) in broken]
    broken |= {
        block_of(trial)
        for trial in trials
        if any(one.number == trial.number and is_closed_cell_of(trial.cell, one.cell) for one in closed)
    } - complete
    untouched = [trial for trial in trials if block_of(trial) not in begun | broken]
    return [*untouched, *once_more(broken, trials, stored)]


def once_more(found: Collection[Block], trials: Sequence[Trial], stored: Sequence[Trial]) -> list[Trial]:
    """Returns all trials of blocks, to be measured after all others, with a seed that tells the attempts apart."""
    known = [*trials, *stored]
    after = max((trial.order for trial in known), default=0)
    seeds = {block: max(trial.seed for trial in known if block_of(trial) == block) + 1 for block in found}
    chosen = [trial for trial in trials if block_of(trial) in found]
    return [replace(trial, order=after + n, seed=seeds[block_of(trial)]) for n, trial in enumerate(chosen, 1)]


def too_few_blocks(trials: Sequence[Trial]) -> str:
    """Returns a sentence if the blocks of a plan can show no difference, whatever is measured; empty if they can."""
    groups = {block_of(trial)[0] for trial in trials}
    pairs = len({trial.cell.name for trial in trials}) - len(groups)
    found, needed = max((trial.number for trial in trials), default=0), blocks_needed(pairs)
    if found >= needed:
        return ""
    compared = plural(pairs, "pair")
    return f"{plural(found, 'block')} allow no claim: with {compared} of cells {needed} or more do (--repeat {needed})"


def settings_text(variants: Sequence[Variant]) -> Mapping[str, str]:
    """Returns the settings of each variant by its name, for messages."""
    keys = varied_keys(variants)
    return {
        v.name: ", ".join(f"{key}={v.settings[key]}" for key in keys if key in v.settings) or "as provisioned"
        for v in variants
    }
