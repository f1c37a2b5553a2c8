"""Agent, hostile proxy, real service, real database: outcomes and the findings of the oracle are checked.

The proxy records what it did to each request, so it is known whether the request was applied.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from harness.checks import counter_oracle
from harness.checks import ledger as ledger_check
from harness.load.results.samples import read_samples
from harness.model import Cell, Finding
from harness.record import Evidence, Samples
from tests.support.local_target import serving
from tests.support.postgres_server import Database

from .conftest import AgentProcess, Handler, LoopbackServer, Request, counted, http, job_dict

Serve = Callable[[Handler], Awaitable[LoopbackServer]]
Start = Callable[[dict[str, Any] | str], Awaitable[AgentProcess]]
CELL = Cell(scenario="hostile-proxy", clients=20)
REQUESTS = 400
TIMEOUT_S = 3.0

FAULTS: Mapping[str, set[tuple[str, str]]] = {
    # fault injected by the proxy: the allowed outcomes and errors
    "": {("ok", "")},
    "drop the request": {("unknown", "eof"), ("unknown", "reset")},
    "drop the answer": {("unknown", "eof"), ("unknown", "reset")},
    "delay": {("ok", "")},
    "delay for too long": {("unknown", "timeout")},
    "truncate the head": {("unknown", "truncated")},
    "truncate the body": {("unknown", "truncated")},
    "garble the head": {("unknown", "protocol")},
    "garble the body": {("unknown", "garbled")},
    "duplicate the answer": {("ok", "")},
    "refuse": {("unknown", "HTTP 503")},
}
NOT_FORWARDED = ("drop the request", "refuse", "pretend")


class Proxy:
    """Forwards requests to `url` with the fault `faults[n]` for number n; counts received and forwarded ones."""

    def __init__(self, url: str, faults: Mapping[int, str], session: aiohttp.ClientSession) -> None:
        self._url, self._faults, self._session = url, faults, session
        self.received: Counter[int] = Counter()
        self.forwarded: Counter[int] = Counter()

    async def __call__(self, request: Request, writer: asyncio.StreamWriter) -> bool | None:
        number = int(request.line.split("?n=")[1].split()[0])
        fault = self._faults.get(number, "")
        self.received[number] += 1
        answer = b""
        for _ in range(0 if fault in NOT_FORWARDED else 2 if fault == "replay" else 1):
            answer = await self._forward(number, request)
        if "drop" in fault:
            return False
        if fault in ("refuse", "pretend"):
            writer.write(counted(1) if fault == "pretend" else http(raw=b"<html>no server</html>", status=503))
        elif "truncate" in fault:
            writer.write(answer[: 20 if "head" in fault else -5])
            return False
        elif fault == "alter":
            writer.write(http(json.loads(answer.split(b"\r\n\r\n")[1]) | {"value": 10**6 + number}))
        elif "garble" in fault:
            writer.write(answer.replace(*((b"HTTP/1.1", b"HTP/9.x") if "head" in fault else (b'"', b"\x01"))))
        else:
            await asyncio.sleep({"delay": 0.2, "delay for too long": TIMEOUT_S + 0.5}.get(fault, 0))
            writer.write(answer * (2 if fault == "duplicate the answer" else 1))
        return None

    async def _forward(self, number: int, request: Request) -> bytes:
        self.forwarded[number] += 1
        async with self._session.post(
            f"{self._url}/api/increment", data=request.body, headers=request.headers
        ) as answer:
            return http(raw=await answer.read(), status=answer.status)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as made:
        yield made


@pytest.fixture
def bench(
    serve: Serve, agent: Start, session: aiohttp.ClientSession, database: Database, tmp_path: Path
) -> Callable[..., Awaitable[tuple[Proxy, Samples, Evidence]]]:
    """`await bench(faults, keyed=…)` runs one agent on one hot key; returns the proxy, the samples and the evidence."""

    async def run(faults: Mapping[int, str], *, keyed: bool) -> tuple[Proxy, Samples, Evidence]:
        increment = {
            "name": "increment",
            "path": "/api/increment?n={n}",
            "body": {"key": "{key}"},
            "value": "value",
            "idempotency": keyed,
        }
        with serving(database.environ, tmp_path / "log") as url:
            proxy = Proxy(url, faults, session)
            server = await serve(proxy)
            out = tmp_path / "out"
            process = await agent(
                job_dict(server.port, out, clients=20, requests=REQUESTS, timeout_s=TIMEOUT_S, operations=[increment])
            )
            await process.event("ready")
            process.tell("go")
            await process.event("done")
        with psycopg.connect(database.dsn) as connection:
            final: dict[str, int] = dict(connection.execute("SELECT key, value FROM counters").fetchall())
            rows = connection.execute("SELECT id, key, value FROM ledger").fetchall()
        ledger = {ident: (key, value) for ident, key, value in rows} if keyed else None
        return proxy, read_samples(out / "samples.csv"), Evidence(final=final, ledger=ledger)

    return run


def findings_by_check(samples: Samples, evidence: Evidence) -> dict[str, Finding]:
    findings = [
        counter_oracle.check_final_value(CELL, samples, evidence),
        counter_oracle.check_value_sequence(CELL, samples, evidence),
        counter_oracle.check_real_time_order(CELL, samples),
        ledger_check.check_ledger(CELL, samples, evidence),
    ]
    return {finding.check: finding for finding in findings}


def on_some(fault: str, number: int) -> dict[int, str]:
    return dict.fromkeys(random.Random(3).sample(range(REQUESTS), number), fault)


Bench = Callable[..., Awaitable[tuple[Proxy, Samples, Evidence]]]


async def test_outcomes_and_oracle_are_right_under_every_fault(bench: Bench) -> None:
    rng = random.Random(1)
    injected = [fault for fault in FAULTS if fault] * 6
    faults = dict(zip(rng.sample(range(REQUESTS), len(injected)), injected, strict=True))
    proxy, samples, evidence = await bench(faults, keyed=True)
    assert sorted(samples.seq) == list(range(REQUESTS))
    assert proxy.received == Counter(range(REQUESTS)), "each request was sent once"
    for seq, outcome, error in zip(samples.seq, samples.outcome, samples.error, strict=True):
        fault = faults.get(seq, "")
        assert (outcome, error) in FAULTS[fault], (seq, fault)
    applied = proxy.forwarded.total()
    assert evidence.final == {"hot-0": applied}
    ok, unknown = samples.outcome.count("ok"), samples.outcome.count("unknown")
    assert ok < applied < ok + unknown == REQUESTS
    findings = findings_by_check(samples, evidence)
    assert {check: finding.verdict for check, finding in findings.items()} == dict.fromkeys(findings, "pass"), findings
    assert (findings["final value"].numbers["ok"], findings["final value"].numbers["unknown"]) == (ok, unknown)
    assert findings["ledger"].numbers["rows"] == applied


@pytest.mark.parametrize("keyed", [False, True], ids=["without a key", "with Idempotency-Key"])
async def test_replayed_requests_are_detected_unless_they_have_an_idempotency_key(bench: Bench, keyed: bool) -> None:
    proxy, samples, evidence = await bench(on_some("replay", 30), keyed=keyed)
    assert proxy.forwarded.total() == REQUESTS + 30
    assert samples.outcome == ["ok"] * REQUESTS
    findings = findings_by_check(samples, evidence)
    if keyed:
        assert evidence.final == {"hot-0": REQUESTS}
        assert {finding.verdict for finding in findings.values()} == {"pass"}, findings
    else:
        assert (findings["final value"].verdict, findings["final value"].numbers["invented"]) == ("fail", 30)
        assert (findings["value sequence"].verdict, findings["value sequence"].numbers["gaps"]) == ("fail", 30)
        assert findings["real-time order"].verdict == "pass"
        assert findings["ledger"].verdict == "unknown"


async def test_forged_responses_are_detected(bench: Bench) -> None:
    _, samples, evidence = await bench(on_some("pretend", 7), keyed=True)
    assert samples.outcome == ["ok"] * REQUESTS
    findings = findings_by_check(samples, evidence)
    assert (findings["final value"].verdict, findings["final value"].numbers["lost"]) == ("fail", 7)
    assert (findings["value sequence"].verdict, findings["value sequence"].numbers["doubles"]) == ("fail", 7)
    assert findings["ledger"].numbers["problems"] == {"acknowledged but absent": 7}


async def test_altered_values_are_detected(bench: Bench) -> None:
    _, samples, evidence = await bench(on_some("alter", 5), keyed=True)
    assert samples.outcome == ["ok"] * REQUESTS
    findings = findings_by_check(samples, evidence)
    assert findings["final value"].verdict == "pass"
    assert (findings["value sequence"].verdict, findings["value sequence"].numbers["outside"]) == ("fail", 5)
    assert (findings["ledger"].verdict, findings["ledger"].numbers["problems"]) == ("fail", {"another value": 5})
