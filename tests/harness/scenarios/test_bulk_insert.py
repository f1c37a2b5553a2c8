"""Bulk inserts: each way in which a request can violate all or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from harness.plan.scenario import Site, Skip
from harness.record import BulkRows, TrialRecord
from harness.scenarios import SCENARIOS
from harness.scenarios.bulk_insert import REFUSED_FROM
from tests.support.histories import Columns, history
from tests.support.records import FOREIGN, cell, cells, check, counted, doctored, measured, requests, wrong

CELL = replace(cell("bulk-insert", rows=10), requests=3)
GOOD = requests(3, op=["bulk"] * 3, value=[10] * 3)
IDS = [list(range(1 + 10 * n, 11 + 10 * n)) for n in range(3)]


REFUSED = history(*((0, 10, "fail", None) for _ in range(2)), op=["refused"] * 2, error=["23514"] * 2)
EMPTY = "a failed request leaves no row"


def lanes(main: Columns = GOOD, refused: Columns = REFUSED) -> Mapping[str, Columns]:
    return {"main": main, "refused": refused}


def record(
    samples: Any = GOOD,
    *,
    left: dict[int, int] | None = None,
    ids: Any = IDS,
    ranges: Any = ((1, 30),),
    refused: Columns = REFUSED,
) -> TrialRecord:
    """Three requests of ten rows each, and two refused; `left`: rows in the database by request."""
    left = {0: 10, 1: 10, 2: 10} if left is None else left
    return measured(
        CELL, lanes(samples, refused), figures={"seconds": 2.0}, counts=counted(5),
        bulk_rows=BulkRows(requests=left, ranges=tuple(ranges)), captures={"main": [{"ids": each} for each in ids]},
    )  # fmt: skip


def test_cells_are_the_sizes() -> None:
    assert [(c.params["rows"], c.requests, c.clients, c.hosts) for c in cells("bulk-insert")] == [
        (1, 400, 8, 4), (10, 400, 8, 4), (100, 200, 8, 4), (1000, 40, 8, 4), (10_000, 8, 8, 4),
    ]  # fmt: skip
    quick = cells("bulk-insert", quick=True)
    assert [(c.params["rows"], c.requests) for c in quick] == [(1, 100), (100, 50), (10_000, 4)]
    assert {c.requests for c in cells("bulk-insert", requests="3")} == {3}
    assert {c.clients for c in cells("bulk-insert", requests="3")} == {3}
    assert {c.hosts for c in cells("bulk-insert", hosts="2")} == {2}


def test_skipped_without_database_or_endpoint() -> None:
    with pytest.raises(Skip, match="needs the database itself"):
        cells("bulk-insert", FOREIGN)
    with pytest.raises(Skip, match="does not offer /api/bulk-insert"):
        cells("bulk-insert", Site(hosts=2, absent=("/api/bulk-insert",)))


def test_complete_requests_pass_with_their_rate() -> None:
    findings = check(record())
    assert wrong(findings) == {}
    assert findings["all or nothing"].numbers["rows_per_s"] == 15.0
    assert findings["returned ids exist once"].detail == "all 30 returned ids exist, once each"


@pytest.mark.parametrize(
    ("flaw", "detail"),
    [
        ({"left": {0: 10, 1: 9, 2: 10}}, "request 1 (ok) left 9 of 10 rows"),
        ({"left": {0: 10, 1: 10}}, "request 2 (ok) left 0 of 10 rows"),
        ({"left": {0: 10, 1: 10, 2: 20}}, "request 2 (ok) left 20 of 10 rows"),
        ({"left": {0: 10, 1: 10, 2: 10, 9: 1}}, "request 9, which was not sent, left 1 rows"),
        ({"samples": doctored(GOOD, 1, value=9)}, "request 1 (ok) left 10 of 10 rows"),
    ],
)
def test_an_incomplete_request_fails(flaw: dict[str, Any], detail: str) -> None:
    finding = check(record(**flaw))["all or nothing"]
    assert (finding.verdict, finding.detail) == ("fail", detail)


@pytest.mark.parametrize(
    ("outcome", "rows", "verdict"),
    [("fail", 0, "pass"), ("fail", 10, "fail"), ("fail", 4, "fail"), ("unknown", 0, "pass"), ("unknown", 10, "pass"),
     ("unknown", 4, "fail")],
)  # fmt: skip
def test_a_failed_request_leaves_no_row_and_an_unknown_one_all_or_none(outcome: str, rows: int, verdict: str) -> None:
    samples = doctored(GOOD, 2, outcome=outcome, value=None)
    findings = check(record(samples, left={0: 10, 1: 10, 2: rows}, ids=IDS[:2]))
    assert findings["all or nothing"].verdict == verdict
    assert findings["returned ids exist once"].verdict == "pass"


@pytest.mark.parametrize(
    ("ids", "ranges", "detail"),
    [
        ([IDS[0], IDS[1], IDS[1]], [(1, 30)], "20 ids returned for 30 rows, 10 of them twice, 0 missing"),
        (IDS, [(1, 29)], "30 ids returned for 30 rows, 0 of them twice, 1 missing"),
        (IDS, [(1, 4), (6, 30)], "30 ids returned for 30 rows, 0 of them twice, 1 missing"),
        (IDS, [], "30 ids returned for 30 rows, 0 of them twice, 30 missing"),
        (IDS[:2], [(1, 30)], "20 ids returned for 30 rows, 0 of them twice, 0 missing"),
    ],
)
def test_repeated_missing_or_too_few_ids_fail(ids: Any, ranges: Any, detail: str) -> None:
    finding = check(record(ids=ids, ranges=ranges))["returned ids exist once"]
    assert (finding.verdict, finding.detail) == ("fail", detail)


def test_a_huge_range_of_ids_is_checked_quickly() -> None:
    assert check(record(ranges=[(0, 10**18)]))["returned ids exist once"].verdict == "pass"


def test_no_acknowledged_request_or_no_read_rows_is_unknown() -> None:
    refused = replace(GOOD, outcome=["fail"] * 3, value=[None] * 3)
    findings = check(record(refused, left={}, ids=[]))
    assert wrong(findings) == {"all or nothing": "unknown", "returned ids exist once": "unknown"}
    assert wrong(check(measured(CELL, lanes()))) == {"all or nothing": "unknown"}


def test_different_counts_fail() -> None:
    rows = BulkRows(requests={0: 10, 1: 10, 2: 10}, ranges=((1, 30),))
    findings = check(measured(CELL, lanes(), counts=counted(5) | {"haproxy": 4}, bulk_rows=rows))
    assert findings["counts agree"].verdict == "fail"


def test_the_rejected_lane_violates_a_constraint_of_the_database_only() -> None:
    for made in cells("bulk-insert"):
        work = SCENARIOS["bulk-insert"].workload(measured(made, GOOD).row.trial)
        (good,), (bad,) = (work[lane].operations for lane in ("main", "refused"))
        texts = bad.body["data"]
        assert len(texts) == len(good.body["data"]) == made.params["rows"]
        assert [len(text) > 65_536 for text in texts] == [False] * (len(texts) - 1) + [True]
        assert all(text.startswith("9{n}-") for text in texts[:-1])
        assert sum(map(len, texts)) + 16 * len(texts) < 2**20  # the largest body that the service accepts


def test_requests_that_fail_in_the_database_and_leave_no_row_pass() -> None:
    finding = check(record())[EMPTY]
    assert (finding.verdict, finding.numbers) == ("pass", {"failed": 2})


@pytest.mark.parametrize("outcome", ["fail", "unknown"])
def test_a_row_left_by_a_failed_request_fails(outcome: str) -> None:
    """As if a service inserted row by row, or in several transactions."""
    left = {0: 10, 1: 10, 2: 10, REFUSED_FROM + 1: 9}
    findings = check(record(left=left, refused=doctored(REFUSED, 1, outcome=outcome)))
    assert wrong(findings) == {EMPTY: "fail"}
    assert f"rejected request 1 ({outcome} 23514) left 9 of its 9 valid rows" in findings[EMPTY].detail


@pytest.mark.parametrize(
    "refused",
    [
        doctored(REFUSED, 0, error="BAD_DATA"),  # rejected by the service before any row was inserted
        doctored(REFUSED, 0, outcome="ok", error=""),
        doctored(REFUSED, 0, outcome="unknown", error="reset"),
        history(),
    ],
)
def test_a_failure_outside_the_database_is_unknown(refused: Columns) -> None:
    assert wrong(check(record(refused=refused))) == {EMPTY: "unknown"}
