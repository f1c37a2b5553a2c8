"""Requests before and after the load, to services with unusual habits: the same as the load, closed, endless."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RigError, UsageError
from harness.rig.state import ROOT
from harness.targets.counter_source import ApiCounters
from harness.targets.service_client import Response, ServiceClient
from harness.targets.url import Address, locate
from harness.targets.url_target import UrlTarget
from tests.support.odd_service import CONTINUE, EARLY_HINTS, OddService

HABITS: dict[str, dict[str, Any]] = {
    "keeps connections": {},
    "announces the close": {"announce_close": True},
    "HTTP/1.0": {"version": "HTTP/1.0"},
    "no Content-Length": {"framing": "close"},
    "chunked with trailer": {"framing": "chunked"},
    "3 requests a connection": {"per_connection": 3},
    "1 request a connection, reset": {"per_connection": 1, "reset": True},
    "closes idle connections": {"idle_s": 0.001},
    "Early Hints": {"interim": EARLY_HINTS},
    "Continue and Early Hints": {"interim": CONTINUE + EARLY_HINTS + CONTINUE},
    "another 1xx": {"interim": b"HTTP/1.1 199 X\r\n\r\n"},
    "gzip unless identity": {"gzip_unless_identity": True},
    "IPv6 in brackets": {"family": socket.AF_INET6, "needs_brackets": True},
}


@pytest.mark.parametrize("name", HABITS)
def test_services_with_unusual_but_valid_http_pass_the_preflight_and_their_counters_are_read(name: str) -> None:
    with OddService(**HABITS[name]) as odd, UrlTarget(locate(odd.url), tag="t") as target:
        assert target.site().absent == ("/api/bulk-insert", "/api/transaction", "/api/txn")
        target.preflight()
        odd.counters |= {f"key-{number}": number for number in range(40)}
        keys = [f"key-{number}" for number in range(41)]
        assert target._counters.counters(keys) == {f"key-{number}": number for number in range(40)}


@pytest.mark.parametrize("form", [float, bool, str])
def test_a_value_that_is_no_integer_fails_the_proof(form: type) -> None:
    with (
        OddService(form=form) as odd,
        UrlTarget(locate(odd.url)) as target,
        pytest.raises(UsageError, match=r"a new key answers 200 .*not 200 with the value 1"),
    ):
        target.preflight()


@pytest.mark.parametrize("form", [float, bool, str])
def test_a_counter_that_is_no_integer_is_not_read(form: type) -> None:
    with OddService(form=form) as odd:
        odd.counters["a"] = 1
        with pytest.raises(RigError, match=r"GET /api/counter/a answers 200 "):
            ApiCounters(locate(odd.url)).counters(["a"])


@pytest.mark.parametrize(
    ("habits", "reason"),
    [
        ({"endless": "/health"}, "the response is too large"),
        ({"endless_interim": "/health"}, "the response is too large"),
        ({"interim": b"X: " + b"a" * 200_000}, "is not HTTP/1.1"),
        ({"interim": b"HTTP/1.1 103 X\r\nX: " + b"a" * 200_000 + b"\r\n\r\n"}, "the response is too large"),
        ({"drip_s": 0.1}, "no complete response within 0.5 s"),
    ],
)
def test_a_response_that_does_not_end_is_an_error_in_time(habits: dict[str, Any], reason: str) -> None:
    started = time.monotonic()
    with (
        OddService(**habits) as odd,
        ServiceClient(locate(odd.url), timeout_s=0.5) as client,
        pytest.raises(RigError, match=reason),
    ):
        client.get("/health")
    assert time.monotonic() - started < 5


def test_an_endless_health_takes_little_memory(tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "from harness.errors import RigError\n"
        "from harness.targets.service_client import ServiceClient\n"
        "from harness.targets.url import locate\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    ServiceClient(locate(sys.argv[1])).get('/health')\n"
        "except RigError:\n    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    with OddService(endless="/health") as odd:
        done = subprocess.run(
            [sys.executable, "-c", code, odd.url], cwd=ROOT, capture_output=True, text=True, check=True
        )
    assert int(done.stdout) < 32 * 1024  # KiB


def test_a_post_is_never_sent_twice() -> None:
    with OddService(per_connection=1, reset=True) as odd, ServiceClient(locate(odd.url)) as client:
        for expected in (1, 2, 3):
            assert client.post("/api/increment", {"key": "a"}).fields["value"] == expected
    assert odd.counters == {"a": 3}


@pytest.mark.parametrize("other", [None, 500])
def test_the_address_at_which_the_service_answers_is_kept(other: int | None) -> None:
    """::1 refuses, or another service has the same port there."""
    with OddService() as odd:
        both = Address(host="localhost", port=odd.port, tls=False, ip="::1", others=("127.0.0.1",))
        if other is None:
            with UrlTarget(both) as target:
                assert target.endpoint().address == "127.0.0.1"
            return
        with OddService(odd.port, family=socket.AF_INET6, health=other), UrlTarget(both) as target:
            assert target.endpoint().address == "127.0.0.1"
            target.site()


def test_all_addresses_of_a_name_need_the_permission() -> None:
    with pytest.raises(UsageError, match=r"192\.0\.2\.7"):
        UrlTarget(Address(host="x", port=1, tls=False, ip="127.0.0.1", others=("192.0.2.7",)))


def test_a_body_that_is_nested_too_deeply_is_text() -> None:
    response = Response(status=200, body=b"[" * 200_000, is_json=True)
    assert response.fields == {}
    assert str(response) == "200 " + "[" * 200


def test_two_gets_take_one_connection() -> None:
    with OddService() as odd, ServiceClient(locate(odd.url)) as client:
        assert [client.get("/health").status for _ in range(2)] == [200, 200]
    assert odd.connections == 1
