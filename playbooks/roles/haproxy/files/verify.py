"""Run on the load balancer by verify.yml: does each request go where it should, is the database closed to it?

Standard library only. Settings come as JSON in the environment variable WANTED. Ends with 1 and one line for all
broken promises.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import struct
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

WANTED: dict[str, Any] = json.loads(os.environ["WANTED"])
TLS = ssl.create_default_context(cafile=WANTED["authority"]) if WANTED["authority"] else None
READY_S = 20.0
TURN = 16
"""Requests of a turn for each server: HAProxy's scale of weights, by which a weight of 1 is 16."""
CLIENTS = 1000
"""Connections that must be possible at the same instant."""


def get(path: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON body of an answer through HAProxy."""
    url = f"http{'s' if TLS else ''}://{WANTED['address']}:{WANTED['port']}{path}"
    try:
        with urllib.request.urlopen(url, timeout=10, context=TLS) as answer:  # noqa: S310 -- never a file
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with contextlib.suppress(ValueError):
            return error.code, json.load(error)
        return error.code, {}


def ask(command: str) -> str:
    """HAProxy's answer on its runtime socket."""
    with socket.socket(socket.AF_UNIX) as runtime:
        runtime.settimeout(10)
        runtime.connect("/run/haproxy/admin.sock")
        runtime.sendall(command.encode() + b"\n")
        with runtime.makefile(encoding="utf-8") as answer:
            return answer.read()


def down() -> list[str]:
    """Servers of the round robin that are not up; all get a while to start."""
    deadline = time.monotonic() + READY_S
    while True:
        rows = [line.split(",") for line in ask("show stat").lstrip("# ").splitlines() if line]
        names = rows[0]
        servers = [dict(zip(names, row)) for row in rows[1:]]  # noqa: B905 -- Python 3.9 has no strict
        late = [s["svname"] for s in servers if s["pxname"] == "app" and s["type"] == "2" and s["status"] != "UP"]
        if not late or time.monotonic() > deadline:
            return late
        time.sleep(0.1)


def taking_turns(hosts: set[str]) -> set[object]:
    """Who answers when all do in turn: asked for five rounds, or until none is missing.

    A server that has just come up waits until the running turn of the weighted tree is over (HAProxy, lb_fwrr.c), and
    a turn has as many requests as the servers have weight: up to two turns are waited for.
    """
    servers = len(hosts) * WANTED["workers"]
    reached: set[object] = set()
    for asked in range(2 * TURN * servers):
        if asked >= 5 * servers and reached == hosts:
            break
        reached.add(get("/api/pool-stats")[1].get("container"))
    return reached


def routes() -> list[str]:
    """`/app-N/` leads to host N, everything else to all in turn, /null to nobody."""
    broken = []
    hosts = WANTED["hosts"]
    for number, host in enumerate(hosts, start=1):
        status, body = get(f"/app-{number}/health")
        if (status, body.get("container")) != (200, host):
            broken.append(f"GET /app-{number}/health answers {status} {body}, not from {host}")
    reached = taking_turns(set(hosts))
    if reached != set(hosts):
        broken.append(f"round robin reaches {sorted(map(str, reached))}, not {sorted(hosts)}")
    if get(f"/app-{len(hosts) + 1}/live")[0] == 200:
        broken.append(f"GET /app-{len(hosts) + 1}/live is answered though there is no such host")
    if get("/null") != (200, {"success": True}):
        broken.append("GET /null is not answered by HAProxy itself")
    return broken


def refusal(user: str) -> str:
    """The SQLSTATE by which PostgreSQL refuses `user` from here, or what else it does (protocol 3.0, start-up)."""
    words = ["user", user, "database", WANTED["database"], ""]
    body = struct.pack("!I", 196608) + b"".join(word.encode() + b"\0" for word in words)
    with socket.create_connection((WANTED["db_address"], WANTED["db_port"]), timeout=10) as server:
        server.sendall(struct.pack("!I", len(body) + 4) + body)
        answer = server.recv(4096)
    fields = [field.decode(errors="replace") for field in answer[5:].split(b"\0")]
    return next((field[1:] for field in fields if field.startswith("C")), "") if answer[:1] == b"E" else "lets it in"


def capacity() -> list[str]:
    """Room for a thousand connections at once: in HAProxy, in the kernel's queue."""
    info = dict(line.split(": ", 1) for line in ask("show info").splitlines() if ": " in line)
    queue = int(Path("/proc/sys/net/core/somaxconn").read_text(encoding="ascii"))
    broken = []
    if int(info["Maxconn"]) < CLIENTS:
        broken.append(f"HAProxy carries {info['Maxconn']} connections, not {CLIENTS}: raise the limit of open files")
    if queue < CLIENTS:
        broken.append(f"net.core.somaxconn is {queue}: {CLIENTS} connections at once need as much")
    return broken


def statistics_are_public() -> bool:
    """Whether the statistics answer beyond loopback."""
    try:
        socket.create_connection((WANTED["address"], WANTED["stats_port"]), timeout=10).close()
    except ConnectionRefusedError:
        return False
    return True


def speaks_plainly() -> bool:
    """Whether a request without TLS is answered."""
    with socket.create_connection((WANTED["address"], WANTED["port"]), timeout=10) as client:
        client.sendall(b"GET /null HTTP/1.0\r\n\r\n")
        try:
            return client.recv(5) == b"HTTP/"
        except ConnectionError:
            return False


def main() -> int:
    broken = [f"{name} is down" for name in down()]
    broken += routes() + capacity()
    for user in WANTED["users"]:
        answer = refusal(user)
        if answer != "28000":
            broken.append(f"PostgreSQL does not refuse {user} from here by pg_hba.conf (28000): {answer}")
    if TLS and speaks_plainly():
        broken.append(f"HTTP without TLS is answered, at port {WANTED['port']}")
    if statistics_are_public():
        broken.append(f"the statistics can be read from outside, at port {WANTED['stats_port']}")
    print("; ".join(broken), file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
