"""Transfers between accounts at each isolation level: the total of all accounts never changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.checks.transactions import check_bank
from harness.load.spec import LoadSpec
from harness.load.transactions import Transactions
from harness.model import Cell, Finding, Trial
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site
from harness.record import TrialRecord
from harness.scenarios.list_append import common_checks, level_cells, level_label, transaction_load

LEVELS: Mapping[str, tuple[str, int]] = {
    "read-committed": ("READ COMMITTED", 2_000),
    "repeatable-read": ("REPEATABLE READ", 4_000),
    "serializable": ("SERIALIZABLE", 4_000),
}
"""Name of a level in a cell -> the level, and the transactions to send."""
CONTROL = "read-committed"
DRAWN = Transactions(kind="bank")


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """Plans one cell per level."""
    return level_cells("bank", LEVELS, options, site)


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """Returns transfers and reads of all accounts, drawn from the trial's seed."""
    return transaction_load(trial.cell, DRAWN, "account")


def check(measured: TrialRecord) -> Sequence[Finding]:
    """The total never changes and no balance is below 0; at READ COMMITTED, the control, it does change."""
    control = measured.cell.params["level"] == CONTROL
    return [*check_bank(measured, DRAWN, control=control), *common_checks(measured)]


SCENARIO = Scenario(
    name="bank",
    question="Do transfers that read and then write keep the total of all accounts?",
    criteria=(
        "REPEATABLE READ and SERIALIZABLE: every read of all accounts has the same total",
        "REPEATABLE READ and SERIALIZABLE: no account is overdrawn",
        "READ COMMITTED: the total changes (control)",
        "each acknowledged transaction is in the ledger, each failed one is not",
    ),
    background="A transfer reads two balances, computes the new ones in the service and writes them. READ COMMITTED "
    "lets another transfer change a balance in between and then overwrites it. REPEATABLE READ and "
    "SERIALIZABLE abort one of the two (40001), which the client sees as 409 and may send again.",
    cells=cells,
    workload=workload,
    check=check,
    label=level_label,
    timing_matters=False,
    postgres_topic="isolation levels",
    in_suite=False,
)
