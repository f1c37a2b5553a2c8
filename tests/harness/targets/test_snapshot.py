"""The difference of two snapshots, counter by counter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.record import BulkRows, DeadlockCounts, DeadRows, Evidence, SqliteEvidence, TransactionCounts
from harness.targets.snapshot import Snapshot, difference

WAL = {"journal_mode": "wal"}
UNLIKE = SqliteEvidence(integrity_check=("malformed",), pragmas=WAL, differing={"app-1.2": {}})
ROWS = BulkRows(requests={0: 2}, ranges=((8, 9),))


@pytest.mark.parametrize(
    ("before", "after", "evidence"),
    [
        ({}, {}, {}),
        (
            {"counters": {"hot-0": 5}},
            {"counters": {"hot-0": 7, "hot-1": 1}},
            {"initial": {"hot-0": 5}, "final": {"hot-0": 7, "hot-1": 1}},
        ),
        ({"haproxy_requests": 10}, {"haproxy_requests": 25}, {"counts": {"haproxy": 15}}),
        ({}, {"haproxy_requests": 25, "app_requests": {"app-1.1": 9}}, {}),
        (
            {"server_requests": {"app-1": 4, "app-2": 1}},
            {"server_requests": {"app-1": 6, "app-2": 1, "app-3": 2}},
            {"servers": {"app-1": 2, "app-2": 0, "app-3": 2}},
        ),
        (
            {"app_requests": {"app-1.1": 3, "app-1.2": 0}},
            {"app_requests": {"app-1.1": 13, "app-1.2": 5}},
            {"counts": {"app": 15}},
        ),
        (
            {"app_transactions": {"app-1.1": 3, "app-2.1": 1}, "database_transactions": 700},
            {"app_transactions": {"app-1.1": 5, "app-2.1": 2}, "database_transactions": 704},
            {"transactions": TransactionCounts(app=3, database=4)},
        ),
        ({"app_transactions": {"app-1.1": 3}}, {"app_transactions": {"app-1.1": 5}}, {}),
        (
            {"deadlocks": {"statistics": 2, "log": 8}},
            {"deadlocks": {"statistics": 5, "log": 11}},
            {"deadlocks": DeadlockCounts(statistics=3, log=3)},
        ),
        (
            {"deadlocks": {"statistics": 2, "log": 8}},
            {"deadlocks": {"statistics": 2}},
            {"deadlocks": DeadlockCounts(statistics=0)},
        ),
        (
            {"deadlocks": {"statistics": 2}},
            {"deadlocks": {"statistics": 4, "log": 8}},
            {"deadlocks": DeadlockCounts(statistics=2)},
        ),
        ({}, {"ledger": {"i1": ("hot-0", 1)}}, {"ledger": {"i1": ("hot-0", 1)}}),
        ({}, {"ledger": {}}, {"ledger": {}}),
        ({"newest_row": 7}, {"bulk_rows": ROWS}, {"bulk_rows": ROWS}),
        (
            {"integrity": ["ok"], "pragmas": {"app-1.1": {}}},
            {"integrity": ["ok"], "pragmas": {"app-1.1": WAL, "app-2.1": WAL}},
            {"sqlite": SqliteEvidence(integrity_check=("ok",), pragmas=WAL)},
        ),
        (
            {},
            {"integrity": ["malformed"], "pragmas": {"app-1.1": WAL, "app-1.2": {}, "app-2.1": WAL}},
            {"sqlite": UNLIKE},
        ),
        ({"notes": ("early",)}, {"notes": ("late",)}, {"notes": ("late",)}),
        ({}, {"not_applicable": {"spread": "why"}}, {"not_applicable": {"spread": "why"}}),
    ],
    ids=[
        "nothing", "counters", "haproxy", "not read before", "servers", "app", "transactions", "transactions of SQLite",
        "deadlocks", "no log after", "no log before", "ledger", "empty ledger", "bulk rows", "sqlite",
        "pragmas differ", "notes", "not applicable",
    ],
)  # fmt: skip
def test_difference(before: dict[str, Any], after: dict[str, Any], evidence: dict[str, Any]) -> None:
    assert difference(Snapshot(**before), Snapshot(**after)) == Evidence(**evidence)


@pytest.mark.parametrize(
    ("during", "after", "dead_rows"),
    [
        ([], None, None),
        ([(1, 2, 3)], None, None),
        ([], (4, 1, 0), DeadRows(removed=4, not_removable=0)),
        ([None, (1, 9, 7), (2, 9, 3)], (4, 1, 1), DeadRows(kept=7, removed=7, not_removable=1)),
    ],
)
def test_dead_rows_are_summed_up_over_all_vacuums(during: Any, after: Any, dead_rows: Any) -> None:
    evidence = difference(Snapshot(), Snapshot(vacuum=after), during)
    assert evidence.dead_rows == dead_rows


PROCESSES = {
    "haproxy": "pid 1, started 1",
    "app-1.1": "pid 2, started 1",
    "app-2.1": "pid 3, started 1",
    "database": "1",
}
FULL = Snapshot(
    processes=PROCESSES,
    database_transactions=5,
    haproxy_requests=10,
    app_requests={"app-1.1": 6, "app-2.1": 4},
    app_transactions={"app-1.1": 6, "app-2.1": 4},
    deadlocks={"statistics": 1, "log": 1},
    vacuum=(1, 2, 3),
)


@pytest.mark.parametrize(
    ("change", "unread"),
    [
        ({}, {}),
        ({"haproxy_requests": 3}, {"haproxy": "HAProxy restarted"}),
        (
            {"app_requests": {"app-1.1": 9, "app-2.1": 1}, "app_transactions": {"app-1.1": 9, "app-2.1": 0}},
            {"app": "app-2 restarted", "transactions": "app-2 restarted"},
        ),
        (
            {"processes": PROCESSES | {"app-1.1": "pid 9, started 2"}},
            {"app": "app-1 restarted", "transactions": "app-1 restarted"},
        ),
        ({"processes": PROCESSES | {"haproxy": "pid 9, started 2"}}, {"haproxy": "HAProxy restarted"}),
        (
            {"processes": PROCESSES | {"database": "later"}},
            dict.fromkeys(("transactions", "deadlocks", "dead rows"), "PostgreSQL restarted"),
        ),
        (
            {"deadlocks": {"statistics": 0}},
            dict.fromkeys(("transactions", "deadlocks", "dead rows"), "PostgreSQL restarted"),
        ),
        ({"deadlocks": {"statistics": 1, "log": 0}}, {}),
    ],
)
def test_counts_of_a_process_that_restarted_are_not_measured(change: dict[str, Any], unread: dict[str, str]) -> None:
    """Also where the new process has counted more than the old one had before the trial."""
    evidence = difference(FULL, replace(FULL, **change))
    assert evidence.unread == unread
    assert {"haproxy", "app"} - evidence.counts.keys() == {"haproxy", "app"} & unread.keys()
    assert (evidence.transactions is None) == ("transactions" in unread)
    assert (evidence.deadlocks is None) == ("deadlocks" in unread)
    assert (evidence.dead_rows is None) == ("dead rows" in unread)


def test_what_could_not_be_read_after_the_load_is_unread() -> None:
    evidence = difference(FULL, Snapshot(unread={"counters": "db-1 is down"}))
    assert evidence.unread == {"counters": "db-1 is down"}
    assert evidence.counts == {}


SERVED = Snapshot(
    hosts=("app-1", "app-2"), serving=("app-1", "app-2"), haproxy_requests=100, processes={"haproxy": "pid 1"},
    server_requests={"app-1": 50, "app-2": 50, "app-3": 40, "app-4": 0},
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "sentences"),
    [
        ({"server_requests": {"app-1": 55, "app-2": 55, "app-3": 40, "app-4": 0}}, []),
        (
            {"server_requests": {"app-1": 55, "app-2": 55, "app-3": 1_041, "app-4": 7}},
            ["HAProxy sent requests to hosts that do not serve in this trial: app-3 (1,001), app-4 (7)"],
        ),
        (
            {
                "server_requests": {"app-1": 5, "app-2": 5, "app-3": 5, "app-4": 0},
                "processes": {"haproxy": "pid 2"},
                "serving": ("app-1", "app-2", "app-3", "app-4"),
            },
            [
                "HAProxy sent requests to hosts that do not serve in this trial: app-3 (5)",
                "HAProxy served from app-1, app-2, app-3, app-4 after the load, not from app-1, app-2",
            ],
        ),
        ({"serving": ("app-1",)}, ["HAProxy served from app-1 after the load, not from app-1, app-2"]),
        ({"serving": ()}, ["HAProxy served from no host after the load, not from app-1, app-2"]),
        ({"serving": None}, []),
    ],
    ids=["as it should", "other hosts", "reloaded in the trial", "one of two", "none", "not read"],
)  # fmt: skip
def test_requests_to_hosts_that_do_not_serve_are_named(change: dict[str, Any], sentences: list[str]) -> None:
    assert difference(SERVED, replace(SERVED, **change)).misrouted == tuple(sentences)


def test_a_setting_of_a_variant_that_changes_while_the_load_runs_is_named() -> None:
    before = replace(SERVED, settings={"postgres.work_mem": "4096kB", "app_pool_size": "5"})
    after = replace(before, settings={"postgres.work_mem": "1024kB", "app_pool_size": "5"})
    evidence = difference(before, after)
    assert evidence.misrouted == ("postgres.work_mem changed during the trial: 4096kB, then 1024kB",)
    assert evidence.settings == after.settings
    assert difference(before, before).misrouted == ()
    unread = difference(before, replace(before, settings={}))
    assert (unread.misrouted, unread.settings) == ((), before.settings)
