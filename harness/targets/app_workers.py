"""Asks the workers of the service on a rig's app hosts, past HAProxy, through the first load host."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from harness.errors import RigError
from harness.model import Host
from harness.rig.rig import Rig

REQUESTS_AT_ONCE = 16
_START_ERROR = [
    "sh",
    "-c",
    "journalctl -u 'pgcrucible-app@*' -o cat --since -1min | grep '\"cannot start\"' | tail -n 1",
]
"""Prints the newest start error in the service's log of the last minute."""


READ_KEYS = ("settings", "requests", "transactions", "facts")
"""The keys of /metrics without which the harness cannot measure; other revisions of the service may lack them."""

WorkerMetrics = Mapping[str, Any]
"""The JSON object of a worker's /metrics, as the service documents it (docs/openapi.yaml)."""


class AppWorkers:
    """The service's processes; worker 2 of host app-1 is named `app-1.2`."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.hosts = rig.role("app")
        self.per_host = int(rig.variables["app_workers"])
        """Processes of the service on each app host."""
        self._first_port = int(rig.variables["app_port"])

    def get(self, hosts: Sequence[Host], path: str) -> dict[str, tuple[int, str]]:
        """Sends a GET to every worker of these hosts; worker -> (status, body), status 0 without an answer."""
        workers = [(host, number) for host in hosts for number in range(self.per_host)]
        load = self._rig.at(self._rig.role("load")[0])
        with ThreadPoolExecutor(min(REQUESTS_AT_ONCE, len(workers)) or 1) as pool:
            answers = pool.map(lambda w: load.get(w[0].address, self._first_port + w[1], path), workers)
            return {f"{host.name}.{n + 1}": answer for (host, n), answer in zip(workers, answers, strict=True)}

    def metrics(self, hosts: Sequence[Host] | None = None) -> dict[str, WorkerMetrics]:
        """Returns the parsed /metrics of every worker, of all hosts or of these; the database is not queried.

        Raises RigError.
        """
        bodies = {}
        for worker, (status, body) in self.get(self.hosts if hosts is None else hosts, "/metrics?database=0").items():
            if status != 200:
                raise RigError(f"{worker}: /metrics answered {status or 'nothing'}: {body[:200]}", hint="./run status")
            bodies[worker] = json.loads(body)
        return bodies

    def healthy(self, hosts: Sequence[Host]) -> bool:
        """Returns whether every worker of these hosts reaches its database."""
        return all(status == 200 for status, _ in self.get(hosts, "/health").values())

    def start_errors(self, hosts: Sequence[Host]) -> str:
        """Returns why workers that do not answer could not start, from their log: `; app-1: …`, or empty."""
        silent = {worker.split(".")[0] for worker, (status, _) in self.get(hosts, "/live").items() if status != 200}
        lines = self._rig.each(
            [host for host in hosts if host.name in silent], lambda h: h.run(_START_ERROR, check=False).stdout
        )
        return "".join(f"; {host}: {json.loads(line)['reason']}" for host, line in lines.items() if line.strip())
