"""Requests that are sent again: with the same id, later each time, at most so often, and applied once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harness.checks.fault_account import account
from harness.checks.ledger import check_ledger
from harness.errors import UsageError
from harness.load.clock import now_us
from harness.load.job import decode_job
from harness.load.retry_model import RetryModel
from harness.load.sample_buffer import SampleBuffer
from harness.record import Evidence, distinct
from tests.support.histories import CELL

from .conftest import INCREMENT, Handler, LoopbackServer, Request, counted, http, job_dict, run_job

Serve = Callable[[Handler], Awaitable[LoopbackServer]]
RETRIED = INCREMENT | {"idempotency": True, "retries": 4}


class Service:
    """Keeps a ledger. Of each id the first `faults` requests end as `fault` says, applied or not."""

    def __init__(
        self, fault: str, faults: int, *, applies: bool = False, every: int = 5, doubles: bool = False
    ) -> None:
        self.fault, self.faults, self.applies, self.every, self.doubles = fault, faults, applies, every, doubles
        self.value = 0
        self.ledger: dict[str, int] = {}
        self.sent = Counter[str]()
        self.order: list[str] = []

    def _apply(self, ident: str) -> int:
        if ident not in self.ledger or self.doubles:
            self.value += 1
        return self.ledger.setdefault(ident, self.value)

    async def __call__(self, request: Request, writer: asyncio.StreamWriter) -> bool | None:
        ident = request.headers["idempotency-key"]
        number = self.order.index(ident) if ident in self.sent else len(self.order)
        self.order += [ident] if ident not in self.sent else []
        self.sent[ident] += 1
        if number % self.every == 0 and self.sent[ident] <= self.faults:
            if self.applies:
                self._apply(ident)
            if self.fault == "eof":
                writer.close()
                return False
            writer.write(http({"outcome": "aborted"}, status=503))
            return None
        writer.write(counted(self._apply(ident)))
        return None

    def evidence(self) -> Evidence:
        ledger = {ident: ("hot-0", value) for ident, value in self.ledger.items()}
        return Evidence(initial={"hot-0": 0}, final={"hot-0": self.value}, ledger=ledger)


def job(server: LoopbackServer, folder: Path, **changes: Any) -> dict[str, Any]:
    wanted = {"mode": "open", "rate": 200.0, "seconds": 0.5, "clients": 20, "operations": [RETRIED]}
    return job_dict(server.port, folder, **wanted | changes)


@pytest.mark.parametrize(("fault", "applies"), [("busy", False), ("eof", False), ("eof", True)])
async def test_a_request_is_sent_again_until_it_is_acknowledged(
    serve: Serve, tmp_path: Path, fault: str, applies: bool
) -> None:
    service = Service(fault, 2, applies=applies)
    done = await run_job(job(await serve(service), tmp_path))
    samples = done.samples
    assert len(service.ledger) == service.value == 100
    assert Counter(service.sent.values()) == {1: 80, 3: 20}
    assert len(samples) == 140
    joined = distinct(samples)
    assert (len(joined), set(joined.outcome)) == (100, {"ok"})
    assert len(set(samples.seq)) == len(samples)
    for ident, times in service.sent.items():
        rows = [row for row, each in enumerate(samples.id) if each == ident]
        assert len(rows) == times
        assert len({samples.due_us[row] for row in rows}) == 1
    slow = [
        done_us - due for done_us, due in zip(joined.done_us, joined.due_us, strict=True) if done_us - due > 150_000
    ]
    assert len(slow) == 20, "the latency has the waits in it"
    assert check_ledger(CELL, samples, service.evidence()).verdict == "pass"
    result = account(samples, service.evidence())
    assert (result.acknowledged, result.lost, result.doubled, result.invented) == (100, 0, 0, 0)


async def test_a_service_that_applies_each_retry_is_found(serve: Serve, tmp_path: Path) -> None:
    service = Service("eof", 1, applies=True, doubles=True)
    done = await run_job(job(await serve(service), tmp_path))
    assert service.value == 120
    assert account(done.samples, service.evidence()).doubled == 20


async def test_retries_end(serve: Serve, tmp_path: Path) -> None:
    service = Service("busy", 99, every=1)
    operation = RETRIED | {"retries": 2}
    done = await run_job(job(await serve(service), tmp_path, rate=40.0, operations=[operation]))
    assert Counter(service.sent.values()) == {3: 20}
    assert set(done.samples.outcome) == {"fail"}
    assert done.summary.measure.sent == 60


async def test_no_retry_is_sent_after_the_deadline_of_the_request(serve: Serve, tmp_path: Path) -> None:
    service = Service("busy", 99, every=1)
    done = await run_job(job(await serve(service), tmp_path, rate=40.0, timeout_s=0.5))
    assert max(service.sent.values()) <= 3
    due = dict(zip(done.samples.id, done.samples.due_us, strict=True))
    assert all(sent - due[each] < 600_000 for each, sent in zip(done.samples.id, done.samples.sent_us, strict=True))


async def test_requests_that_were_never_sent_are_not_sent_again(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        await asyncio.sleep(30)
        return None

    done = await run_job(job(await serve(handler), tmp_path, rate=50.0, seconds=0.4, timeout_s=0.5, clients=1))
    counts = Counter(zip(done.samples.outcome, done.samples.error, strict=True))
    assert set(counts) == {("unknown", "timeout"), ("fail", "not sent")}
    assert sum(counts.values()) == 20


async def test_an_interruption_forgets_what_waits_to_be_sent_again(serve: Serve, tmp_path: Path) -> None:
    service = Service("busy", 99, every=1)
    server = await serve(service)
    decoded = decode_job(job(server, tmp_path, seconds=60.0, rate=20.0))
    buffer = SampleBuffer(decoded, tmp_path, lambda _: None)
    engine = RetryModel(decoded, buffer)
    await engine.open()
    engine.release(now_us())
    while not engine._delayed:
        await asyncio.sleep(0.01)
    engine.interrupt()
    await asyncio.wait_for(engine.finished, 10)
    sent = sum(service.sent.values())
    await asyncio.sleep(0.4)
    assert sum(service.sent.values()) == sent
    engine.close()
    buffer.close()


def test_retries_need_ids_and_the_open_model(tmp_path: Path) -> None:
    for changes in ({"operations": [INCREMENT | {"retries": 2}]}, {"mode": "closed", "rate": None}):
        with pytest.raises(UsageError, match="retries"):
            decode_job(job_dict(1, tmp_path, **{"mode": "open", "rate": 9.0, "operations": [RETRIED]} | changes))
