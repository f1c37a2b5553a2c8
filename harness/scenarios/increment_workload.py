"""What the scenarios with increments share: the operation, the key sets, the checks of the counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from harness.analysis.trial_validity import WARMUP_S
from harness.checks import names
from harness.checks.counter_oracle import check_final_value, check_real_time_order, check_value_sequence
from harness.checks.finding import finding
from harness.checks.ledger import check_ledger
from harness.checks.required_evidence import DURABILITY, LEDGER
from harness.checks.traffic import check_counts
from harness.isolation.sqlite_profiles import PROFILES
from harness.load.spec import Keys, LoadSpec, Operation, Warmup
from harness.model import Backend, Cell, Finding, OutcomeCounts, verdict_from
from harness.plan.options import BenchRequest
from harness.plan.scenario import Site, Skip
from harness.record import NO_OTHERS, Evidence, TrialRecord
from harness.text import plural

CAPTURE = ("retries", "transactions", "pool_wait_ms", "duration", "backend")
DURABLE = ("fsync", "full_page_writes", "synchronous_commit")
KEY_SETS: Mapping[str, int] = {"hot": 1, "spread": 100, "1000": 1000}
"""Name of a key set -> its number of keys."""
QUICK_SECONDS = 1.0
"""The measured window of a steady trial with --quick."""
QUICK_WARMUP_S = 1.0
"""The warm-up with --quick of a cell whose times are reported only, too short to show a steady state."""
MIN_WARMUP_S, MAX_WARMUP_S = 2.0, 9.0
"""Minimum and maximum warm-up; between them it ends once the load is steady, which takes eight seconds to see at a
hundred requests per second and three at ten thousand (harness/load/steady_state.py)."""
UNSTEADY = "not judged: some cell has no trial in a steady state"
"""Findings about time that would rest on such a cell."""


def short_warmup(options: BenchRequest) -> dict[str, float]:
    """Returns the params of a cell whose times are reported only: its warm-up, where nothing is compared."""
    return {WARMUP_S: QUICK_WARMUP_S} if options.compares_nothing else {}


def warmup(seconds: float | None, exactly_s: float | None = None) -> Warmup:
    """Returns a warm-up that ends once the load is steady, or after exactly these seconds.

    If the load is not steady by then, the trial's record (`steady: false`) and the run's warnings show it.
    """
    if exactly_s is not None:
        return Warmup(seconds=exactly_s, max_seconds=exactly_s)
    return Warmup(seconds=MIN_WARMUP_S, max_seconds=max(MAX_WARMUP_S, seconds or 0.0))


def increment(strategy: str, *, idempotency: bool = False, twins: float = 0.0, paths: Sequence[str] = ()) -> Operation:
    """Returns the operation `increment`, through the load balancer or over `paths` in turn.

    With an empty `strategy` the service uses its default.
    """
    return Operation(
        name="increment",
        path="" if paths else "/api/increment",
        paths=tuple(paths),
        body={"key": "{key}", **({"strategy": strategy} if strategy else {})},
        idempotency=idempotency,
        twins=twins,
        value="value",
        capture=CAPTURE,
    )


def keys(name: str) -> Keys:
    """Returns the key distribution of a key set by name."""
    count = KEY_SETS[name]
    return Keys(kind="one" if count == 1 else "uniform", prefix=name, count=count)


def keys_name(cell: Cell) -> str:
    """Returns the cell's key set for readers, such as `1 hot key` or `100 keys`."""
    name = str(cell.params.get("keys", ""))
    if name not in KEY_SETS:
        return name
    return "1 hot key" if KEY_SETS[name] == 1 else plural(KEY_SETS[name], "key")


def open_label(cell: Cell) -> str:
    """Returns the load of an open cell with a share of a closed rate for readers; empty for another cell."""
    of = "the baseline" if cell.variant else "closed"
    return f"open at {100 * cell.rate_share:g} % of {of}" if cell.rate_share else ""


def load(cell: Cell, operation: Operation, keys: Keys) -> LoadSpec:
    """Returns the load of a steady trial with warm-up: closed with the cell's clients, or open at its rate."""
    return LoadSpec(
        mode=cell.mode,
        clients=cell.clients,
        rate=cell.rate,
        arrivals="fixed" if cell.rate is None else "poisson",
        requests=cell.requests,
        seconds=cell.seconds,
        warmup=warmup(cell.seconds, cell.params.get(WARMUP_S)),
        keys=keys,
        operations=(operation,),
    )


def backends(options: BenchRequest, site: Site, default: Sequence[Backend]) -> list[Backend]:
    """Returns the requested or else the default backends that the site offers. Raises Skip if it offers none."""
    requested = options.backends or default
    offered = [name for name in requested if name in site.backends]
    if not offered:
        reason = f" ({site.no_sqlite})" if site.no_sqlite else ""
        raise Skip(f"needs {' or '.join(requested)}; this rig offers {', '.join(site.backends)}{reason}")
    return offered


def strategies(options: BenchRequest, site: Site, backend: Backend, default: Sequence[str]) -> Sequence[str]:
    """Returns the requested or else the default strategies. SQLite has one, because its profile decides.

    An external service uses its own, without a name, unless the user requests one that it knows.
    """
    if backend != "postgres":
        return ("upsert",)
    return options.strategies or (default if site.managed else ("",))


def check_counters(measured: TrialRecord, others: OutcomeCounts = NO_OTHERS) -> list[Finding]:
    """Runs all checks of the counter oracle on a trial's increments, and compares the counts of all layers.

    `others`: requests of other lanes, each of which increments its key once if it is applied.
    """
    cell, requests, evidence = measured.cell, measured.requests, measured.evidence
    findings = [
        check_final_value(cell, requests, evidence, others=others),
        check_value_sequence(cell, requests, evidence),
        check_real_time_order(cell, requests, evidence, clock_shared=measured.clock_shared),
        check_counts(cell, requests, evidence, others=others),
    ]
    if evidence.ledger is not None or LEDGER in evidence.unread:
        findings.append(check_ledger(cell, requests, evidence, others=others))
    if cell.backend != "postgres":
        findings += [_integrity(cell, evidence), _pragmas(cell, evidence)]
    return findings


def _integrity(cell: Cell, evidence: Evidence) -> Finding:
    """`PRAGMA integrity_check` returns ok."""
    lines = evidence.sqlite.integrity_check if evidence.sqlite else ()
    if not lines:
        return finding(cell, names.INTEGRITY, "unknown", "PRAGMA integrity_check was not run")
    return finding(cell, names.INTEGRITY, lines == ("ok",), f"PRAGMA integrity_check: {'; '.join(lines[:3])}")


def _pragmas(cell: Cell, evidence: Evidence) -> Finding:
    """The pragmas read back on every host are those of the backend's profile; all others are equal on all workers."""
    sqlite = evidence.sqlite
    if sqlite is None or not sqlite.pragmas:
        return finding(cell, names.PRAGMAS, "unknown", "the pragmas were not read back")
    profile = asdict(PROFILES[cell.backend.removeprefix("sqlite-")])
    workers = {"": sqlite.pragmas, **sqlite.differing}
    wrong = [
        f"{worker or 'read back'}: {name} {pragmas.get(name)} instead of {value}"
        for worker, pragmas in workers.items()
        for name, value in ({**sqlite.pragmas, **profile} if worker else profile).items()
        if pragmas.get(name) != value
    ]
    values = ", ".join(f"{name} {sqlite.pragmas.get(name)}" for name in profile)
    return finding(cell, names.PRAGMAS, not wrong, "; ".join(wrong[:3]) or f"read back on every host: {values}")


def check_durability(measured: TrialRecord) -> list[Finding]:
    """PostgreSQL flushes each commit; no role or database turns that off. No finding for runs that did not read it."""
    cell, evidence = measured.cell, measured.evidence
    if cell.backend != "postgres":
        return []
    if evidence.durability is None:
        unread = evidence.unread.get(DURABILITY)
        return [finding(cell, names.DURABILITY, "unknown", f"not measured: {unread}")] if unread else []
    off = [f"{name} {value}" for name, value in evidence.durability.items() if value == "off"]
    missing = [name for name in DURABLE if name not in evidence.durability]
    values = ", ".join(f"{name} {value}" for name, value in evidence.durability.items())
    text = f"read back after the load: {values}"
    if off:
        text = f"{', '.join(off)}: an acknowledged write may be lost in a crash, as SQLite's FULL does not allow"
    elif missing:
        text = f"not read back: {', '.join(missing)}"
    return [finding(cell, names.DURABILITY, verdict_from(failed=bool(off), passed=not missing), text)]
