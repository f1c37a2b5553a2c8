"""Configures a rig's app hosts for a cell: code, backend, pool, CPU cap, and which hosts serve.

What a host should run with is compared with what it runs with, and only the hosts that differ are restarted.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence

from harness.errors import RigError
from harness.model import Cell, Host
from harness.plan.planner import service_settings
from harness.provision.revision import DROP_IN
from harness.rig.rig import Rig
from harness.targets.app_revisions import AppRevisions
from harness.targets.app_state import (
    READ_STATE,
    AppState,
    WorkerSettings,
    all_cores,
    is_capped,
    parse_state,
    plain,
    runs_with,
)
from harness.targets.app_workers import READ_KEYS, AppWorkers
from harness.targets.haproxy import HAProxy
from harness.targets.sqlite_files import remove

OVERRIDE = "override.env"
"""Settings of one trial; the service reads them after its own."""
RESTART = "systemctl restart pgcrucible-app.target"
TIMEOUT_S = 30.0
POLL_S = 0.2

LimitCpus = Callable[[Mapping[str, float]], None]
"""Caps hosts by name to a number of cores; has no effect where the provider cannot."""


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
        self._revisions = AppRevisions(rig, self._hosts, workers.per_host)
        self._directory = str(rig.variables["app_sqlite_directory"])
        self._file = f"{rig.variables['common_settings_directory']}/{OVERRIDE}"
        self._without_overrides: dict[tuple[str, str], dict[str, float | str]] = {}
        """(revision, worker) -> its settings without overrides; absent where it was not seen without them."""

    def read_provisioned(self) -> None:
        """Reads what each app host runs with, before anything is changed.

        A host on which an earlier bench left overrides or a revision is not asked: the service may be unable to start
        with them (`restore` removes them).
        """
        states = self._read(ask_workers=False)
        self._learn([host for host in self._hosts if states[host.name].is_as_provisioned])

    def _learn(self, hosts: Sequence[Host], revision: str = "") -> None:
        """Reads the settings of hosts that run without overrides. Raises RigError where a worker does not answer."""
        for worker, body in self._workers.metrics(hosts).items():
            self._without_overrides[revision, worker] = plain(body.get("settings", {}))

    def deploy(self, revisions: Sequence[str]) -> list[str]:
        """Puts revisions beside the provisioned code and starts each once; returns notes for the run.

        The hosts run the last one afterwards. Raises RigError where one does not start or lacks what is read of it.
        """
        notes = self._revisions.deploy(revisions)
        for revision in revisions:
            self._restart(self._hosts, {}, revision)
            for worker, body in self._workers.metrics(self._hosts).items():
                if missing := [key for key in READ_KEYS if key not in body]:
                    raise RigError(
                        f"code={revision}: {worker}: its /metrics has no {', '.join(missing)}, which is read",
                        hint="choose a newer revision",
                    )
        return notes

    def configure(self, cell: Cell) -> None:
        """Makes the first `cell.hosts` app hosts serve with the cell's backend, pool and CPU cap; drains the others.

        With a cap of the cell HAProxy's health checks are off: a slow host stays in the rotation.
        The cap has no effect on hosts whose provider cannot cap them.
        """
        if cell.code and not self._revisions.has(cell.code):
            self.deploy([cell.code])
        settings = service_settings(cell, self._workers.per_host)
        states = self._read()
        if cell.backend != "postgres":
            # One file per backend: the file keeps its journal mode, and a host cannot change it while another host,
            # which may be drained, has the file open.
            path = settings["SQLITE_PATH"] = f"{self._directory}/{cell.backend}.db"
            if not any(runs_with(state, "SQLITE_PATH", path) for state in states.values()):
                remove(self._rig.at(self._hosts[0]), path)  # an earlier bench may have left a damaged one
        serving = self._hosts[: cell.hosts]
        self._release(self._hosts[cell.hosts :], states)
        changed = [host for host in serving if not self._has(states[host.name], host, settings, cell.code)]
        if changed:
            self._restart(changed, settings, cell.code)
        checked = cell.cpus_per_host is None  # a worker with a tenth of a core may answer a health check late
        if checked:
            self.cap()
        self._serve_from(cell.hosts, checked=checked)
        if not checked:
            self._haproxy.stop_checks()
            self.cap(cell.cpus_per_host)

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
        self._restart([host for host in self._hosts if runs_with(states[host.name], "BACKEND", backend)], {})

    def cap(self, cpus: float | None = None) -> None:
        """Caps every app host to `cpus` cores; None: to the inventory's cap, else to all cores of the machine."""
        caps = self._rig.state.cpus
        self._limit({host.name: cpus or caps.get(host.name, all_cores()) for host in self._hosts})

    def restore(self) -> None:
        """Makes all app hosts serve as provisioned: its code, no overrides, the inventory's cap, none drained.

        A bench does this at its start too, because an earlier one may have been killed. That the provisioned code runs
        is read from the processes: a restart that failed leaves no file that tells of another revision. The caps come
        first: a host capped to a tenth of a core would take long for the rest.
        """
        self.cap()
        states, elsewhere = self._read(), self._revisions.elsewhere(self._hosts, "")
        changed = [
            host
            for host in self._hosts
            if host.name in elsewhere
            or not (states[host.name].is_as_provisioned and self._has(states[host.name], host, {}))
        ]
        if changed:
            self._restart(changed, {})
            self._revisions.remove_controls(changed)
            self.cap()
        self._serve_from(len(self._hosts))

    def _read(self, *, ask_workers: bool = True) -> dict[str, AppState]:
        """Reads the state of all app hosts, by name. A worker that does not answer is absent from its state."""
        command = ["sh", "-c", READ_STATE, "sh", self._file, DROP_IN]
        texts = self._rig.each(self._hosts, lambda h: h.run(command).stdout)
        running: dict[str, dict[str, WorkerSettings]] = {host.name: {} for host in self._hosts}
        if ask_workers:
            for worker, (status, body) in self._workers.get(self._hosts, "/metrics?database=0").items():
                if status == 200:
                    running[worker.split(".")[0]][worker] = json.loads(body)["settings"]
        return {name: parse_state(text, running[name]) for name, text in texts.items()}

    def _has(self, state: AppState, host: Host, overrides: Mapping[str, str], revision: str = "") -> bool:
        """Returns whether the host has the revision, and its file and its workers the settings of these overrides."""
        if state.revision != revision:
            return False
        for number in range(self._workers.per_host):
            worker = f"{host.name}.{number + 1}"
            running, provisioned = plain(state.running.get(worker, {})), self._without_overrides.get((revision, worker))
            if not running or (provisioned is None and not overrides):
                return False
            if provisioned is None:  # it began with overrides: what else it runs with is as provisioned
                provisioned = running
            if not running == provisioned | plain(overrides) == provisioned | plain(state.overrides or {}):
                return False
        return True

    def _restart(self, hosts: Sequence[Host], overrides: Mapping[str, str], revision: str = "") -> None:
        """Writes overrides and drop-in (none: removes the file), restarts the service and waits until it is healthy.

        The revision is read back from the running service. Raises RigError.
        """
        text = "".join(f"{name}={value}\n" for name, value in overrides.items())
        file = shlex.quote(self._file)
        put = f"cat > {file}.part && mv {file}.part {file}" if overrides else f"rm -f {file}"
        select = {host.name: self._revisions.selection(host.name, revision) for host in hosts}
        # a start on a tenth of a core takes ten times as long, and is not measured
        self._limit(dict.fromkeys((host.name for host in hosts), all_cores()))
        self._rig.each(
            hosts, lambda h: h.run(["sh", "-c", f"umask 077; {put} && {select[h.name]} && {RESTART}"], stdin=text)
        )
        try:
            self._wait("the app hosts to become healthy", lambda: self._workers.healthy(hosts))
        except RigError as error:
            raise self._start_error(error, hosts, revision) from None
        self._require(hosts, plain({**overrides, **({"code_hash": revision} if revision else {})}))
        self._revisions.require_running(hosts, revision)
        if not overrides:
            self._learn(hosts, revision)

    def _require(self, hosts: Sequence[Host], wanted: Mapping[str, float | str]) -> None:
        """Raises RigError unless the workers report these settings: one that a revision does not know has no effect."""
        for worker, body in self._workers.metrics(hosts).items():
            running = plain(body.get("settings", {}))
            if ignored := [f"{name}={value}" for name, value in wanted.items() if running.get(name) != value]:
                raise RigError(
                    f"{worker}: the service does not run with {', '.join(ignored)}, although it was restarted with it",
                    hint="its code may not have the setting; ./run provision updates the provisioned one",
                )

    def _start_error(self, error: RigError, hosts: Sequence[Host], revision: str) -> RigError:
        if not revision:
            return RigError(f"{error.message}{self._workers.start_errors(hosts)}", hint=error.hint)
        reason = self._revisions.last_log_line(hosts)
        return RigError(f"code={revision} does not start: {error.message}{reason}", hint="choose another revision")

    def _limit(self, caps: Mapping[str, float]) -> None:
        """Caps hosts by name; a host that has the cap is skipped, because Podman takes 0.1 s per host."""
        states = self._read(ask_workers=False)
        changed = {name: cores for name, cores in caps.items() if not is_capped(states[name].cores, cores)}
        if changed:
            self._limit_cpus(changed)

    def _serve_from(self, count: int, *, checked: bool = True) -> None:
        """Makes HAProxy serve from the first hosts, and only from them, and check their health where `checked`."""
        names = {host.name for host in self._hosts[:count]}
        if self._haproxy.serving() == names and not (checked and self._haproxy.unchecked()):
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
