"""What the scenarios share that send increments: the operation, the key sets, the checks of the counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from harness.checks.counter_oracle import check_final_value, check_ledger, check_real_time_order, check_value_sequence
from harness.checks.finding import finding
from harness.checks.traffic import check_counts
from harness.isolation.sqlite_profiles import PROFILES
from harness.load.spec import Keys, LoadSpec, Operation, Warmup
from harness.model import Backend, Cell, Finding
from harness.plan.options import BenchRequest
from harness.plan.scenario import Site, Skip
from harness.record import Evidence, TrialRecord
from harness.text import plural

CAPTURE = ("retries", "transactions", "pool_wait_ms")
KEY_SETS: Mapping[str, int] = {"hot": 1, "spread": 100, "1000": 1000}
"""Name of a key set -> its number of keys."""


QUICK_SECONDS = 1.0
"""The measured window of a steady trial with --quick."""
LEAST_WARMUP_S, MOST_WARMUP_S = 2.0, 3.0
"""A warm-up may be over as soon as it is steady after the one, and need not be before the other."""
UNSTEADY = "; of some cell no trial began from a steady state"
"""Added to a claim about time that rests on such trials."""
SHORT_S = 2.0
"""A window below this is a glance (--quick): its warm-up is as long, steady or not."""


def warmup(seconds: float | None) -> Warmup:
    """Until steady, but no longer than the measured window itself: a short trial has a short patience.

    Where the load is not steady by then, the record says so (`steady: false`), and the run's warnings.
    """
    window = seconds or MOST_WARMUP_S
    most = window if window < SHORT_S else max(MOST_WARMUP_S, window)
    return Warmup(seconds=min(most, LEAST_WARMUP_S), max_seconds=most)


def increment(strategy: str, *, idempotency: bool = False, paths: Sequence[str] = ()) -> Operation:
    """The operation `increment` of a load job, over the load balancer or over `paths` in turn.

    An empty `strategy` leaves the choice to the service.
    """
    return Operation(
        name="increment",
        path="" if paths else "/api/increment",
        paths=tuple(paths),
        body={"key": "{key}", **({"strategy": strategy} if strategy else {})},
        idempotency=idempotency,
        value="value",
        capture=CAPTURE,
    )


def keys(name: str) -> Keys:
    """The key distribution of a load job for a key set by name."""
    count = KEY_SETS[name]
    return Keys(kind="one" if count == 1 else "uniform", prefix=name, count=count)


def keys_name(cell: Cell) -> str:
    """Returns the cell's key set for readers, such as `1 hot key` or `100 keys`."""
    name = str(cell.params.get("keys", ""))
    if name not in KEY_SETS:
        return name
    return "1 hot key" if KEY_SETS[name] == 1 else plural(KEY_SETS[name], "key")


def load(cell: Cell, operation: Operation, keys: Keys) -> LoadSpec:
    """The load of a steady trial: closed with the cell's clients, or open at its rate; warmed up."""
    return LoadSpec(
        mode=cell.mode,
        clients=cell.clients,
        rate=cell.rate,
        arrivals="fixed" if cell.rate is None else "poisson",
        requests=cell.requests,
        seconds=cell.seconds,
        warmup=warmup(cell.seconds),
        keys=keys,
        operations=(operation,),
    )


def backends(options: BenchRequest, site: Site, default: Sequence[Backend]) -> list[Backend]:
    """The backends asked for, else the default ones, of those that the site offers. Raises Skip if none is."""
    found = [name for name in (options.backends or default) if name in site.backends]
    if not found:
        why = f" ({site.no_sqlite})" if site.no_sqlite else ""
        asked = " or ".join(options.backends or default)
        raise Skip(f"no {asked} here: this rig offers {', '.join(site.backends)}{why}")
    return found


def strategies(options: BenchRequest, site: Site, backend: Backend, default: Sequence[str]) -> Sequence[str]:
    """The strategies asked for, else the default ones; on SQLite the set-up decides, so there is one.

    A service that is not ours has one of its own, without a name, unless the user names what it understands.
    """
    if backend != "postgres":
        return ("upsert",)
    return options.strategies or (default if site.managed else ("",))


def check_counters(measured: TrialRecord) -> list[Finding]:
    """The whole oracle over a trial's increments, and the counts of all layers."""
    cell, requests, evidence = measured.cell, measured.requests, measured.evidence
    findings = [
        check_final_value(cell, requests, evidence),
        check_value_sequence(cell, requests, evidence),
        check_real_time_order(cell, requests),
        check_counts(cell, requests, evidence),
    ]
    if evidence.ledger is not None:
        findings.append(check_ledger(cell, requests, evidence))
    if cell.backend != "postgres":
        findings += [_integrity(cell, evidence), _pragmas(cell, evidence)]
    return findings


def _integrity(cell: Cell, evidence: Evidence) -> Finding:
    """`PRAGMA integrity_check` says ok."""
    lines = evidence.sqlite.integrity_check if evidence.sqlite else ()
    if not lines:
        return finding(cell, "integrity", "unknown", "PRAGMA integrity_check was not run")
    return finding(cell, "integrity", lines == ("ok",), f"PRAGMA integrity_check: {'; '.join(lines[:3])}")


def _pragmas(cell: Cell, evidence: Evidence) -> Finding:
    """What was read back is what the backend's name promises, on every host: else another set-up was measured."""
    sqlite = evidence.sqlite
    if sqlite is None or not sqlite.pragmas:
        return finding(cell, "pragmas", "unknown", "the pragmas were not read back")
    promised = asdict(PROFILES[cell.backend.removeprefix("sqlite-")])
    workers = {"": sqlite.pragmas, **sqlite.differing}
    wrong = [
        f"{worker or 'read back'}: {name} {facts.get(name)} instead of {value}"
        for worker, facts in workers.items()
        for name, value in ({**sqlite.pragmas, **promised} if worker else promised).items()
        if facts.get(name) != value
    ]
    said = ", ".join(f"{name} {sqlite.pragmas.get(name)}" for name in promised)
    return finding(cell, "pragmas", not wrong, "; ".join(wrong[:3]) or f"read back on every host: {said}")
