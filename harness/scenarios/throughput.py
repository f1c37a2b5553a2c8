"""Steady increments: the rate of each strategy on one hot key and on 1,000 keys, and that no update is lost.

`unsafe` (read, then write) is the negative control. It must lose updates on the hot key; if it does not, the load is
too light to show anything about the others. Its losses do not fail the run unless the user requests it by name.

One trial per cell: rates are reported, and no criterion compares them. With `--repeat 11` summary and page compare the
rates of each strategy with `for-update`'s, within the repetitions; two strategies (`--strategy A,B`) need `--repeat 9`.
Their latencies are compared as variants (`--vary strategy=A,B`), which are offered the same rate.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.checks import names
from harness.checks.counter_oracle import check_final_value
from harness.checks.finding import finding
from harness.checks.traffic import check_transactions
from harness.load.spec import LoadSpec
from harness.model import STRATEGIES, Cell, Finding, Trial
from harness.plan.load_share import open_cell
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
    open_label,
    short_warmup,
    strategies,
)

HOSTS = 4
CLIENTS = 64
SECONDS = 4.0
OPEN_SECONDS = 1.0
"""Enough for a p99 from 1,000 requests/s on."""
QUICK_OPEN = "upsert"
"""The strategy that --quick also measures with an open load."""


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """Plans strategies x key sets; `control` marks `unsafe` unless it was requested by name."""
    seconds = options.seconds
    if seconds is None and options.requests is None:
        seconds = QUICK_SECONDS if options.quick else SECONDS
    closed = [
        Cell(
            scenario="throughput",
            backend=backend,
            strategy=strategy,
            hosts=site.serving(options.hosts, HOSTS),
            mode=options.mode,
            clients=options.clients or (CLIENTS if options.rate is None else 1000),
            rate=options.rate,
            requests=options.requests,
            seconds=seconds,
            params={"keys": key_set}
            | short_warmup(options)
            | ({"control": True} if strategy == "unsafe" and "unsafe" not in options.strategies else {}),
        )
        for backend in backends(options, site, ("postgres",))
        for strategy in strategies(options, site, backend, STRATEGIES)
        for key_set in ("hot", "1000")
        if key_set == "hot" or not options.quick or options.strategies
    ]
    return [
        *closed,
        *(open_cell(cell, options.seconds or OPEN_SECONDS) for cell in closed if _has_open_cell(cell, options)),
    ]


def _has_open_cell(cell: Cell, options: BenchRequest) -> bool:
    """Whether latency is measured with an open load too; with --quick only of one strategy on the hot key."""
    if cell.mode == "open" or cell.requests is not None or cell.params.get("control"):
        return False
    return not options.quick or (cell.strategy == QUICK_OPEN and cell.params["keys"] == "hot")


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """Returns a steady load after a warm-up."""
    cell = trial.cell
    return {"main": load(cell, increment(cell.strategy), keys(str(cell.params["keys"])))}


def check(measured: TrialRecord) -> Sequence[Finding]:
    """No update is lost and transactions are counted alike; the control must lose updates."""
    cell = measured.cell
    if cell.params.get("control"):
        return [_check_control(measured)]
    findings = check_counters(measured)
    if cell.backend == "postgres":
        findings.append(check_transactions(cell, measured.requests, measured.evidence))
    return findings


def _check_control(measured: TrialRecord) -> Finding:
    """On the hot key the control loses updates, so the load can show lost updates of the other strategies."""
    cell = measured.cell
    final_value = check_final_value(cell, measured.requests, measured.evidence)
    lost = int(final_value.numbers.get("lost", 0))
    if final_value.verdict == "unknown":
        return finding(cell, names.NEGATIVE_CONTROL, "unknown", final_value.detail, lost=0)
    if cell.params["keys"] != "hot":
        return finding(
            cell, names.NEGATIVE_CONTROL, "shown", f"unsafe lost {lost:,} updates over 1,000 keys", lost=lost
        )
    if lost:
        return finding(cell, names.NEGATIVE_CONTROL, "shown", f"unsafe lost {lost:,} updates, as expected", lost=lost)
    text = "unsafe lost no update: the load is too light to show that the others are safe"
    return finding(cell, names.NEGATIVE_CONTROL, "unknown", text, lost=0)


def label(cell: Cell) -> str:
    """Names a cell, such as `PostgreSQL, upsert, 1,000 keys` or, with the open model, `…, 250 requests/s`."""
    control = " (negative control)" if cell.params.get("control") else ""
    rate = f"{cell.rate:,g} requests/s" if cell.rate and not cell.rate_share else open_label(cell)
    return joined(backend_name(cell), cell.strategy + control, keys_name(cell), rate)


SCENARIO = Scenario(
    name="throughput",
    question="How many increments per second does each strategy reach, at what latency, and is any lost?",
    criteria=(
        "no lost update: final value = initial + acknowledged, each value returned once, in real-time order",
        "the service's number of transactions agrees with the number of writing transactions that the database counted",
        "rate and latency of each strategy, on a hot key and on 1,000 keys, and its latency with an open load at 70 % "
        "of that rate (reported only)",
        "the negative control (`unsafe`) loses updates under the same load",
    ),
    cells=cells,
    workload=workload,
    check=check,
    label=label,
    works_without_samples=True,
)
