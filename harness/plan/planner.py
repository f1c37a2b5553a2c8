"""Plans a bench before it starts: the scenarios, their cells, and the order of trials. Pure.

A scenario plans its cells from the options and the site. The planner skips what cannot run or was not requested,
checks that all pools fit the server's connections, and orders the trials by the seed.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.analysis.paired import blocks_for
from harness.errors import UsageError
from harness.model import BACKENDS, Cell, Trial
from harness.plan import blocks
from harness.plan.load_share import after_closed
from harness.plan.options import BLOCKS, BenchRequest
from harness.plan.sample_memory import require_readable
from harness.plan.scenario import Scenario, Site, Skip
from harness.plan.variants import Variant, varied_keys, with_variant
from harness.text import plural

LONG_S, LONG_REQUESTS = 60.0, 1_000_000
"""A longer trial keeps no samples if its scenario works without them. One minute on a small rig is half a million rows
or 50 MB on disk, which every check and report would read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The trials in order, and the skipped scenarios with the reason.

    `samples`: every trial keeps its samples, whatever its length. `variants`: what the trials compare, if anything.
    `later`: scenario that searches -> the most trials that its results add (plan/search.py); `seed`: of these trials.
    """

    trials: tuple[Trial, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    samples: bool = False
    variants: tuple[Variant, ...] = ()
    later: Mapping[str, int] = field(default_factory=dict)
    seed: int = 1

    @property
    def most_trials(self) -> int:
        """The planned trials and the most that a search adds."""
        return len(self.trials) + sum(self.later.values())

    def keeps_samples(self, scenario: Scenario, cell: Cell) -> bool:
        """Whether the cell's trials keep all samples. Long trials do so only on request or if the checks need them."""
        long = cell.requests > LONG_REQUESTS if cell.requests else (cell.seconds or 0.0) > LONG_S
        return self.samples or not scenario.works_without_samples or not long


def make_plan(
    options: BenchRequest, site: Site, scenarios: Mapping[str, Scenario], variants: Sequence[Variant] = ()
) -> Plan:
    """Plans one scenario after the other. Within a scenario the seed shuffles the cells for each repetition.

    Shuffled blocks spread slow drift (heat, noisy neighbours) over all cells. Within a block, cells with the same
    service settings stay together, because changing the settings takes longer than most trials. With `variants`, those
    of a cell are measured one after the other instead (harness/plan/blocks.py). Raises UsageError if nothing can be
    measured, the rig has fewer hosts than requested, or the samples of a trial are too many.
    """
    if options.hosts is not None and options.hosts > site.hosts:
        raise UsageError(
            f"--hosts {options.hosts}: the rig has {site.hosts} app hosts",
            hint=f"run ./run provision --hosts {options.hosts}",
        )
    _require_one_choice(options, variants)
    skipped: dict[str, str] = {}
    if variants:
        trials = _in_blocks(options, site, scenarios, variants, skipped)
    else:
        trials = _interleaved(options, site, scenarios, skipped)
    if not trials:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise UsageError(f"nothing to measure: {reasons}", hint="./run scenarios lists what each scenario needs")
    later: Counter[str] = Counter()
    for cell in (trial.cell for trial in trials if scenarios[trial.cell.scenario].next_cells):
        later[cell.scenario] += scenarios[cell.scenario].most_trials(cell) - 1
    plan = Plan(trials=tuple(trials), skipped=skipped, samples=options.samples, variants=tuple(variants),
                later=later, seed=options.seed)  # fmt: skip
    require_readable(plan, scenarios)
    return plan


def _interleaved(
    options: BenchRequest, site: Site, scenarios: Mapping[str, Scenario], skipped: dict[str, str]
) -> list[Trial]:
    """Returns the trials of all scenarios; adds to `skipped` what is left out and why."""
    rng = random.Random(options.seed)
    trials: list[Trial] = []
    for name in options.scenarios:
        scenario = scenarios[name]
        try:
            cells, without_sqlite = _cells(scenario, options, site)
        except Skip as skip:
            skipped[name] = str(skip)
            continue
        skipped |= without_sqlite | scenario.left_out(options, site)
        repeats = [options.repeat or (1 if options.quick else scenario.repeat(cell)) for cell in cells]
        for number in range(1, max(repeats, default=0) + 1):
            block = _shuffled([c for c, count in zip(cells, repeats, strict=True) if number <= count], rng)
            for cell in after_closed(block):
                order = len(trials) + 1
                trials.append(Trial(cell=cell, number=number, order=order, seed=rng.getrandbits(32)))
    return trials


def _in_blocks(
    options: BenchRequest,
    site: Site,
    scenarios: Mapping[str, Scenario],
    variants: Sequence[Variant],
    skipped: dict[str, str],
) -> list[Trial]:
    """Returns the trials of all scenarios with variants; adds to `skipped` what is left out and why.

    Without --repeat there are as many blocks as find a difference beside all other pairs, BLOCKS or more.
    """
    groups: list[list[blocks.Group]] = []
    for name in options.scenarios:
        try:
            found, left_out = _groups(scenarios[name], options, site, variants)
        except Skip as skip:
            skipped[name] = str(skip)
            continue
        groups.append(found)
        skipped |= {f"cells of {name}": left_out} if left_out else {}
    pairs = sum(len(found) for found in groups) * (len(variants) - 1)
    repeat = options.repeat or max(BLOCKS, blocks_for(pairs))
    rng, orders = random.Random(options.seed), itertools.count(1)
    return [
        trial
        for found in groups
        for number in range(1, repeat + 1)
        for trial in blocks.blocks(found, number, rng, orders)
    ]


def _require_one_choice(options: BenchRequest, variants: Sequence[Variant]) -> None:
    """Raises UsageError for --strategy or --backend beside variants that choose the same."""
    for key, chosen in (("strategy", options.strategies), ("backend", options.backends)):
        if chosen and key in varied_keys(variants):
            raise UsageError(f"--{key} and variants that set {key} exclude each other", hint=f"leave out --{key}")


def _cells(scenario: Scenario, options: BenchRequest, site: Site) -> tuple[list[Cell], dict[str, str]]:
    """Returns the cells to measure, and the part that is skipped for want of SQLite. Raises Skip, UsageError."""
    requested = _requested(scenario, scenario.cells(options, site), options)
    cells = [_fit_pool(cell, site) for cell in requested]
    for cell in cells:
        if not scenario.exceeds_connections(cell):
            _require_connections(cell, site)
    return cells, _without_sqlite(scenario, requested, options, site)


def _groups(
    scenario: Scenario, options: BenchRequest, site: Site, variants: Sequence[Variant]
) -> tuple[list[blocks.Group], str]:
    """Returns the groups to measure, and what is left out of them and why. Raises Skip, UsageError."""
    if scenario.next_cells:
        raise Skip("a search chooses its rates, which blocks cannot compare: run it once for each setting")
    varied = varied_keys(variants)
    by_variant = []
    for variant in variants:
        every, _ = _cells(scenario, blocks.request_of(variant, options), site)
        own = [cell for cell in every if cell.rate_share is None]  # the rate of others is not known yet
        blocks.require_varies_nothing_itself(scenario, own, varied)
        cells = [_fit_pool(with_variant(cell, variant, varied), site) for cell in every]
        for cell in cells:
            if not scenario.exceeds_connections(cell):
                _require_connections(cell, site)
            _require_pool(cell)
        by_variant.append(cells)
    found, left_out = blocks.groups(by_variant)
    if not found:
        raise Skip(left_out)
    if left_out and scenario.judges_together:
        raise Skip(f"its cells are judged together, and {left_out}")
    return found, left_out


def _require_pool(cell: Cell) -> None:
    """Raises UsageError if the app hosts could not start with the pool."""
    if cell.pool_min is not None and cell.pool and cell.pool_min > cell.pool:
        raise UsageError(
            f"variant '{cell.variant}': app_pool_min {cell.pool_min} is more than the pool of {cell.pool}",
            hint="set app_pool_size as well",
        )


_LOAD = {
    "rate": "uses the closed model, in which the service sets the rate",
    "clients": "uses a fixed number of clients",
    "requests": "uses a fixed number of requests",
    "seconds": "uses a fixed duration",
}
"""Options of the load, and the reason for skipping a scenario if none of its cells has the requested value."""


def _requested(scenario: Scenario, cells: Sequence[Cell], options: BenchRequest) -> Sequence[Cell]:
    """Returns the cells with a requested backend and strategy. Raises Skip if none has, or none has the requested load.

    Cells without a strategy stay, because their result does not depend on it.
    """
    of_backend = [cell for cell in cells if not options.backends or cell.backend in options.backends]
    if not of_backend:
        raise Skip(
            f"--backend {','.join(options.backends)}: {scenario.name} is about PostgreSQL's {scenario.postgres_topic}"
        )
    if options.strategies and not any(cell.strategy in options.strategies for cell in of_backend):
        own = sorted({cell.strategy for cell in of_backend} - {""})
        reason = f"measures only {' and '.join(own)}" if own else "sends no increments"
        raise Skip(f"--strategy {','.join(options.strategies)}: {scenario.name} {reason}")
    for option, reason in _LOAD.items():
        value = getattr(options, option)
        if value is not None and not any(getattr(cell, option) == value for cell in of_backend):
            raise Skip(f"--{option} {value:,.15g}: {scenario.name} {reason}")
    return [cell for cell in of_backend if not options.strategies or cell.strategy in ("", *options.strategies)]


def _without_sqlite(scenario: Scenario, cells: Sequence[Cell], options: BenchRequest, site: Site) -> dict[str, str]:
    """Returns the part of a scenario that is skipped because the rig does not offer SQLite, with the reason."""
    if not site.no_sqlite:
        return {}
    planned = {cell.backend for cell in scenario.cells(options, replace(site, backends=BACKENDS))}
    missing = sorted(planned - {cell.backend for cell in cells} - set(site.backends))
    return {f"{scenario.name} on {' and '.join(missing)}": site.no_sqlite} if missing else {}


def _fit_pool(cell: Cell, site: Site) -> Cell:
    """Sets the pool to 0 (unknown) on a service that the harness does not manage. Otherwise rounds the pool up to a
    multiple of the number of processes per host, which share it."""
    if not site.managed:
        return cell.with_pool(0, None)

    def rounded(connections: int) -> int:
        return _share(connections, site.workers) * site.workers

    return cell.with_pool(rounded(cell.pool), None if cell.pool_min is None else rounded(cell.pool_min))


def _share(connections: int, workers: int) -> int:
    """Returns the part of a host's connections that one of its processes gets, rounded up."""
    return -(-connections // workers)


def volume(plan: Plan) -> str:
    """Describes the plan's load: trials, requests, seconds and the largest number of connections at once."""
    cells = [trial.cell for trial in plan.trials]
    requests = sum(cell.requests or 0 for cell in cells)
    seconds = sum(cell.seconds or 0.0 for cell in cells if cell.requests is None)
    amount = [f"{requests:,} requests"] if requests else []
    amount += [f"{seconds:g} s of steady load"] if seconds else []
    rate = max((cell.rate or 0.0 for cell in cells), default=0.0)
    connections = max((cell.clients for cell in cells), default=0)
    return (
        f"{plural(len(cells), 'trial')}, {' and '.join(amount) or 'no HTTP load'}"
        + (f" at up to {rate:,.0f} requests/s" if rate else "")
        + f", at most {connections:,} connections at once"
        + "".join(f"; then at most {count} trials of {name}, as its results ask" for name, count in plan.later.items())
    )


def _shuffled(cells: Sequence[Cell], rng: random.Random) -> list[Cell]:
    """Shuffles the groups of cells with the same service settings, and the cells within each group."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(repr(sorted(service_settings(cell).items())), []).append(cell)
    order = list(groups.values())
    rng.shuffle(order)
    for group in order:
        rng.shuffle(group)
    return [cell for group in order for cell in group]


def service_settings(cell: Cell, workers: int = 1) -> dict[str, str]:
    """Returns the cell's settings for each process of an app host (app/settings.py), by environment variable.

    The pool is a host's; each process gets its share.
    """
    settings = {"BACKEND": cell.backend, "POOL_SIZE": str(_share(cell.pool, workers)), **cell.app_settings}
    if cell.pool_min is not None:
        settings["POOL_MIN"] = str(_share(cell.pool_min, workers))
    return settings


def _require_connections(cell: Cell, site: Site) -> None:
    """Raises UsageError if the cell's pools exceed the server's connections: their waits would not be a result."""
    budget = site.connections - site.reserved
    if cell.backend == "postgres" and cell.hosts * cell.pool > budget:
        raise UsageError(
            f"{cell.scenario}: {cell.hosts} hosts x pool {cell.pool} = {cell.hosts * cell.pool} connections, "
            f"the budget is {budget} (max_connections {site.connections} - {site.reserved} reserved)",
            hint="use fewer --hosts, or raise postgres_max_connections in inventory/group_vars",
        )
