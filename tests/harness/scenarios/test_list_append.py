"""The scenarios over POST /api/txn: the plan, the checks, and doctored records that each check finds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.errors import UsageError
from harness.load.spec import LoadSpec
from harness.load.transactions import OPENING_BALANCE
from harness.model import Finding, Trial
from harness.plan.fault_schedule import KINDS, load_s, schedule
from harness.plan.scenario import RemoteWorkload, Site, Skip
from harness.record import TrialRecord
from harness.scenarios import SCENARIOS, SUITE, bank, list_append
from tests.support.fault_trials import record as fault_record
from tests.support.histories import history
from tests.support.list_append import run
from tests.support.records import FOREIGN, cell, cells, check, counted, measured, verdicts

SEED = 7
"""Of the trials that `measured` makes."""
LEVEL_NAMES = {"READ COMMITTED": "read-committed", "REPEATABLE READ": "repeatable-read", "SERIALIZABLE": "serializable"}


def record(level: str, count: int = 300, **changes: Any) -> TrialRecord:
    """A trial whose service is the interpreter at a level; `changes` replace parts of the record."""
    txns = sorted(run(level, count, seed=SEED, spec=list_append.DRAWN), key=lambda txn: txn.seq)
    prefixed = [[None if op[0] == "append" else list(op[2] or ()) for op in txn.ops] for txn in txns]
    captures = [
        {"seq": txn.seq, "results": results} for txn, results in zip(txns, prefixed, strict=True) if txn.outcome == "ok"
    ]
    rows = history(
        *((txn.sent_us, txn.done_us, txn.outcome, None) for txn in txns),
        key=["k-0"] * count, op=["txn"] * count, id=[f"id-{txn.seq}" for txn in txns],
    )  # fmt: skip
    wanted = replace(cell("list-append", level=LEVEL_NAMES[level]), requests=count)
    ledger = {f"id-{txn.seq}": ("txn:0", 0) for txn in txns if txn.outcome == "ok"}
    parts = {"captures": {"main": captures}, "ledger": ledger, "counts": counted(count)} | changes
    return measured(wanted, rows, **parts)


def doctored(good: TrialRecord, seq: int, results: Any) -> TrialRecord:
    """The record with another answer to one request."""
    lines = [line for line in good.evidence.captures["main"] if line["seq"] != seq]
    captures = {"main": [*lines, {"seq": seq, "results": results}]}
    return replace(good, evidence=replace(good.evidence, captures=captures))


def long_read(of: TrialRecord) -> tuple[int, list[Any], int]:
    """A request that read two elements or more: its number, its results, and the place of that read."""
    for line in of.evidence.captures["main"]:
        for place, result in enumerate(line["results"]):
            if result is not None and len(result) > 1:
                return line["seq"], line["results"], place
    raise AssertionError


def test_cells_are_the_levels() -> None:
    planned = cells("list-append")
    assert [c.params["level"] for c in planned] == [
        "read-uncommitted", "read-committed", "repeatable-read", "serializable",
    ]  # fmt: skip
    assert {(c.hosts, c.clients, c.backend) for c in planned} == {(4, 12, "postgres")}
    assert planned[-1].requests == 20_000
    assert [c.requests for c in cells("list-append", quick=True)] == [c.requests // 10 for c in planned]
    assert {c.requests for c in cells("list-append", requests="50")} == {50}
    assert {c.clients for c in cells("list-append", clients="5")} == {5}
    assert {c.hosts for c in cells("list-append", hosts="2")} == {2}
    assert [c.params["level"] for c in cells("bank")] == ["read-committed", "repeatable-read", "serializable"]


def test_a_mixed_schedule_among_transactions_lacks_what_the_rig_cannot_have() -> None:
    site = Site(hosts=8, faults={**dict.fromkeys(KINDS, ""), "host-down": "existing machines"})
    planned = cells("list-append", site, fault="mixed", seed="7")
    unfit = {"host-down", "lb-reload", "lb-kill"}  # four of eight hosts serve
    assert {each.params["seed"] for each in planned} == {7}
    assert {str(each.params["without"]) for each in planned} == {"+".join(name for name in KINDS if name in unfit)}
    assert not unfit & {one.fault for each in planned for one in schedule(each)}
    with pytest.raises(UsageError, match="too short"):
        cells("list-append", site, fault="mixed", seconds="9")
    with pytest.raises(UsageError, match="counted from 0"):
        cells("list-append", site, fault="mixed:99")


@pytest.mark.parametrize("name", ["list-append", "bank"])
def test_the_endpoint_is_optional_and_the_scenario_not_in_the_suite(name: str) -> None:
    with pytest.raises(Skip, match="does not offer /api/txn"):
        cells(name, Site(hosts=2, absent=("/api/txn",)))
    assert cells(name, FOREIGN)
    assert name not in SUITE


@pytest.mark.parametrize("name", ["list-append", "bank"])
@pytest.mark.parametrize("pool", [5, 0])
def test_the_load_has_ids_where_the_ledger_can_be_read(name: str, pool: int) -> None:
    planned = replace(cells(name)[0], pool=pool)
    lanes = SCENARIOS[name].workload(Trial(cell=planned, number=1, order=1, seed=1))
    assert isinstance(lanes["main"], LoadSpec)
    (operation,) = lanes["main"].operations
    assert operation.transactions
    assert operation.idempotency == (pool > 0)
    assert operation.body == {"level": list_append.level_of(planned)}
    assert "results" in operation.capture


def test_serial_answers_pass() -> None:
    found = check(record("SERIALIZABLE"))
    assert set(verdicts(found).values()) == {"pass", "shown"}
    first = found["no forbidden anomaly"]
    assert "300 of 300 transactions committed" in first.detail
    assert first.numbers["anomalies"] == {}
    assert "respects real time" in found["strict serializability"].detail


@pytest.mark.parametrize(("level", "control"), [("READ COMMITTED", "G-single"), ("REPEATABLE READ", "G2-item")])
def test_a_weaker_level_shows_its_control(level: str, control: str) -> None:
    found = check(record(level, 1000))
    assert found["no forbidden anomaly"].verdict in ("pass", "unknown")  # the interpreter aborts many
    assert found["allowed anomaly occurs"].verdict == "shown"
    assert control in found["allowed anomaly occurs"].detail
    kinds = [each["kind"] for each in found["no forbidden anomaly"].numbers["witness"]]
    assert control in kinds


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_without_interleaving_the_control_is_unknown(level: str) -> None:
    serial = record("SERIALIZABLE")
    planned = replace(serial.row.trial, cell=replace(serial.cell, params={"level": LEVEL_NAMES[level]}))
    found = check(replace(serial, row=replace(serial.row, trial=planned)))
    assert verdicts(found)["no forbidden anomaly"] == "pass"
    assert found["allowed anomaly occurs"].verdict == "unknown"


def test_a_serializable_service_with_weaker_answers_fails_with_a_witness() -> None:
    weaker = record("REPEATABLE READ", 1000)
    planned = replace(weaker.row.trial, cell=replace(weaker.cell, params={"level": "serializable"}))
    found = check(replace(weaker, row=replace(weaker.row, trial=planned)))["no forbidden anomaly"]
    assert found.verdict == "fail"
    assert "SERIALIZABLE excludes G2-item" in found.detail
    assert found.numbers["forbidden"] == ["G2-item"]
    (witness,) = [each for each in found.numbers["witness"] if each["kind"] == "G2-item"]
    assert {step[1] for step in witness["steps"]} >= {"rw"}


def test_a_doctored_answer_is_found() -> None:
    good = record("SERIALIZABLE")
    seq, results, place = long_read(good)
    changed = [*results[:place], results[place][1:], *results[place + 1 :]]
    found = check(doctored(good, seq, changed))["no forbidden anomaly"]
    assert found.verdict == "fail"
    assert found.numbers["forbidden"]


def test_answers_without_results_leave_it_unknown() -> None:
    good = record("SERIALIZABLE")
    found = check(doctored(good, 3, None))["no forbidden anomaly"]
    assert found.verdict == "unknown"
    assert "1 answer without usable results, the first of request 3" in found.detail
    empty = check(replace(good, evidence=replace(good.evidence, captures={})))["no forbidden anomaly"]
    assert empty.verdict == "unknown"


def refused(number: int = 200, **evidence: Any) -> TrialRecord:
    """A trial of 300 transactions of which the last were refused."""
    good = record("SERIALIZABLE")
    kept = 300 - number
    outcomes = ["ok" if seq < kept else "fail" for seq in range(300)]
    rows = replace(good.main, outcome=outcomes)  # type: ignore[type-var]
    captures = {"main": [line for line in good.evidence.captures["main"] if line["seq"] < kept]}
    return replace(good, lanes={"main": rows}, evidence=replace(good.evidence, captures=captures, **evidence))


def test_too_few_commits_leave_it_unknown() -> None:
    found = check(refused())
    assert found["no forbidden anomaly"].verdict == "unknown"
    assert "100 of 300 transactions committed" in found["no forbidden anomaly"].detail


@pytest.mark.parametrize(("least", "verdict"), [(100, "pass"), (101, "unknown")])
def test_refusals_during_a_fault_leave_enough(monkeypatch: pytest.MonkeyPatch, least: int, verdict: str) -> None:
    monkeypatch.setattr("harness.checks.transactions.LEAST_BESIDE_FAULTS", least)
    found = check(refused(faults=(fault_record("db-crash"),)))
    assert found["no forbidden anomaly"].verdict == verdict


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda ledger: ledger.pop("id-3"), "id-3 was acknowledged but is absent"),
        (lambda ledger: ledger.update({"id-x": ("txn:0", 0)}), "id-x was not sent"),
    ],
)
def test_a_ledger_that_differs_fails(change: Any, detail: str) -> None:
    good = record("SERIALIZABLE")
    ledger = dict(good.evidence.ledger or {})
    change(ledger)
    found = check(replace(good, evidence=replace(good.evidence, ledger=ledger)))["ledger"]
    assert found.verdict == "fail"
    assert detail in found.detail
    assert check(replace(good, evidence=replace(good.evidence, ledger=None)))["ledger"].verdict == "unknown"


def test_a_failed_id_in_the_ledger_fails() -> None:
    some = record("REPEATABLE READ")
    failed = some.main.id[list(some.main.outcome).index("fail")]
    ledger = {**(some.evidence.ledger or {}), failed: ("txn:0", 0)}
    found = check(replace(some, evidence=replace(some.evidence, ledger=ledger)))["ledger"]
    assert f"{failed} failed but is present" in found.detail


def banked(level: str, *, wrong: int | None = None, overdrawn: bool = False) -> dict[str, Finding]:
    """A bank whose transfers are run one after another; `wrong`: the total in the last read."""
    balances: dict[str, int] = {}
    captures, count = [], 60
    for seq in range(count):
        ops = bank.DRAWN.draw(SEED, seq, "k-{}".format)
        results = []
        for op in ops:
            if op[0] == "r":
                results.append([balances[op[1]]] if op[1] in balances else [])
                continue
            source, goal = (balances.get(key, OPENING_BALANCE) for key in op[1:3])
            results.append([source, goal])
            if source >= op[3]:
                balances |= {op[1]: source - op[3], op[2]: goal + op[3]}
        captures.append({"seq": seq, "results": results})
    last = next(line for line in reversed(captures) if len(line["results"]) > 1)
    if wrong is not None:
        last["results"] = [[wrong], *([0] for _ in last["results"][1:])]
    if overdrawn:
        total = OPENING_BALANCE * bank.DRAWN.keys
        last["results"] = [[-1], [total + 1], *([0] for _ in last["results"][2:])]
    rows = history(*((10 * n, 10 * n + 5, "ok", None) for n in range(count)), key=["k-0"] * count,
                   op=["txn"] * count, id=[f"id-{n}" for n in range(count)])  # fmt: skip
    ledger = {f"id-{n}": ("txn:0", 0) for n in range(count)}
    wanted = replace(cell("bank", level=level), requests=count)
    return check(measured(wanted, rows, captures={"main": captures}, ledger=ledger, counts=counted(count)))


@pytest.mark.parametrize("level", ["repeatable-read", "serializable"])
def test_bank(level: str) -> None:
    assert set(verdicts(banked(level)).values()) == {"pass"}
    found = banked(level, wrong=3)
    assert found["total never changes"].verdict == "fail"
    assert f"read a total of 3 instead of {OPENING_BALANCE * bank.DRAWN.keys:,}" in found["total never changes"].detail
    over = banked(level, overdrawn=True)
    assert (over["total never changes"].verdict, over["no overdraft"].verdict) == ("pass", "fail")


def test_bank_control() -> None:
    assert banked("read-committed", wrong=3)["negative control"].verdict == "shown"
    assert banked("read-committed")["negative control"].verdict == "unknown"


def test_a_fault_hits_each_level_for_as_long_as_it_needs() -> None:
    planned = cells("list-append", fault="db-crash")
    assert {each.params["fault"] for each in planned} == {"db-crash"}
    assert {each.params["level"] for each in planned} == set(list_append.LEVELS)
    assert {(each.requests, each.seconds) for each in planned} == {(None, load_s("db-crash", 4))}
    assert len({SCENARIOS["list-append"].label(each) for each in planned}) == len(planned)
    loads = SCENARIOS["list-append"].workload(Trial(cell=planned[0], number=1, order=1, seed=1))
    assert not isinstance(loads, RemoteWorkload)
    assert loads["main"].seconds == load_s("db-crash", 4)
    with pytest.raises(Skip, match="fixed time"):
        cells("list-append", fault="db-crash", requests="500")


def test_a_fault_has_to_be_seen_and_healed() -> None:
    good = record("SERIALIZABLE")
    hit = replace(good.cell, requests=None, seconds=16.0, params={**good.cell.params, "fault": "db-crash"})
    for values, verdict in (({}, "pass"), ({"seen": ""}, "fail")):
        evidence = replace(good.evidence, faults=(fault_record("db-crash", **values),))
        row = replace(good.row, trial=replace(good.row.trial, cell=hit))
        found = verdicts(check(replace(good, row=row, evidence=evidence)))
        assert found["fault seen"] == verdict
        assert found["healed"] == "pass"
    assert "fault seen" not in verdicts(check(good))
