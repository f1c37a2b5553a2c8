"""The five claims, each with values that hold and that do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness.model import Backend, Finding
from harness.plan.scenario import Site, Skip
from harness.record import TrialRecord
from harness.scenarios import SCENARIOS
from harness.scenarios.increment_workload import UNSTEADY
from harness.scenarios.sqlite_vs_postgres import ALL_ANSWERS, CLAIMS
from tests.support.histories import history
from tests.support.records import cell, cells, judge, measured, wrong

NAME = "sqlite-vs-postgres"
NAIVE = {"ok": 250.0, "mean_ms": 20.0, "acknowledged_ms": 600.0, "rps": 50.0, "served": 1}
TUNED = {"ok": 1000.0, "mean_ms": 200.0, "acknowledged_ms": 200.0, "rps": 400.0, "served": 10}
SERVER = {"ok": 1000.0, "mean_ms": 60.0, "acknowledged_ms": 60.0, "rps": 900.0, "served": 100}
Backends = Mapping[Backend, Mapping[str, float]]
ALL: Backends = {"sqlite-naive": NAIVE, "sqlite-tuned": TUNED, "postgres": SERVER}


def trials(backends: Backends, **more: Any) -> list[TrialRecord]:
    """A burst of 1,000 and three steady loads each; `served`: the most clients without errors."""
    made = []
    for backend, values in backends.items():
        for each in cells(NAME):
            if each.backend != backend:
                continue
            extracted = {}
            if each.params["load"] == "burst":
                extracted = {"acknowledged_ms": values["acknowledged_ms"]} if "acknowledged_ms" in values else {}
                figures = {"sent": 1000.0, "ok": values["ok"], "mean_ms": values["mean_ms"], "rps": 5.0}
            else:
                clean = each.clients <= values["served"]
                figures = {"sent": 500.0, "ok": 500.0 if clean else 400.0, "rps": values["rps"] if clean else 3.0}
            made.append(replace(measured(each, history(), figures=figures, **more), extracted=extracted))
    return made


def held(backends: Backends) -> dict[str, bool]:
    findings = judge(trials(backends))
    assert {f.verdict for f in findings.values()} == {"shown"}
    return {name.removeprefix("claim: "): bool(f.numbers["held"]) for name, f in findings.items()}


def test_cells() -> None:
    made = cells(NAME)
    assert len(made) == 3 * 4
    assert {(c.params["load"], c.clients, c.requests) for c in made} == {
        ("burst", 1000, 1000), ("steady", 1, None), ("steady", 10, None), ("steady", 100, None),
    }  # fmt: skip
    assert {c.seconds for c in cells(NAME, quick=True) if c.params["load"] == "steady"} == {1.0}
    assert {c.backend for c in cells(NAME, backend="postgres,sqlite-naive")} == {"postgres", "sqlite-naive"}


def test_skipped_without_both_databases() -> None:
    with pytest.raises(Skip, match="its directory is on nfs4"):
        cells(NAME, Site(hosts=4, no_sqlite="its directory is on nfs4"))
    with pytest.raises(Skip, match="needs a rig that offers SQLite"):
        cells(NAME, Site(hosts=4))
    for only in ("postgres", "sqlite-naive", "sqlite-naive,sqlite-tuned"):
        with pytest.raises(Skip, match="--backend selects only one"):
            cells(NAME, backend=only)


def test_values_as_claimed_hold() -> None:
    assert held(ALL) == dict.fromkeys((claim.name for claim in CLAIMS), True)


@pytest.mark.parametrize(
    ("naive", "broken"),
    [
        ({"ok": 334.0}, {"success rate"}),
        ({"acknowledged_ms": 300.0}, {"mean response"}),
        ({"rps": 100.0}, {"throughput"}),
        ({"ok": 1000.0}, {"success rate"}),
        ({"served": 10}, {"concurrent connections"}),
        ({"served": 100}, {"concurrent connections", "error rate"}),
    ],
)
def test_a_better_naive_sqlite_does_not_hold(naive: dict[str, float], broken: set[str]) -> None:
    claims = held(ALL | {"sqlite-naive": NAIVE | naive})
    assert {name for name, good in claims.items() if not good} == broken


def test_a_worse_postgresql_does_not_hold() -> None:
    claims = held(ALL | {"postgres": SERVER | {"ok": 700.0, "acknowledged_ms": 600.0, "rps": 60.0, "served": 10}})
    assert not any(claims.values())


def test_a_sqlite_without_acknowledged_requests_does_not_divide_by_zero() -> None:
    nothing = {"ok": 0.0, "mean_ms": 10.0, "rps": 0.0, "served": 0}
    findings = judge(trials(ALL | {"sqlite-naive": nothing}))
    assert findings["claim: success rate"].numbers["held"]
    assert wrong(findings) == {"claim: mean response": "unknown"}


def test_fast_rejections_do_not_improve_the_mean_response() -> None:
    """Over all responses naive SQLite is ten times as fast as PostgreSQL, because it rejects most of them at once."""
    refusing: Backends = ALL | {"sqlite-naive": NAIVE | {"mean_ms": 6.0, "acknowledged_ms": 600.0}}
    finding = judge(trials(refusing))["claim: mean response"]
    assert finding.numbers["held"]
    assert (finding.numbers["naive"], finding.numbers["postgres"]) == (600.0, 60.0)
    assert finding.numbers[ALL_ANSWERS] == {"naive": 6.0, "tuned": 200.0, "postgres": 60.0}
    assert finding.detail == (
        "held (acknowledged responses of the burst): SQLite naive 600 ms, tuned 200, PostgreSQL 60; "
        "claimed: 500 ms and 50 ms (more than 80 % less); "
        "mean of all answers, refusals too: naive 6, tuned 200, PostgreSQL 60 ms"
    )


def test_the_mean_response_is_of_the_bursts_acknowledged_responses() -> None:
    burst, steady = (cell(NAME, backend="sqlite-naive", **which) for which in ({"load": "burst"}, {"clients": 10}))
    samples = history((0, 1000, "ok", 1), (0, 2000, "fail", None), (0, 5000, "ok", 2), (0, 9000, "unknown", None))
    extract = SCENARIOS[NAME].extract
    assert extract(measured(burst, samples)) == {"acknowledged_ms": 3.0}
    assert extract(measured(burst, history((0, 2000, "fail", None)))) == {}
    assert extract(measured(burst, {})) == {}
    assert extract(measured(steady, samples)) == {}


def test_the_error_rate_is_of_the_steady_load_with_the_most_clients() -> None:
    findings = judge(trials(ALL))
    assert findings["claim: error rate"].numbers["naive"] == pytest.approx(20.0)
    assert findings["claim: success rate"].numbers["naive"] == 25.0


def test_the_detail_names_the_result_and_the_claim() -> None:
    finding = judge(trials(ALL | {"sqlite-naive": NAIVE | {"rps": 100.0}}))["claim: throughput"]
    assert finding.detail == (
        "NOT HELD (the best steady load): SQLite naive 100 requests/s, tuned 400, PostgreSQL 900; "
        "claimed: 100 and 1,000 (more than +800 %)"
    )


@pytest.mark.parametrize("steady", [True, False])
def test_a_throughput_of_unsteady_trials_only_is_not_judged(steady: bool) -> None:
    """It stays a figure that is shown: the run's verdict does not depend on a claim."""
    findings = judge(trials(ALL, steady=steady))
    marked = [name for name, one in findings.items() if one.detail.startswith(UNSTEADY)]
    assert marked == ([] if steady else ["claim: throughput"])
    assert findings["claim: throughput"].verdict == "shown"
    assert ("held" in findings["claim: throughput"].numbers) == steady


def doubted(made: list[TrialRecord], backend: Backend, **cell: object) -> list[TrialRecord]:
    """Gives the trials of some cells a reason to doubt the generator. They stay valid, because counts stay true."""
    return [
        replace(m, row=replace(m.row, validity="timing_doubtful", reasons=("sent late",)))
        if m.cell.backend == backend and all(getattr(m.cell, k, m.cell.params.get(k)) == v for k, v in cell.items())
        else m
        for m in made
    ]


@pytest.mark.parametrize(
    ("cell", "unknown"),
    [
        ({"load": "burst"}, {"mean response"}),
        ({"load": "steady"}, {"throughput"}),
        ({"clients": 100}, {"throughput"}),
        ({}, {"mean response", "throughput"}),
    ],
)
@pytest.mark.parametrize("backend", ["sqlite-naive", "postgres"])
def test_claims_about_time_need_trusted_times(backend: Backend, cell: dict[str, object], unknown: set[str]) -> None:
    findings = judge(doubted(trials(ALL), backend, **cell))
    assert wrong(findings) == {f"claim: {name}": "unknown" for name in unknown}
    assert {findings[name].detail for name in wrong(findings)} == {
        "the load generator may have been the bottleneck: sent late"
    }


def test_doubted_times_are_ignored_if_others_are_trusted() -> None:
    slow = ALL | {"postgres": SERVER | {"acknowledged_ms": 9000.0, "mean_ms": 9000.0, "rps": 9000.0}}
    made = trials(ALL) + doubted(trials(slow), "postgres")
    findings = judge(made)
    assert wrong(findings) == {}
    assert findings["claim: mean response"].numbers["postgres"] == 60.0
    assert findings["claim: mean response"].numbers[ALL_ANSWERS]["postgres"] == 60.0
    assert findings["claim: throughput"].numbers["postgres"] == 900.0


def test_doubted_times_of_tuned_sqlite_are_not_shown() -> None:
    findings = judge(doubted(trials(ALL), "sqlite-tuned"))
    assert wrong(findings) == {}
    assert findings["claim: throughput"].numbers["tuned"] is None
    assert findings["claim: mean response"].numbers[ALL_ANSWERS]["tuned"] is None
    assert findings["claim: success rate"].numbers["tuned"] == 100.0


def test_the_throughput_is_the_median_of_the_best_load() -> None:
    quick = ALL | {"postgres": SERVER | {"rps": 5000.0}}
    findings = judge(trials(ALL) + trials(ALL) + trials(quick))
    assert findings["claim: throughput"].numbers["postgres"] == 900.0


def test_every_claim_is_unknown_without_one_database() -> None:
    without_burst = [m for m in trials(ALL) if m.cell.backend != "postgres" or m.cell.params["load"] != "burst"]
    invalid = trials({"sqlite-naive": NAIVE}) + trials({"postgres": SERVER}, valid=False)
    for made in (trials({"postgres": SERVER}), trials({"sqlite-naive": NAIVE}), without_burst, invalid):
        assert {f.verdict for f in judge(made).values()} == {"unknown"}
        assert len(judge(made)) == len(CLAIMS)


def test_a_load_counts_as_free_of_errors_only_if_no_trial_refused_a_request() -> None:
    """The most clients that were served without errors are those of which no trial refused a request."""
    refusing: Backends = {"postgres": SERVER | {"served": 10}}
    made = [m for m in trials(ALL) if m.cell.backend != "postgres"]
    made += trials({"postgres": SERVER}) + 4 * trials(refusing)
    finding = judge(made)["claim: concurrent connections"]
    assert (finding.numbers["postgres"], finding.numbers["held"]) == (10.0, False)
    few = [m for m in trials(ALL) if m.cell.backend != "postgres"]
    few += 4 * trials({"postgres": SERVER | {"ok": 1000.0}}) + trials(refusing | {"postgres": SERVER | {"ok": 500.0}})
    findings = judge(few)
    assert findings["claim: concurrent connections"].numbers["postgres"] == 100.0
    assert findings["claim: success rate"].numbers["postgres"] == 90.0


def repeated(*servers: Mapping[str, float], speeds: Sequence[float] = ()) -> dict[str, Finding]:
    """The findings of a run with one block for each of these PostgreSQL values; `speeds`: of the machine, by block."""
    made = []
    for number, (server, speed) in enumerate(zip(servers, speeds or [1.0] * len(servers), strict=True), 1):
        backends: Backends = {
            backend: values | {"rps": values["rps"] * speed, "acknowledged_ms": values["acknowledged_ms"] / speed}
            for backend, values in (ALL | {"postgres": SERVER | server}).items()
        }
        made += trials(backends, number=number)
    return judge(made)


def test_claims_about_time_are_compared_within_blocks() -> None:
    findings = repeated(*[{"rps": 475.0}] * 6, speeds=(1.0, 9.0, 3.0, 0.5, 2.0, 4.0))
    throughput, response = findings["claim: throughput"], findings["claim: mean response"]
    assert throughput.numbers["held"]
    assert (throughput.numbers["low"], throughput.numbers["high"]) == pytest.approx((9.5, 9.5))
    assert "PostgreSQL / naive SQLite within blocks: 9.5 [9.50, 9.50]" in throughput.detail
    assert response.numbers["high"] == pytest.approx(0.1)
    assert "low" not in findings["claim: error rate"].numbers


def test_a_claim_whose_interval_includes_its_factor_is_not_judged() -> None:
    near = [{"rps": 500.0}, {"rps": 480.0}, {"rps": 470.0}, {"rps": 440.0}, {"rps": 490.0}, {"rps": 510.0}]
    finding = repeated(*near)["claim: throughput"]
    assert finding.verdict == "shown"
    assert finding.detail.startswith("not judged, the interval includes the bound: held")
    assert "held" not in finding.numbers
    assert repeated(*[{"rps": 440.0}] * 6)["claim: throughput"].numbers["held"] is False


def test_a_block_without_one_of_the_loads_drops_out() -> None:
    made = [m for number in range(1, 7) for m in trials(ALL, number=number)]
    broken = next(m for m in made if m.cell.backend == "postgres" and m.cell.clients == 10)
    made[made.index(broken)] = replace(broken, row=replace(broken.row, validity="timing_doubtful"))
    detail = judge(made)["claim: throughput"].detail
    assert detail.startswith("not judged, 5 of 6 blocks have valid trials of both, an interval needs 6")
