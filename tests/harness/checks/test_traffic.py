"""The checks for every scenario, each with a record for which it fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.checks.finding import worst
from harness.checks.required_evidence import PARTS
from harness.checks.traffic import check_acknowledged, check_counts, check_spread
from harness.model import OutcomeCounts
from harness.record import Evidence
from tests.support.histories import CELL, history, serial


def test_all_acknowledged_passes_and_one_rejected_fails() -> None:
    assert check_acknowledged(CELL, serial([1, 2, 3]), expected=3).verdict == "pass"
    found = check_acknowledged(CELL, history((0, 1, "ok", 1), (0, 1, "unknown", None)), expected=2)
    assert found.verdict == "fail"
    assert "1 x timeout" in found.detail


@pytest.mark.parametrize("expected", [2, 4])
def test_a_missing_or_extra_record_fails(expected: int) -> None:
    assert check_acknowledged(CELL, serial([1, 2, 3]), expected=expected).verdict == "fail"


@pytest.mark.parametrize(
    ("errors", "status", "verdict"),
    [
        (["", "closed while idle", "closed while idle"], 0, "unknown"),
        (["", "closed while idle", "eof"], 0, "fail"),
        (["", "closed while idle", "closed while idle"], 500, "fail"),
    ],
    ids=["only idle", "another error too", "the words of a response"],
)
def test_connections_closed_while_idle_do_not_fail(errors: list[str], status: int, verdict: str) -> None:
    samples = history((0, 1, "ok", 1), *[(0, 1, "unknown", None)] * 2, error=errors, status=[200, status, status])
    found = check_acknowledged(CELL, samples, expected=3)
    assert found.verdict == verdict
    assert ("raise the service's idle time-out" in found.detail) == (verdict == "unknown")
    assert check_acknowledged(CELL, samples, expected=4).verdict == "fail"


def test_an_even_spread_passes() -> None:
    assert check_spread(CELL, serial([*range(40)]), Evidence()).verdict == "pass"


@pytest.mark.parametrize(
    "hosts",
    [["app-1"] * 40, ["app-1"] * 30 + ["app-2"] * 10, ["app-1", "app-2", "app-3", "app-3"] * 10],
    ids=["one host", "uneven", "a host too many"],
)
def test_an_uneven_spread_fails(hosts: list[str]) -> None:
    samples = serial([*range(40)])
    samples.host = hosts
    assert check_spread(CELL, samples, Evidence()).verdict == "fail"


def test_responses_that_name_no_host_are_unknown() -> None:
    samples = serial([1])
    samples.host = [""]
    assert check_spread(CELL, samples, Evidence()).verdict == "unknown"


@pytest.mark.parametrize(
    ("servers", "verdict"),
    [
        ({"app-1": 20, "app-2": 20, "app-3": 0}, "pass"), ({"app-1": 30, "app-2": 10}, "fail"),
        ({"app-1": 40}, "fail"), ({"app-1": 20, "app-2": 20, "app-3": 20}, "fail"), ({}, "unknown"),
    ],
)  # fmt: skip
def test_without_samples_the_spread_is_haproxys_count(servers: dict[str, int], verdict: str) -> None:
    counts = OutcomeCounts({("increment", "hot-0", "ok"): 40})
    assert check_spread(CELL, counts, Evidence(servers=servers)).verdict == verdict


def evidence(**counts: int) -> Evidence:
    return Evidence(initial={}, final={"hot-0": counts.pop("database", 3)}, counts=counts)


def test_counts_that_agree_pass() -> None:
    found = check_counts(CELL, serial([1, 2, 3]), evidence(client=3, haproxy=3, app=3))
    assert (found.verdict, found.detail) == ("pass", "client 3 = haproxy 3 = app 3 = database 3")


@pytest.mark.parametrize(
    ("counts", "named"),
    [
        ({"client": 3, "haproxy": 4, "app": 3}, "haproxy"),
        ({"client": 3, "haproxy": 3, "app": 2}, "app"),
        ({"client": 3, "haproxy": 3, "app": 3, "database": 2}, "database"),
    ],
)
def test_the_layer_that_differs_is_named(counts: dict[str, int], named: str) -> None:
    found = check_counts(CELL, serial([1, 2, 3]), evidence(**counts))
    assert found.verdict == "fail"
    assert found.detail.startswith(f"{named} differs")


def test_a_layer_that_was_not_measured_is_unknown() -> None:
    assert check_counts(CELL, serial([1, 2, 3]), evidence(client=3, app=3)).verdict == "unknown"


def test_counts_of_an_app_that_restarted_are_unknown_with_the_reason() -> None:
    """An app that is killed counts from zero again: the client sent 40, the app has 3."""
    killed = replace(evidence(client=3, haproxy=3), unread={"app": "app-2 restarted"})
    found = check_counts(CELL, serial([1, 2, 3]), killed)
    assert (found.verdict, found.detail) == (
        "unknown",
        "client 3 = haproxy 3 = database 3; not measured: app-2 restarted",
    )
    lost = check_counts(CELL, serial([1, 2, 3]), replace(killed, final={"hot-0": 2}))
    assert lost.verdict == "fail", "a layer that was measured is still compared"


def test_requests_that_a_restarted_haproxy_never_sent_on_are_not_the_services_fault() -> None:
    samples = history((0, 1, "ok", 1), (0, 1, "unknown", None), (0, 1, "ok", 2))
    reloaded = replace(evidence(client=3, app=2, database=2), unread={"haproxy": "HAProxy restarted"})
    found = check_counts(CELL, samples, reloaded)
    assert (found.verdict, found.detail) == ("unknown", "client 3, app 2, database 2; not measured: HAProxy restarted")
    for app in (1, 4):
        doubled = replace(reloaded, counts={"client": 3, "app": app})
        assert check_counts(CELL, samples, doubled).verdict == "fail"


def test_counters_that_were_not_read_are_no_layer() -> None:
    found = check_counts(
        CELL, serial([1, 2, 3]), Evidence(counts={"client": 3}, unread=dict.fromkeys(PARTS, "db-1 is down"))
    )
    assert (found.verdict, found.detail) == ("unknown", "client 3; not measured: db-1 is down")


@pytest.mark.parametrize("part", ["app", "haproxy"])
def test_the_spread_over_a_host_that_restarted_is_unknown(part: str) -> None:
    counts, servers = OutcomeCounts({("increment", "hot-0", "ok"): 40}), {"app-1": 30, "app-2": 10}
    found = check_spread(CELL, counts, Evidence(servers=servers, unread={part: "it restarted"}))
    assert (found.verdict, found.detail) == ("unknown", "not measured: it restarted")


def test_the_worst_verdict_wins_and_none_is_unknown() -> None:
    assert worst(["pass", "unknown", "pass"]) == "unknown"
    assert worst(["pass", "unknown", "fail"]) == "fail"
    assert worst(["pass"]) == "pass"
    assert worst([]) == "unknown"
