"""Configures a rig's app hosts for a cell: backend, pool, CPU cap, and which hosts serve.

What a host should run with is compared with what it runs with, and only the hosts that differ are restarted.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence

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


class AppConfigurator:
    """Changes the app hosts, and keeps what each of them runs with."""

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
        self._provisioned: dict[str, dict[str, str]] = {}
        self._overrides: dict[str, dict[str, str]] = {}
        """App host -> the settings that it runs with; absent where they are not known."""
        self._caps: dict[str, float] = {}
        """App host -> its cap in cores, where this bench set it; another bench may have left any cap."""
        self._active = 0

    def read_provisioned(self) -> None:
        """Reads what each app host runs with, before anything is changed.

        A host on which an earlier bench left overrides is not asked: the service may be unable to start with them
        (`restore` removes them).
        """
        overridden = self._rig.each(self._hosts, lambda h: h.run(["test", "-e", self._file], check=False).code == 0)
        bodies = self._workers.metrics([host for host in self._hosts if not overridden[host.name]])
        settings = {worker.split(".")[0]: body["settings"] for worker, body in bodies.items()}
        self._provisioned = {
            name: {"BACKEND": str(values["backend"]), "POOL_SIZE": str(values["pool_size"])}
            for name, values in settings.items()
        }
        self._overrides = dict(self._provisioned)

    def configure(self, cell: Cell) -> None:
        """Makes the first `cell.hosts` app hosts serve with the cell's backend, pool and CPU cap; drains the others.

        The cap has no effect on hosts whose provider cannot cap them.
        """
        settings = service_settings(cell, self._workers.per_host)
        if cell.backend != "postgres":
            # One file per backend: the file keeps its journal mode, and a host cannot change it while another host,
            # which may be drained, has the file open.
            path = settings["SQLITE_PATH"] = f"{self._directory}/{cell.backend}.db"
            if all(overrides.get("SQLITE_PATH") != path for overrides in self._overrides.values()):
                remove(self._rig.at(self._hosts[0]), path)  # an earlier bench may have left a damaged one
        serving = self._hosts[: cell.hosts]
        self.release_connections(self._hosts[cell.hosts :])
        changed = [host for host in serving if self._overrides.get(host.name) != settings]
        if changed:
            self._restart(changed, settings)
        self.cap(cell.cpus_per_host)
        if cell.hosts != self._active:
            self._serve_from(cell.hosts)

    def release_connections(self, hosts: Sequence[Host] | None = None) -> None:
        """Resets the hosts (all, or these) whose pool keeps idle connections open, to free them in the database."""
        keeping = [
            host
            for host in (self._hosts if hosts is None else hosts)
            if int(self._overrides.get(host.name, {}).get("POOL_MIN", 0)) > 1
        ]
        if keeping:
            self._restart(keeping, {})

    def close_sqlite(self, backend: str) -> None:
        """Resets the hosts that run with this SQLite backend, so that none has its file open."""
        holders = [host for host in self._hosts if self._overrides.get(host.name, {}).get("BACKEND") == backend]
        self._restart(holders, {})

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
        changed = [
            host for host in self._hosts if self._overrides.get(host.name) != self._provisioned.get(host.name, {})
        ]
        if changed:
            self._restart(changed, {})
            self.cap()
        if self._active != len(self._hosts):
            self._serve_from(len(self._hosts))

    def _restart(self, hosts: Sequence[Host], overrides: Mapping[str, str]) -> None:
        """Writes the overrides (none: removes the file), restarts the service and waits until it is healthy."""
        text = "".join(f"{name}={value}\n" for name, value in overrides.items())
        file = shlex.quote(self._file)
        put = f"cat > {file}.part && mv {file}.part {file}" if overrides else f"rm -f {file}"
        for host in hosts:
            self._overrides.pop(host.name, None)
        # a start on a tenth of a core takes ten times as long, and is not measured
        self._limit(dict.fromkeys((host.name for host in hosts), _all_cores()))
        self._rig.each(hosts, lambda h: h.run(["sh", "-c", f"umask 077; {put} && {RESTART}"], stdin=text))
        try:
            self._wait("the app hosts to become healthy", lambda: self._workers.healthy(hosts))
        except RigError as error:
            raise RigError(f"{error.message}{self._workers.start_errors(hosts)}", hint=error.hint) from None
        self._overrides |= {host.name: dict(overrides) for host in hosts}

    def _limit(self, caps: Mapping[str, float]) -> None:
        """Caps hosts by name; a host that has the cap is skipped, because Podman takes 0.1 s per host."""
        changed = {name: cpus for name, cpus in caps.items() if self._caps.get(name) != cpus}
        if changed:
            for name in changed:
                self._caps.pop(name, None)
            self._limit_cpus(changed)
            self._caps |= changed

    def _serve_from(self, count: int) -> None:
        names = {host.name for host in self._hosts[:count]}
        self._haproxy.serve_from(names)
        self._wait(f"HAProxy to serve from {', '.join(sorted(names))}", lambda: self._haproxy.serving() == names)
        self._active = count

    def _wait(self, condition: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not holds():
            if time.monotonic() > deadline:
                raise RigError(
                    f"timed out after {self._timeout_s:g} s waiting for {condition}", hint="see ./run status"
                )
            time.sleep(POLL_S)


def _all_cores() -> float:
    return float(os.cpu_count() or 1)
