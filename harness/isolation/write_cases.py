"""Anomalies of write predicates, and the read-only anomaly, as data. Pure.

The first three are variants in Hermitage of cases in cases.py. Sources as there, and [Fekete] Fekete, O'Neil and
O'Neil, A Read-Only Transaction Anomaly Under Snapshot Isolation, SIGMOD Record 33(3), 2004.
"""

from __future__ import annotations

from harness.isolation.case_model import LEVELS, Case, Step

RU, RC, RR, SER = LEVELS

WRITE_CASES = (
    Case(
        name="PMP-write",
        title="predicate-many-preceders, write predicate",
        meaning="A DELETE waits for a transaction that changes which rows match. It deletes none of them, although in "
        "any order of the two transactions one row would have matched.",
        steps=(
            Step("T1", "UPDATE test SET value = value + 10"),
            Step("T2", "DELETE FROM test WHERE value = 20"),
            Step("T1", "COMMIT"),
            Step("T2", "COMMIT"),
        ),
        needs=("T1", "T2"),
        anomaly=lambda run: run.after() == {1: 20, 2: 30},
        standard_from=SER,
        standard_basis="Berenson P3, Adya PL-3, defined by Bailis (SQL-92 is silent)",
        documented_from=RR,
        documented_basis="PG 13.2.2: rolled back with 40001, concurrent update",
    ),
    Case(
        name="G-single-pred",
        title="read skew on a predicate",
        meaning="A query sees the rows as they were before another transaction, and a second query with another "
        "condition as they were after it.",
        steps=(
            Step("T1", "SELECT id, value FROM test WHERE value % 5 = 0", "T1 first"),
            Step("T2", "UPDATE test SET value = 12 WHERE value = 10"),
            Step("T2", "COMMIT"),
            Step("T1", "SELECT id, value FROM test WHERE value % 3 = 0", "T1 second"),
            Step("T1", "COMMIT"),
        ),
        needs=("T1", "T2"),
        anomaly=lambda run: run.read("T1 first") == {1: 10, 2: 20} and 1 in run.read("T1 second"),
        standard_from=SER,
        standard_basis="Berenson P3, Adya PL-3 (SQL-92 is silent)",
        documented_from=RR,
        documented_basis="PG 13.2.2: sees only data committed before the transaction began",
    ),
    Case(
        name="G-single-del",
        title="read skew, write predicate",
        meaning="A transaction reads one row as it was before another transaction, and deletes by the values that "
        "other rows have after it.",
        steps=(
            Step("T1", "SELECT id, value FROM test WHERE id = 1", "T1 one"),
            Step("T2", "UPDATE test SET value = 12 WHERE id = 1"),
            Step("T2", "UPDATE test SET value = 18 WHERE id = 2"),
            Step("T2", "COMMIT"),
            Step("T1", "DELETE FROM test WHERE value = 20"),
            Step("T1", "COMMIT"),
        ),
        needs=("T1", "T2"),
        anomaly=lambda run: run.read("T1 one")[1] == 10 and 2 in run.after(),
        standard_from=RR,
        standard_basis="Berenson A5A, Adya PL-2.99 (SQL-92 is silent)",
        documented_from=RR,
        documented_basis="PG 13.2.2: rolled back with 40001, concurrent update",
    ),
    Case(
        name="read-only",
        title="read-only transaction anomaly",
        meaning="A transaction that only reads sees a state that no order of the others could have produced: the later "
        "of two changes without the earlier one.",
        steps=(
            Step("T1", "SELECT id, value FROM test WHERE id IN (1, 2)", "T1 reads"),
            Step("T2", "UPDATE test SET value = value + 5 WHERE id = 2"),
            Step("T2", "COMMIT"),
            Step("T3", "SELECT id, value FROM test WHERE id IN (1, 2)", "T3 reads"),
            Step("T3", "COMMIT"),
            Step("T1", "UPDATE test SET value = 0 WHERE id = 1"),
            Step("T1", "COMMIT"),
        ),
        needs=("T1", "T2", "T3"),
        anomaly=lambda run: run.read("T1 reads") == {1: 10, 2: 20} and run.read("T3 reads") == {1: 10, 2: 25},
        standard_from=RR,
        standard_basis="Fekete 2004: two item anti-dependencies, Adya PL-2.99 (SQL-92 is silent)",
        documented_from=SER,
        documented_basis="PG table 13.1: serialization anomaly, possible below SERIALIZABLE",
        late=("T3",),
    ),
)
"""In display order."""
