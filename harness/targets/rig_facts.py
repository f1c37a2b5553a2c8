"""Facts of a rig that a plan or a manifest needs: what it offers, its hosts, its settings, its canaries."""

from __future__ import annotations

import json

from harness.errors import RigError
from harness.host_scripts import source
from harness.model import BACKENDS
from harness.plan.scenario import Site
from harness.rig.rig import Rig
from harness.store.manifest import HostRecord, RigRecord
from harness.targets.app_workers import AppWorkers
from harness.targets.postgres_queries import role_settings, server_settings
from harness.targets.rig_database import RigDatabase
from harness.targets.sqlite_files import why_no_sqlite
from harness.text import printable

SSH_PORT = 22
_TLS_HANDSHAKE = """
import socket, ssl, sys
address, port, authority = sys.argv[1:]
try:
    with socket.create_connection((address, int(port)), timeout=10) as plain:
        with ssl.create_default_context(cafile=authority).wrap_socket(plain, server_hostname=address) as encrypted:
            print(encrypted.version(), encrypted.cipher()[0])
except OSError as error:
    sys.exit(f"{address}:{port}: {error}")
"""
"""Prints the protocol version and cipher that a server agrees on with a client that verifies it."""


class RigFacts:
    """Reads the facts; changes nothing."""

    def __init__(self, rig: Rig, database: RigDatabase, workers: AppWorkers) -> None:
        self._rig, self._database, self._workers = rig, database, workers

    def site(self) -> Site:
        """Returns what this rig offers to a plan."""
        (connections,) = self._database.one("SELECT current_setting('max_connections')::int")
        no_sqlite = why_no_sqlite(self._rig, str(self._rig.variables["app_sqlite_directory"]))
        return Site(
            hosts=len(self._workers.hosts),
            workers=self._workers.per_host,
            load_hosts=len(self._rig.role("load")),
            backends=("postgres",) if no_sqlite else BACKENDS,
            no_sqlite=no_sqlite,
            connections=connections,
        )

    def record(self) -> RigRecord:
        """Returns the rig with its hosts' caps, memory, kernels and versions, for the manifest."""
        script, state = source("facts"), self._rig.state
        facts = self._rig.each(self._rig.hosts, lambda h: json.loads(h.run(["python3", "-"], stdin=script).stdout))
        return RigRecord(
            name=state.name,
            provider=state.provider,
            hosts=[HostRecord(name=host.name, role=host.role, **facts[host.name]) for host in state.hosts],
            code_hash=state.code_hash,
            image=state.image,
            acceleration=state.acceleration,
            tls=self._rig.authority is not None,
        )

    def require_role_settings(self) -> None:
        """Raises RigError where the service's role has other settings than its provision gave it.

        A role may change its own, for all its later sessions: what is measured would not be what the run says.
        """
        role = str(self._rig.variables["postgres_app_user"])
        timeouts = self._rig.variables["postgres_app_timeouts"]
        wanted = {str(name): str(value) for name, value in dict(timeouts).items()} if timeouts else {}
        found = self._database.reading(role_settings).get(role, {})
        names = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        if names:
            name = names[0]
            raise RigError(
                f"the role {role} has {name} = {printable(found.get(name, 'its default'), 80)}, provisioned is "
                f"{wanted.get(name, 'its default')}" + (f" (and {len(names) - 1} more)" if len(names) > 1 else ""),
                hint=f"its sessions begin with that; ./run provision --rig {self._rig.name} resets it",
            )

    def canaries(self) -> dict[str, dict[str, float]]:
        """Runs the canaries on one host after the other, because two at once would disturb each other."""
        script, results = source("canary"), {}
        directories = {"app": str(self._rig.variables.get("app_sqlite_directory") or ""), "db": self._data_directory()}
        for number, host in enumerate(self._rig.hosts):
            peer = self._rig.hosts[number - 1]
            # The SSH port of another address is a way in for the controller only.
            port = peer.ssh_port if peer.ssh_address == peer.address else SSH_PORT
            command = ["python3", "-", peer.address, str(port), directories.get(host.role, "")]
            results[host.name] = json.loads(self._rig.at(host).run(command, stdin=script).stdout)
        return results

    def _data_directory(self) -> str:
        """Returns where PostgreSQL's data lies; empty if the harness's user may not read the setting."""
        query = "SELECT coalesce((SELECT setting FROM pg_settings WHERE name = 'data_directory'), '')"
        return str(self._database.one(query)[0])

    def settings(self) -> dict[str, object]:
        """Returns the settings of PostgreSQL that are not defaults, of HAProxy and of one app worker; no secrets."""
        postgres = self._database.reading(server_settings)
        tls = {"tls": self._ciphers()} if self._rig.authority else {}
        metrics = self._workers.metrics()
        worker = min(metrics)
        return {
            **tls,
            "postgres": postgres,
            "haproxy": {name: value for name, value in self._rig.variables.items() if name.startswith("haproxy_")},
            "app": {worker: metrics[worker].get("settings", {})},
        }

    def _ciphers(self) -> dict[str, str]:
        """Returns the TLS version and cipher that HAProxy and PostgreSQL agree on with a client that verifies them."""
        load, balancer = self._rig.at(self._rig.role("load")[0]), self._rig.role("lb")[0]
        arguments = [balancer.address, str(self._rig.variables["haproxy_port"]), self._rig.authority_on_hosts]
        haproxy = load.run(["python3", "-", *arguments], stdin=_TLS_HANDSHAKE).stdout
        postgres = self._database.one("SELECT version, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        return {"haproxy": haproxy.strip(), "postgres": " ".join(postgres)}
