"""Configures a rig's app hosts for a cell: backend, pool, CPU cap, and which hosts serve.

What a host should run with is compared with what it runs with, and only the hosts that differ are restarted.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import RigError
from harness.model import Cell, Host
from harness.plan.planner import service_settings
from harness.rig.rig import Rig
from harness.targets.app_workers import AppWorkers
from harness.targets.haproxy import HAProxy
from harness.targets.sqlite_files import remove

OVERRIDE = "override.env"
"""Settings of one trial; the service reads them after its own."""
RESTART = "systemctl restart pgcrucible-app.target"
TIMEOUT_S = 30.0
POLL_S = 0.2

LimitCpus = Callable[[Mapping[str, float]], None]
"""Caps hosts by name to so many cores; has no effect where the provider cannot."""


_READ_STATE = """
for file in cpu.max cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us; do
  [ ! -r /sys/fs/cgroup/$file ] || echo "$file $(cat /sys/fs/cgroup/$file)"
done
[ ! -e "$1" ] || { echo overrides; cat "$1"; }
"""
"""Prints the CPU limit of a host that is a container, then its overrides where it has any."""


WorkerSettings = Mapping[str, Any]
"""A worker's settings by name: values of its /metrics, or texts of its settings file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """What an app host has now, as read from it.

    `overrides`: the content of its file (None: no file). `cores`: its CPU cap, infinite without one, None where it
    cannot be read. `running`: the settings of each worker that answers, by worker.
    """

    overrides: Mapping[str, str] | None
    cores: float | None
    running: Mapping[str, WorkerSettings]


class AppConfigurator:
    """Changes the app hosts. What they have is read before each change; nothing that was set earlier is trusted."""

    def __init__(
        self,
        rig: Rig,
        workers: AppWorkers,
        haproxy: HAProxy,
        limit_cpus: LimitCpus,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._rig, self._workers, self._haproxy = rig, workers, haproxy
        self._limit_cpus, self._timeout_s = limit_cpus, timeout_s
        self._hosts = workers.hosts
        self._directory = str(rig.variables["app_sqlite_directory"])
        self._file = f"{rig.variables['common_settings_directory']}/{OVERRIDE}"
        self._provisioned: dict[str, dict[str, float | str]] = {}
        """Worker -> its settings without overrides; absent where the service never ran without them in this bench."""

    def read_provisioned(self) -> None:
        """Reads what each app host runs with, before anything is changed.

        A host on which an earlier bench left overrides is not asked: the service may be unable to start with them
        (`restore` removes them).
        """
        files = {name: state.overrides for name, state in self._read(ask_workers=False).items()}
        self._learn([host for host in self._hosts if files[host.name] is None])

    def _learn(self, hosts: Sequence[Host]) -> None:
        """Reads the settings of hosts that run without overrides. Raises RigError where a worker does not answer."""
        self._provisioned |= {worker: _plain(body["settings"]) for worker, body in self._workers.metrics(hosts).items()}

    def configure(self, cell: Cell) -> None:
        """Makes the first `cell.hosts` app hosts serve with the cell's backend, pool and CPU cap; drains the others.

        The cap has no effect on hosts whose provider cannot cap them.
        """
        settings = service_settings(cell, self._workers.per_host)
        states = self._read()
        if cell.backend != "postgres":
            # One file per backend: the file keeps its journal mode, and a host cannot change it while another host,
            # which may be drained, has the file open.
            path = settings["SQLITE_PATH"] = f"{self._directory}/{cell.backend}.db"
            if not any(_runs_with(state, "SQLITE_PATH", path) for state in states.values()):
                remove(self._rig.at(self._hosts[0]), path)  # an earlier bench may have left a damaged one
        serving = self._hosts[: cell.hosts]
        self._release(self._hosts[cell.hosts :], states)
        changed = [host for host in serving if not self._has(states[host.name], host, settings)]
        if changed:
            self._restart(changed, settings)
        self.cap(cell.cpus_per_host)
        self._serve_from(cell.hosts)

    def wait_until_healthy(self) -> None:
        """Waits until every app host reaches its database, which may have been restarted. Raises RigError."""
        self._wait("the app hosts to become healthy", lambda: self._workers.healthy(self._hosts))

    def release_connections(self) -> None:
        """Resets the hosts whose pool keeps idle connections open, to free them in the database."""
        self._release(self._hosts, self._read())

    def _release(self, hosts: Sequence[Host], states: Mapping[str, AppState]) -> None:
        keeping = [host for host in hosts if self._keeps_connections(states[host.name], host)]
        if keeping:
            self._restart(keeping, {})

    def _keeps_connections(self, state: AppState, host: Host) -> bool:
        """Returns whether overrides make the host keep idle connections open."""
        if int((state.overrides or {}).get("POOL_MIN", 0)) > 1:
            return True
        kept = max((int(settings.get("pool_min", 0)) for settings in state.running.values()), default=0)
        return kept > 1 and not self._has(state, host, {})

    def close_sqlite(self, backend: str) -> None:
        """Resets the hosts that run with this SQLite backend, so that none has its file open."""
        states = self._read()
        self._restart([host for host in self._hosts if _runs_with(states[host.name], "BACKEND", backend)], {})

    def cap(self, cpus: float | None = None) -> None:
        """Caps every app host to so many cores; None: to the inventory's cap, else to all cores of the machine."""
        caps = self._rig.state.cpus
        self._limit({host.name: cpus or caps.get(host.name, _all_cores()) for host in self._hosts})

    def restore(self) -> None:
        """Makes all app hosts serve as provisioned: no overrides, no cap but the inventory's, none drained.

        A bench does this at its start too, because an earlier one may have been killed. The caps come first: a host
        capped to a tenth of a core would take long for the rest.
        """
        self.cap()
        states = self._read()
        changed = [host for host in self._hosts if not self._has(states[host.name], host, {})]
        changed += [host for host in self._hosts if states[host.name].overrides is not None and host not in changed]
        if changed:
            self._restart(changed, {})
            self.cap()
        self._serve_from(len(self._hosts))

    def _read(self, *, ask_workers: bool = True) -> dict[str, AppState]:
        """Reads the state of all app hosts, by name. A worker that does not answer is absent from its state."""
        texts = self._rig.each(self._hosts, lambda h: h.run(["sh", "-c", _READ_STATE, "sh", self._file]).stdout)
        running: dict[str, dict[str, WorkerSettings]] = {host.name: {} for host in self._hosts}
        if ask_workers:
            for worker, (status, body) in self._workers.get(self._hosts, "/metrics?database=0").items():
                if status == 200:
                    running[worker.split(".")[0]][worker] = json.loads(body)["settings"]
        return {name: _parse_state(text, running[name]) for name, text in texts.items()}

    def _has(self, state: AppState, host: Host, overrides: Mapping[str, str]) -> bool:
        """Returns whether the host's file and all its workers have the settings that these overrides give."""
        for number in range(self._workers.per_host):
            worker = f"{host.name}.{number + 1}"
            running, provisioned = _plain(state.running.get(worker, {})), self._provisioned.get(worker)
            if not running or (provisioned is None and not overrides):
                return False
            if provisioned is None:  # it began with overrides: what else it runs with is as provisioned
                provisioned = running
            if not running == provisioned | _plain(overrides) == provisioned | _plain(state.overrides or {}):
                return False
        return True

    def _restart(self, hosts: Sequence[Host], overrides: Mapping[str, str]) -> None:
        """Writes the overrides (none: removes the file), restarts the service and waits until it is healthy."""
        text = "".join(f"{name}={value}\n" for name, value in overrides.items())
        file = shlex.quote(self._file)
        put = f"cat > {file}.part && mv {file}.part {file}" if overrides else f"rm -f {file}"
        # a start on a tenth of a core takes ten times as long, and is not measured
        self._limit(dict.fromkeys((host.name for host in hosts), _all_cores()))
        self._rig.each(hosts, lambda h: h.run(["sh", "-c", f"umask 077; {put} && {RESTART}"], stdin=text))
        try:
            self._wait("the app hosts to become healthy", lambda: self._workers.healthy(hosts))
        except RigError as error:
            raise RigError(f"{error.message}{self._workers.start_errors(hosts)}", hint=error.hint) from None
        if not overrides:
            self._learn(hosts)

    def _limit(self, caps: Mapping[str, float]) -> None:
        """Caps hosts by name; a host that has the cap is skipped, because Podman takes 0.1 s per host."""
        states = self._read(ask_workers=False)
        changed = {name: cores for name, cores in caps.items() if not _is_capped(states[name].cores, cores)}
        if changed:
            self._limit_cpus(changed)

    def _serve_from(self, count: int) -> None:
        """Makes HAProxy serve from the first hosts, and only from them. A reload of HAProxy forgets what was set."""
        names = {host.name for host in self._hosts[:count]}
        if self._haproxy.serving() == names:
            return
        self._haproxy.serve_from(names)
        self._wait(f"HAProxy to serve from {', '.join(sorted(names))}", lambda: self._haproxy.serving() == names)

    def _wait(self, condition: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not holds():
            if time.monotonic() > deadline:
                raise RigError(
                    f"timed out after {self._timeout_s:g} s waiting for {condition}", hint="see ./run status"
                )
            time.sleep(POLL_S)


def _parse_state(text: str, running: Mapping[str, WorkerSettings]) -> AppState:
    """Parses the output of _READ_STATE."""
    head, has_overrides, tail = text.partition("overrides\n")
    limits = {name: value.split() for name, _, value in (line.partition(" ") for line in head.splitlines())}
    quota = limits.get("cpu.max") or [
        *limits.get("cpu/cpu.cfs_quota_us", []), *limits.get("cpu/cpu.cfs_period_us", []),
    ]  # fmt: skip
    cores = None
    if len(quota) == 2:
        cores = math.inf if quota[0] in ("max", "-1") else int(quota[0]) / int(quota[1])
    overrides = {name: value for name, _, value in (line.partition("=") for line in tail.splitlines())}
    return AppState(overrides=overrides if has_overrides else None, cores=cores, running=running)


def _plain(settings: WorkerSettings) -> dict[str, float | str]:
    """Returns settings by lower-case name, numbers as numbers: `POOL_SIZE=10` in a file is `pool_size: 10` in /metrics.

    A cell sets no setting of one worker only.
    """
    plain: dict[str, float | str] = {}
    for name, value in settings.items():
        try:
            plain[name.lower()] = float(value)
        except (TypeError, ValueError):
            plain[name.lower()] = str(value)
    return plain


def _runs_with(state: AppState, name: str, value: str) -> bool:
    """Returns whether a worker of the host runs with this setting, or its file has it."""
    if (state.overrides or {}).get(name) == value:
        return True
    return any(settings.get(name.lower()) == value for settings in state.running.values())


def _is_capped(cores: float | None, wanted: float) -> bool:
    """Returns whether a cap that was read is the wanted one; a machine without a cap has all its cores."""
    if cores is None:
        return False
    return math.isclose(min(cores, _all_cores()), min(wanted, _all_cores()), rel_tol=0.01)


def _all_cores() -> float:
    return float(os.cpu_count() or 1)
