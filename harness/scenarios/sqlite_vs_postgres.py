"""The same increments on SQLite (naive and tuned) and PostgreSQL, beside what the original page claims.

`burst`: 1,000 at once, for the share that succeeds and the mean response. `steady`: so many clients for some
seconds, for the throughput, for the error rate (with the most clients) and for how many clients are served without
an error. The page's claims are judged against *naive*, the set-up it describes. A claim that does not hold is shown
as not held: it is a finding about the page, not a failure of this tier.

The mean response is of acknowledged answers. A refusal comes quickly, so in a mean over all answers failing would pass
for speed; that mean stands beside it under its own name.

Counts stay true where the generator was held up, times do not: the mean response and the throughput are of trials
without such a doubt alone, and unknown where a cell has none.

One trial a cell: the claims are of factors of five and ten, beyond what trials differ by. Near such a factor one
trial can tip `held` either way; `--repeat 5` takes medians.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.analysis.trial_validity import never_steady
from harness.checks.finding import finding
from harness.load.spec import Keys, LoadSpec
from harness.model import BACKENDS, Backend, Cell, Finding, Trial
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site, Skip, backend_name, joined
from harness.record import TrialRecord, TrialResult
from harness.scenarios.increment_workload import QUICK_SECONDS, UNSTEADY, check_counters, increment, load
from harness.text import plural

REQUESTS = 1000
CLIENTS = (1, 10, 100)
QUICK_CLIENTS = (1, 100)
SECONDS = 3.0
ALL_ANSWERS = "mean of all answers, refusals too"
SIDES: Mapping[str, Backend] = {"naive": "sqlite-naive", "tuned": "sqlite-tuned", "postgres": "postgres"}
"""Name of a column in findings -> the backend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A row of the page's table: its figures, and the improvement over SQLite that its test asks for."""

    name: str
    of: str
    """What it was measured of."""
    unit: str
    sqlite: str
    postgres: str
    change: str
    holds: Callable[[float, float], bool]
    """(SQLite, PostgreSQL) -> whether the improvement is as large as claimed."""


CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="success rate", of="of the burst",
        unit="%", sqlite="30 %", postgres="100 %", change="more than +200 %",
        holds=lambda a, b: b / a - 1 > 2.0 if a else b > 0,
    ),
    Claim(
        name="mean response", of="acknowledged answers of the burst",
        unit="ms", sqlite="500 ms", postgres="50 ms", change="more than 80 % less",
        holds=lambda a, b: a > 0 and 1 - b / a > 0.8,
    ),
    Claim(
        name="throughput", of="the best steady load",
        unit="requests/s", sqlite="100", postgres="1,000", change="more than +800 %",
        holds=lambda a, b: b / a - 1 > 8.0 if a else b > 0,
    ),
    Claim(
        name="error rate", of="the steady load with the most clients",
        unit="%", sqlite="15 %", postgres="0.1 %", change="99.3 % less",
        holds=lambda a, b: a > 0 and 1 - b / a >= 0.993,
    ),
    Claim(
        name="concurrent connections", of="the most clients of a steady load of which none was refused",
        unit="clients", sqlite="1 in effect", postgres="100+", change="+9,900 %",
        holds=lambda a, b: a <= 1 and b >= 100,
    ),
)  # fmt: skip


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """Backends x (one burst, three steady loads; two with --quick)."""
    wanted = [name for name in (options.backends or BACKENDS) if name in site.backends]
    if options.backends and ("postgres" not in options.backends or len(options.backends) < 2):
        raise Skip("compares PostgreSQL with SQLite: --backend leaves only one of them")
    if "postgres" not in wanted or len(wanted) < 2:
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
            params={"load": kind},
        )

    return [
        cell(backend, clients, kind)
        for backend in wanted
        for clients, kind in [(requests, "burst"), *((n, "steady") for n in loads)]
    ]


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """One hot key: what every writer wants."""
    cell = trial.cell
    lane = replace(load(cell, increment(cell.strategy), Keys(kind="one", prefix="shared")), timeout_s=60.0)
    return {"main": replace(lane, warmup=None) if cell.params["load"] == "burst" else lane}


def check(measured: TrialRecord) -> Sequence[Finding]:
    """Whatever is acknowledged must be there, on every backend."""
    return check_counters(measured)


def extract(measured: TrialRecord) -> Mapping[str, float]:
    """Of the burst: the mean latency of acknowledged answers, from the instant they were due."""
    if measured.cell.params["load"] != "burst" or "main" not in measured.lanes:
        return {}
    samples = measured.main
    taken = [
        done - due
        for due, done, outcome in zip(samples.due_us, samples.done_us, samples.outcome, strict=True)
        if outcome == "ok"
    ]
    return {"acknowledged_ms": statistics.fmean(taken) / 1000} if taken else {}


def figures(trials: Sequence[TrialRecord]) -> Mapping[Backend, Mapping[str, float]]:
    """Backend -> the page's five rows as measured: medians over valid trials.

    `mean response` is absent where no answer was acknowledged, or no samples were kept; what is about time also where
    the times of a cell are in doubt (`_doubt`), because the best of the loads that are left need not be the best.
    """
    burst: dict[Backend, list[TrialRecord]] = defaultdict(list)
    steady: dict[Backend, list[TrialRecord]] = defaultdict(list)
    for measured in trials:
        if not measured.row.valid:
            continue
        (burst if measured.cell.params["load"] == "burst" else steady)[measured.cell.backend].append(measured)
    table: dict[Backend, Mapping[str, float]] = {}
    for backend in BACKENDS:
        if not burst[backend] or not steady[backend]:
            continue
        most = max(m.cell.clients for m in steady[backend])
        errors = [1 - _share(m) for m in steady[backend] if m.cell.clients == most]
        clean = [m.cell.clients for m in steady[backend] if _share(m) == 1.0 and m.row.figure("ok")]
        timed = [m for m in burst[backend] if m.row.times_valid]
        every = [ms for m in timed if (ms := m.row.figure("mean_ms")) is not None]
        served = [m.extracted["acknowledged_ms"] for m in timed if "acknowledged_ms" in m.extracted]
        rates: dict[int, list[float]] = defaultdict(list)
        for m in steady[backend]:
            if m.row.times_valid:
                rates[m.cell.clients].append(m.row.figure("rps") or 0.0)
        best = {} if _doubt(steady[backend]) else {"throughput": max(map(statistics.median, rates.values()))}
        table[backend] = {
            "success rate": 100 * statistics.median(_share(m) for m in burst[backend]),
            "error rate": 100 * statistics.median(errors),
            **({"mean response": statistics.median(served)} if served else {}),
            **({ALL_ANSWERS: statistics.median(every)} if every else {}),
            **best,
            "concurrent connections": float(max(clean, default=0)),
        }
    return table


def _doubt(trials: Iterable[TrialRecord]) -> str:
    """Why the times of a cell are in doubt of which no trial's times hold; empty where each has one that does."""
    cells: dict[str, list[TrialResult]] = defaultdict(list)
    for measured in trials:
        if measured.row.valid:
            cells[measured.cell.name].append(measured.row)
    return next((rows[0].reason for rows in cells.values() if not any(row.times_valid for row in rows)), "")


def _share(measured: TrialRecord) -> float:
    sent, ok = measured.row.figure("sent") or 0.0, measured.row.figure("ok") or 0.0
    return ok / sent if sent else 0.0


def judge(trials: Sequence[TrialRecord]) -> Sequence[Finding]:
    """Each claim: measured beside claimed, held or not held. Unknown only where it could not be measured, or is about
    times that are in doubt."""
    table = figures(trials)
    cell = trials[0].cell
    if "postgres" not in table or "sqlite-naive" not in table:
        return [finding(cell, f"claim: {c.name}", "unknown", "not both backends were measured") for c in CLAIMS]
    loads = {kind: [m for m in trials if m.cell.params["load"] == kind] for kind in ("burst", "steady")}
    unsteady = UNSTEADY if never_steady(m.row for m in loads["steady"] if m.row.times_valid) else ""
    findings = []
    for claim in CLAIMS:
        naive, tuned, postgres = (table.get(name, {}).get(claim.name) for name in SIDES.values())
        if naive is None or postgres is None:
            absent = [name for name in (SIDES["naive"], SIDES["postgres"]) if claim.name not in table[name]]
            of = loads["steady" if claim.name == "throughput" else "burst"]
            doubt = _doubt(m for m in of if m.cell.backend in absent)
            why = f"the generator was in doubt: {doubt}" if doubt else "no acknowledged answer whose sample was kept"
            findings.append(finding(cell, f"claim: {claim.name}", "unknown", why))
            continue
        every = {side: table.get(name, {}).get(ALL_ANSWERS) for side, name in SIDES.items()}
        aside = {ALL_ANSWERS: every} if claim.name == "mean response" else {}
        held = claim.holds(naive, postgres)
        text = (
            f"{'held' if held else 'NOT HELD'} ({claim.of}): SQLite naive {naive:,.4g} {claim.unit}, "
            + (f"tuned {tuned:,.4g}, " if tuned is not None else "")
            + f"PostgreSQL {postgres:,.4g}; the page claims {claim.sqlite} and {claim.postgres} ({claim.change})"
            + "".join(f"; {name}: {_sides(values)} {claim.unit}" for name, values in aside.items())
            + unsteady * (claim.name == "throughput")
        )
        findings.append(
            finding(
                cell,
                f"claim: {claim.name}",
                "pass",
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
        )
    return findings


def _sides(values: Mapping[str, float | None]) -> str:
    return ", ".join(f"{side} {value:,.4g}" for side, value in values.items() if value is not None)


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
        "the pragmas of each SQLite profile, read back on every host, are the expected ones",
    ),
    cells=cells,
    workload=workload,
    check=check,
    label=label,
    extract=extract,
    judge=judge,
    timing_matters=False,
    works_without_samples=True,
)
