"""A rig's load balancer through its runtime socket: request counters, and which app hosts it sends requests to."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Mapping

from harness.rig.rig import Rig

SOCKET = "/run/haproxy/admin.sock"
ANSWER_S = 15.0


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
        return {_app_host(row) for row in self._servers() if row["status"].startswith("UP") and _weight(row) > 0}

    def process(self) -> str:
        """Returns what identifies the process that counts: a reload starts another one, which counts from zero."""
        lines = (line.partition(": ") for line in self._send("show info").splitlines())
        facts = {name: value for name, _, value in lines}
        return f"pid {facts.get('Pid', '?')}, started {facts.get('Start_time_sec', '?')}"

    def serve_from(self, hosts: Collection[str]) -> None:
        """Makes these app hosts ready and takes all others out of service; does not wait until that is done."""
        commands = [
            f"set server {row['pxname']}/{row['svname']} state {'ready' if _app_host(row) in hosts else 'maint'}"
            for row in self._servers()
        ]
        commands += [f"set weight {row['pxname']}/{row['svname']} 100%" for row in self._servers() if not _weight(row)]
        self._send("; ".join(commands))

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
