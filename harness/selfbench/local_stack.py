"""A temporary PostgreSQL and one process of the service on this machine, for self-benchmarks.

All files are in a folder of the caller. Both listen on the loopback behind a password and end with the block that
started them. As root the server runs as user `postgres`, because it refuses to run as root.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import psycopg
from psycopg import sql

from harness.errors import RigError

_START_S = 30.0
_ROOT = Path(__file__).parents[2]
SERVERS = Path("/usr/lib/postgresql")  # Debian's place, one folder per version
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "256MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_wal_size": "4GB",  # no checkpoint starts during a measurement
    "checkpoint_timeout": "1h",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running PostgreSQL: its port on the loopback, and the password of `postgres` and `appuser`."""

    port: int
    password: str
    bin: Path

    @property
    def dsn(self) -> str:
        """Connection string of the superuser."""
        return (
            f"host=127.0.0.1 port={self.port} dbname=postgres user=postgres password={self.password} connect_timeout=5"
        )

    def connect(self) -> psycopg.Connection[Any]:
        """Connects as superuser, in autocommit mode."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, dbname="postgres", user="postgres", password=self.password,
            connect_timeout=5, autocommit=True,
        )  # fmt: skip


def programs(parent: Path) -> Path | None:
    """Returns the folder of the newest server's programs below `parent`; None if there is none."""
    folders = [path for path in parent.glob("*/bin") if (path / "initdb").exists() and path.parent.name.isdigit()]
    return max(folders, key=lambda path: int(path.parent.name), default=None)


def missing(folder: Path | None) -> dict[str, str]:
    """What is missing here (`server` or `pgbench`), with the reason."""
    if folder is None:
        return {"server": "no PostgreSQL server is installed (apt install postgresql)"}
    if os.geteuid() == 0:
        import pwd  # noqa: PLC0415 - needed by root only

        if not any(user.pw_name == "postgres" for user in pwd.getpwall()):
            return {
                "server": "PostgreSQL does not run as root, and there is no user `postgres` (apt install postgresql)"
            }
    if not (folder / "pgbench").exists():
        return {"pgbench": f"{folder} has no pgbench (apt install postgresql-contrib)"}
    return {}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process: proc(5), fields 14 and 15 of /proc/PID/stat."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _User(TypedDict, total=False):
    """Options of subprocess that run PostgreSQL as its own user; empty where this process is not root's."""

    user: str
    group: str
    extra_groups: list[str]


@contextlib.contextmanager
def server(programs_at: Path, folder: Path, **settings: str) -> Iterator[Server]:
    """Starts a new cluster in `folder`, with a role and the tables of the service; `settings` are the server's."""
    user = _User(user="postgres", group="postgres", extra_groups=[]) if os.geteuid() == 0 else _User()
    server = Server(port=_free_port(), password=secrets.token_urlsafe(18), bin=programs_at)
    home = folder / "server"
    home.mkdir(mode=0o700)
    if user:
        folder.chmod(0o711)
        shutil.chown(home, "postgres", "postgres")
    secret = home / "password"
    secret.touch(mode=0o600)
    secret.write_text(server.password, encoding="ascii")
    if user:
        shutil.chown(secret, "postgres", "postgres")
    data, log = home / "data", home / "log"
    initdb = subprocess.run(
        [str(programs_at / "initdb"), "-D", str(data), "--auth=scram-sha-256", "--username=postgres",
         f"--pwfile={secret}", "--encoding=UTF8", "--locale=C", "--no-sync"],
        cwd=home, capture_output=True, text=True, timeout=120, check=False, **user,
    )  # fmt: skip
    if initdb.returncode:
        raise RigError("initdb failed", output=initdb.stderr[-2000:])
    options = [f"-c{name}={value}" for name, value in {**_SETTINGS, **settings}.items()]
    command = [str(programs_at / "postgres"), "-D", str(data), "-p", str(server.port), *options]
    with log.open("wb") as stderr:
        # a new session: Ctrl-C reaches this process, which stops the server
        process = subprocess.Popen(command, cwd=home, stderr=stderr, start_new_session=True, **user)
    try:
        _await(lambda: _accepts(server), process, log, "PostgreSQL")
        with server.connect() as admin:
            _fill(admin, server.password)
        yield server
    finally:
        _stop(process, 2)  # SIGINT: "fast"


def _accepts(server: Server) -> bool:
    try:
        server.connect().close()
    except psycopg.OperationalError:
        return False
    return True


def _fill(admin: psycopg.Connection[Any], password: str) -> None:
    """Creates role and tables as on a rig, and every counter, so that only updates are measured."""
    admin.execute("CREATE ROLE crucible_app NOLOGIN")
    role = sql.SQL("CREATE ROLE appuser LOGIN PASSWORD {} IN ROLE crucible_app")
    admin.execute(role.format(sql.Literal(password)))
    admin.execute((_ROOT / "app" / "schema.sql").read_bytes())
    for prefix in ("app", "pgbench"):
        admin.execute("INSERT INTO counters (key) SELECT %s || '-' || n FROM generate_series(0, 999) n", [prefix])


@contextlib.contextmanager
def service(server: Server, folder: Path, *, pool: int) -> Iterator[tuple[int, int]]:
    """Starts one worker of the service with `pool` open connections; yields its port and its process id."""
    environ = {
        "PATH": os.environ.get("PATH", ""),
        "HOST": "127.0.0.1",
        "PORT": "0",
        "POSTGRES_PORT": str(server.port),
        "POSTGRES_DB": "postgres",
        "POSTGRES_USER": "appuser",
        "POSTGRES_PASSWORD": server.password,
        "POSTGRES_SSLMODE": "disable",
        "POOL_SIZE": str(pool),
        "POOL_MIN": str(pool),
    }
    log = folder / "service.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "app"], cwd=_ROOT, env=environ, stderr=stderr, start_new_session=True
        )
    try:
        _await(lambda: b'"listening"' in log.read_bytes(), process, log, "the service")
        yield int(json.loads(log.read_text(encoding="utf-8").splitlines()[0])["port"]), process.pid
    finally:
        _stop(process, 15)


def _await(ready: Callable[[], bool], process: subprocess.Popen[Any], log: Path, name: str) -> None:
    deadline = time.monotonic() + _START_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RigError(f"{name} did not start", output=log.read_text(encoding="utf-8")[-2000:])
        time.sleep(0.05)


def _stop(process: subprocess.Popen[Any], number: int) -> None:
    process.send_signal(number)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
