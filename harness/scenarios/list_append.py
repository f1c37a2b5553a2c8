"""Random transactions over few lists at each isolation level; from the lists read follows which anomalies occurred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.checks.faults import check_injected
from harness.checks.traffic import check_counts
from harness.checks.transactions import check_ledger_ids, check_list_append
from harness.histories.recorded import RESULTS
from harness.load.spec import Keys, LoadSpec, Operation
from harness.load.transactions import Transactions
from harness.model import Cell, Finding, Trial
from harness.plan.fault_schedule import MIXED_S, is_mixed, load_s, schedule
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site, Skip
from harness.record import TrialRecord
from harness.scenarios.faults import chosen, mixed_params, require_schedule
from harness.text import plural

HOSTS, CLIENTS = 4, 12
LEVELS: Mapping[str, tuple[str, int]] = {
    "read-uncommitted": ("READ UNCOMMITTED", 1_000),
    "read-committed": ("READ COMMITTED", 3_000),
    "repeatable-read": ("REPEATABLE READ", 5_000),
    "serializable": ("SERIALIZABLE", 20_000),
}
"""Name of a level in a cell -> the level, and the transactions to send: at the last two a part of them is aborted."""
QUICK = 10
"""With --quick the transactions are divided by this."""
DRAWN = Transactions(kind="list-append")


def level_of(cell: Cell) -> str:
    """Returns the cell's isolation level in SQL."""
    return LEVELS[str(cell.params["level"])][0]


def level_label(cell: Cell) -> str:
    """Names a cell, such as `REPEATABLE READ, 4 hosts`."""
    level, fault = LEVELS.get(str(cell.params.get("level")), ("", 0))[0], str(cell.params.get("fault", ""))
    return ", ".join(part for part in (level, plural(cell.hosts, "host"), fault) if part)


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """Plans one cell per level; with --fault one per level and fault, for as long as the fault needs."""
    planned = level_cells("list-append", LEVELS, options, site)
    if not options.faults:
        return planned
    if options.requests is not None:
        raise Skip(f"--requests {options.requests:,}: a fault needs a load of a fixed time: use --seconds")
    names = chosen(options, site, planned[0].hosts)
    return [_with_fault(cell, name, options, site) for name in names for cell in planned]


def _with_fault(cell: Cell, fault: str, options: BenchRequest, site: Site) -> Cell:
    params = mixed_params(options, site, cell.hosts) if is_mixed(fault) else {}
    seconds = options.seconds or (MIXED_S if is_mixed(fault) else load_s(fault, cell.hosts))
    cell = replace(cell, requests=None, seconds=seconds, params={**cell.params, "fault": fault, **params})
    require_schedule(cell)
    return cell


def level_cells(name: str, levels: Mapping[str, tuple[str, int]], options: BenchRequest, site: Site) -> list[Cell]:
    """Returns one closed cell per level, all app hosts behind the load balancer."""
    site.need("/api/txn")
    return [
        Cell(
            scenario=name,
            strategy="",
            hosts=site.serving(options.hosts, HOSTS),
            clients=options.clients or CLIENTS,
            requests=options.requests or count // (QUICK if options.quick else 1),
            params={"level": level},
        )
        for level, (_, count) in levels.items()
    ]


def transaction_load(cell: Cell, drawn: Transactions, prefix: str) -> dict[str, LoadSpec]:
    """Returns the load of a cell. Each request has an Idempotency-Key where the harness manages the service.

    Else its ledger cannot be read by its ids.
    """
    operation = Operation(
        name="txn",
        path="/api/txn",
        body={"level": level_of(cell)},
        transactions=drawn,
        idempotency=cell.pool > 0,
        capture=(RESULTS, "pool_wait_ms", "duration", "backend"),
    )
    return {
        "main": LoadSpec(
            mode="closed",
            clients=cell.clients,
            requests=cell.requests,
            seconds=cell.seconds,
            timeout_s=60.0,
            keys=Keys(prefix=prefix),
            operations=(operation,),
        )
    }


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """Returns random transactions, drawn from the trial's seed."""
    return transaction_load(trial.cell, DRAWN, "list")


def check(measured: TrialRecord) -> Sequence[Finding]:
    """No anomaly that the level excludes; one that it allows, as a control; all layers count the same.

    A fault was seen and healed.
    """
    findings = check_list_append(measured, level_of(measured.cell), DRAWN)
    findings += check_injected(measured.cell, measured.evidence.faults, schedule(measured.cell))
    return [*findings, *common_checks(measured)]


def common_checks(measured: TrialRecord) -> list[Finding]:
    """The ledger has the ids of the acknowledged requests, and all layers count the same requests."""
    ledger = [check_ledger_ids(measured)] if measured.cell.pool else []
    return [*ledger, check_counts(measured.cell, measured.requests, measured.evidence, op=None)]


SCENARIO = Scenario(
    name="list-append",
    question="Do transactions through the whole tier keep what their isolation level promises?",
    criteria=(
        "SERIALIZABLE: no anomaly in 10,000 committed transactions (fewer with --quick or --requests)",
        "REPEATABLE READ: no G0, G1a, G1b, G1c, G-single, lost or stale append; G2-item occurs (control)",
        "READ COMMITTED: no G0, G1a, G1b, G1c, lost or stale append; G-single occurs (control)",
        "each acknowledged transaction is in the ledger, each failed one is not",
        "SERIALIZABLE: whether the serial order respects real time (reported only)",
    ),
    background="Each transaction reads lists and appends unique numbers to them. A list that was read is the history"
    " of its appends, so from all lists together follows which transaction must have come before which: "
    "because it appended first (ww), because the other read what it appended (wr), or because it did not "
    "read what the other appended (rw). A cycle of such edges has no serial order. Its class is Adya's: "
    "only ww (G0), ww and wr (G1c), one rw (G-single, as read skew and lost updates), more (G2-item, as "
    "write skew). G1a is a read of an aborted append, G1b of an intermediate one. The method is that of "
    "Elle, and `samples/*.history.json` can be checked with elle-cli.",
    cells=cells,
    workload=workload,
    check=check,
    label=level_label,
    faults=schedule,
    timing_matters=False,
    postgres_topic="isolation levels",
    in_suite=False,
)
