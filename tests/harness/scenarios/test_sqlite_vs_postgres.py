"""The page's five claims, each measured to hold and not to hold; and a SQLite file that does not stay whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from harness.model import Backend
from harness.plan.scenario import Site, Skip
from harness.record import TrialRecord
from harness.scenarios import SCENARIOS
from harness.scenarios.increment_workload import UNSTEADY
from harness.scenarios.sqlite_vs_postgres import ALL_ANSWERS, CLAIMS
from tests.support.histories import history
from tests.support.records import cell, cells, check, increments, judge, measured, sqlite_evidence, wrong

NAME = "sqlite-vs-postgres"
NAIVE = {"ok": 250.0, "mean_ms": 20.0, "acknowledged_ms": 600.0, "rps": 50.0, "served": 1}
TUNED = {"ok": 1000.0, "mean_ms": 200.0, "acknowledged_ms": 200.0, "rps": 400.0, "served": 10}
SERVER = {"ok": 1000.0, "mean_ms": 60.0, "acknowledged_ms": 60.0, "rps": 900.0, "served": 100}
Backends = Mapping[Backend, Mapping[str, float]]
ALL: Backends = {"sqlite-naive": NAIVE, "sqlite-tuned": TUNED, "postgres": SERVER}


def trials(backends: Backends, **more: Any) -> list[TrialRecord]:
    """A burst of 1,000 and three steady loads each; `served`: up to so many clients nothing is refused."""
    made = []
    for backend, seen in backends.items():
        for each in cells(NAME):
            if each.backend != backend:
                continue
            distilled = {}
            if each.params["load"] == "burst":
                distilled = {"acknowledged_ms": seen["acknowledged_ms"]} if "acknowledged_ms" in seen else {}
                figures = {"sent": 1000.0, "ok": seen["ok"], "mean_ms": seen["mean_ms"], "rps": 5.0}
            else:
                clean = each.clients <= seen["served"]
                figures = {"sent": 500.0, "ok": 500.0 if clean else 400.0, "rps": seen["rps"] if clean else 3.0}
            made.append(replace(measured(each, history(), figures=figures, **more), extracted=distilled))
    return made


def held(backends: Backends) -> dict[str, bool]:
    found = judge(trials(backends))
    assert {f.verdict for f in found.values()} == {"pass"}
    return {name.removeprefix("claim: "): bool(f.numbers["held"]) for name, f in found.items()}


def test_the_cells() -> None:
    made = cells(NAME)
    assert len(made) == 3 * 4
    assert {(c.params["load"], c.clients, c.requests) for c in made} == {
        ("burst", 1000, 1000), ("steady", 1, None), ("steady", 10, None), ("steady", 100, None),
    }  # fmt: skip
    assert {c.seconds for c in cells(NAME, quick=True) if c.params["load"] == "steady"} == {1.0}
    assert {c.backend for c in cells(NAME, backend="postgres,sqlite-naive")} == {"postgres", "sqlite-naive"}


def test_what_it_needs() -> None:
    with pytest.raises(Skip, match="its directory is on nfs4"):
        cells(NAME, Site(hosts=4, no_sqlite="its directory is on nfs4"))
    with pytest.raises(Skip, match="needs a rig that offers SQLite"):
        cells(NAME, Site(hosts=4))
    for only in ("postgres", "sqlite-naive", "sqlite-naive,sqlite-tuned"):
        with pytest.raises(Skip, match="--backend leaves only one"):
            cells(NAME, backend=only)


def test_what_is_measured_as_the_page_says_is_held() -> None:
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
def test_a_naive_sqlite_that_is_better_than_the_page_says_is_not_held(
    naive: dict[str, float], broken: set[str]
) -> None:
    seen = held(ALL | {"sqlite-naive": NAIVE | naive})
    assert {name for name, good in seen.items() if not good} == broken


def test_a_postgresql_that_is_worse_than_the_page_says_is_not_held() -> None:
    seen = held(ALL | {"postgres": SERVER | {"ok": 700.0, "acknowledged_ms": 600.0, "rps": 60.0, "served": 10}})
    assert not any(seen.values())


def test_a_sqlite_that_serves_nothing_divides_by_nothing() -> None:
    nothing = {"ok": 0.0, "mean_ms": 10.0, "rps": 0.0, "served": 0}
    found = judge(trials(ALL | {"sqlite-naive": nothing}))
    assert found["claim: success rate"].numbers["held"]
    assert wrong(found) == {"claim: mean response": "unknown"}


def test_a_quick_refusal_does_not_pass_for_speed() -> None:
    """Over all answers naive SQLite is ten times as fast as PostgreSQL, because it refuses nine in ten at once."""
    refusing: Backends = ALL | {"sqlite-naive": NAIVE | {"mean_ms": 6.0, "acknowledged_ms": 600.0}}
    found = judge(trials(refusing))["claim: mean response"]
    assert found.numbers["held"]
    assert (found.numbers["naive"], found.numbers["postgres"]) == (600.0, 60.0)
    assert found.numbers[ALL_ANSWERS] == {"naive": 6.0, "tuned": 200.0, "postgres": 60.0}
    assert found.detail == (
        "held (acknowledged answers of the burst): SQLite naive 600 ms, tuned 200, PostgreSQL 60; "
        "the page claims 500 ms and 50 ms (more than 80 % less); "
        "mean of all answers, refusals too: naive 6, tuned 200, postgres 60 ms"
    )


def test_the_mean_response_is_that_of_the_acknowledged_answers_of_the_burst() -> None:
    burst, steady = (cell(NAME, backend="sqlite-naive", **which) for which in ({"load": "burst"}, {"clients": 10}))
    samples = history((0, 1000, "ok", 1), (0, 2000, "fail", None), (0, 5000, "ok", 2), (0, 9000, "unknown", None))
    distil = SCENARIOS[NAME].extract
    assert distil(measured(burst, samples)) == {"acknowledged_ms": 3.0}
    assert distil(measured(burst, history((0, 2000, "fail", None)))) == {}
    assert distil(measured(burst, {})) == {}
    assert distil(measured(steady, samples)) == {}


def test_the_error_rate_is_of_the_steady_load_with_the_most_clients() -> None:
    found = judge(trials(ALL))
    assert found["claim: error rate"].numbers["naive"] == pytest.approx(20.0)
    assert found["claim: success rate"].numbers["naive"] == 25.0


def test_the_sentence_says_held_or_not_and_what_is_claimed() -> None:
    found = judge(trials(ALL | {"sqlite-naive": NAIVE | {"rps": 100.0}}))["claim: throughput"]
    assert found.detail == (
        "NOT HELD (the best steady load): SQLite naive 100 requests/s, tuned 400, PostgreSQL 900; "
        "the page claims 100 and 1,000 (more than +800 %)"
    )


@pytest.mark.parametrize("steady", [True, False])
def test_a_throughput_of_unsteady_trials_alone_says_so(steady: bool) -> None:
    found = judge(trials(ALL, steady=steady))
    said = [name for name, one in found.items() if one.detail.endswith(UNSTEADY)]
    assert said == ([] if steady else ["claim: throughput"])


def doubted(made: list[TrialRecord], backend: Backend, **cell: object) -> list[TrialRecord]:
    """The generator was held up in the trials of such cells: valid, because counts stay true, with a reason."""
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
def test_no_claim_about_time_rests_on_times_in_doubt(
    backend: Backend, cell: dict[str, object], unknown: set[str]
) -> None:
    found = judge(doubted(trials(ALL), backend, **cell))
    assert wrong(found) == {f"claim: {name}": "unknown" for name in unknown}
    assert {found[name].detail for name in wrong(found)} == {"the generator was in doubt: sent late"}


def test_times_in_doubt_are_left_out_where_others_hold() -> None:
    slow = ALL | {"postgres": SERVER | {"acknowledged_ms": 9000.0, "mean_ms": 9000.0, "rps": 9000.0}}
    made = trials(ALL) + doubted(trials(slow), "postgres")
    found = judge(made)
    assert wrong(found) == {}
    assert found["claim: mean response"].numbers["postgres"] == 60.0
    assert found["claim: mean response"].numbers[ALL_ANSWERS]["postgres"] == 60.0
    assert found["claim: throughput"].numbers["postgres"] == 900.0


def test_a_tuned_sqlite_in_doubt_is_not_shown() -> None:
    found = judge(doubted(trials(ALL), "sqlite-tuned"))
    assert wrong(found) == {}
    assert found["claim: throughput"].numbers["tuned"] is None
    assert found["claim: mean response"].numbers[ALL_ANSWERS]["tuned"] is None
    assert found["claim: success rate"].numbers["tuned"] == 100.0


def test_the_throughput_is_the_best_loads_median() -> None:
    quick = ALL | {"postgres": SERVER | {"rps": 5000.0}}
    found = judge(trials(ALL) + trials(ALL) + trials(quick))
    assert found["claim: throughput"].numbers["postgres"] == 900.0


def test_without_one_of_the_two_every_claim_is_unknown() -> None:
    without_burst = [m for m in trials(ALL) if m.cell.backend != "postgres" or m.cell.params["load"] != "burst"]
    invalid = trials({"sqlite-naive": NAIVE}) + trials({"postgres": SERVER}, valid=False)
    for made in (trials({"postgres": SERVER}), trials({"sqlite-naive": NAIVE}), without_burst, invalid):
        assert {f.verdict for f in judge(made).values()} == {"unknown"}
        assert len(judge(made)) == len(CLAIMS)


def test_whatever_is_acknowledged_must_be_there_and_the_file_whole() -> None:
    burst = replace(cell(NAME, backend="sqlite-naive", load="burst"), hosts=1)
    whole = {"sqlite": sqlite_evidence("sqlite-naive")}
    assert wrong(check(increments(burst, 9, **whole))) == {}
    assert wrong(check(increments(burst, 9, **whole, final={"hot-0": 8})))["final value"] == "fail"
    lines = ("*** in database main ***", "Page 3 is never used")
    broken = replace(sqlite_evidence("sqlite-naive"), integrity_check=lines)
    found = check(increments(burst, 9, sqlite=broken))
    assert wrong(found) == {"integrity": "fail"}
    assert "Page 3 is never used" in found["integrity"].detail
    assert wrong(check(increments(burst, 9))) == {"integrity": "unknown", "pragmas": "unknown"}
