"""The anomalies as data: the schedule of each, and the predicate that detects it in a transcript. Pure.

Thirteen come from Hermitage (github.com/ept/hermitage), three from the original page, one from Fekete (2004); those of
write predicates and the last one are in write_cases.py.

Sources: [SQL-92] ISO/IEC 9075:1992 section 4.28, table 9; [Berenson] Berenson et al., A Critique of ANSI SQL
Isolation Levels, SIGMOD 1995, table 4; [Adya] Adya, Weak Consistency, MIT 1999, PL-1, PL-2, PL-2.99, PL-3;
[Bailis] Bailis et al., Highly Available Transactions, VLDB 2013; [PG] PostgreSQL manual, section 13.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from harness.isolation.case_model import LEVELS, Case, Step
from harness.isolation.transcript import Transcript
from harness.isolation.write_cases import WRITE_CASES

RU, RC, RR, SER = LEVELS

SETUP = (
    "DROP TABLE IF EXISTS test",
    "CREATE TABLE test (id int PRIMARY KEY, value int NOT NULL)",
    "INSERT INTO test (id, value) VALUES (1, 10), (2, 20)",
)
FINAL = "SELECT id, value FROM test ORDER BY id"
CLEANUP = ("DROP TABLE IF EXISTS test",)


def _goes_back(run: Transcript) -> bool:
    """OTV: T3 reads a transaction's effect on one row, and later an older version of that row or of another."""
    versions = {1: (10, 11, 12), 2: (20, 19, 18)}
    reads = [run.read(label) for label in ("T3 a", "T3 b", "T3 c", "T3 d", "T3 e")]
    ages = [versions[row].index(value) for read in reads for row, value in read.items()]
    return any(later < earlier for earlier, later in pairwise(ages))


P1 = "SQL-92 4.28 P1, dirty read (Berenson A1)"
CASES: Mapping[str, Case] = {
    case.name: case
    for case in (
        Case(
            name="G0",
            title="write cycle (dirty write)",
            meaning="Two transactions write the same two rows in turn. One row keeps the first transaction's value, "
            "the other row the second's.",
            steps=(
                Step("T1", "UPDATE test SET value = 11 WHERE id = 1"),
                Step("T2", "UPDATE test SET value = 12 WHERE id = 1"),
                Step("T2", "UPDATE test SET value = 22 WHERE id = 2"),
                Step("T1", "UPDATE test SET value = 21 WHERE id = 2"),
                Step("T1", "COMMIT"),
                Step("T2", "COMMIT"),
            ),
            needs=("T1", "T2"),
            anomaly=lambda run: run.after() in ({1: 11, 2: 22}, {1: 12, 2: 21}),
            standard_from=RU,
            standard_basis="Berenson P0, Adya PL-1 (SQL-92 is silent)",
            documented_from=RU,
            documented_basis="PG 13.2.1: a second updater waits for the first to commit or roll back",
        ),
        Case(
            name="G1a",
            title="aborted read",
            meaning="A transaction reads a value that is then rolled back.",
            steps=(
                Step("T1", "UPDATE test SET value = 101 WHERE id = 1"),
                Step("T2", "SELECT id, value FROM test WHERE id = 1", "T2 before"),
                Step("T1", "ROLLBACK"),
                Step("T2", "SELECT id, value FROM test WHERE id = 1", "T2 after"),
                Step("T2", "COMMIT"),
            ),
            needs=("T2",),
            anomaly=lambda run: 101 in (run.read("T2 before")[1], run.read("T2 after")[1]),
            standard_from=RC,
            standard_basis=P1,
            documented_from=RU,
            documented_basis="PG table 13.1: dirty read, allowed but not in PG",
        ),
        Case(
            name="G1b",
            title="intermediate read",
            meaning="A transaction reads a value that its writer overwrites before it commits.",
            steps=(
                Step("T1", "UPDATE test SET value = 101 WHERE id = 1"),
                Step("T2", "SELECT id, value FROM test WHERE id = 1", "T2 before"),
                Step("T1", "UPDATE test SET value = 11 WHERE id = 1"),
                Step("T1", "COMMIT"),
                Step("T2", "SELECT id, value FROM test WHERE id = 1", "T2 after"),
                Step("T2", "COMMIT"),
            ),
            needs=("T1", "T2"),
            anomaly=lambda run: 101 in (run.read("T2 before")[1], run.read("T2 after")[1]),
            standard_from=RC,
            standard_basis="Berenson P1, Adya PL-2 (SQL-92 is silent)",
            documented_from=RU,
            documented_basis="PG table 13.1: dirty read, allowed but not in PG",
        ),
        Case(
            name="G1c",
            title="circular information flow",
            meaning="Two transactions each read what the other has written, so neither can come first.",
            steps=(
                Step("T1", "UPDATE test SET value = 11 WHERE id = 1"),
                Step("T2", "UPDATE test SET value = 22 WHERE id = 2"),
                Step("T1", "SELECT id, value FROM test WHERE id = 2", "T1 reads"),
                Step("T2", "SELECT id, value FROM test WHERE id = 1", "T2 reads"),
                Step("T1", "COMMIT"),
                Step("T2", "COMMIT"),
            ),
            needs=("T1", "T2"),
            anomaly=lambda run: run.read("T1 reads")[2] == 22 and run.read("T2 reads")[1] == 11,
            standard_from=RC,
            standard_basis="Berenson P1, Adya PL-2 (SQL-92 is silent)",
            documented_from=RU,
            documented_basis="PG table 13.1: dirty read, allowed but not in PG",
        ),
        Case(
            name="OTV",
            title="observed transaction vanishes",
            meaning="A transaction's effect is visible on one row, and later gone, or not visible on another row.",
            steps=(
                Step("T1", "UPDATE test SET value = 11 WHERE id = 1"),
                Step("T1", "UPDATE test SET value = 19 WHERE id = 2"),
                Step("T2", "UPDATE test SET value = 12 WHERE id = 1"),
                Step("T1", "COMMIT"),
                Step("T3", "SELECT id, value FROM test WHERE id = 1", "T3 a"),
                Step("T3", "SELECT id, value FROM test WHERE id = 2", "T3 b"),
                Step("T2", "UPDATE test SET value = 18 WHERE id = 2"),
                Step("T3", "SELECT id, value FROM test WHERE id = 2", "T3 c"),
                Step("T2", "COMMIT"),
                Step("T3", "SELECT id, value FROM test WHERE id = 2", "T3 d"),
                Step("T3", "SELECT id, value FROM test WHERE id = 1", "T3 e"),
                Step("T3", "COMMIT"),
            ),
            needs=("T3",),
            anomaly=_goes_back,
            standard_from=RR,
            standard_basis="Adya PL-2.99, defined by Bailis (SQL-92 is silent)",
            documented_from=RU,
            documented_basis="PG 13.2.1: a SELECT sees a snapshot of the database as of the instant it begins",
        ),
        Case(
            name="PMP",
            title="predicate-many-preceders",
            meaning="A query finds no row, and when repeated it finds a row that another transaction has added.",
            steps=(
                Step("T1", "SELECT id, value FROM test WHERE value = 30", "T1 first"),
                Step("T2", "INSERT INTO test (id, value) VALUES (3, 30)"),
                Step("T2", "COMMIT"),
                Step("T1", "SELECT id, value FROM test WHERE value % 3 = 0", "T1 second"),
                Step("T1", "COMMIT"),
            ),
            needs=("T1", "T2"),
            anomaly=lambda run: 3 not in run.read("T1 first") and 3 in run.read("T1 second"),
            standard_from=SER,
            standard_basis="Berenson P3, Adya PL-3, defined by Bailis (SQL-92 is silent)",
            documented_from=RR,
            documented_basis="PG 13.2.2: sees only data committed before the transaction began",
        ),
        Case(
            name="P4",
            title="lost update",
            meaning="Two transactions read the same value and both write a new one. The first update is lost.",
            steps=(
                Step("T1", "SELECT id, value FROM test WHERE id = 1", "T1 reads"),
                Step("T2", "SELECT id, value FROM test WHERE id = 1", "T2 reads"),
                Step("T1", "UPDATE test SET value = 11 WHERE id = 1"),
                Step("T2", "UPDATE test SET value = 12 WHERE id = 1"),
                Step("T1", "COMMIT"),
                Step("T2", "COMMIT"),
            ),
            needs=("T1", "T2"),
            anomaly=lambda run: run.read("T1 reads")[1] == run.read("T2 reads")[1] == 10,
            standard_from=RR,
            standard_basis="Berenson P4, Adya PL-2.99 (SQL-92 is silent)",
            documented_from=RR,
            documented_basis="PG 13.2.2: rolled back with 40001, concurrent update",
        ),
        Case(
            name="G-single",
            title="read skew",
            meaning="A transaction reads one row as it was before another transaction and a second row as it was after "
            "it. The two values never existed together.",
            steps=(
                Step("T1", "SELECT id, value FROM test WHERE id = 1", "T1 one"),
                Step("T2", "UPDATE test SET value = 12 WHERE id = 1"),
                Step("T2", "UPDATE test SET value = 18 WHERE id = 2"),
                Step("T2", "COMMIT"),
                Step("T1", "SELECT id, value FROM test WHERE id = 2", "T1 two"),
                Step("T1", "COMMIT"),
            ),
            needs=("T1", "T2"),
            anomaly=lambda run: run.read("T1 one")[1] == 10 and run.read("T1 two")[2] == 18,
            standard_from=RR,
            standard_basis="Berenson A5A, Adya PL-2.99 (SQL-92 is silent)",
            documented_from=RR,
            documented_basis="PG 13.2.2: sees only data committed before the transaction began",
        ),
        Case(
            name="G2-item",
            title="write skew on rows",
            meaning="Two transactions read the same two rows and each changes a different one. Each decides on a value "
            "that the other has changed.",
            steps=(
                Step("T1", "SELECT id, value FROM test WHERE id IN (1, 2)", "T1 reads"),
                Step("T2", "SELECT id, value FROM test WHERE id IN (1, 2)", "T2 reads"),
                Step("T1", "UPDATE test SET value = 11 WHERE id = 1"),
                Step("T2", "UPDATE test SET value = 21 WHERE id = 2"),
                Step("T1", "COMMIT"),
                Step("T2", "COMMIT"),
            ),
            needs=("T1", "T2"),
            anomaly=lambda run: run.read("T1 reads") == run.read("T2 reads") == {1: 10, 2: 20},
            standard_from=RR,
            standard_basis="Berenson A5B, Adya PL-2.99 (SQL-92 is silent)",
            documented_from=SER,
            documented_basis="PG table 13.1: serialization anomaly, possible below SERIALIZABLE",
        ),
        Case(
            name="G2",
            title="write skew on a predicate",
            meaning="Two transactions each find no row and add one that the other's query would have found.",
            steps=(
                Step("T1", "SELECT id, value FROM test WHERE value % 3 = 0", "T1 reads"),
                Step("T2", "SELECT id, value FROM test WHERE value % 3 = 0", "T2 reads"),
                Step("T1", "INSERT INTO test (id, value) VALUES (3, 30)"),
                Step("T2", "INSERT INTO test (id, value) VALUES (4, 42)"),
                Step("T1", "COMMIT"),
                Step("T2", "COMMIT"),
            ),
            needs=("T1", "T2"),
            anomaly=lambda run: not run.read("T1 reads") and not run.read("T2 reads"),
            standard_from=SER,
            standard_basis="Berenson P3, Adya PL-3 (SQL-92 is silent)",
            documented_from=SER,
            documented_basis="PG table 13.1: serialization anomaly, possible below SERIALIZABLE",
        ),
        Case(
            name="dirty-read",
            title="uncommitted data is read (SQL-92 P1)",
            meaning="A transaction reads a value that another has written and not committed.",
            steps=(
                Step("T1", "UPDATE test SET value = 101 WHERE id = 1"),
                Step("T2", "SELECT id, value FROM test WHERE id = 1", "T2 reads"),
                Step("T1", "COMMIT", "T1 commits"),
                Step("T2", "COMMIT"),
            ),
            needs=("T2",),
            anomaly=lambda run: run.read("T2 reads")[1] == 101 and run.ended_before("T2 reads", "T1 commits"),
            standard_from=RC,
            standard_basis="SQL-92 4.28 P1, dirty read, read broadly (Berenson P1)",
            documented_from=RU,
            documented_basis="PG table 13.1: dirty read, allowed but not in PG",
        ),
        Case(
            name="non-repeatable-read",
            title="a row changes between two reads (SQL-92 P2)",
            meaning="A row that is read twice in one transaction has changed between the reads.",
            steps=(
                Step("T1", "SELECT id, value FROM test WHERE id = 1", "T1 first"),
                Step("T2", "UPDATE test SET value = 12 WHERE id = 1"),
                Step("T2", "COMMIT"),
                Step("T1", "SELECT id, value FROM test WHERE id = 1", "T1 second"),
                Step("T1", "COMMIT"),
            ),
            needs=("T1",),
            anomaly=lambda run: run.read("T1 first") != run.read("T1 second"),
            standard_from=RR,
            standard_basis="SQL-92 4.28 P2, non-repeatable read (Berenson A2)",
            documented_from=RR,
            documented_basis="PG table 13.1: nonrepeatable read",
        ),
        Case(
            name="phantom-read",
            title="rows appear between two reads (SQL-92 P3)",
            meaning="A query that is run twice in one transaction returns one more row the second time.",
            steps=(
                Step("T1", "SELECT id, value FROM test WHERE value > 15", "T1 first"),
                Step("T2", "INSERT INTO test (id, value) VALUES (3, 30)"),
                Step("T2", "COMMIT"),
                Step("T1", "SELECT id, value FROM test WHERE value > 15", "T1 second"),
                Step("T1", "COMMIT"),
            ),
            needs=("T1",),
            anomaly=lambda run: run.read("T1 first") != run.read("T1 second"),
            standard_from=SER,
            standard_basis="SQL-92 4.28 P3, phantom (Berenson A3)",
            documented_from=RR,
            documented_basis="PG table 13.1: phantom read, allowed but not in PG",
        ),
        *WRITE_CASES,
    )
}
"""All cases by name, in display order."""
