"""The endpoints: parse, make one backend call, respond. docs/openapi.yaml describes each field.

Every response passes through `Handlers.guard`, which counts it and turns an error into the contract's form.
A middleware would do the same at twice the cost per request.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from time import perf_counter, time
from typing import Any

from aiohttp import web

from app import list_transaction, validation
from app.backends.base import Backend, RequestCost
from app.drain import Drain
from app.errors import ServiceError
from app.logs import LOG, ErrorLog
from app.metrics import Counters, prometheus
from app.settings import Settings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_JSON = {"Content-Type": "application/json"}
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def json_response(document: object, status: int = 200) -> web.Response:
    """Returns a JSON response, in ASCII: a lone surrogate in a key has no UTF-8 encoding."""
    return web.Response(body=json.dumps(document).encode("ascii"), status=status, headers=_JSON)


class Handlers:
    """All endpoints of one service; `routes()` lists them."""

    def __init__(self, settings: Settings, backend: Backend, counters: Counters, drain: Drain) -> None:
        self._settings = settings
        self._backend = backend
        self._counters = counters
        self._drain = drain
        self._strategies = tuple(backend.strategies)
        self._errors = ErrorLog()
        self._started = perf_counter()
        self._started_at = round(time(), 3)
        self._tail = f',"container":{json.dumps(settings.container_id)}}}'

    def routes(self) -> list[web.RouteDef]:
        """Returns all routes; the last one matches every other path and returns 404 as JSON."""
        posts = {
            "/api/increment": ("increment", self.increment),
            "/api/bulk-insert": ("bulk-insert", self.bulk_insert),
            "/api/transaction": ("transaction", self.transaction),
            "/api/test-isolation": ("test-isolation", self.test_isolation),
            "/api/txn": ("txn", self.txn),
        }
        gets = {
            "/api/counter/{key:.*}": ("counter", self.counter),
            "/api/pool-stats": ("pool-stats", self.pool_stats),
            "/health": ("health", self.health),
            "/live": ("live", self.live),
            "/ready": ("ready", self.ready),
            "/metrics": ("metrics", self.metrics),
        }
        routes = [("POST", path, self.guard(op, handler)) for path, (op, handler) in posts.items()]
        routes += [("GET", path, self.guard(op, handler)) for path, (op, handler) in gets.items()]
        routes += [("*", path, self.guard("other", self.wrong_method("POST"))) for path in posts]
        routes += [("*", path, self.guard("other", self.wrong_method("GET, HEAD"))) for path in gets]
        routes += [("*", "/{path:.*}", self.guard("other", self.not_found))]
        return [web.route(method, path, handler, expect_handler=self.expect) for method, path, handler in routes]

    async def expect(self, request: web.Request) -> web.Response | None:
        """Handles an `Expect` header: 100 for 100-continue, 417 for any other value.

        aiohttp's own handler repeats the value and fails with 500 if it is not UTF-8.
        """
        if request.headers.get("Expect", "").lower() != "100-continue":
            return self._refuse(
                "other", ServiceError(417, "BAD_EXPECT", "the only supported Expect value is 100-continue")
            )
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # aiohttp takes these bytes for the beginning of a response
        return None

    def guard(self, op: str, handler: Handler) -> Handler:
        """Returns a handler that counts the response and turns any error into the contract's form."""
        results = self._counters.requests[op]

        async def guarded(request: web.Request) -> web.StreamResponse:
            self._drain.arrive(op)
            try:
                response = await handler(request)
            except ServiceError as error:
                response = self._refuse(op, error)
            except Exception:  # noqa: BLE001 -- catch-all: return the contract's 500 body and log the exception
                LOG.exception("unexpected error", extra={"facts": {"op": op}})
                response = self._refuse(op, ServiceError(500, "INTERNAL", "internal error", "unknown"))
            except asyncio.CancelledError:  # the shutdown time after SIGTERM is over
                results["unknown"] += 1
                raise
            else:
                results["ok"] += 1
            if self._drain.begun:
                response.force_close()
            return response

        return guarded

    def _refuse(self, op: str, error: ServiceError) -> web.Response:
        self._counters.failed(op, error.status, error.outcome)
        if error.status >= 500:
            self._errors.error(op, error.code, error.outcome, error.message)
        document: dict[str, Any] = {
            "error": error.message,
            "code": error.code,
            "outcome": error.outcome,
            "container": self._settings.container_id,
        }
        if error.cost:
            document |= {
                "pool_wait_ms": round(error.cost.pool_wait_ms, 3),
                "retries": error.cost.retries,
                "transactions": error.cost.transactions,
                "backend": error.cost.backend,
            }
        if op == "health":
            document["status"] = "unhealthy"
        response = json_response(document, error.status)
        response.headers.update(error.headers)
        if error.status in (408, 413, 415) or error.code == "BAD_BODY":
            response.force_close()  # the rest of the body is not read, or its end is unknown
        return response

    async def _body(self, request: web.Request) -> dict[str, Any]:
        settings = self._settings
        return await validation.read_json(request, most_bytes=settings.max_body_bytes, seconds=settings.body_seconds)

    def _done(self, cost: RequestCost, started: float, fields: str) -> web.Response:
        """Returns the success of a writing operation; `fields` is JSON text, because this is the hot path."""
        text = (
            f'{{"success":true,{fields},"duration":{(perf_counter() - started) * 1000:.3f},'
            f'"pool_wait_ms":{cost.pool_wait_ms:.3f},"retries":{cost.retries:.6g},'
            f'"transactions":{cost.transactions:.6g},"backend":{cost.backend}{self._tail}'
        )
        return web.Response(body=text.encode("ascii"), headers=_JSON)

    async def increment(self, request: web.Request) -> web.Response:
        """POST /api/increment"""
        started = perf_counter()
        document = await self._body(request)
        key = validation.counter_key(document.get("key"))
        strategy = validation.strategy(document.get("strategy"), self._strategies)
        entry_id = validation.entry_id(request.headers.get("Idempotency-Key"))
        value, cost = await self._backend.increment(key, strategy, entry_id)
        return self._done(cost, started, f'"value":{value}')

    async def bulk_insert(self, request: web.Request) -> web.Response:
        """POST /api/bulk-insert"""
        started = perf_counter()
        rows = validation.rows((await self._body(request)).get("data"))
        ids, cost = await self._backend.bulk_insert(rows)
        return self._done(cost, started, f'"ids":{json.dumps(ids)},"count":{len(ids)}')

    async def transaction(self, request: web.Request) -> web.Response:
        """POST /api/transaction"""
        started = perf_counter()
        hold = validation.hold(await self._body(request))
        values, cost = await self._backend.transaction(hold.keys, hold.hold_ms, retry=hold.retry)
        return self._done(cost, started, f'"values":{json.dumps(values)}')

    async def txn(self, request: web.Request) -> web.Response:
        """POST /api/txn"""
        started = perf_counter()
        parsed = list_transaction.parse(await self._body(request))
        entry_id = validation.entry_id(request.headers.get("Idempotency-Key"))
        results, cost = await self._backend.list_transaction(parsed, entry_id)
        return self._done(cost, started, f'"results":{json.dumps(results)}')

    async def test_isolation(self, request: web.Request) -> web.Response:
        """POST /api/test-isolation"""
        level = validation.level((await self._body(request)).get("level"))
        result = await self._backend.isolation(level)
        return json_response(
            {"success": True, "isolationLevel": level, "observedLevel": result.observed, "rows": result.rows}
        )

    async def counter(self, request: web.Request) -> web.Response:
        """GET /api/counter/{key}"""
        key = validation.counter_key(request.match_info["key"])
        value = await self._backend.counter(key)
        if value is None:
            raise ServiceError(404, "NO_COUNTER", "no counter with this key")
        return json_response({"key": key, "value": value})

    async def pool_stats(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """GET /api/pool-stats"""
        stats = self._backend.pool_stats()
        return json_response(
            {
                "totalCount": stats.total,
                "idleCount": stats.idle,
                "waitingCount": stats.waiting,
                "container": self._settings.container_id,
            }
        )

    async def health(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """GET /health"""
        now = await self._backend.database_time()
        return json_response(
            {
                "status": "healthy",
                "container": self._settings.container_id,
                "dbTime": now,
                "poolStats": self._pool(),
                "facts": self._backend.facts(),
            }
        )

    async def live(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """GET /live"""
        return json_response({"status": "live", "container": self._settings.container_id})

    async def ready(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """GET /ready"""
        if self._drain.begun:
            self._drain.refuse()
            raise ServiceError(503, "DRAINING", "the service is shutting down")
        if lost := self._backend.lost():
            raise lost.again()
        return json_response({"status": "ready", "container": self._settings.container_id})

    async def metrics(self, request: web.Request) -> web.Response:
        """GET /metrics; with `?database=0` it does not query the database."""
        accept = request.headers.get("Accept", "")
        openmetrics = "application/openmetrics-text" in accept
        text = openmetrics or "text/plain" in accept
        document: dict[str, Any] = {"container": self._settings.container_id, "database": None}
        if validation.flag(request.query.getall("database", ["1"])):
            try:
                document["database"] = await self._backend.totals()
            except ServiceError:
                if not text:
                    raise
            document["database_up"] = int(document["database"] is not None)
        document |= {
            "pool": self._pool(),
            "uptime": round(perf_counter() - self._started, 3),
            "requests": self._counters.requests,
            "retries": self._backend.cost_totals.retries,
            "transactions": self._backend.cost_totals.transactions,
            "pid": os.getpid(),
            "started": self._started_at,
            "workers": self._settings.workers,
            "code": self._settings.code_hash,
            "settings": self._settings.public(),
            "facts": self._backend.facts(),
        }
        if not text:
            return json_response(document)
        kind = _OPENMETRICS if openmetrics else _PROMETHEUS
        body = prometheus(document, openmetrics=openmetrics).encode("utf-8")
        return web.Response(body=body, headers={"Content-Type": kind})

    def _pool(self) -> dict[str, int]:
        stats = self._backend.pool_stats()
        return {"total": stats.total, "idle": stats.idle, "waiting": stats.waiting, "peak": stats.peak}

    def wrong_method(self, allowed: str) -> Handler:
        """Returns a handler that answers 405 for an existing endpoint."""

        async def handler(request: web.Request) -> web.Response:
            raise ServiceError(405, "WRONG_METHOD", f"{request.path} allows {allowed}", headers={"Allow": allowed})

        return handler

    async def not_found(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """404 for every other path."""
        raise ServiceError(404, "NO_ENDPOINT", "no such endpoint")
