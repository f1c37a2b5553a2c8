"""What a bench will do, before anything is touched: scenarios, their cells, and the order of trials. Pure.

A Scenario is a question, a workload and the checks that answer it. It plans cells from the options and from
what the site offers, says for each trial which load runs (or which driver), and judges what came back.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.errors import UsageError
from harness.model import BACKENDS, Cell, Trial
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site, Skip

LONG_S, LONG_REQUESTS = 60.0, 1_000_000
"""A trial planned longer keeps no samples, where its scenario can be judged without: a minute at the rates of a small
rig is half a million rows, 50 MB on the disk, which every check and report would read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The trials in their order, and the scenarios that cannot run here with the reason.

    `samples`: every trial keeps its samples, however long it is.
    """

    trials: tuple[Trial, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    samples: bool = False

    def keeps_samples(self, scenario: Scenario, cell: Cell) -> bool:
        """Whether the cell's trials keep every sample: long ones only if asked to, or where checks need them."""
        long = cell.requests > LONG_REQUESTS if cell.requests else (cell.seconds or 0.0) > LONG_S
        return self.samples or not scenario.works_without_samples or not long


def make_plan(options: BenchRequest, site: Site, scenarios: Mapping[str, Scenario]) -> Plan:
    """Scenario by scenario; within one, cells are shuffled anew for each repetition by the seed.

    Shuffled blocks keep slow drift (heat, neighbours) from falling on one cell. Cells that need the service set up
    alike stay together within a block, because to set it up anew costs more than most trials. Raises UsageError where
    nothing is left to do or more hosts are asked for than there are.
    """
    if options.hosts is not None and options.hosts > site.hosts:
        raise UsageError(
            f"--hosts {options.hosts}: the rig has {site.hosts} app hosts",
            hint=f"./run provision --hosts {options.hosts}",
        )
    rng = random.Random(options.seed)
    trials: list[Trial] = []
    skipped: dict[str, str] = {}
    for name in options.scenarios:
        scenario = scenarios[name]
        try:
            asked = _asked(scenario, scenario.cells(options, site), options)
            skipped |= _without_sqlite(scenario, asked, options, site)
            cells = [within_budget(_known(cell, site), site) for cell in asked]
        except Skip as skip:
            skipped[name] = str(skip)
            continue
        times = [options.repeat or (1 if options.quick else scenario.repeat(cell)) for cell in cells]
        for number in range(1, max(times, default=0) + 1):
            for cell in _shuffled([c for c, most in zip(cells, times, strict=True) if number <= most], rng):
                order = len(trials) + 1
                trials.append(Trial(cell=cell, number=number, order=order, seed=rng.getrandbits(32)))
    if not trials:
        reasons = "; ".join(f"{name}: {why}" for name, why in skipped.items())
        raise UsageError(f"nothing to measure: {reasons}", hint="./run scenarios lists what each needs")
    return Plan(trials=tuple(trials), skipped=skipped, samples=options.samples)


_LOAD = {
    "rate": "measures a closed load, whose rate the service sets",
    "clients": "has a number of clients of its own",
    "requests": "has a number of requests of its own",
    "seconds": "has a length of its own",
}
"""Options of the load, and why a scenario none of whose cells has the value does not follow."""


def _asked(scenario: Scenario, cells: Sequence[Cell], options: BenchRequest) -> Sequence[Cell]:
    """The cells that measure what was asked for: another backend's figures are no answer, nor are those of another
    load. Raises Skip if none does.

    Beside cells with a strategy asked for, those stay that have none: they measure the same whatever is asked.
    """
    of_backend = [cell for cell in cells if not options.backends or cell.backend in options.backends]
    if not of_backend:
        raise Skip(
            f"--backend {','.join(options.backends)}: {scenario.name} is about PostgreSQL's {scenario.postgres_topic}"
        )
    if options.strategies and not any(cell.strategy in options.strategies for cell in of_backend):
        own = sorted({cell.strategy for cell in of_backend} - {""})
        why = f"measures {' and '.join(own)} alone" if own else "has no increments"
        raise Skip(f"--strategy {','.join(options.strategies)}: {scenario.name} {why}")
    for option, why in _LOAD.items():
        wanted = getattr(options, option)
        if wanted is not None and not any(getattr(cell, option) == wanted for cell in of_backend):
            raise Skip(f"--{option} {wanted:,.15g}: {scenario.name} {why}")
    return [cell for cell in of_backend if not options.strategies or cell.strategy in ("", *options.strategies)]


def _without_sqlite(scenario: Scenario, cells: Sequence[Cell], options: BenchRequest, site: Site) -> dict[str, str]:
    """What of a scenario is left out because the rig has no place for a SQLite file: its name, and why."""
    if not site.no_sqlite:
        return {}
    wanted = {cell.backend for cell in scenario.cells(options, replace(site, backends=BACKENDS))}
    missing = sorted(wanted - {cell.backend for cell in cells} - set(site.backends))
    return {f"{scenario.name} on {' and '.join(missing)}": site.no_sqlite} if missing else {}


def _known(cell: Cell, site: Site) -> Cell:
    """The cell without a pool's size that nobody knows; one that its processes share out is whole for each."""
    if not site.managed:
        return replace(cell, pool=0)

    def whole(connections: int) -> int:
        return _each(connections, site.workers) * site.workers

    kept = {name: whole(cell.params[name]) for name in ("app_pool_min",) if name in cell.params}
    return replace(cell, pool=whole(cell.pool), params={**cell.params, **kept})


def _each(connections: int, workers: int) -> int:
    """How many of a host's connections each of its processes has, rounded up."""
    return -(-connections // workers)


def volume(plan: Plan) -> str:
    """How much load the plan sends, in words: trials, requests, seconds and the most connections at once."""
    cells = [trial.cell for trial in plan.trials]
    requests = sum(cell.requests or 0 for cell in cells)
    seconds = sum(cell.seconds or 0.0 for cell in cells if cell.requests is None)
    amount = [f"{requests:,} requests"] if requests else []
    amount += [f"{seconds:g} s of steady load"] if seconds else []
    rate = max((cell.rate or 0.0 for cell in cells), default=0.0)
    most = max((cell.clients for cell in cells), default=0)
    return (
        f"{len(cells)} trial{'s' if len(cells) != 1 else ''}, {' and '.join(amount) or 'no HTTP load'}"
        + (f" at up to {rate:,.0f} a second" if rate else "")
        + f", at most {most:,} connections at once"
    )


def _shuffled(cells: Sequence[Cell], rng: random.Random) -> list[Cell]:
    """The cells in random order, groups of one set-up in random order too."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(repr(sorted(service_settings(cell).items())), []).append(cell)
    order = list(groups.values())
    rng.shuffle(order)
    for group in order:
        rng.shuffle(group)
    return [cell for group in order for cell in group]


def service_settings(cell: Cell, workers: int = 1) -> dict[str, str]:
    """What the cell wants of the settings of each process of a host (app/settings.py), by environment variable.

    Its parameters named `app_…` are settings, but for `app_cpus`, the cap of the host. A pool is the host's: each
    process has its share.
    """
    settings = {"BACKEND": cell.backend, "POOL_SIZE": str(_each(cell.pool, workers))}
    for name, value in cell.params.items():
        if name == "app_pool_min":
            settings["POOL_MIN"] = str(_each(int(value), workers))
        elif name.startswith("app_") and name != "app_cpus":
            settings[name.removeprefix("app_").upper()] = str(value)
    return settings


def within_budget(cell: Cell, site: Site) -> Cell:
    """The cell, if its pools fit the server's connections. Raises UsageError: queueing there is not a result."""
    budget = site.connections - site.reserved
    if cell.backend == "postgres" and cell.hosts * cell.pool > budget and cell.params.get("load") != "past-limit":
        raise UsageError(
            f"{cell.scenario}: {cell.hosts} hosts x pool {cell.pool} = {cell.hosts * cell.pool} connections, "
            f"the budget is {budget} (max_connections {site.connections} - {site.reserved} reserved)",
            hint="fewer --hosts, or a larger postgres_max_connections in inventory/group_vars",
        )
    return cell
