"""Requests whose Idempotency-Key is sent twice at once, against services that keep to it and services that do not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

import pytest

from harness.checks.counter_oracle import check_final_value, check_real_time_order, check_value_sequence
from harness.checks.ledger import check_ledger
from harness.errors import UsageError
from harness.load.job import decode_job
from harness.record import Evidence, Samples, distinct
from tests.support.histories import CELL

from .conftest import INCREMENT, Handler, LoopbackServer, Request, counted, job_dict, run_job

Serve = Callable[[Handler], Awaitable[LoopbackServer]]
Kind = Literal["sound", "applies both", "answers another value"]
TWINS = INCREMENT | {"idempotency": True, "twins": 0.05}


class Service:
    """Counts; the second request of an id waits for the first, or (`applies both`) is an increment of its own."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.value = 0
        self.ledger: dict[str, int] = {}
        self.sent = Counter[str]()

    async def __call__(self, request: Request, writer: asyncio.StreamWriter) -> bool | None:
        ident = request.headers["idempotency-key"]
        self.sent[ident] += 1
        if self.kind == "applies both" or ident not in self.ledger:
            self.value += 1
            value = self.value
            self.ledger.setdefault(ident, value)
        else:
            value = self.ledger[ident] + (self.kind == "answers another value")
        await asyncio.sleep(0.01)
        writer.write(counted(value))
        return None

    def evidence(self) -> Evidence:
        ledger = {ident: ("hot-0", value) for ident, value in self.ledger.items()}
        return Evidence(initial={"hot-0": 0}, final={"hot-0": self.value}, ledger=ledger)


async def load(serve: Serve, folder: Path, kind: Kind, clients: int = 200) -> tuple[Service, Samples]:
    service = Service(kind)
    server = await serve(service)
    done = await run_job(job_dict(server.port, folder, clients=clients, requests=400, operations=[TWINS]))
    return service, done.samples


@pytest.mark.parametrize("clients", [8, 200, 400])
async def test_one_in_twenty_requests_repeats_the_id_of_one_in_flight(
    serve: Serve, tmp_path: Path, clients: int
) -> None:
    service, samples = await load(serve, tmp_path, "sound", clients)
    assert Counter(service.sent.values()) == {1: 360, 2: 20}
    assert len(samples) == len(set(samples.seq)) == 400
    rows: dict[str, list[int]] = {}
    for row, ident in enumerate(samples.id):
        rows.setdefault(ident, []).append(row)
    for one, other in (pair for pair in rows.values() if len(pair) == 2):
        assert max(samples.sent_us[one], samples.sent_us[other]) < min(samples.done_us[one], samples.done_us[other])
        assert samples.value[one] == samples.value[other]


async def test_a_service_that_applies_each_id_once_passes(serve: Serve, tmp_path: Path) -> None:
    service, samples = await load(serve, tmp_path, "sound")
    ledger = check_ledger(CELL, samples, service.evidence())
    assert ledger.verdict == "pass"
    assert ledger.detail.endswith("none doubled although 20 were sent twice at once")
    assert ledger.numbers["twins"] == 20
    for check in (check_final_value, check_value_sequence, check_real_time_order):
        assert check(CELL, samples, service.evidence()).verdict == "pass"
    assert len(distinct(samples)) == 380


async def test_a_service_that_applies_both_twins_fails(serve: Serve, tmp_path: Path) -> None:
    service, samples = await load(serve, tmp_path, "applies both")
    ledger = check_ledger(CELL, samples, service.evidence())
    assert ledger.verdict == "fail"
    assert ledger.numbers["problems"]["another value"] == 20
    final = check_final_value(CELL, samples, service.evidence())
    assert (final.verdict, final.numbers["invented"]) == ("fail", 20)


async def test_a_twin_with_another_value_fails(serve: Serve, tmp_path: Path) -> None:
    service, samples = await load(serve, tmp_path, "answers another value")
    assert check_final_value(CELL, samples, service.evidence()).verdict == "pass"
    ledger = check_ledger(CELL, samples, service.evidence())
    assert (ledger.verdict, ledger.numbers["problems"]) == ("fail", {"another value": 20})


@pytest.mark.parametrize(
    ("change", "operation"),
    [({}, {"idempotency": False}), ({"mode": "open", "rate": 9.0}, {}), ({}, {"twins": 0.6})],
)
def test_twins_need_an_id_and_the_closed_model(change: dict[str, object], operation: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="twins"):
        decode_job(job_dict(1, Path("/nowhere"), **change, operations=[TWINS | operation]))
