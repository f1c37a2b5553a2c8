"""evidence/NNN.json: its keys do not change, every field is read back, and a damaged field is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from harness.fault_record import FaultRecord, LogLine, PlannedFault
from harness.record import (
    BulkRows,
    DeadlockCounts,
    DeadRows,
    Evidence,
    SqliteEvidence,
    TransactionCounts,
)
from harness.store.evidence_file import dump, parse

SQLITE = SqliteEvidence(
    integrity_check=("ok",), pragmas={"journal_mode": "wal", "page_size": None}, differing={"app-2.1": {"x": 1.5}}
)
COMPLETE = Evidence(
    initial={"a": 1},
    final={"a": 3},
    ledger={"id": ("a", 2)},
    counts={"client": 2},
    servers={"app-1": 2},
    notes=("app: not measured",),
    sqlite=SQLITE,
    transactions=TransactionCounts(app=8, database=7),
    deadlocks=DeadlockCounts(statistics=20, log=19),
    dead_rows=DeadRows(removed=101, not_removable=0, kept=95),
    bulk_rows=BulkRows(requests={0: 10, 9_000_000_000_000: 1}, ranges=((1, 10), (12, 12))),
    captures={"main": [{"seq": 0, "ids": [1, 2]}]},
    workload_result={"what": "deadlocks", "rounds": []},
    missing_hosts=("load-2: the load agent died",),
    not_applicable={"spread": "one host"},
    settings={"postgres.work_mem": "4096kB"},
    faults=(
        FaultRecord(
            planned=PlannedFault(fault="db-crash", at_s=3.0, hold_s=2.0),
            hosts=("db-1",),
            injected_us=5,
            seen="pid 1 became 2",
            observed_us={"accepts": 9},
        ),
    ),
    logs=(LogLine(at_us=5, host="db-1", unit="postgresql", text="was terminated by signal 9"),),
)


def test_the_keys_on_disk_do_not_change() -> None:
    stored = json.loads(dump(COMPLETE))
    assert list(stored) == ["initial", "final", "ledger", "counts", "servers", "notes", "extra", "unjudged"]
    assert stored["unjudged"] == {"spread": "one host"}
    assert stored["ledger"] == {"id": ["a", 2]}
    assert stored["extra"] == {
        "integrity_check": ["ok"],
        "sqlite": {"journal_mode": "wal", "page_size": None},
        "sqlite_unlike": {"app-2.1": {"x": 1.5}},
        "transactions": {"app": 8, "database": 7},
        "deadlocks": {"statistics": 20, "log": 19},
        "dead_rows": {"kept": 95, "removed": 101, "not_removable": 0},
        "data": {"rows": 11, "ranges": [[1, 10], [12, 12]], "requests": {"0": 10, "9000000000000": 1}},
        "captures": {"main": [{"seq": 0, "ids": [1, 2]}]},
        "result": {"what": "deadlocks", "rounds": []},
        "missing": ["load-2: the load agent died"],
        "settings": {"postgres.work_mem": "4096kB"},
        "faults": [
            {
                "planned": {"fault": "db-crash", "at_s": 3.0, "hold_s": 2.0, "host": 0, "idle": False},
                "hosts": ["db-1"],
                "injected_us": 5,
                "healing_us": None,
                "healed_us": None,
                "seen": "pid 1 became 2",
                "healed": "",
                "problem": "",
                "helped": "",
                "left": "",
                "observed_us": {"accepts": 9},
            }
        ],
        "logs": [{"at_us": 5, "host": "db-1", "unit": "postgresql", "text": "was terminated by signal 9"}],
    }


def test_a_fault_of_an_older_run_loads() -> None:
    stored = json.loads(dump(COMPLETE))
    del stored["extra"]["faults"][0]["left"]
    assert parse(json.dumps(stored)) == COMPLETE


def test_absent_evidence_is_not_written() -> None:
    assert json.loads(dump(Evidence()))["extra"] == {}
    partly = Evidence(
        sqlite=SqliteEvidence(pragmas={"begin": "BEGIN"}),
        deadlocks=DeadlockCounts(statistics=1),
        dead_rows=DeadRows(removed=1, not_removable=0),
    )
    assert json.loads(dump(partly))["extra"] == {
        "sqlite": {"begin": "BEGIN"},
        "deadlocks": {"statistics": 1},
        "dead_rows": {"removed": 1, "not_removable": 0},
    }


@pytest.mark.parametrize(
    "evidence",
    [
        COMPLETE,
        Evidence(),
        replace(COMPLETE, ledger=None),
        replace(COMPLETE, ledger={}),
        replace(COMPLETE, sqlite=SqliteEvidence(integrity_check=("ok",))),
        replace(COMPLETE, deadlocks=DeadlockCounts(statistics=0), dead_rows=DeadRows(removed=0, not_removable=0)),
        replace(COMPLETE, bulk_rows=BulkRows(requests={}, ranges=()), workload_result={}),
    ],
)
def test_evidence_is_read_back_as_it_was_written(evidence: Evidence) -> None:
    assert parse(dump(evidence)) == evidence


def test_files_of_older_versions_are_read() -> None:
    """Without `unjudged`, with `dead_rows` empty where VACUUM reported nothing."""
    old = '{"initial":{},"final":{},"ledger":null,"counts":{},"servers":{},"notes":[],"extra":{"dead_rows":{}}}'
    assert parse(old) == Evidence()


@pytest.mark.parametrize(
    "extra",
    [
        {"strange": 1},
        {"integrity_check": "ok"},
        {"integrity_check": [1]},
        {"sqlite": ["wal"]},
        {"sqlite": {"journal_mode": ["wal"]}},
        {"sqlite_unlike": {"app-1": 7}},
        {"transactions": {"app": 1}},
        {"transactions": {"app": 1, "database": "1"}},
        {"deadlocks": {"log": 1}},
        {"deadlocks": {"statistics": 1.5}},
        {"dead_rows": {"kept": 1}},
        {"dead_rows": {"removed": True, "not_removable": 0}},
        {"data": {}},
        {"data": {"requests": {"x": 1}, "ranges": []}},
        {"data": {"requests": {}, "ranges": [[1]]}},
        {"data": {"requests": {}, "ranges": [["a", "b"]]}},
        {"captures": {"main": {}}},
        {"captures": {"main": [7]}},
        {"result": "nothing"},
        {"missing": "load-2"},
    ],
    ids=str,
)
def test_a_damaged_field_is_refused(extra: dict[str, Any]) -> None:
    stored = json.loads(dump(Evidence())) | {"extra": extra}
    with pytest.raises((ValueError, TypeError, KeyError)):
        parse(json.dumps(stored))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"final": {"a": "3"}}, "final holds a value that is not a whole number"),
        ({"notes": "none"}, "notes is not a list"),
        ({"unjudged": {"a": 1}}, "unjudged holds a value that is not text"),
        ({"more": 1}, "unknown key 'more'"),
    ],
)
def test_the_message_names_the_field(changed: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        parse(json.dumps(json.loads(dump(Evidence())) | changed))
