"""A long transaction beside quick ones: late quick ones, a long one that ends early, one that does not wait."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.plan.scenario import Site, Skip
from harness.record import DeadRows, TrialRecord
from harness.scenarios import SCENARIOS
from tests.support.histories import Columns, history
from tests.support.records import cell, cells, check, counted, doctored, judge, measured, requests, wrong

NONE, OTHER, SAME = (cell("long-transactions", long=kind) for kind in ("none", "other-row", "same-row"))


def long_one(sent_us: int, done_us: int, outcome: str = "ok") -> Columns:
    """Returns the long transaction, which locks and increments `held-0`."""
    return history((sent_us, done_us, outcome, None), op=["long"], key=["held-0"])


LONG = long_one(0, 5_010_000)
QUICK = requests(100, hosts=3, apart_us=20_000, took_us=8_000, key=["quick-0"] * 100)
FINAL = {"quick-0": 100, "held-0": 1}
DEAD = DeadRows(kept=95, removed=101, not_removable=0)


def waiting() -> Columns:
    """Returns 100 quick transactions on the locked row that end after the long one, one after the other."""
    return history(*((20_000 * n, 5_020_000 + n, "ok", n + 2) for n in range(100)), key=["held-0"] * 100)


def beside(quick: Columns = QUICK, long: Columns = LONG, **evidence: Any) -> TrialRecord:
    final = FINAL | {"held-0": int(long.outcome == ["ok"])}
    return measured(
        OTHER, {"main": quick, "long": long}, **{"final": final, "counts": counted(101), "dead_rows": DEAD} | evidence
    )


def same_row(quick: Columns | None = None, long: Columns = LONG, **evidence: Any) -> TrialRecord:
    quick = waiting() if quick is None else quick
    applied = quick.outcome.count("ok") + long.outcome.count("ok")
    known = {"final": {"held-0": applied}, "counts": counted(len(quick) + 1)}
    return measured(SAME, {"main": quick, "long": long}, **known | {"dead_rows": DEAD} | evidence)


def test_cells_and_lanes() -> None:
    made = cells("long-transactions")
    assert [(c.params["long"], c.hosts, c.requests, c.rate) for c in made] == [
        (kind, 4, 100, 50.0) for kind in ("none", "other-row", "same-row")
    ]
    lanes = [SCENARIOS["long-transactions"].workload(measured(c, history()).row.trial) for c in made]
    assert [sorted(lane) for lane in lanes] == [["main"], ["long", "main"], ["long", "main"]]
    (quick,) = lanes[1]["main"].operations
    assert quick.paths == tuple(f"/app-{n}/api/increment" for n in (2, 3, 4))
    assert lanes[1]["main"].keys != lanes[2]["main"].keys == lanes[2]["long"].keys


def test_skipped_without_two_hosts_or_the_endpoints() -> None:
    with pytest.raises(Skip, match="needs 2 app hosts"):
        cells("long-transactions", Site(hosts=1))
    with pytest.raises(Skip, match="needs 2 app hosts"):
        cells("long-transactions", hosts="1")
    with pytest.raises(Skip, match="does not offer /app-N/…"):
        cells("long-transactions", Site(hosts=4, absent=("/app-N/…",)))


def test_quick_transactions_in_time_pass_with_and_without_the_long_one() -> None:
    assert wrong(check(measured(NONE, QUICK, final={"quick-0": 100}, counts=counted(100), dead_rows=DEAD))) == {}
    assert check(measured(NONE, QUICK))["quick transactions in time, alone"].verdict == "pass"
    findings = check(beside())
    assert wrong(findings) == {}
    assert set(findings) == {
        "long transaction",
        "quick transactions in time",
        "final value",
        "counts agree",
        "dead rows",
    }


@pytest.mark.parametrize(("late", "verdict"), [(1, "pass"), (4, "pass"), (5, "fail"), (100, "fail")])
def test_more_than_95_must_be_in_time(late: int, verdict: str) -> None:
    samples = QUICK
    for row in range(late):
        samples = doctored(samples, row, done_us=QUICK.due_us[row] + 1_000_001)
    assert check(beside(samples))["quick transactions in time"].verdict == verdict


def test_latency_counts_from_the_due_time() -> None:
    stalled = replace(
        QUICK, sent_us=[t + 2_000_000 for t in QUICK.due_us], done_us=[t + 2_001_000 for t in QUICK.due_us]
    )
    assert check(beside(stalled))["quick transactions in time"].verdict == "fail"


def test_rejected_or_missing_quick_transactions_are_not_in_time() -> None:
    refused = replace(QUICK, outcome=["fail"] * 5 + ["ok"] * 95)
    assert check(beside(refused))["quick transactions in time"].verdict == "fail"
    assert check(beside(requests(99, apart_us=20_000)))["quick transactions in time"].verdict == "fail"


@pytest.mark.parametrize("long", [long_one(0, 4_900_000), long_one(0, 5_010_000, "fail")])
def test_a_long_transaction_that_ends_early_or_fails_is_a_failure(long: Columns) -> None:
    assert wrong(check(beside(long=long))) == {"long transaction": "fail"}


def test_a_lost_quick_update_fails() -> None:
    findings = check(beside(final={"quick-0": 99, "held-0": 1}))
    assert wrong(findings) == {"final value": "fail", "counts agree": "fail"}


def test_quick_transactions_on_the_locked_row_wait() -> None:
    findings = check(same_row())
    assert wrong(findings) == {}
    assert "75 of 75 that needed the locked row waited" in findings["waits for the held row"].detail


def test_one_that_did_not_wait_fails() -> None:
    finding = check(same_row(doctored(waiting(), 60, done_us=1_300_000)))["waits for the held row"]
    assert (finding.verdict, finding.numbers["early"]) == ("fail", 1)
    assert "the first is request 60" in finding.detail


def test_one_that_was_due_before_the_lock_need_not_wait() -> None:
    assert wrong(check(same_row(doctored(waiting(), 3, done_us=70_000)))) == {}


def test_times_relative_to_the_run_give_the_same_result() -> None:
    quick, long = doctored(waiting(), 3, done_us=70_000), LONG
    for name in ("due_us", "sent_us", "done_us"):
        quick, long = (replace(each, **{name: [t + 90_000_000 for t in getattr(each, name)]}) for each in (quick, long))
    assert wrong(check(same_row(quick, long))) == {}


def test_a_rejection_does_not_count_as_waiting() -> None:
    refused = replace(
        waiting(), outcome=["fail"] * 100, value=[None] * 100, done_us=[20_000 * n + 1 for n in range(100)]
    )
    assert check(same_row(refused))["waits for the held row"].verdict == "unknown"
    assert check(same_row(waiting(), long_one(0, 900_000)))["long transaction"].verdict == "fail"


@pytest.mark.parametrize(
    ("outcome", "applied", "lost", "invented"),
    [("ok", 0, 1, 0), ("ok", 1, 0, 0), ("ok", 2, 0, 1), ("fail", 0, 0, 0), ("fail", 1, 0, 1),
     ("unknown", -1, 1, 0), ("unknown", 0, 0, 0), ("unknown", 1, 0, 0), ("unknown", 2, 0, 1)],
)  # fmt: skip
def test_the_long_transactions_increment_is_expected_as_it_ended(
    outcome: str, applied: int, lost: int, invented: int
) -> None:
    """`applied`: what the long transaction leaves on its row; on the same row beside 100 quick increments."""
    long = long_one(0, 5_010_000, outcome)
    for record in (
        same_row(long=long, final={"held-0": 100 + applied}),
        beside(long=long, final={"quick-0": 100, "held-0": applied}),
    ):
        findings = check(record)
        value, counts = findings["final value"], findings["counts agree"]
        if lost and record.cell == OTHER and outcome == "unknown":
            continue  # nothing acknowledged can be lost there
        assert (value.numbers["lost"], value.numbers["invented"]) == (lost, invented)
        assert value.verdict == counts.verdict == ("fail" if lost or invented else "pass")


@pytest.mark.parametrize(
    ("dead", "verdict"),
    [
        (DeadRows(removed=90, not_removable=0), "pass"),
        (DeadRows(removed=90, not_removable=3), "fail"),
        (None, "unknown"),
    ],
)
def test_dead_rows_that_cannot_be_removed_after_the_trial_fail(dead: DeadRows | None, verdict: str) -> None:
    assert check(beside(dead_rows=dead))["dead rows"].verdict == verdict


def test_dead_rows_that_were_not_read_are_unknown() -> None:
    assert wrong(check(beside(dead_rows=None))) == {"dead rows": "unknown"}


@pytest.mark.parametrize(
    ("alone", "with_it", "verdict"), [(0, 95, "shown"), (3, 4, "shown"), (3, 3, "unknown"), (0, 0, "unknown"),
                                      (None, 95, "unknown"), (0, None, "unknown")],
)  # fmt: skip
def test_dead_rows_with_and_without_the_long_transaction_are_compared(
    alone: int | None, with_it: int | None, verdict: str
) -> None:
    def kept(of: Any, rows: int | None) -> TrialRecord:
        return measured(of, history(), dead_rows=DeadRows(removed=9, not_removable=0, kept=rows))

    finding = judge([kept(NONE, alone), kept(OTHER, with_it), kept(SAME, 999)])["dead rows kept"]
    assert finding.verdict == verdict
    if verdict == "shown":
        assert finding.detail.startswith(f"VACUUM had to leave up to {with_it} dead row versions beside the long")


def test_dead_rows_are_not_compared_where_vacuum_is_impossible() -> None:
    trials = [measured(of, history(), not_applicable={"dead rows": "not ours"}) for of in (NONE, OTHER)]
    assert set(judge(trials)) == {"quick p90"}


@pytest.mark.parametrize(
    ("long", "why"),
    [
        (long_one(2_500_000, 7_510_000), "began 2,500 ms after the first quick one was due"),
        (long_one(101_000, 5_111_000), "began 101 ms after"),
        (long_one(-4_000_000, 1_010_000), "ended 978 ms before the last quick one"),
    ],
)
def test_a_long_transaction_that_does_not_overlap_all_quick_ones_is_unknown(long: Columns, why: str) -> None:
    findings = check(beside(long=long))
    assert wrong(findings) == {"quick transactions in time": "unknown"}
    assert why in findings["quick transactions in time"].detail


def test_late_quick_transactions_fail_whenever_the_long_one_ran() -> None:
    late = replace(QUICK, done_us=[t + 6_000_000 for t in QUICK.due_us])
    for long in (LONG, long_one(2_500_000, 7_510_000)):
        assert check(beside(late, long))["quick transactions in time"].verdict == "fail"


def test_a_late_quick_transaction_does_not_make_the_others_unknown() -> None:
    """Its end counts as its deadline, so it does not end after the long transaction."""
    assert wrong(check(beside(doctored(QUICK, 99, done_us=9_000_000)))) == {}


def test_waiting_for_a_long_transaction_that_began_late_is_unknown() -> None:
    early = replace(waiting(), done_us=[20_000 * n + 8_000 for n in range(100)])
    assert wrong(check(same_row(early, long_one(2_500_000, 7_510_000)))) == {"waits for the held row": "unknown"}


def test_p90_with_and_without_the_long_transaction_is_compared() -> None:
    def p90(of: Any, ms: float | None, **more: Any) -> TrialRecord:
        return replace(measured(of, history(), **more), extracted={} if ms is None else {"quick_ms": ms})

    finding = judge([p90(NONE, 10.0), p90(OTHER, 12.0), p90(NONE, 900.0, valid=False)])["quick p90"]
    assert (finding.verdict, finding.numbers) == ("shown", {"alone_ms": 10.0, "beside_ms": 12.0})
    for missing in ([p90(NONE, 10.0)], [p90(OTHER, 12.0)], [p90(NONE, 10.0), p90(OTHER, 12.0, valid=False)],
                    [p90(NONE, None), p90(OTHER, 12.0)]):  # fmt: skip
        assert judge(missing)["quick p90"].verdict == "unknown"


def test_repeated_p90s_are_compared_within_blocks() -> None:
    made = [
        replace(measured(of, history(), number=number), extracted={"quick_ms": speed * ms})
        for number, speed in enumerate((1.0, 5.0, 2.0, 9.0, 3.0, 4.0), 1)
        for of, ms in ((NONE, 10.0), (OTHER, 12.0))
    ]
    assert judge(made)["quick p90"].detail.endswith("beside it, 1.20x [1.20, 1.20]")
    assert judge(made[:2])["quick p90"].detail.endswith("1.20x (no interval: 1 block)")


def test_the_p90_is_of_the_quick_transactions_alone() -> None:
    """Not of the trial's row: that has the long one too, and 100 requests carry no p99."""
    extract = SCENARIOS["long-transactions"].extract
    times = replace(QUICK, due_us=[0] * 100, done_us=[1000 * n for n in range(1, 101)])
    assert extract(beside(times)) == {"quick_ms": 90.0}
    assert extract(beside(requests(99, hosts=3, apart_us=20_000, took_us=8_000, key=["quick-0"] * 99))) == {}
