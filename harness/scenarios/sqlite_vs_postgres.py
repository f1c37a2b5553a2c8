"""The same increments on SQLite (naive and tuned) and PostgreSQL, compared with published claims.

`burst`: 1,000 requests at once, for the success rate and the mean response. `steady`: a number of clients for some
seconds, for the throughput, the error rate (with the most clients) and the number of clients that are served without
errors. The claims are compared with *naive* SQLite, the configuration that they describe. A claim that does not hold
is shown as not held; it is no failure of the service.

The mean response covers acknowledged responses only. Rejections are fast, so in a mean over all responses, failing
would look like speed; that mean is reported beside it under its own name.

Counts stay true if the load generator was the bottleneck, times do not. So the mean response and the throughput use
only trials without that doubt, and are unknown if a cell has none.

One trial per cell: the claims are factors of five and ten, larger than the variation between trials. If a value is
close to such a factor, one trial can change `held` either way. With `--repeat 6` the claims about time use the ratio
within each repetition with its interval, and one whose interval includes the factor is not judged.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from harness.analysis.block_ratio import BlockRatio, Blocks, by_block, ratio
from harness.analysis.trial_validity import never_steady
from harness.checks import names
from harness.checks.finding import finding
from harness.load.spec import Keys, LoadSpec
from harness.model import BACKEND_NAMES, BACKENDS, Backend, Cell, Finding, Trial
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site, Skip, backend_name, joined
from harness.record import TrialRecord, TrialResult
from harness.scenarios.increment_workload import (
    QUICK_SECONDS,
    UNSTEADY,
    check_counters,
    check_durability,
    increment,
    load,
    short_warmup,
)
from harness.scenarios.sqlite_claims import CLAIMS, Claim
from harness.text import plural

REQUESTS = 1000
CLIENTS = (1, 10, 100)
QUICK_CLIENTS = (100,)
SECONDS = 3.0
ALL_ANSWERS = "mean of all answers, refusals too"
SIDES: Mapping[str, Backend] = {"naive": "sqlite-naive", "tuned": "sqlite-tuned", "postgres": "postgres"}
"""Name of a column in findings -> the backend."""


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """Plans one burst and three steady loads per backend; with --quick one, after a short warm-up."""
    backends = [name for name in (options.backends or BACKENDS) if name in site.backends]
    if options.backends and ("postgres" not in options.backends or len(options.backends) < 2):
        raise Skip("compares PostgreSQL with SQLite, but --backend selects only one of them")
    if "postgres" not in backends or len(backends) < 2:
        raise Skip(site.no_sqlite or "needs a rig that offers SQLite")
    hosts = site.serving(options.hosts, 4)
    requests = options.requests or REQUESTS
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    loads = QUICK_CLIENTS if options.quick else CLIENTS

    def cell(backend: Backend, clients: int, kind: str) -> Cell:
        return Cell(
            scenario="sqlite-vs-postgres",
            backend=backend,
            hosts=hosts,
            clients=clients,
            requests=requests if kind == "burst" else None,
            seconds=None if kind == "burst" else seconds,
            params={"load": kind} | (short_warmup(options) if kind == "steady" else {}),
        )

    return [
        cell(backend, clients, kind)
        for backend in backends
        for clients, kind in [(requests, "burst"), *((n, "steady") for n in loads)]
    ]


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """Returns increments of one hot key by all clients."""
    cell = trial.cell
    lane = replace(load(cell, increment(cell.strategy), Keys(kind="one", prefix="shared")), timeout_s=60.0)
    return {"main": replace(lane, warmup=None) if cell.params["load"] == "burst" else lane}


def check(measured: TrialRecord) -> Sequence[Finding]:
    """No acknowledged increment is lost, on any backend; PostgreSQL's durability is judged as SQLite's pragmas are."""
    return [*check_counters(measured), *check_durability(measured)]


def extract(measured: TrialRecord) -> Mapping[str, float]:
    """Returns the mean latency of the burst's acknowledged responses, from the time they were due."""
    if measured.cell.params["load"] != "burst" or "main" not in measured.lanes:
        return {}
    samples = measured.main
    latencies = [
        done - due
        for due, done, outcome in zip(samples.due_us, samples.done_us, samples.outcome, strict=True)
        if outcome == "ok"
    ]
    return {"acknowledged_ms": statistics.fmean(latencies) / 1000} if latencies else {}


def figures(trials: Sequence[TrialRecord]) -> Mapping[Backend, Mapping[str, float]]:
    """Returns the value of each claim by backend over valid trials: shares of all requests, medians of times.

    `mean response` is absent if no response was acknowledged or no samples were kept. Values about time are also absent
    if a cell has no trial with trusted times (`_doubted_times`): the best of the other loads need not be the best.
    """
    burst: dict[Backend, list[TrialRecord]] = defaultdict(list)
    steady: dict[Backend, list[TrialRecord]] = defaultdict(list)
    for measured in trials:
        if measured.row.valid:
            (burst if _is_burst(measured) else steady)[measured.cell.backend].append(measured)
    return {
        backend: {**_burst_figures(burst[backend]), **_steady_figures(steady[backend])}
        for backend in BACKENDS
        if burst[backend] and steady[backend]
    }


def _burst_figures(trials: Sequence[TrialRecord]) -> dict[str, float]:
    values = {"success rate": 100 * _acknowledged_share(*trials)}
    timed = [m for m in trials if m.row.times_valid]
    if acknowledged := [m.extracted["acknowledged_ms"] for m in timed if "acknowledged_ms" in m.extracted]:
        values["mean response"] = statistics.median(acknowledged)
    if all_responses := [ms for m in timed if (ms := m.row.figure("mean_ms")) is not None]:
        values[ALL_ANSWERS] = statistics.median(all_responses)
    return values


def _steady_figures(trials: Sequence[TrialRecord]) -> dict[str, float]:
    most_clients = max(m.cell.clients for m in trials)
    errors = 1 - _acknowledged_share(*(m for m in trials if m.cell.clients == most_clients))
    refusing = {m.cell.clients for m in trials if _acknowledged_share(m) < 1.0 or not m.row.figure("ok")}
    without_errors = [m.cell.clients for m in trials if m.cell.clients not in refusing]
    values = {
        "error rate": 100 * errors,
        "concurrent connections": float(max(without_errors, default=0)),
    }
    if not _doubted_times(trials):
        rates: dict[int, list[float]] = defaultdict(list)
        for m in trials:
            if m.row.times_valid:
                rates[m.cell.clients].append(m.row.figure("rps") or 0.0)
        values["throughput"] = max(map(statistics.median, rates.values()))
    return values


def _doubted_times(trials: Iterable[TrialRecord]) -> str:
    """Returns the reason why a cell has no valid trial with trusted times; empty if each cell has one."""
    cells: dict[str, list[TrialResult]] = defaultdict(list)
    for measured in trials:
        if measured.row.valid:
            cells[measured.cell.name].append(measured.row)
    return next((rows[0].reason for rows in cells.values() if not any(row.times_valid for row in rows)), "")


def _is_burst(measured: TrialRecord) -> bool:
    return bool(measured.cell.params["load"] == "burst")


def _acknowledged_share(*trials: TrialRecord) -> float:
    """The share over all these trials together: a median would leave out what the worse trials refused."""
    sent, ok = (sum(measured.row.figure(name) or 0.0 for measured in trials) for name in ("sent", "ok"))
    return ok / sent if sent else 0.0


def judge(trials: Sequence[TrialRecord]) -> Sequence[Finding]:
    """Compares each claim with the measured values. A claim that does not hold is no failure; `unknown` means that it
    could not be measured."""
    table = figures(trials)
    if "postgres" not in table or "sqlite-naive" not in table:
        cell = trials[0].cell
        return [finding(cell, f"{names.CLAIM}{c.name}", "unknown", "not both backends were measured") for c in CLAIMS]
    return [_compare(claim, trials, table) for claim in CLAIMS]


def _digits(value: float) -> str:
    """Four significant digits, and no exponent: `15,200`, `13.5`."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _compare(claim: Claim, trials: Sequence[TrialRecord], table: Mapping[Backend, Mapping[str, float]]) -> Finding:
    """Compares one claim with the measured values of SQLite and PostgreSQL."""
    cell, name = trials[0].cell, f"{names.CLAIM}{claim.name}"
    naive, tuned, postgres = (table.get(backend, {}).get(claim.name) for backend in SIDES.values())
    if naive is None or postgres is None:
        return finding(cell, name, "unknown", _why_missing(claim, trials, table))
    within = _within_blocks(claim, trials)
    held = claim.holds(1.0, within.value) if within else claim.holds(naive, postgres)
    text = f"{'held' if held else 'NOT HELD'} ({claim.of}): SQLite naive {_digits(naive)} {claim.unit}, "
    if tuned is not None:
        text += f"tuned {_digits(tuned)}, "
    text += f"PostgreSQL {_digits(postgres)}; claimed: {claim.sqlite} and {claim.postgres} ({claim.change})"
    aside: dict[str, object] = {}
    if within and within.interval:
        text += f"; PostgreSQL / naive SQLite within blocks: {within.value:.3g}{within.basis}"
        aside = {"low": within.interval.low, "high": within.interval.high}
    if claim.name == "mean response":
        means = {side: table.get(backend, {}).get(ALL_ANSWERS) for side, backend in SIDES.items()}
        answered = {BACKEND_NAMES.get(side, side): value for side, value in means.items() if value is not None}
        shown = ", ".join(f"{side} {_digits(value)}" for side, value in answered.items())
        text += f"; {ALL_ANSWERS}: {shown} {claim.unit}"
        aside |= {ALL_ANSWERS: means}
    if claim.name == "throughput" and never_steady(
        measured.row for measured in trials if not _is_burst(measured) and measured.row.times_valid
    ):
        return finding(cell, name, "shown", f"{UNSTEADY}: {text}")  # as a claim, it decides nothing
    if within and claim.bound is not None and within.reaches(claim.bound) is None:
        return finding(cell, name, "shown", f"not judged, {within.doubt}: {text}")
    return finding(
        cell,
        name,
        "shown",
        text,
        of=claim.of,
        held=held,
        naive=naive,
        tuned=tuned,
        postgres=postgres,
        unit=claim.unit,
        claimed=[claim.sqlite, claim.postgres],
        change=claim.change,
        **aside,
    )


def _within_blocks(claim: Claim, trials: Sequence[TrialRecord]) -> BlockRatio | None:
    """PostgreSQL's value over naive SQLite's, taken within each block; None for a claim that is not about time."""
    if claim.bound is None:
        return None
    values = _burst_blocks if claim.name == "mean response" else _best_rates
    sides = ([m for m in trials if m.cell.backend == SIDES[side]] for side in ("naive", "postgres"))
    return ratio(*map(values, sides))


def _burst_blocks(trials: Sequence[TrialRecord]) -> Blocks:
    """Block -> the mean of the burst's acknowledged responses."""
    return by_block((m.row, m.extracted.get("acknowledged_ms")) for m in trials if _is_burst(m))


def _best_rates(trials: Sequence[TrialRecord]) -> Blocks:
    """Block -> the rate of the best steady load; None unless all loads have one."""
    steady = [m for m in trials if not _is_burst(m)]
    loads = [
        by_block((m.row, m.row.figure("rps")) for m in steady if m.cell.clients == clients)
        for clients in {m.cell.clients for m in steady}
    ]
    blocks: dict[int, float | None] = {}
    for block in loads[0] if loads else ():
        rates = [rate for of in loads if (rate := of.get(block)) is not None]
        blocks[block] = max(rates) if len(rates) == len(loads) else None
    return blocks


def _why_missing(claim: Claim, trials: Sequence[TrialRecord], table: Mapping[Backend, Mapping[str, float]]) -> str:
    """Returns the reason why a claim has no measured value for naive SQLite or PostgreSQL."""
    backends = [backend for backend in (SIDES["naive"], SIDES["postgres"]) if claim.name not in table[backend]]
    is_about_burst = claim.name != "throughput"
    used = (m for m in trials if _is_burst(m) == is_about_burst and m.cell.backend in backends)
    if doubt := _doubted_times(used):
        return f"the load generator may have been the bottleneck: {doubt}"
    return "no acknowledged response whose sample was kept"


def label(cell: Cell) -> str:
    """Names a cell, such as `naive SQLite, 10 clients`."""
    burst = cell.params.get("load") == "burst"
    return joined(backend_name(cell), "burst of " * burst + plural(cell.clients, "client"))


SCENARIO = Scenario(
    name="sqlite-vs-postgres",
    question="What changes when a shared SQLite file is replaced by PostgreSQL?",
    criteria=(
        "five claims about naive SQLite (success rate, mean response, throughput, error rate, connections): "
        "measured beside claimed, held or not held",
        "tuned SQLite (WAL, FULL, BEGIN IMMEDIATE, busy timeout) for comparison",
        "no acknowledged write is lost on any backend; SQLite's file stays intact (PRAGMA integrity_check)",
        "the pragmas of each SQLite profile, read back on every host, are the expected ones; PostgreSQL's fsync, "
        "full_page_writes and synchronous_commit are on",
    ),
    cells=cells,
    workload=workload,
    check=check,
    label=label,
    extract=extract,
    judge=judge,
    reads=("durability",),
    timing_matters=False,
    works_without_samples=True,
)
