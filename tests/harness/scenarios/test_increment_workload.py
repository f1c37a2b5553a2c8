"""The scenarios concurrent-writes and throughput. The counter oracle is tested in tests/harness/checks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.load.spec import Warmup
from harness.model import BACKENDS, STRATEGIES, Cell, Trial
from harness.plan.scenario import Site, Skip
from harness.record import SqliteEvidence, TransactionCounts
from harness.scenarios import SCENARIOS
from tests.support.records import (
    FOREIGN,
    cell,
    cells,
    check,
    counted,
    doctored,
    increments,
    measured,
    requests,
    sqlite_evidence,
    verdicts,
    wrong,
)  # fmt: skip

WRITES = replace(cell("concurrent-writes", backend="postgres", keys="hot"), hosts=2, requests=8)
ON_FILE = replace(WRITES, backend="sqlite-naive")
STEADY = replace(cell("throughput", strategy="upsert", keys="hot"), hosts=2)
CONTROL = replace(cell("throughput", strategy="unsafe", keys="hot"), hosts=2)


@pytest.mark.parametrize(("keys", "pool", "twins"), [("spread", 5, 0.05), ("hot", 5, 0.0), ("spread", 0, 0.0)])
def test_ledger_cells_send_twins_unless_the_service_may_ignore_the_id(keys: str, pool: int, twins: float) -> None:
    planned = Cell(scenario="concurrent-writes", pool=pool, requests=100, clients=100, params={"keys": keys})
    lanes = SCENARIOS["concurrent-writes"].workload(Trial(cell=planned, number=1, order=1, seed=1))
    (operation,) = lanes["main"].operations
    assert (operation.twins, operation.idempotency) == (twins, keys == "spread")


def test_concurrent_writes_plans_both_key_sets_for_each_backend() -> None:
    made = cells("concurrent-writes")
    assert {(c.backend, c.params["keys"]) for c in made} == {
        (backend, keys) for backend in ("postgres", "sqlite-naive", "sqlite-tuned") for keys in ("hot", "spread")
    }
    assert {(c.hosts, c.clients, c.requests) for c in made} == {(4, 1000, 1000)}
    assert {c.backend for c in cells("concurrent-writes", Site(hosts=4))} == {"postgres"}
    assert {c.hosts for c in cells("concurrent-writes", Site(hosts=3))} == {3}


def test_quick_leaves_sqlite_of_concurrent_writes_to_sqlite_vs_postgres() -> None:
    assert {c.backend for c in cells("concurrent-writes", quick=True)} == {"postgres"}
    assert {c.backend for c in cells("concurrent-writes", quick=True, backend="sqlite-naive")} == {"sqlite-naive"}
    bursts = [c for c in cells("sqlite-vs-postgres", quick=True) if c.params["load"] == "burst"]
    assert {(c.backend, c.requests) for c in bursts} == {(backend, 1000) for backend in BACKENDS}


def test_concurrent_writes_follows_the_options() -> None:
    made = cells("concurrent-writes", hosts="2", requests="50", strategy="unsafe,upsert", backend="postgres")
    assert {(c.hosts, c.clients, c.requests) for c in made} == {(2, 50, 50)}
    assert {c.strategy for c in made} == {"unsafe", "upsert"}
    assert {c.strategy for c in cells("concurrent-writes", backend="sqlite-tuned", strategy="unsafe")} == {"upsert"}
    assert {c.strategy for c in cells("concurrent-writes", FOREIGN)} == {""}


@pytest.mark.parametrize("name", ["concurrent-writes", "throughput", "isolation"])
def test_a_missing_backend_skips_the_scenario(name: str) -> None:
    with pytest.raises(Skip, match="needs sqlite-tuned; this rig offers postgres"):
        cells(name, Site(hosts=4), backend="sqlite-tuned")


def test_correct_writes_pass_every_check() -> None:
    findings = check(increments(WRITES, 8))
    assert wrong(findings) == {}
    assert set(findings) == {
        "acknowledged", "final value", "value sequence", "real-time order", "counts agree", "spread",
    }  # fmt: skip


def test_each_fault_fails_its_check() -> None:
    good = requests(8, hosts=2)

    def faults(samples=good, n: int = 8, **evidence) -> dict[str, str]:
        return wrong(check(measured(WRITES, samples, **{"final": {"hot-0": n}, "counts": counted(8)} | evidence)))

    refused = doctored(good, 7, outcome="fail", value=None, error="53300")
    assert faults(refused, 7) == {"acknowledged": "fail"}
    assert faults(n=7) == {"final value": "fail", "value sequence": "fail", "counts agree": "fail"}
    assert faults(doctored(good, 7, value=7))["value sequence"] == "fail"
    assert faults(replace(good, value=[2, 1, *range(3, 9)])) == {"real-time order": "fail"}
    assert faults(counts=counted(8) | {"app": 9}) == {"counts agree": "fail"}
    assert faults(counts={"client": 8}) == {"counts agree": "unknown"}
    assert faults(replace(good, host=["app-1"] * 8)) == {"spread": "fail"}
    assert faults(requests(0), 0, counts=counted(0)) == {
        "acknowledged": "fail", "final value": "unknown", "value sequence": "unknown", "real-time order": "unknown",
        "spread": "unknown",
    }  # fmt: skip


def test_the_ledger_is_checked_if_it_was_written() -> None:
    ids = replace(requests(8, hosts=2), id=[f"i{n}" for n in range(8)])
    ledger = {f"i{n}": ("hot-0", n + 1) for n in range(8)}
    good = {"final": {"hot-0": 8}, "counts": counted(8)}
    assert verdicts(check(measured(WRITES, ids, **good, ledger=ledger)))["ledger"] == "pass"
    ledger["i3"] = ("hot-0", 5)
    assert wrong(check(measured(WRITES, ids, **good, ledger=ledger))) == {"ledger": "fail"}
    assert wrong(check(measured(WRITES, requests(8, hosts=2), **good, ledger={})))["ledger"] == "fail"


def test_sqlite_may_reject_writes_but_not_lose_them() -> None:
    refused = doctored(requests(8), 7, outcome="fail", value=None, error="SQLITE_BUSY")
    whole = {"counts": counted(8), "sqlite": sqlite_evidence("sqlite-naive")}
    findings = check(measured(ON_FILE, refused, final={"hot-0": 7}, **whole))
    assert wrong(findings) == {}
    assert "acknowledged" not in findings
    assert wrong(check(measured(ON_FILE, refused, final={"hot-0": 6}, **whole)))["final value"] == "fail"


@pytest.mark.parametrize(
    ("lines", "verdict"), [(("ok",), "pass"), (("row 7 missing from index",), "fail"), ((), "unknown")]
)
def test_the_integrity_check_is_evaluated(lines: tuple[str, ...], verdict: str) -> None:
    findings = check(increments(ON_FILE, 8, sqlite=replace(sqlite_evidence("sqlite-naive"), integrity_check=lines)))
    assert verdicts(findings) == verdicts(check(increments(ON_FILE, 8, sqlite=sqlite_evidence("sqlite-naive")))) | {
        "integrity": verdict
    }


def test_the_pragmas_of_every_host_are_those_of_the_profile() -> None:
    tuned = replace(ON_FILE, backend="sqlite-tuned")
    assert wrong(check(increments(tuned, 8, sqlite=sqlite_evidence("sqlite-tuned")))) == {}
    normal = check(increments(tuned, 8, sqlite=sqlite_evidence("sqlite-tuned", synchronous=1)))
    assert wrong(normal) == {"pragmas": "fail"}
    assert normal["pragmas"].detail == "read back: synchronous 1 instead of 2"
    for unlike in ({"journal_mode": "delete"}, {"page_size": 512}, {"page_size": None}):
        ((name, value),) = unlike.items()
        app_2 = {"app-2.1": sqlite_evidence("sqlite-tuned", **unlike).pragmas}
        findings = check(increments(tuned, 8, sqlite=replace(sqlite_evidence("sqlite-tuned"), differing=app_2)))
        assert wrong(findings) == {"pragmas": "fail"}
        assert f"app-2.1: {name} {value} instead of" in findings["pragmas"].detail
    assert wrong(check(increments(tuned, 8, sqlite=sqlite_evidence("sqlite-naive"))))["pragmas"] == "fail"
    assert wrong(check(increments(tuned, 8, sqlite=SqliteEvidence(integrity_check=("ok",))))) == {"pragmas": "unknown"}


def test_throughput_plans_every_strategy_and_marks_the_control() -> None:
    every = cells("throughput")
    made = [c for c in every if c.rate_share is None]
    shares = [c for c in every if c.rate_share is not None]
    assert [c.strategy for c in shares if c.params["keys"] == "hot"] == [
        name for name in STRATEGIES if name != "unsafe"
    ]
    assert {(c.mode, c.seconds, c.rate_share) for c in shares} == {("open", 1.0, 0.7)}
    assert [c.strategy for c in cells("throughput", quick=True) if c.rate_share] == ["upsert"]
    assert [c.strategy for c in made if c.params["keys"] == "hot"] == list(STRATEGIES)
    assert [c.strategy for c in made if c.params.get("control")] == ["unsafe", "unsafe"]
    assert {(c.mode, c.clients, c.seconds) for c in made} == {("closed", 64, 4.0)}
    assert {c.seconds for c in cells("throughput", quick=True)} == {1.0}
    assert {c.params["keys"] for c in cells("throughput", quick=True)} == {"hot"}
    assert len(cells("throughput", quick=True, strategy="optimistic")) == 2
    assert not any(c.params.get("control") for c in cells("throughput", strategy="unsafe"))
    assert {c.backend for c in cells("throughput", backend="sqlite-naive")} == {"sqlite-naive"}


def warmups(name: str, **options: Any) -> dict[str, Warmup | None]:
    """Label of each steady cell -> its warm-up."""
    made = [replace(c, rate=9.0) if c.rate_share else c for c in cells(name, **options) if c.seconds]
    trials = [Trial(cell=c, number=1, order=1, seed=1) for c in made]
    workloads = [SCENARIOS[name].workload(trial) for trial in trials]
    return {trial.cell.name: of["main"].warmup for trial, of in zip(trials, workloads, strict=True)}


@pytest.mark.parametrize("name", ["throughput", "sqlite-vs-postgres"])
def test_the_warm_up_is_short_only_where_no_time_is_compared(name: str) -> None:
    """One trial per cell compares nothing; with repetitions or variants a steady state decides what may be claimed."""
    short = Warmup(seconds=1.0, max_seconds=1.0)
    assert set(warmups(name, quick=True).values()) == {short}
    assert set(warmups(name, quick=True, repeat="1").values()) == {short}
    for options in ({}, {"quick": True, "repeat": "6"}, {"quick": True, "vary": "app_pool_size=5,20"}):
        assert set(warmups(name, **options).values()) == {Warmup(seconds=2.0, max_seconds=9.0)}


def test_what_is_judged_with_quick_has_a_warm_up_until_steady() -> None:
    judged, shown = Warmup(seconds=2.0, max_seconds=9.0), Warmup(seconds=1.0, max_seconds=1.0)
    made = warmups("scaling", quick=True, strategy="upsert")
    assert {one for name, one in made.items() if "bound=pool" in name} == {judged}
    assert {one for name, one in made.items() if "bound=cpu" in name} == {shown}


def test_a_rate_makes_throughput_open() -> None:
    made = cells("throughput", strategy="upsert", rate="250", seconds="2")
    assert {(c.mode, c.rate, c.clients, c.seconds) for c in made} == {("open", 250.0, 1000, 2.0)}
    assert {(c.requests, c.seconds) for c in cells("throughput", requests="77")} == {(77, None)}


BEGUN = TransactionCounts(app=8, database=8)


def test_steady_increments_are_checked() -> None:
    assert wrong(check(increments(STEADY, 8, transactions=BEGUN))) == {}
    assert wrong(check(increments(STEADY, 8, transactions=BEGUN, final={"hot-0": 7})))["final value"] == "fail"


@pytest.mark.parametrize(
    ("strategy", "app", "database", "verdict"),
    [
        ("coalesce", 1000, 1000, "pass"),
        ("coalesce", 1000, 1020, "pass"),  # autovacuum's
        ("coalesce", 1000, 1021, "fail"),
        ("coalesce", 1000, 980, "pass"),
        ("coalesce", 1000, 979, "fail"),  # the service reports too many: each request the whole batch's
        ("upsert", 2000, 1000, "fail"),
        ("for-update", 2000, 1000, "fail"),
        ("optimistic", 2000, 1000, "pass"),  # reads in a separate transaction
        ("serializable", 2000, 1000, "pass"),  # may fail before it writes
        ("serializable", 1000, 2000, "fail"),
        ("optimistic", 1000, 2000, "fail"),
        ("upsert", 0, 0, "unknown"),
    ],
)
def test_the_services_transactions_are_compared_with_the_databases(
    strategy: str, app: int, database: int, verdict: str
) -> None:
    counts = TransactionCounts(app=app, database=database)
    findings = check(increments(cell("throughput", strategy=strategy, keys="hot"), 8, transactions=counts))
    assert findings["transactions"].verdict == verdict
    assert verdict == "unknown" or f"{app:,}" in findings["transactions"].detail


@pytest.mark.parametrize(
    ("refused", "app", "verdict"),
    [(1, 1021, "pass"), (1, 1022, "fail"), (80, 1100, "pass"), (80, 1101, "fail")],
)
@pytest.mark.parametrize("outcome", ["fail", "unknown"])
def test_a_transaction_that_ended_waiting_for_a_row_may_have_no_id(
    outcome: str, refused: int, app: int, verdict: str
) -> None:
    """`lock_timeout` ends it before it writes, but the service has counted it."""
    samples = requests(80, outcome=[outcome] * refused + ["ok"] * (80 - refused))
    findings = check(measured(STEADY, samples, transactions=TransactionCounts(app=app, database=1000)))
    assert findings["transactions"].verdict == verdict
    if verdict == "fail":
        assert f"{refused:,} requests were not acknowledged" in findings["transactions"].detail


def test_uncounted_transactions_are_unknown_and_sqlite_is_not_checked() -> None:
    assert wrong(check(increments(STEADY, 8))) == {"transactions": "unknown"}
    on_file_ = replace(STEADY, backend="sqlite-tuned")
    assert "transactions" not in check(increments(on_file_, 8, sqlite=sqlite_evidence("sqlite-tuned")))


def test_the_control_must_lose_updates() -> None:
    assert verdicts(check(increments(CONTROL, 8, final={"hot-0": 5}))) == {"negative control": "shown"}
    findings = check(increments(CONTROL, 8))
    assert verdicts(findings) == {"negative control": "unknown"}
    assert "too light" in findings["negative control"].detail
    spread = replace(CONTROL, params={"keys": "1000", "control": True})
    assert verdicts(check(increments(spread, 8))) == {"negative control": "shown"}
    for control in (CONTROL, spread):
        assert verdicts(check(measured(control, requests(0)))) == {"negative control": "unknown"}


def test_unsafe_requested_by_name_is_not_the_control() -> None:
    asked: Cell = next(c for c in cells("throughput", strategy="unsafe") if c.params["keys"] == "hot")
    assert wrong(check(increments(asked, 8, final={"hot-0": 5})))["final value"] == "fail"


def test_the_load_follows_the_cell() -> None:
    opened = next(iter(cells("throughput", strategy="upsert", rate="250", seconds="2")))
    lane = SCENARIOS["throughput"].workload(measured(opened, requests(0)).row.trial)["main"]
    assert (lane.mode, lane.rate, lane.seconds) == ("open", 250.0, 2.0)
