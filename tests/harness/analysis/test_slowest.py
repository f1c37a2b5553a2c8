"""Requests with known times and session samples: the largest part of the slowest ones is named."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import pytest

from harness.analysis.slowest import SlowestSplit, split_slowest
from harness.record import Samples, SessionWaits
from tests.support.slow_requests import MS, PID, SECOND, samples, waits


def split(of: Samples, wait: str = "on CPU", saturated: Sequence[str] | None = (), **more: object) -> SlowestSplit:
    result = split_slowest(of, waits(of, wait, **more), saturated)  # type: ignore[arg-type]
    assert result is not None
    assert sum(result.shares.values()) == pytest.approx(1)
    return result


@pytest.mark.parametrize(
    ("times", "wait", "saturated", "cause"),
    [
        ({"queue_ms": 80}, "on CPU", (), "queue before the send"),
        ({"outside_ms": 80}, "on CPU", (), "network"),
        ({"outside_ms": 80}, "on CPU", ("app CPU", "HAProxy CPU"), "app CPU"),
        ({"outside_ms": 80}, "on CPU", ("HAProxy CPU", "pool waiting"), "HAProxy CPU"),
        ({"outside_ms": 80}, "on CPU", None, "outside of the service"),
        ({"pool_ms": 80}, "on CPU", (), "pool"),
        ({"held_ms": 80}, "on CPU", (), "database CPU"),
        ({"held_ms": 80}, "Lock:transactionid", (), "row lock"),
        ({"held_ms": 80}, "Lock:tuple", (), "row lock"),
        ({"held_ms": 80}, "LWLock:WALWrite", (), "WAL"),
        ({"held_ms": 80}, "IO:WALSync", (), "WAL"),
        ({"held_ms": 80}, "IPC:SyncRep", (), "WAL"),
        ({"held_ms": 80}, "IO:DataFileRead", (), "database I/O"),
        ({"held_ms": 80}, "LWLock:BufferContent", (), "other waits of the database"),
        ({"held_ms": 80}, "idle in transaction", (), "app CPU"),
        ({"held_ms": 80}, "Client:ClientRead", (), "app CPU"),
        ({"held_ms": 80}, "", (), "app CPU"),
        ({"held_ms": 80, "retries": 3}, "", (), "back-off before a retry"),
        ({"held_ms": 80, "answered": False}, "on CPU", (), None),
    ],
)
def test_the_largest_part_is_named(
    times: dict[str, float], wait: str, saturated: Sequence[str] | None, cause: str | None
) -> None:
    of = samples(**times)  # type: ignore[arg-type]
    if cause is None:
        assert split_slowest(of, waits(of, wait), saturated) is None
        return
    result = split(of, wait, saturated)
    assert result.first == cause
    assert result.shares[cause] > 0.9


def test_a_lock_names_the_session_that_holds_it() -> None:
    of = samples(held_ms=80)
    result = split(of, "Lock:tuple", more=[(7, "blocks:psql (idle in transaction)"), (8, "on CPU")])
    assert result.blocker == "psql (idle in transaction)"
    assert "row lock 99% (held by psql (idle in transaction))" in result.sentence


def test_the_wait_of_another_session_says_nothing_about_the_request() -> None:
    assert split(samples(held_ms=80), "Lock:tuple", pid=PID + 1).first == "app CPU"


def test_parts_are_shares_of_the_whole_time() -> None:
    shares = split(samples(queue_ms=10, outside_ms=20, pool_ms=30, held_ms=40), "Lock:tuple").shares
    assert dict(shares) == pytest.approx({"row lock": 0.4, "pool": 0.3, "network": 0.2, "queue before the send": 0.1})
    assert list(shares) == ["row lock", "pool", "network", "queue before the send"]


def test_only_the_slowest_requests_count() -> None:
    """Ten of 1,000 requests waited for a lock; the others computed."""
    of = samples(1000, held_ms=20)
    for n in range(100, 110):
        of.done_us[n] += 200 * MS
        of.captured["duration"][n] += 200
    result = split(of, "Lock:tuple")
    assert (result.requests, result.from_ms) == (10, 221)


def test_a_few_samples_do_not_divide_the_time_in_the_database() -> None:
    of = samples(held_ms=80)
    few = SessionWaits(
        tick_us=array("q", [10 * MS]), at_us=array("q", [10 * MS]), pid=array("q", [PID]), wait=["Lock:tuple"]
    )
    result = split_slowest(of, few, ())
    assert result is not None
    assert result.first == "in the database (too few samples)"


def test_a_response_that_does_not_come_is_its_own_cause() -> None:
    of = samples(30)
    for n in range(10):
        of.done_us[n] = of.sent_us[n] + 30 * SECOND // 100
        of.captured["duration"][n] = float("nan")
    of.captured["backend"][10] = PID
    for n in range(10, 12):
        of.done_us[n] += 400 * MS
    assert split(of).shares["no response"] > 0.5


@pytest.mark.parametrize("missing", ["duration", "backend"])
def test_nothing_is_said_where_the_service_does_not_tell(missing: str) -> None:
    columns = [name for name in ("duration", "pool_wait_ms", "retries", "backend") if name != missing]
    of = samples(held_ms=80, columns=columns)
    assert split_slowest(of, waits(of, "on CPU"), ()) is None


def test_a_trial_with_few_requests_is_not_divided() -> None:
    of = samples(19, held_ms=80)
    assert split_slowest(of, waits(of, "on CPU"), ()) is None


def test_the_warm_up_does_not_count() -> None:
    of = samples(60, held_ms=80)
    of.phase[:41] = ["warmup"] * 41
    assert split_slowest(of, waits(of, "on CPU"), ()) is None
