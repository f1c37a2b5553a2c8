"""Asks the services of a rig's hosts whether they work: PostgreSQL, HAProxy, each worker of an app, the load agent."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.errors import RigError
from harness.host_scripts import source
from harness.model import Host
from harness.rig.rig import Rig
from harness.rig.state import Variables
from harness.text import printable

WORKERS = 16
ANSWER_S = 40.0
"""Maximum time for all answers of one host; each service has 5 to 10 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """The answer of one service; `since`: when it started, or stopped, in seconds since 1970 (None: unknown).

    A service that is not `ok` may be `running`: then it has been so since that time, and does not work now.
    """

    name: str
    ok: bool
    detail: str = ""
    running: bool = False
    since: float | None = None

    def line(self, now: float) -> str:
        """Returns the status as one line of text."""
        text = f"{self.name}: {'up' if self.ok else 'DOWN'}"
        if self.since is not None:
            started = datetime.fromtimestamp(self.since, UTC)
            verb = " now, running" if self.running and not self.ok else ""
            text += f"{verb} since {started:%Y-%m-%d %H:%M:%S}Z ({_age(now - self.since)})"
        return f"{text}: {printable(self.detail)}" if self.detail else text


def ask_services(rig: Rig, hosts: list[Host]) -> dict[str, tuple[ServiceStatus, ...]]:
    """Returns the status of each service of these hosts, by host name.

    A host that does not answer has one status, with the reason.
    """
    if not hosts:
        return {}
    with ThreadPoolExecutor(min(WORKERS, len(hosts))) as pool:
        return dict(zip([host.name for host in hosts], pool.map(lambda host: _ask(rig, host), hosts), strict=True))


def _ask(rig: Rig, host: Host) -> tuple[ServiceStatus, ...]:
    try:
        questions = json.dumps(_questions(rig.variables, host))
        command = ["python3", "-", questions]
        answers = rig.at(host).run(command, stdin=source("service_status"), timeout_s=ANSWER_S).stdout
        return tuple(ServiceStatus(**answer) for answer in json.loads(answers))
    except RigError as error:
        return (ServiceStatus(name="services", ok=False, detail=error.message),)
    except (ValueError, TypeError, LookupError) as error:
        return (ServiceStatus(name="services", ok=False, detail=f"unknown: {error}"),)


def _questions(variables: Variables, host: Host) -> list[dict[str, object]]:
    """Returns what service_status.py asks on the host."""
    if host.role == "db":
        command = ["pg_isready", "--port", str(variables["postgres_port"]), "--timeout", "5"]
        return [{"name": "PostgreSQL", "units": ["postgresql@*.service"], "command": command}]
    if host.role == "lb":
        runtime = {"socket": "/run/haproxy/admin.sock", "send": "show info\n", "expect": "Uptime_sec:"}
        return [{"name": "HAProxy", "units": ["haproxy.service"], **runtime}]
    if host.role == "app":
        first, workers = int(variables["app_port"]), int(variables["app_workers"])
        return [
            {
                "name": "app" if workers == 1 else f"app, worker {worker}",
                "units": [f"pgcrucible-app@{worker}.service"],
                "url": f"http://{host.address}:{first - 1 + worker}/health",
            }
            for worker in range(1, workers + 1)
        ]
    folder = variables["common_directory"]
    python = ["env", f"PYTHONPATH={folder}/code", "PYTHONDONTWRITEBYTECODE=1", f"{folder}/venv/bin/python"]
    command = [*python, "-c", "import harness.load.agent"]
    return [{"name": "load agent", "command": command, "path": f"{folder}/code/stamp.env"}]


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0, seconds):.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
