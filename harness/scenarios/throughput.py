"""Steady increments: how fast each strategy is, on one hot key and on 1,000 keys, and that none is lost.

`unsafe` (read, then write) is among them as the negative control: it must lose updates on the hot key, or the
load was too gentle to show anything about the others. Its losses are reported and not held against the run,
unless it was asked for by name.

One trial a cell: the rates are shown, and no criterion says that one beats another. Five of each strategy and key
set would take a quarter of an hour; `--repeat 7` makes a run whose every cell `./run compare` can judge.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.checks.counter_oracle import check_final_value
from harness.checks.finding import finding
from harness.checks.traffic import check_transactions
from harness.load.spec import LoadSpec
from harness.model import STRATEGIES, Cell, Finding, Trial
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site, backend_name, joined
from harness.record import TrialRecord
from harness.scenarios.increment_workload import (
    QUICK_SECONDS,
    backends,
    check_counters,
    increment,
    keys,
    keys_name,
    load,
    strategies,
)

HOSTS = 4
CLIENTS = 64
SECONDS = 4.0
QUICK_SPREAD = ("upsert", "coalesce")
"""What --quick measures on 1,000 keys too."""


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """Strategies x key sets; `control` marks `unsafe` where nobody asked for it by name."""
    return [
        Cell(
            scenario="throughput",
            backend=backend,
            strategy=strategy,
            hosts=site.serving(options.hosts, HOSTS),
            mode=options.mode,
            clients=options.clients or (CLIENTS if options.rate is None else 1000),
            rate=options.rate,
            requests=options.requests,
            seconds=options.seconds or (None if options.requests else QUICK_SECONDS if options.quick else SECONDS),
            params={"keys": key_set}
            | ({"control": True} if strategy == "unsafe" and "unsafe" not in options.strategies else {}),
        )
        for backend in backends(options, site, ("postgres",))
        for strategy in strategies(options, site, backend, STRATEGIES)
        for key_set in ("hot", "1000")
        if key_set == "hot" or not options.quick or options.strategies or strategy in QUICK_SPREAD
    ]


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """Steady load after a warm-up."""
    cell = trial.cell
    return {"main": load(cell, increment(cell.strategy), keys(str(cell.params["keys"])))}


def check(measured: TrialRecord) -> Sequence[Finding]:
    """Nothing lost, transactions counted alike; or, for the control, that something was lost."""
    cell = measured.cell
    if not cell.params.get("control"):
        begun = [check_transactions(cell, measured.requests, measured.evidence)] if cell.backend == "postgres" else []
        return [*check_counters(measured), *begun]
    counted = check_final_value(cell, measured.requests, measured.evidence)
    lost = int(counted.numbers.get("lost", 0))
    if counted.verdict == "unknown":
        return [finding(cell, "control", "unknown", counted.detail, lost=0)]
    if cell.params["keys"] != "hot":
        return [finding(cell, "control", "pass", f"unsafe lost {lost:,} updates over 1,000 keys", lost=lost)]
    if lost:
        return [finding(cell, "control", "pass", f"unsafe lost {lost:,} updates: the load shows it", lost=lost)]
    text = "unsafe lost nothing: the load was too gentle to show that the others are safe"
    return [finding(cell, "control", "unknown", text, lost=0)]


def label(cell: Cell) -> str:
    """Names a cell, such as `PostgreSQL, upsert, 1,000 keys` or, with the open model, `…, 250 requests/s`."""
    control = " (negative control)" if cell.params.get("control") else ""
    rate = f"{cell.rate:,g} requests/s" if cell.rate else ""
    return joined(backend_name(cell), cell.strategy + control, keys_name(cell), rate)


SCENARIO = Scenario(
    name="throughput",
    question="How many increments per second does each strategy reach, at what latency, and is any lost?",
    criteria=(
        "no lost update: final value = initial + acknowledged, each value returned once, in real-time order",
        "the service's number of transactions agrees with the number of writing transactions that the database counted",
        "rate and latency of each strategy, on a hot key and on 1,000 keys (reported only)",
        "the negative control (`unsafe`) loses updates under the same load",
    ),
    cells=cells,
    workload=workload,
    check=check,
    label=label,
    works_without_samples=True,
)
