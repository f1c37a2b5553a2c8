"""More clients, then more connections than the server has: rejections must be clean, and end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.model import Cell
from harness.plan.planner import make_plan
from harness.plan.scenario import Site, Skip
from harness.record import TrialRecord
from harness.scenarios import SCENARIOS
from tests.support.histories import Columns, history
from tests.support.records import SITE, cell, cells, check, counted, doctored, measured, requests, wrong

OPEN, PAST = cell("connections", load="open"), cell("connections", load="past-limit")


def at_once(n: int) -> Columns:
    """Returns requests in flight together, ending one after the other."""
    return history(*((i, 1000 + i, "ok", i + 1) for i in range(n)))


def open_record(samples: Columns, of: Cell = OPEN) -> TrialRecord:
    n = len(samples)
    return measured(of, samples, final={"hot-0": n}, counts=counted(n))


def held(refused: int = 1, **columns: list[Any]) -> Columns:
    """Returns five transactions that hold a connection each and increment a key each; the first are refused."""
    times = ((0, 4_000_000, "fail" if i < refused else "ok", None) for i in range(5))
    return history(*times, **{"op": ["hold"] * 5, "key": [f"pressure-{i}" for i in range(5)]} | columns)


def applied(pressure: Columns) -> dict[str, int]:
    """Returns the counters that the acknowledged ones leave."""
    return {key: 1 for key, outcome in zip(pressure.key, pressure.outcome, strict=True) if outcome == "ok"}


def past_limit(main: Columns | None = None, pressure: Columns | None = None, **evidence: Any) -> TrialRecord:
    """Ten increments, one per second; the pressure ends at 4 s, one of its five requests is rejected."""
    main = requests(10, apart_us=1_000_000) if main is None else main
    if pressure is None:
        pressure = held(error=["53300"] + [""] * 4, status=[503] + [200] * 4)
    n = len(main) + len(pressure)
    ok = main.outcome.count("ok")
    known = {"final": {"hot-0": ok, **applied(pressure)}, "counts": counted(n)}
    return measured(PAST, {"main": main, "pressure": pressure}, **known | evidence)


def test_cells() -> None:
    assert [(c.params["load"], c.hosts, c.pool, c.mode) for c in cells("connections")] == [
        ("open", 4, 5, "closed"),
        ("past-limit", 4, 38, "open"),
    ]
    assert SITE.connections < 4 * 38
    assert {c.hosts for c in cells("connections", hosts="2")} == {2}
    assert cells("connections", clients="200")[0].clients == 200
    assert [c.seconds for c in cells("connections", quick=True)] == [1.0, 10.0]
    with pytest.raises(Skip, match="external service"):
        cells("connections", Site(hosts=2, managed=False))


def test_the_plan_lets_this_scenario_exceed_the_connections() -> None:
    from harness.plan.options import BenchRequest

    assert len(make_plan(BenchRequest(scenarios=("connections",)), SITE, SCENARIOS).trials) == 2


def test_all_clients_open_at_once_and_served_pass() -> None:
    findings = check(open_record(at_once(150)))
    assert wrong(findings) == {}
    assert findings["concurrent requests"].numbers["peak"] == 150


def test_a_smaller_peak_fails() -> None:
    finding = check(open_record(requests(150)))["concurrent requests"]
    assert (finding.verdict, finding.numbers["peak"]) == ("fail", 1)
    assert check(open_record(at_once(149)))["concurrent requests"].verdict == "fail"


def test_fewer_clients_than_the_criterion_needs_are_unknown() -> None:
    few = replace(OPEN, clients=50)
    assert wrong(check(open_record(at_once(50), few))) == {"concurrent requests": "unknown"}


def test_one_rejected_request_fails_and_no_request_is_unknown() -> None:
    assert check(open_record(doctored(at_once(150), 3, outcome="fail", value=None)))["acknowledged"].verdict == "fail"
    assert check(open_record(history()))["acknowledged"].verdict == "unknown"


def test_clean_rejections_that_end_pass() -> None:
    findings = check(past_limit())
    assert wrong(findings) == {}
    assert "1 x 53300" in findings["clean refusal"].detail
    assert "3 of 3" in findings["recovery"].detail


def test_an_unknown_outcome_fails() -> None:
    main = doctored(requests(10, apart_us=1_000_000), 2, outcome="unknown", error="reset")
    finding = check(past_limit(main))["clean refusal"]
    assert finding.verdict == "fail"
    assert "1 x reset" in finding.detail


def test_connections_closed_while_idle_are_unknown_and_do_not_hide_another_failure() -> None:
    main = doctored(requests(10, apart_us=1_000_000), 9, outcome="unknown", error="closed while idle", status=0)
    findings = check(past_limit(main))
    assert wrong(findings) == {"clean refusal": "unknown", "recovery": "unknown"}
    assert "1 x closed while idle" in findings["clean refusal"].detail
    both = doctored(main, 8, outcome="unknown", error="reset", status=0)
    assert {"clean refusal": "fail", "recovery": "fail"}.items() <= wrong(check(past_limit(both))).items()


@pytest.mark.parametrize("status", [500, 409, 200])
def test_too_many_connections_with_another_status_than_503_fails(status: int) -> None:
    main = doctored(requests(10, apart_us=1_000_000), 2, outcome="fail", value=None, error="53300", status=status)
    findings = check(past_limit(main))
    assert findings["clean refusal"].verdict == "fail"
    assert findings["clean refusal"].detail == f"1 x 53300 were answered with status {status}, not 503"


def test_no_rejection_is_unknown() -> None:
    pressure = held(refused=0)
    assert wrong(check(past_limit(pressure=pressure))) == {"clean refusal": "unknown"}


def test_rejections_for_another_reason_are_unknown() -> None:
    pressure = held(error=["POOL_TIMEOUT"] + [""] * 4)
    assert wrong(check(past_limit(pressure=pressure))) == {"clean refusal": "unknown"}


def test_a_refused_transaction_that_was_applied_fails() -> None:
    """A refusal is clean only if the database shows nothing of it."""
    findings = check(past_limit(final={"hot-0": 10, **applied(held()), "pressure-0": 1}))
    assert (findings["final value"].verdict, findings["final value"].numbers["invented"]) == ("fail", 1)
    lost = check(past_limit(final={"hot-0": 10, **applied(held()), "pressure-4": 0}))["final value"]
    assert (lost.verdict, lost.numbers["lost"]) == ("fail", 1)


def test_no_recovery_fails() -> None:
    main = doctored(requests(10, apart_us=1_000_000), 9, outcome="fail", value=None, error="53300", status=503)
    assert wrong(check(past_limit(main))) == {"recovery": "fail"}


def test_no_increment_after_the_pressure_is_unknown() -> None:
    assert wrong(check(past_limit(requests(5, apart_us=1_000_000)))) == {"recovery": "unknown"}


def test_an_increment_lost_under_pressure_fails() -> None:
    findings = check(past_limit(final={"hot-0": 9, **applied(held())}))
    assert findings["final value"].verdict == "fail"
    assert findings["final value"].numbers["lost"] == 1
    assert check(past_limit(counts=counted(15) | {"haproxy": 14}))["counts agree"].verdict == "fail"
