"""Little's law between the client's number in flight and the time inside the service that responses report."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic_ns, perf_counter
from typing import Any

import pytest

from harness.load import closed_model, connection, engine, generator_checks
from harness.load.littles_law import is_judged, mean_in_service, reasons
from harness.load.results.service_times import ServiceTimes
from tests.support.summaries import lane_summary, process, window

from .conftest import INCREMENT, Handler, LoopbackServer, Outcome, Request, http, job_dict, run_job

Serve = Callable[[Handler], Awaitable[LoopbackServer]]
CLOSED: dict[str, Any] = {"mode": "closed", "offered_rate": None, "clients": 20, "peak_in_flight": 20}
ONE_SECOND = {
    "measure_to_us": 1_000_000, "window": window(2000), "last_due_us": 999_500, "last_sent_us": 999_900,
    "watch": (process(looks=97),),
}  # fmt: skip
"""A window as with --quick."""


def told(busy_us: float, **more: Any) -> ServiceTimes:
    return ServiceTimes(told=20_000, busy_us=busy_us, **more)


@pytest.mark.parametrize("model", [CLOSED, {}])
@pytest.mark.parametrize(
    "inside",
    [
        told(180_000_000),
        told(210_000_000),  # within 5 %
        told(20_000_000),  # nine tenths of the time in HAProxy's queue, or before a saturated event loop
        told(0),
        None,
        ServiceTimes(),
    ],
)
def test_requests_that_wait_outside_of_the_service_contradict_nothing(
    model: dict[str, Any], inside: ServiceTimes | None
) -> None:
    assert reasons(lane_summary(**model, inside=inside)) == []


@pytest.mark.parametrize("model", [CLOSED, {}])
def test_more_requests_in_the_service_than_in_flight_are_impossible(model: dict[str, Any]) -> None:
    """20 were in flight for 10 s; the durations add up to 250 s: a quarter of the responses were counted twice."""
    assert reasons(lane_summary(**model, inside=told(250_000_000))) == [
        "Little's law does not hold: 20.0 requests were in flight on average, by the durations that the responses "
        "report 25.0 were inside the service (tolerance 2.0)"
    ]


@pytest.mark.parametrize("model", [CLOSED, {}])
def test_a_single_response_with_more_time_than_passed_is_named(model: dict[str, Any]) -> None:
    assert reasons(lane_summary(**model, inside=told(180_000_000, impossible=1, most_us=1234.5))) == [
        "1 of 20,000 responses report more time inside the service than passed for the client (by up to 1.234 ms): the "
        "client's clock or the service's `duration` is wrong"
    ]


@pytest.mark.parametrize("busy_us", [100_000_000, 300_000_000])
def test_the_clients_own_times_are_no_second_side_of_a_closed_load(busy_us: int) -> None:
    assert reasons(lane_summary(**CLOSED, busy_us=busy_us)) == []
    assert len(reasons(lane_summary(busy_us=busy_us))) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"watch": (process(in_flight=30.0),)}, "30.0 requests were in flight on average"),
        ({"busy_us": 150_000_000}, "their times add up to 15.0"),
        (ONE_SECOND | {"busy_us": 15_000_000}, "their times add up to 15.0"),
        (ONE_SECOND | {"busy_us": 85_000_000, "watch": (process(looks=97, in_flight=100.0),)}, "85.0"),
    ],
)
def test_an_open_load_compares_the_number_in_flight_with_their_times(changes: dict[str, Any], message: str) -> None:
    (problem,) = reasons(lane_summary(**changes))
    assert problem.startswith("Little's law does not hold: ")
    assert message in problem


@pytest.mark.parametrize(
    "changes",
    [
        {"watch": (process(in_flight=20.9),)},  # within 5 %
        ONE_SECOND | {"busy_us": 18_000_000},  # chance
        ONE_SECOND | {"busy_us": 15_000_000, "watch": (process(looks=49),)},  # too few looks
        # a burst: a thousand in flight in the first 10 ms, before the first look
        ONE_SECOND | {"busy_us": 510_000_000, "peak_in_flight": 1000, "watch": (process(looks=97, in_flight=480),)},
        {"inside": told(250_000_000), "watch": (process(looks=49),)},
        {"inside": told(250_000_000), "measure_to_us": None},
        {"busy_us": None},
        {"watch": ()},
    ],
)
def test_values_without_significance_are_no_reason(changes: dict[str, Any]) -> None:
    assert reasons(lane_summary(**changes)) == []


def test_without_durations_nothing_is_judged() -> None:
    assert not is_judged(lane_summary())
    assert not is_judged(lane_summary(inside=ServiceTimes()))
    assert is_judged(lane_summary(inside=told(0)))
    assert mean_in_service(lane_summary(inside=ServiceTimes())) is None
    assert mean_in_service(lane_summary(inside=told(150_000_000))) == 15.0


def test_the_law_is_among_the_reasons_of_the_generator() -> None:
    (problem,) = generator_checks.reasons(lane_summary(**CLOSED, inside=told(250_000_000)))
    assert "by the durations that the responses report" in problem


# -- a real load


def answering(duration_ms: Callable[[float], float]) -> Handler:
    """Responses after 5 ms; `duration_ms`: of the time that a response took inside, what it tells."""

    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        began = perf_counter()
        await asyncio.sleep(0.005)
        told_ms = duration_ms((perf_counter() - began) * 1000)
        writer.write(http({"success": True, "value": request.number + 1, "duration": round(told_ms, 3)}))
        return None

    return handler


async def load(serve: Serve, folder: Path, handler: Handler, **changes: Any) -> Outcome:
    server = await serve(handler)
    operation = INCREMENT | {"capture": ["retries", "duration"]}
    return await run_job(job_dict(server.port, folder, clients=8, requests=400, operations=[operation], **changes))


@pytest.mark.parametrize("samples", [True, False])
@pytest.mark.parametrize("model", [{}, {"mode": "open", "rate": 800.0}])
async def test_a_service_that_tells_the_truth_contradicts_nothing(
    serve: Serve, tmp_path: Path, model: dict[str, Any], *, samples: bool
) -> None:
    done = await load(serve, tmp_path, answering(lambda ms: ms), samples=samples, **model)
    inside, busy_us = done.summary.inside, done.summary.busy_us
    assert inside is not None
    assert busy_us is not None
    assert (inside.told, inside.impossible) == (400, 0)
    assert 400 * 5_000 <= inside.busy_us <= busy_us
    assert reasons(done.summary) == []


@pytest.mark.parametrize("tells", [lambda ms: 0.0, lambda ms: ms / 10])
async def test_a_service_that_tells_too_little_contradicts_nothing(
    serve: Serve, tmp_path: Path, tells: Callable[[float], float]
) -> None:
    assert reasons((await load(serve, tmp_path, answering(tells))).summary) == []


async def test_a_service_that_tells_too_much_is_found(serve: Serve, tmp_path: Path) -> None:
    found = reasons((await load(serve, tmp_path, answering(lambda ms: ms + 1000))).summary)
    assert found[0].startswith("400 of 400 responses report more time inside the service than passed for the client")


@pytest.mark.parametrize("model", [{}, {"mode": "open", "rate": 800.0}])
async def test_a_client_that_stamps_responses_too_early_is_found(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: dict[str, Any]
) -> None:
    """The closed model's own law held here: each request is sent when the last one is done, by the same clock."""
    monkeypatch.setattr(connection, "monotonic_ns", lambda: monotonic_ns() - 4_000_000)
    found = reasons((await load(serve, tmp_path, answering(lambda ms: ms), **model)).summary)
    assert "responses report more time inside the service than passed for the client" in found[0]


async def test_a_client_whose_clock_runs_slowly_is_found(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = monotonic_ns()
    for module in (connection, engine, closed_model):
        monkeypatch.setattr(module, "monotonic_ns", lambda: began + 10**9 + (monotonic_ns() - began) // 2)
    found = reasons((await load(serve, tmp_path, answering(lambda ms: ms))).summary)
    assert "responses report more time inside the service than passed for the client" in found[0]


async def test_responses_without_a_duration_are_not_judged(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        writer.write(http({"success": True, "value": request.number + 1}))
        return None

    assert not is_judged((await load(serve, tmp_path, handler)).summary)
