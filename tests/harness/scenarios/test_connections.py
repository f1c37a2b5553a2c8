"""More clients, then more connections than there are: refusals must be clean, and end."""

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
    """All in flight together; each ends a little after the one before."""
    return history(*((i, 1000 + i, "ok", i + 1) for i in range(n)))


def opened(samples: Columns, of: Cell = OPEN) -> TrialRecord:
    n = len(samples)
    return measured(of, samples, final={"hot-0": n}, counts=counted(n))


def past(main: Columns | None = None, pressure: Columns | None = None, **evidence: Any) -> TrialRecord:
    """Ten increments a second apart over ten seconds; the pressure ends at 4 s, one of its five refused."""
    main = requests(10, apart_us=1_000_000) if main is None else main
    if pressure is None:
        times = ((0, 4_000_000, "ok" if i else "fail", None) for i in range(5))
        pressure = history(*times, error=["53300"] + [""] * 4, status=[503] + [200] * 4)
    n = len(main) + len(pressure)
    ok = main.outcome.count("ok")
    known = {"final": {"hot-0": ok, "pressure-1": 4}, "counts": counted(n)}
    return measured(PAST, {"main": main, "pressure": pressure}, **known | evidence)


def test_the_cells() -> None:
    assert [(c.params["load"], c.hosts, c.pool, c.mode) for c in cells("connections")] == [
        ("open", 4, 5, "closed"),
        ("past-limit", 4, 38, "open"),
    ]
    assert SITE.connections < 4 * 38
    assert {c.hosts for c in cells("connections", hosts="2")} == {2}
    assert cells("connections", clients="200")[0].clients == 200
    with pytest.raises(Skip, match="not ours"):
        cells("connections", Site(hosts=2, managed=False))


def test_the_plan_lets_this_scenario_alone_exceed_the_connections() -> None:
    from harness.plan.options import BenchRequest

    assert len(make_plan(BenchRequest(scenarios=("connections",)), SITE, SCENARIOS).trials) == 2


def test_all_open_at_once_and_served_passes() -> None:
    found = check(opened(at_once(150)))
    assert wrong(found) == {}
    assert found["open at once"].numbers["peak"] == 150


def test_a_peak_that_is_too_small_fails() -> None:
    found = check(opened(requests(150)))["open at once"]
    assert (found.verdict, found.numbers["peak"]) == ("fail", 1)
    assert check(opened(at_once(149)))["open at once"].verdict == "fail"


def test_fewer_clients_than_the_criterion_names_answer_nothing() -> None:
    few = replace(OPEN, clients=50)
    assert wrong(check(opened(at_once(50), few))) == {"open at once": "unknown"}


def test_one_refused_of_the_open_ones_fails_and_none_is_unknown() -> None:
    assert check(opened(doctored(at_once(150), 3, outcome="fail", value=None)))["acknowledged"].verdict == "fail"
    assert check(opened(history()))["acknowledged"].verdict == "unknown"


def test_clean_refusals_that_end_pass() -> None:
    found = check(past())
    assert wrong(found) == {}
    assert "1 x 53300" in found["clean refusal"].detail
    assert "3 of 3" in found["recovery"].detail


def test_an_unknown_outcome_is_no_clean_refusal() -> None:
    main = doctored(requests(10, apart_us=1_000_000), 2, outcome="unknown", error="reset")
    found = check(past(main))["clean refusal"]
    assert found.verdict == "fail"
    assert "1 x reset" in found.detail


@pytest.mark.parametrize("status", [500, 409, 200])
def test_a_refusal_for_want_of_a_connection_with_another_status_than_503_fails(status: int) -> None:
    main = doctored(requests(10, apart_us=1_000_000), 2, outcome="fail", value=None, error="53300", status=status)
    found = check(past(main))
    assert found["clean refusal"].verdict == "fail"
    assert found["clean refusal"].detail == f"1 x 53300 were answered with status {status}, not 503"


def test_no_refusal_says_nothing() -> None:
    pressure = history(*((0, 4_000_000, "ok", None) for _ in range(5)))
    assert wrong(check(past(pressure=pressure))) == {"clean refusal": "unknown"}


def test_refusals_for_another_reason_say_nothing_of_the_limit() -> None:
    times = ((0, 4_000_000, "ok" if i else "fail", None) for i in range(5))
    pressure = history(*times, error=["POOL_TIMEOUT"] + [""] * 4)
    assert wrong(check(past(pressure=pressure))) == {"clean refusal": "unknown"}


def test_no_recovery_fails() -> None:
    main = doctored(requests(10, apart_us=1_000_000), 9, outcome="fail", value=None, error="53300", status=503)
    assert wrong(check(past(main))) == {"recovery": "fail"}


def test_nothing_after_the_pressure_says_nothing() -> None:
    assert wrong(check(past(requests(5, apart_us=1_000_000)))) == {"recovery": "unknown"}


def test_an_increment_lost_under_pressure_fails() -> None:
    found = check(past(final={"hot-0": 9, "pressure-1": 4}))
    assert found["final value"].verdict == "fail"
    assert found["final value"].numbers["lost"] == 1
    assert check(past(counts=counted(15) | {"haproxy": 14}))["counts agree"].verdict == "fail"
