"""A rig's load balancer through its runtime socket: request counters, and which app hosts it sends requests to."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Mapping

from harness.rig.rig import Rig

SOCKET = "/run/haproxy/admin.sock"
ANSWER_S = 15.0
UNCHECKED = "no check"
"""State of a server that is up and whose health checks are off."""


class HAProxy:
    """Asks the first load balancer over SSH (HAProxy's management guide, 9.1 and 9.3)."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.host = rig.role("lb")[0]

    def request_counts(self) -> tuple[int, dict[str, int]]:
        """Returns the requests of the public frontend since HAProxy started, and those sent to each app host."""
        total, servers = 0, Counter[str]()
        for row in self._statistics():
            if row["type"] == "0" and row["pxname"] == "public":
                total = int(row["req_tot"] or 0)
            elif row["type"] == "2":
                servers[_app_host(row)] += int(row["stot"] or 0)
        return total, dict(servers)

    def serving(self) -> set[str]:
        """Returns the names of the app hosts that get requests: with a worker that is up and has a weight."""
        return {
            _app_host(row)
            for row in self._servers()
            if row["status"].startswith(("UP", UNCHECKED)) and _weight(row) > 0
        }

    def process(self) -> str:
        """Returns what identifies the process that counts: a reload starts another one, which counts from zero."""
        lines = (line.partition(": ") for line in self._send("show info").splitlines())
        facts = {name: value for name, _, value in lines}
        return f"pid {facts.get('Pid', '?')}, started {facts.get('Start_time_sec', '?')}"

    def unchecked(self) -> set[str]:
        """Returns the names of the app hosts that get requests although their health is not checked."""
        return {_app_host(row) for row in self._servers() if row["status"] == UNCHECKED}

    def serve_from(self, hosts: Collection[str]) -> None:
        """Makes these app hosts ready, with health checks, and takes all others out of service.

        Does not wait until that is done. The checks are switched on first: those of a server that is ready before
        would stay paused if HAProxy was reloaded while it was out of service (2.6).
        """
        commands = []
        for row in self._servers():
            server = f"{row['pxname']}/{row['svname']}"
            ready = f"enable health {server}; set server {server} state ready"
            commands.append(ready if _app_host(row) in hosts else f"set server {server} state maint")
            if not _weight(row):
                commands.append(f"set weight {server} 100%")
        self._send("; ".join(commands))

    def stop_checks(self) -> None:
        """Switches the health checks of all app hosts off: each counts as up until serve_from is called."""
        servers = [f"{row['pxname']}/{row['svname']}" for row in self._servers()]
        self._send("; ".join(f"disable health {server}; set server {server} health up" for server in servers))

    def _servers(self) -> list[dict[str, str]]:
        return [row for row in self._statistics() if row["pxname"] == "app" and row["type"] == "2"]

    def _statistics(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self._send("show stat").lstrip("# "))))

    def _send(self, commands: str) -> str:
        command = ["socat", "-t5", "stdio", SOCKET]
        return self._rig.at(self.host).run(command, stdin=commands + "\n", timeout_s=ANSWER_S).stdout


def _app_host(row: Mapping[str, str]) -> str:
    """Returns the app host of a server: `app-2` for `app-2`, and for its worker `app-2.1`."""
    return row["svname"].split(".")[0]


def _weight(row: Mapping[str, str]) -> int:
    return int(row.get("weight") or 1)
