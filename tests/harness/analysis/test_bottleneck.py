"""Each kind of saturation is reported where it occurs and only there; a part without telemetry is never idle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from harness.analysis.bottleneck import PARTS, Attribution, attribute
from harness.analysis.telemetry_totals import aggregate, readings
from harness.model import Backend, Cell, Trial
from harness.record import TrialResult

ROLES = {"db-1": "db", "app-1": "app", "app-2": "app", "app-3": "app", "lb-1": "lb", "load-1": "load"}
CAPS = {"db-1": 1.0, "app-1": 0.1, "app-2": 0.1, "app-3": 0.1, "lb-1": 0.5, "load-1": 0.8}
Change = Mapping[tuple[str, str], float]


def idle(host: str) -> dict[str, float]:
    """One second of a host that has little to do."""
    metrics = {
        "host_seconds": 1.0,
        "cpu_used_cores": 0.2 * CAPS[host],
        "cpu_cap_cores": CAPS[host],
        "cpu_throttled_share": 0.01,
        "machine_cpu_share": 0.4,
    }
    if host.startswith("app"):
        metrics |= {"pool_total": 5.0, "pool_idle": 4.0, "pool_waiting": 0.0}
    if host.startswith("db"):
        metrics |= {"pg_active": 4.0, "pg_wait_lock": 0.0, "pg_wait_io": 1.0, "pg_seconds": 1.0}
    return metrics


def recorded(change: Change, *, seconds: int = 5, order: int = 1, without: str = "") -> list[dict[str, Any]]:
    """Telemetry rows of a trial as the file holds them: text."""
    return [
        {"second": f"{second}.25", "order": str(order), "host": host, "metric": metric, "value": str(value)}
        for second in range(seconds)
        for host in ROLES
        if host != without
        for metric, value in {**idle(host), **{m: v for (h, m), v in change.items() if h == host}}.items()
        if value >= 0
    ]


def trial(hosts: int = 2, backend: Backend = "postgres", **figures: float) -> TrialResult:
    cell = Cell(scenario="throughput", backend=backend, hosts=hosts, pool=5)
    return TrialResult(trial=Trial(cell=cell, number=1, order=1, seed=1), figures=figures)


def attribution(rows: list[dict[str, Any]], roles: Mapping[str, str], row: TrialResult) -> Attribution:
    return attribute(aggregate(readings(rows), roles, {row.trial.order}).get(row.trial.order, {}), roles, row)


def attribution_of(change: Change, **more: Any) -> Attribution:
    return attribution(recorded(change, **more), ROLES, trial())


@pytest.mark.parametrize(
    ("change", "saturated", "text"),
    [
        ({("load-1", "cpu_used_cores"): 0.76}, "load CPU", "load CPU: load-1 at 95% of its cap of 0.8 core"),
        ({("lb-1", "cpu_used_cores"): 0.46}, "HAProxy CPU", "HAProxy CPU: lb-1 at 92% of its cap of 0.5 core"),
        (
            {
                ("app-1", "cpu_used_cores"): 0.097,
                ("app-2", "cpu_used_cores"): 0.097,
                ("app-1", "cpu_throttled_share"): 0.62,
                ("app-2", "cpu_throttled_share"): 0.7,
            },
            "app CPU",
            "app CPU: 2 of 2 hosts at 97% of their cap of 0.1 core (throttled in 62% to 70% of the periods)",
        ),
        (
            {("app-2", "cpu_throttled_share"): 0.55},
            "app CPU",
            "app CPU: 1 of 2 hosts at 20% of its cap of 0.1 core (throttled in 55% of the periods)",
        ),
        ({("db-1", "cpu_used_cores"): 0.95}, "database CPU", "database CPU: db-1 at 95% of its cap of 1 core"),
        (
            {(host, "machine_cpu_share"): 0.99 for host in ROLES},
            "machine",
            "machine: 99% of the cores that 5 hosts run on were busy",
        ),
        (
            {("app-1", "pool_waiting"): 12.0},
            "pool waiting",
            "pool waiting: on 1 of 2 pools (5 connections per host) in 100% of the readings, 12.0 requests on average",
        ),
        (
            {("db-1", "pg_wait_lock"): 3.5},
            "lock waits",
            "lock waits: 3.5 of 4.0 active sessions waited for a lock",
        ),
        (
            {("db-1", "pg_wait_io"): 2.5},
            "database I/O",
            "database I/O: 2.5 of 4.0 active sessions waited for a file or the WAL",
        ),
    ],
)
def test_a_saturated_part_is_named_with_its_figures(change: Change, saturated: str, text: str) -> None:
    found = attribution_of(change)
    assert found.saturated == (saturated,)
    assert found.line.startswith(text)
    assert "nothing" not in found.line


@pytest.mark.parametrize(
    "change",
    [
        {},
        {("load-1", "cpu_used_cores"): 0.71},
        {("lb-1", "cpu_used_cores"): 0.44},
        {("app-1", "cpu_used_cores"): 0.089, ("app-1", "cpu_throttled_share"): 0.49},
        {("db-1", "cpu_used_cores"): 0.89},
        {("lb-1", "machine_cpu_share"): 0.94},
        {("db-1", "pg_wait_lock"): 1.9},
        {("db-1", "pg_wait_io"): 1.9},
        {("app-3", "cpu_used_cores"): 0.1, ("app-3", "pool_waiting"): 9.0},  # it did not serve
    ],
)
def test_a_part_below_its_limit_is_not_saturated(change: Change) -> None:
    found = attribution_of(change)
    assert found.saturated == ()
    assert found.line.startswith("nothing was saturated: load CPU ")
    assert set(found.levels) == set(PARTS)
    assert "not known" not in found.line


def test_several_saturated_parts_are_named_in_the_order_of_a_requests_path() -> None:
    change = {("db-1", "cpu_used_cores"): 1.0, ("app-1", "pool_waiting"): 1.0, ("load-1", "cpu_used_cores"): 0.8}
    assert attribution_of(change).saturated == ("load CPU", "database CPU", "pool waiting")


def test_a_full_machine_is_not_named_beside_the_host_that_fills_it() -> None:
    alone = {"db-1": "db"}
    change = {("db-1", "cpu_used_cores"): 1.0, ("db-1", "machine_cpu_share"): 1.0}
    assert attribution(recorded(change), alone, trial()).saturated == ("database CPU",)


def test_a_host_without_a_cap_is_measured_by_its_cores() -> None:
    change = {("db-1", "cpu_throttled_share"): -1.0, ("db-1", "cpu_cap_cores"): 4.0, ("db-1", "cpu_used_cores"): 3.8}
    assert attribution_of(change).line == "database CPU: db-1 at 95% of its 4 cores"


@pytest.mark.parametrize(
    ("workers", "used", "text"),
    [
        (1, 1.0, "app CPU: 1 of 2 hosts at 100% of what 1 worker can use of its cap of 4 cores"),
        (2, 1.9, "app CPU: 1 of 2 hosts at 95% of what 2 workers can use of its cap of 4 cores"),
        (2, 1.0, "nothing was saturated"),
        (8, 1.9, "nothing was saturated"),
        (8, 3.9, "app CPU: 1 of 2 hosts at 98% of its cap of 4 cores"),
    ],
)
def test_fewer_workers_than_cores_are_the_limit(workers: int, used: float, text: str) -> None:
    change = {("app-1", "cpu_cap_cores"): 4.0, ("app-1", "cpu_used_cores"): used, ("app-1", "pool_waiting"): -1.0}
    change |= {("app-1", f"pool_waiting.{n}"): 0.0 for n in range(1, workers + 1)}
    assert attribution_of(change).line.startswith(text)


def test_the_pool_wait_is_a_share_of_the_service_time() -> None:
    """An open load beyond what the tier can do: most of the latency went by before anything was sent."""
    found = attribution(recorded({}), ROLES, trial(pool_wait_ms=60.0, service_mean_ms=80.0, mean_ms=500.0))
    assert found.saturated == ("pool waiting",)
    assert found.line.startswith("pool waiting: requests waited 60.0 of 80.0 ms on average")
    assert (
        attribution(recorded({}), ROLES, trial(pool_wait_ms=30.0, service_mean_ms=80.0, mean_ms=40.0)).saturated == ()
    )


def test_occasional_waits_are_not_saturation() -> None:
    rows = recorded({})
    waiting = [row for row in rows if row["metric"] == "pool_waiting" and row["host"] == "app-1"]
    for row in waiting[:2]:
        row["value"] = "40"
    assert attribution(rows, ROLES, trial()).saturated == ()
    waiting[2]["value"] = "40"
    assert attribution(rows, ROLES, trial()).saturated == ("pool waiting",)


@pytest.mark.parametrize(("looked", "waited", "full"), [(12.0, 0.4, False), (0.0, 23.1, True), (12.0, 23.1, True)])
def test_the_wait_that_responses_report_overrides_the_readings(looked: float, waited: float, *, full: bool) -> None:
    rows = recorded({("app-1", "pool_waiting"): looked})
    found = attribution(rows, ROLES, trial(pool_wait_ms=waited, mean_ms=40.2))
    assert ("pool waiting" in found.saturated) == full
    assert f"{waited} of 40.2 ms on average" in found.line


def test_each_worker_has_its_pool() -> None:
    change = {("app-1", "pool_waiting"): -1.0, ("app-1", "pool_waiting.1"): 0.0, ("app-1", "pool_waiting.2"): 7.0}
    assert attribution_of(change).line.startswith("pool waiting: on 1 of 3 pools (5 connections per host)")


def test_the_mean_is_weighed_by_the_length_of_each_interval() -> None:
    rows = recorded({("load-1", "cpu_used_cores"): 0.8}, seconds=4)
    rows += [
        {"second": "4.5", "order": "1", "host": "load-1", "metric": metric, "value": str(value)}
        for metric, value in {**idle("load-1"), "cpu_used_cores": 0.0, "host_seconds": 0.01}.items()
    ]
    assert attribution(rows, ROLES, trial()).levels["load CPU"] == pytest.approx(4 / 4.01)


def test_rows_of_other_trials_and_between_trials_are_ignored() -> None:
    rows = recorded({}) + recorded({("load-1", "cpu_used_cores"): 0.8}, order=2, seconds=50)
    assert attribution(rows + recorded({}, order=0), ROLES, trial()).saturated == ()
    assert (
        attribution(rows[len(recorded({})) :], ROLES, trial()).line == "not known, because there is no telemetry of it"
    )


@pytest.mark.parametrize(("each", "why"), [(0.95, "it ran only 1.9 s"), (1.0, "")])
def test_a_trial_shorter_than_two_seconds_is_not_attributed(each: float, why: str) -> None:
    rows = recorded({("load-1", "cpu_used_cores"): 0.8, **{(host, "host_seconds"): each for host in ROLES}}, seconds=2)
    found = attribution(rows, ROLES, trial())
    assert (found.unknown, found.saturated) == (why, () if why else ("load CPU",))
    assert found.line.startswith(f"not known, because {why}" if why else "load CPU")


@pytest.mark.parametrize(
    "damage", [{"value": "x"}, {"value": "nan"}, {"second": "inf"}, {"order": "1.5"}, {"value": ""}]
)
def test_a_damaged_row_of_telemetry_is_rejected(damage: dict[str, str]) -> None:
    rows = recorded({})
    with pytest.raises(ValueError, match=r"."):
        list(readings([{**rows[0], **damage}]))


def test_a_reading_with_too_many_metrics_is_rejected() -> None:
    row = recorded({})[0]
    with pytest.raises(ValueError, match="more than 1,000 metrics"):
        list(readings({**row, "metric": f"m{n}"} for n in range(2000)))


@pytest.mark.parametrize(
    "metric", ["cpu_used_cores", "cpu_cap_cores", "machine_cpu_share", "pg_wait_lock", "pg_active"]
)
def test_a_reading_without_a_needed_metric_is_ignored(metric: str) -> None:
    assert attribution_of({(host, metric): -1.0 for host in ROLES}).saturated == ()


def test_a_reading_over_no_time_has_no_weight() -> None:
    nothing = [{**row, "second": "9.9", "value": "0"} for row in recorded({}, seconds=1)]
    assert attribution_of({}).levels == attribution(recorded({}) + nothing, ROLES, trial()).levels


def test_queues_need_several_readings() -> None:
    found = attribution_of({("app-1", "pool_waiting"): 9.0, ("db-1", "pg_wait_lock"): 4.0}, seconds=2)
    assert found.saturated == ()
    assert "pool waiting (2 readings), lock waits (2 readings)" in found.line


def test_a_silent_host_makes_the_bottleneck_unknown_where_nothing_else_is_saturated() -> None:
    found = attribution_of({}, without="db-1")
    assert (found.unknown, found.saturated) == ("there is no telemetry of db-1", ())
    assert found.line.startswith("not known, because there is no telemetry of db-1; not saturated: load CPU 20%, ")
    assert found.line.endswith(
        "; not known: database CPU (no telemetry), lock waits (0 readings), database I/O (0 readings)"
    )
    assert attribution_of({}, without="app-2").unknown == "there is no telemetry of app-2"
    found = attribution_of({("load-1", "cpu_used_cores"): 0.8}, without="app-2")
    assert (found.unknown, found.saturated) == ("", ("load CPU",))
    assert found.line.endswith("; no telemetry of app-2")


def test_a_database_without_readings_makes_the_bottleneck_unknown() -> None:
    """Its host is still read where only the connection to PostgreSQL is lost."""
    lost: Change = {("db-1", metric): -1.0 for metric in ("pg_active", "pg_wait_lock", "pg_wait_io")}
    found = attribution_of(lost)
    assert found.unknown == "there is no telemetry of db-1"
    assert found.levels["database CPU"] == pytest.approx(0.2)


def test_the_database_is_no_part_of_a_sqlite_trial() -> None:
    rows = recorded({("db-1", "cpu_used_cores"): 1.0, ("db-1", "pg_wait_lock"): 4.0})
    found = attribution(rows, ROLES, trial(backend="sqlite-naive"))
    assert found.saturated == ()
    assert set(found.levels) == {"load CPU", "HAProxy CPU", "app CPU", "machine", "pool waiting"}
    assert "database" not in found.line
