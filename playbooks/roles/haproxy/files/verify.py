"""Checks the load balancer (run by verify.yml): each request is routed to the right host, the database refuses it.

Standard library only. Reads the expected state as JSON from standard input. Prints all failed checks in one
line and exits with 1.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

WANTED: dict[str, Any] = json.load(sys.stdin)
TLS = ssl.create_default_context(cafile=WANTED["authority"]) if WANTED["authority"] else None
READY_S = 20.0
ROUND = 16
"""Requests per server in a full round: HAProxy scales a weight of 1 to 16."""
CLIENTS = 1000
"""Connections that HAProxy must accept at the same instant."""


def get(path: str) -> tuple[int, dict[str, Any]]:
    """Returns status and JSON body of a GET through HAProxy."""
    url = f"http{'s' if TLS else ''}://{WANTED['address']}:{WANTED['port']}{path}"
    try:
        with urllib.request.urlopen(url, timeout=10, context=TLS) as response:  # noqa: S310 -- never a file
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with contextlib.suppress(ValueError):
            return error.code, json.load(error)
        return error.code, {}


def query(command: str) -> str:
    """Returns HAProxy's response to a command on its runtime socket."""
    with socket.socket(socket.AF_UNIX) as runtime:
        runtime.settimeout(10)
        runtime.connect("/run/haproxy/admin.sock")
        runtime.sendall(command.encode() + b"\n")
        with runtime.makefile(encoding="utf-8") as response:
            return response.read()


def down() -> list[str]:
    """Returns the servers of the round robin that are not up after READY_S seconds."""
    deadline = time.monotonic() + READY_S
    while True:
        rows = [line.split(",") for line in query("show stat").lstrip("# ").splitlines() if line]
        names = rows[0]
        servers = [dict(zip(names, row)) for row in rows[1:]]  # noqa: B905 -- Python 3.9 has no strict
        not_up = [s["svname"] for s in servers if s["pxname"] == "app" and s["type"] == "2" and s["status"] != "UP"]
        if not not_up or time.monotonic() > deadline:
            return not_up
        time.sleep(0.1)


def hosts_in_round_robin(hosts: set[str]) -> set[object]:
    """Returns the hosts that answer: sends five requests per server, more while one is missing.

    A server that has just come up gets its first request after the current round of the weighted tree (HAProxy,
    lb_fwrr.c). A round has as many requests as the sum of the weights; the limit is two rounds.
    """
    servers = len(hosts) * WANTED["workers"]
    reached: set[object] = set()
    for sent in range(2 * ROUND * servers):
        if sent >= 5 * servers and reached == hosts:
            break
        reached.add(get("/api/pool-stats")[1].get("container"))
    return reached


def routes() -> list[str]:
    """Returns failed checks of the routes: `/app-N/` to host N, /null to HAProxy, all else to all hosts in turn."""
    failures = []
    hosts = WANTED["hosts"]
    for number, host in enumerate(hosts, start=1):
        status, body = get(f"/app-{number}/health")
        if (status, body.get("container")) != (200, host):
            failures.append(f"GET /app-{number}/health returned {status} {body}, expected container {host}")
    reached = hosts_in_round_robin(set(hosts))
    if reached != set(hosts):
        failures.append(f"round robin reached {sorted(map(str, reached))}, expected {sorted(hosts)}")
    if get(f"/app-{len(hosts) + 1}/live")[0] == 200:
        failures.append(f"GET /app-{len(hosts) + 1}/live returned 200, but there is no such host")
    if get("/null") != (200, {"success": True}):
        failures.append("GET /null did not return HAProxy's own response")
    return failures


def refusal(user: str) -> str:
    """Returns the SQLSTATE of PostgreSQL's refusal of `user` (protocol 3.0, start-up), or "login accepted"."""
    words = ["user", user, "database", WANTED["database"], ""]
    body = struct.pack("!I", 196608) + b"".join(word.encode() + b"\0" for word in words)
    with socket.create_connection((WANTED["db_address"], WANTED["db_port"]), timeout=10) as server:
        server.sendall(struct.pack("!I", len(body) + 4) + body)
        reply = server.recv(4096)
    fields = [field.decode(errors="replace") for field in reply[5:].split(b"\0")]
    return next((field[1:] for field in fields if field.startswith("C")), "") if reply[:1] == b"E" else "login accepted"


def capacity() -> list[str]:
    """Returns failed checks of the limits for CLIENTS connections at once, in HAProxy and in the kernel."""
    info = dict(line.split(": ", 1) for line in query("show info").splitlines() if ": " in line)
    queue = int(Path("/proc/sys/net/core/somaxconn").read_text(encoding="ascii"))
    failures = []
    if int(info["Maxconn"]) < CLIENTS:
        failures.append(
            f"HAProxy's maxconn is {info['Maxconn']}, expected at least {CLIENTS}: raise haproxy_open_files"
        )
    if queue < CLIENTS:
        failures.append(f"net.core.somaxconn is {queue}, expected at least {CLIENTS}")
    return failures


def statistics_are_public() -> bool:
    """Returns whether the statistics page can be reached from outside loopback."""
    try:
        socket.create_connection((WANTED["address"], WANTED["stats_port"]), timeout=10).close()
    except ConnectionRefusedError:
        return False
    return True


def answers_plain_text() -> bool:
    """Returns whether a request without TLS gets a response."""
    with socket.create_connection((WANTED["address"], WANTED["port"]), timeout=10) as client:
        client.sendall(b"GET /null HTTP/1.0\r\n\r\n")
        try:
            return client.recv(5) == b"HTTP/"
        except ConnectionError:
            return False


def main() -> int:
    failures = [f"{name} is down" for name in down()]
    failures += routes() + capacity()
    for user in WANTED["users"]:
        state = refusal(user)
        if state != "28000":
            failures.append(f"PostgreSQL does not refuse {user} on this host by pg_hba.conf (28000): {state}")
    if TLS and answers_plain_text():
        failures.append(f"port {WANTED['port']} answers HTTP without TLS")
    if statistics_are_public():
        failures.append(f"the statistics on port {WANTED['stats_port']} can be read from other hosts")
    print("; ".join(failures), file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
