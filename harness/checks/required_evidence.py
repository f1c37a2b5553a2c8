"""The parts of a trial's evidence, and the checks that need them. Pure.

A part that was not measured makes the checks that need it unknown. It never makes them fail.
"""

from __future__ import annotations

from harness.checks import names

HAPROXY, APP, COUNTERS, LEDGER = "haproxy", "app", "counters", "ledger"
TRANSACTIONS, DEADLOCKS, BULK_ROWS, DEAD_ROWS, SQLITE, DURABILITY = (
    "transactions",
    "deadlocks",
    "bulk rows",
    "dead rows",
    "sqlite",
    "durability",
)
PARTS = (HAPROXY, APP, COUNTERS, LEDGER, TRANSACTIONS, DEADLOCKS, BULK_ROWS, DEAD_ROWS, SQLITE, DURABILITY)

NEEDS = {
    names.FINAL_VALUE: (COUNTERS,),
    names.VALUE_SEQUENCE: (COUNTERS,),
    names.LEDGER: (LEDGER, COUNTERS),
    names.TRANSACTIONS: (TRANSACTIONS,),
    names.INTEGRITY: (SQLITE,),
    names.PRAGMAS: (SQLITE,),
    names.DURABILITY: (DURABILITY,),
    names.ALL_OR_NOTHING: (BULK_ROWS,),
    names.FAILED_REQUEST_ROWS: (BULK_ROWS,),
    names.IDS_EXIST_ONCE: (BULK_ROWS,),
    names.UPDATES_APPLIED: (COUNTERS,),
    names.DEADLOCK_COUNTS_AGREE: (DEADLOCKS,),
    names.DEADLOCKS_IN_LOG: (DEADLOCKS,),
    names.DEAD_ROWS: (DEAD_ROWS,),
    **dict.fromkeys(names.ACCOUNTED, (LEDGER, COUNTERS)),
}
"""Check -> the parts that it cannot do without. `counts agree` and `spread` use what was measured of theirs."""

ABOUT_DATA = (
    *names.ORACLE, names.INTEGRITY, names.ALL_OR_NOTHING, names.FAILED_REQUEST_ROWS, names.IDS_EXIST_ONCE,
    names.UPDATES_APPLIED, names.COUNTS_AGREE, names.NO_FORBIDDEN_ANOMALY, names.TOTAL, names.NO_OVERDRAFT,
    *names.ACCOUNTED,
)  # fmt: skip
"""Checks that do not depend on which hosts serve. The others judge what the hosts of the cell can do."""
