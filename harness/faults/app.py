"""Faults of the service: killed, stopped, restarted host by host."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from harness.errors import RigError
from harness.fault_record import PlannedFault
from harness.faults import balancer
from harness.faults.base import Before, Fault, nth
from harness.faults.unit_processes import (
    all_stopped,
    continue_stopped,
    kept,
    read_processes,
    replaced,
    signal_units,
    start_if_down,
)
from harness.model import Host
from harness.rig.rig import Rig

UNITS = ("pgcrucible-app@*.service",)
POLL_S = 0.1
DRAIN_S = 15.0
"""Longest wait until a drained host has answered its requests."""
READY_S = 30.0
"""Longest wait until a restarted host is healthy, and until HAProxy sees it up."""
SETTLE_S = 1.5
"""A health check that was under way when the host became healthy has ended after this time: it may have failed."""
RESTART_S = 50.0
"""Longest restart: the service has 40 s to answer its requests (TimeoutStopSec)."""


def answers(rig: Rig, hosts: Sequence[Host], path: str = "/live") -> str:
    """Returns that every worker of these hosts answers `path` with 200; else an empty string."""
    load, first = rig.at(rig.role("load")[0]), int(rig.variables["app_port"])
    workers = int(rig.variables["app_workers"])
    for host in hosts:
        for port in range(first, first + workers):
            if load.get(host.address, port, path, timeout_s=2.0)[0] != 200:
                return ""
    return f"{', '.join(host.name for host in hosts)}: GET {path} is 200"


def mains(rig: Rig) -> Before:
    """Returns the main processes of the service on all app hosts: `<host> <unit>` -> identity; "" where none runs."""
    hosts = {host.name: host for host in rig.role("app")}
    found = rig.each(rig.role("app"), lambda at: read_processes(rig, hosts[at.name], UNITS).mains)
    return {f"{host} {unit}": identity for host, units in found.items() for unit, identity in units.items()}


class AppKill(Fault):
    """kill -9 of all workers of an app host; systemd starts them again."""

    deadline_s = 30.0

    def unavailable(self, rig: Rig) -> str:
        """See Fault."""
        return ""

    def hosts(self, rig: Rig, planned: PlannedFault) -> Sequence[Host]:
        """See Fault."""
        return [nth(rig.role("app"), planned)]

    def before(self, rig: Rig, planned: PlannedFault) -> Before:
        """See Fault."""
        return kept(read_processes(rig, self.hosts(rig, planned)[0], UNITS))

    def inject(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """See Fault."""
        signal_units(rig, self.hosts(rig, planned)[0], tuple(before), "KILL")

    def seen(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns the new process ids."""
        return replaced(before, read_processes(rig, self.hosts(rig, planned)[0], UNITS))

    def heal(self, rig: Rig, planned: PlannedFault, before: Before) -> str | None:
        """Starts a worker that systemd does not start."""
        return start_if_down(rig, self.hosts(rig, planned)[0], tuple(before))

    def healed(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns that the workers answer."""
        return answers(rig, self.hosts(rig, planned))


class AppPause(AppKill):
    """All workers of an app host are stopped with SIGSTOP."""

    def inject(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """See Fault."""
        signal_units(rig, self.hosts(rig, planned)[0], tuple(before), "STOP")

    def seen(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns the processes that are in state T."""
        return all_stopped(before, read_processes(rig, self.hosts(rig, planned)[0], UNITS))

    def heal(self, rig: Rig, planned: PlannedFault, before: Before) -> str | None:
        """Continues the processes that are stopped."""
        continue_stopped(rig, self.hosts(rig, planned)[0], UNITS)
        return None

    def healed(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns that no process is stopped and the workers answer."""
        hosts = self.hosts(rig, planned)
        return "" if read_processes(rig, hosts[0], UNITS).stopped else answers(rig, hosts)


class AppRoll(Fault):
    """The app hosts that serve restart one by one: each is drained in HAProxy, gets SIGTERM, and serves again."""

    deadline_s = 180.0

    def unavailable(self, rig: Rig) -> str:
        """See Fault."""
        if len(rig.role("app")) < 2:
            return "a rolling restart needs two app hosts: the only one serves no requests while it restarts"
        return ""

    def hosts(self, rig: Rig, planned: PlannedFault) -> Sequence[Host]:
        """Returns all app hosts."""
        return rig.role("app")

    def before(self, rig: Rig, planned: PlannedFault) -> Before:
        """Returns the processes of the hosts that serve: `<host> <unit>` -> identity."""
        serving = {server.host for server in balancer.servers(rig) if server.serves}
        if len(serving) < 2:
            raise RigError(f"only {', '.join(serving) or 'no host'} serves: a rolling restart needs two app hosts")
        hosts = [host for host in rig.role("app") if host.name in serving]
        found = {host.name: kept(read_processes(rig, host, UNITS)) for host in hosts}
        return {f"{host} {unit}": identity for host, units in found.items() for unit, identity in units.items()}

    def inject(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """Restarts one host after the other."""
        for name, units in _by_host(before).items():
            _set_state(rig, name, "drain")
            _wait(f"{name} to answer its requests", DRAIN_S, partial(_is_idle, rig, name))
            rig.at(name).run(["systemctl", "restart", "--", *units], timeout_s=RESTART_S)
            host = next(one for one in rig.role("app") if one.name == name)
            _wait(f"{name} to be healthy", READY_S, partial(answers, rig, [host], "/health"))
            time.sleep(SETTLE_S)
            _wait(f"HAProxy to see {name} up", READY_S, partial(_is_up, rig, name))
            _set_state(rig, name, "ready")

    def seen(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns the new process ids of all hosts."""
        changes = []
        for host, units in _by_host(before).items():
            record = next(one for one in rig.role("app") if one.name == host)
            change = replaced(units, read_processes(rig, record, UNITS))
            if not change:
                return ""
            changes.append(f"{host}: {change}")
        return "; ".join(changes)

    def heal(self, rig: Rig, planned: PlannedFault, before: Before) -> str | None:
        """Starts what is down and takes every host that served into the rotation."""
        helped = []
        for host in _by_host(before):
            record = next(one for one in rig.role("app") if one.name == host)
            helped.append(start_if_down(rig, record, UNITS))
            if any(server.drains for server in balancer.servers(rig) if server.host == host):
                _set_state(rig, host, "ready")
                helped.append(f"{host}: ended its drain")
        return "; ".join(filter(None, helped))

    def healed(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns that HAProxy sends requests to every host that served."""
        served = _by_host(before)
        if not all(server.serves for server in balancer.servers(rig) if server.host in served):
            return ""
        return f"HAProxy sends requests to {', '.join(served)}"


def _by_host(before: Before) -> Mapping[str, Before]:
    hosts: dict[str, dict[str, str]] = {}
    for key, identity in before.items():
        host, unit = key.split(" ", 1)
        hosts.setdefault(host, {})[unit] = identity
    return hosts


def _set_state(rig: Rig, host: str, state: str) -> None:
    names = [server.name for server in balancer.servers(rig) if server.host == host]
    balancer.command(rig, "; ".join(f"set server app/{name} state {state}" for name in names))


def _is_idle(rig: Rig, host: str) -> bool:
    return not any(count for name, count in balancer.sessions(rig).items() if name.split(".")[0] == host)


def _is_up(rig: Rig, host: str) -> bool:
    return all(server.up for server in balancer.servers(rig) if server.host == host)


def _wait(condition: str, limit_s: float, holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > deadline:
            raise RigError(f"timed out after {limit_s:g} s waiting for {condition}")
        time.sleep(POLL_S)


FAULTS: Mapping[str, Fault] = {"app-kill": AppKill(), "app-pause": AppPause(), "app-roll": AppRoll()}
