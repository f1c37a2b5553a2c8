"""A rig whose hosts run nothing: they answer as real ones do and record what they are asked.

Its rules are those of the real parts. A SQLite file whose journal mode would change must be open on no other host, and
no file may be removed while it is open. HAProxy sends requests to the hosts that are not in maintenance.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg

from harness.faults import proxy_replay, service_revision
from harness.model import Host
from harness.provision.revision import entry
from harness.rig.connection import Result
from harness.rig.rig import Rig
from harness.targets import app_revisions
from harness.targets.app_configurator import OVERRIDE
from harness.targets.server_settings import FILE as VARIANT_FILE
from tests.support.builders import rig_state

SHARED = "/srv/shared"
JOURNAL_MODES = {"sqlite-naive": "delete", "sqlite-tuned": "wal"}
PROVISIONED = {"BACKEND": "postgres", "POOL_SIZE": "10"}
FIRST_PORT = 3001
FACTS = {"cpus": 2.0, "memory": 1 << 30, "kernel": "6.1"}
CANARIES = {"cpu_ms": 1.0}


class FakeHost:
    """The connection to a host by name."""

    def __init__(self, rig: FakeRig, name: str) -> None:
        self.rig, self.name = rig, name

    def run(self, command: Sequence[str], *, stdin: str = "", timeout_s: float = 60.0, check: bool = True) -> Result:
        with self.rig.lock:
            self.rig.commands.append((self.name, list(command)))
            return self._run(list(command), stdin)

    def _run(self, command: list[str], stdin: str) -> Result:
        printed, code = "", 0
        match command:
            case ["sh", "-c", script, "sh", path, _] if "cgroup" in script and path.endswith(OVERRIDE):
                printed = self.rig.state_of(self.name)
            case ["sh", "-c", _, "sh", action, name] if name == VARIANT_FILE:
                printed = self.rig.server_file(action, stdin)
            case ["sh", "-c", proxy_replay._SCRIPT | service_revision._SCRIPT | app_revisions.REMOVE_CONTROLS, *_]:
                pass
            case ["socat", *_]:
                printed = self.rig.haproxy(stdin.strip())
            case ["sh", "-c", script] if OVERRIDE in script:
                selected = re.search(r"'# (\S+)\n", script)
                self.rig.restart(self.name, stdin or None, selected[1] if selected else "")
            case ["sh", "-c", app_revisions._FOLDERS, *_]:
                revision = self.rig.revisions.get(self.name, "")
                folder = f"{self.rig.variables['common_directory']}"
                where = f"{folder}/revisions/{revision}" if revision else folder
                printed = f"{where}/code {folder}/venv/bin/python -m {entry(revision)} \n"
            case ["sh", "-c", script, *_] if script == app_revisions._LAST_LINE or "journalctl" in script:
                printed = self.rig.logs.get(self.name, "")
            case ["sh", "-c", _, "sh", "/var/log/postgresql"]:
                printed = self.rig.logged_deadlocks
            case ["rm", "-f", path, *_]:
                self.rig.remove(path)
            case ["runuser", *_, _, "read" | "empty"]:
                printed = json.dumps(self.rig.sqlite_answers.pop(0))
            case ["runuser", *_, directory, token, action]:
                printed = json.dumps(self.rig.probe(self.name, directory, token, action))
            case ["python3", "-", *arguments]:
                self.rig.arguments[self.name] = arguments
                printed = json.dumps(CANARIES if arguments else FACTS)
            case ["env", *_]:
                self.rig.jobs.append((self.name, json.loads(stdin)))
                printed = '{"result": {"done": true}}'
            case _:
                raise AssertionError(command)
        return Result(stdout=printed, stderr="", code=code)

    def is_alive(self) -> bool:
        return True

    def get(self, address: str, port: int, path: str, *, timeout_s: float = 10.0) -> tuple[int, str]:
        """Answers as the worker of that host and port: as it runs, or not at all."""
        if address in self.rig.silent:
            return 0, "connection refused"
        worker = f"{address}.{port - FIRST_PORT + 1}"
        runs = self.rig.runs[address]
        settings = {"sqlite_path": None, "pool_min": 0} | {name.lower(): value for name, value in runs.items()}
        settings["code_hash"] = self.rig.revisions.get(address) or "provisioned"
        body = {
            "settings": settings,
            "requests": self.rig.requests.get(worker, {}),
            "transactions": self.rig.transactions.get(worker, 0),
            "code": settings["code_hash"],
            "facts": {"journal_mode": JOURNAL_MODES.get(runs["BACKEND"])},
            "pid": 100,
            "started": 1_700_000_000 + self.rig.restarts.count(address),
        }
        return 200, json.dumps(body)


class FakeRig(Rig):
    """Hosts db-1, app-1 …, lb-1 and load-1, each its own address; as provisioned at first."""

    def __init__(self, apps: int = 2, dsn: str = "", **changes: Any) -> None:
        names = ("db-1", *(f"app-{n}" for n in range(1, apps + 1)), "lb-1", "load-1")
        hosts = tuple(Host(name=name, role=name.split("-")[0], address=name, ssh_address=name) for name in names)  # type: ignore[arg-type]
        variables = {"app_sqlite_directory": SHARED, "postgres_app_timeouts": {}} | changes.pop("variables", {})
        super().__init__(
            state=rig_state(hosts, variables=variables, **changes),
            key=None, known_hosts=None, secrets={"harness_password": "secret"},
        )  # fmt: skip
        self.dsn, self.lock = dsn, threading.RLock()
        self.commands: list[tuple[str, list[str]]] = []
        self.connections: list[psycopg.Connection[Any]] = []
        # what lies and runs on the hosts
        self.names = [host.name for host in self.role("app")]
        self.overrides: dict[str, dict[str, str]] = {}
        self.runs: dict[str, Mapping[str, str]] = dict.fromkeys(self.names, PROVISIONED)
        self.drop_ins: dict[str, str] = {}
        """The revision that the host's drop-in selects at the next start, and below which one it runs."""
        self.revisions: dict[str, str] = {}
        self.unknown_settings: dict[str, tuple[str, ...]] = {}
        """Revision -> settings that its service does not have."""
        self.restarts: list[str] = []
        self.silent: set[str] = set()
        self.start_fails: set[str] = set()
        """Hosts and revisions whose service does not start."""
        self.logs: dict[str, str] = {}
        self.caps: dict[str, float] = {}
        self.capped: list[str] = []
        """The hosts that were capped, in order."""
        self.drained: set[str] = set()
        self.unchecked: set[str] = set()
        """The hosts whose health HAProxy does not check."""
        self.server_settings = ""
        # SQLite
        self.journals: dict[str, str] = {}
        self.removed: list[str] = []
        self.sqlite_answers: list[dict[str, Any]] = []
        self.filesystems = dict.fromkeys(self.names, "ext4")
        self.kernels = dict.fromkeys(self.names, "one")
        self.directories = dict.fromkeys(self.names, 1)
        self.tokens: set[tuple[int, str]] = set()
        # counters
        self.requests: dict[str, dict[str, dict[str, int]]] = {}
        self.transactions: dict[str, int] = {}
        self.haproxy_pid = 100
        self.frontend_requests = 0
        self.server_requests: dict[str, int] = {}
        self.logged_deadlocks = ""
        # what was asked for
        self.arguments: dict[str, list[str]] = {}
        self.jobs: list[tuple[str, dict[str, Any]]] = []

    def at(self, host: Host | str) -> Any:
        return FakeHost(self, host if isinstance(host, str) else host.name)

    @contextlib.contextmanager
    def database(self, limit_s: float = 60.0) -> Iterator[psycopg.Connection[Any]]:
        connection = psycopg.connect(self.dsn, autocommit=True, application_name="pgcrucible")
        with contextlib.closing(connection):
            self.connections.append(connection)
            yield connection

    def limit_cpus(self, caps: Mapping[str, float]) -> None:
        """Keeps the caps, as the container engine does."""
        self.caps |= caps
        self.capped += caps

    def state_of(self, name: str) -> str:
        """The host's CPU limit and its file of overrides, as the configurator's script prints them."""
        quota = f"{self.caps[name] * 100_000:.0f}" if name in self.caps else "max"
        lines = [f"cpu.max {quota} 100000"]
        if revision := self.drop_ins.get(name):
            lines.append(f"revision {revision}")
        if name in self.overrides:
            lines += ["overrides", *(f"{key}={value}" for key, value in self.overrides[name].items())]
        return "\n".join(lines) + "\n"

    def server_file(self, action: str, text: str) -> str:
        """Keeps the file of server settings. The database is not on a host: it reads its own files when asked."""
        if action in ("write", "remove"):
            self.server_settings = text
        if action == "reload":
            with psycopg.connect(self.dsn) as connection:
                connection.execute("SELECT pg_reload_conf()")
        return f"/etc/{VARIANT_FILE}\n{self.server_settings}"

    def reload_haproxy(self) -> None:
        """Starts another HAProxy: it counts from zero and serves from every host, whatever was set before."""
        self.haproxy_pid += 1
        self.drained.clear()
        self.unchecked.clear()
        self.frontend_requests, self.server_requests = 0, dict[str, int]()

    def restart(self, name: str, text: str | None, revision: str = "") -> None:
        """Starts the host's service with what its file of overrides says (None: removed) and the revision selected."""
        self.restarts.append(name)
        self.drop_ins[name] = self.revisions[name] = revision
        self.overrides.pop(name, None)
        if text is not None:
            self.overrides[name] = dict(line.split("=", 1) for line in text.splitlines())
        runs = PROVISIONED | self.overrides.get(name, {})
        for unknown in self.unknown_settings.get(revision, ()):
            runs.pop(unknown, None)
        self.runs[name] = PROVISIONED
        fails = name in self.start_fails or revision in self.start_fails
        (self.silent.add if fails else self.silent.discard)(name)
        if (mode := JOURNAL_MODES.get(runs["BACKEND"])) is not None:
            path = runs["SQLITE_PATH"]
            others = self.holders(path)
            assert not others or self.journals[path] == mode, f"{name}: database is locked: {others} hold {path} open"
            self.journals[path] = mode
        self.runs[name] = runs

    def holders(self, path: str) -> list[str]:
        """The hosts that have a SQLite file open."""
        return [host for host, runs in self.runs.items() if runs.get("SQLITE_PATH") == path]

    def remove(self, path: str) -> None:
        """Removes a file; one that is open would get corrupted."""
        assert not self.holders(path), f"{path} is open on {self.holders(path)}"
        self.journals.pop(path, None)
        self.removed.append(path)

    def probe(self, name: str, directory: str, token: str, action: str) -> dict[str, Any]:
        """Answers as harness/host_scripts/shared_directory.py."""
        assert directory == SHARED
        file = (self.directories[name], token)
        if action == "leave":
            self.tokens.add(file)
        seen = file in self.tokens
        if action == "remove":
            self.tokens.remove(file)
        return {"type": self.filesystems[name], "kernel": self.kernels[name], "seen": seen}

    def haproxy(self, commands: str) -> str:
        """Obeys the commands and prints the statistics."""
        if commands == "show info":
            return f"Name: HAProxy\nPid: {self.haproxy_pid}\nStart_time_sec: 1700000000\n"
        for words in map(str.split, commands.split("; ")):
            server = words[2].split("/")[1] if len(words) > 2 else ""
            if words[:2] == ["set", "server"] and words[3] == "state":
                (self.drained.add if words[-1] == "maint" else self.drained.discard)(server)
            if words[1:2] == ["health"]:
                (self.unchecked.add if words[0] == "disable" else self.unchecked.discard)(server)
        up = {name: "no check" if name in self.unchecked else "UP" for name in self.names}
        servers = [
            f"app,{name},2,{'MAINT' if name in self.drained else up[name]},{self.server_requests.get(name, 0)},"
            for name in self.names
        ]
        frontend = f"public,FRONTEND,0,OPEN,,{self.frontend_requests}"
        return "\n".join(["# pxname,svname,type,status,stot,req_tot", frontend, *servers, ""])
