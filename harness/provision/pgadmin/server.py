"""Runs pgAdmin for a rig, in the background: `.rigs/<name>/pgadmin/` has everything that it writes.

password          of its only user, 0600; written last when pgAdmin's data are made
pg_service.conf   libpq's connection to the rig's database, with the password of the harness's role, 0600
config/           the settings, which pgAdmin imports
data/             pgAdmin's database, sessions, logs, and what its user stores
port              the port of the loopback that it listens on
server.log        what pgAdmin prints
tunnel.log        what the newest ssh printed

Its processes are found by an environment variable that they inherit, as those of a play are: a process of another
program is never signalled, and those that a killed harness left are found as well.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import RigError, UsageError
from harness.model import Host
from harness.provision import play_processes
from harness.provision.pgadmin import connection, files, packages
from harness.provision.pgadmin.process import answers, free_ports, require_free, spawn, tail
from harness.provision.play_events import Echo
from harness.rig import state
from harness.rig.rig import Rig, existing_rig

FOLDER = "pgadmin"
VARIABLE = "PGCRUCIBLE_PGADMIN"
SYSTEM_SETTINGS = Path("/etc/pgadmin/config_system.py")
"""pgAdmin reads them last, so that they override all others."""
SETUP_S, START_S = 180.0, 180.0
POLL_S = 0.2
KEPT_VARIABLES = ("PATH", "TZ", "SSL_CERT_FILE")


@dataclass(frozen=True, slots=True, kw_only=True)
class PgAdmin:
    """A pgAdmin that answers at `url`.

    `password` is set if this call generated it. `problem`: why the rig's database cannot be reached, or empty.
    """

    url: str
    password_file: Path
    password: str = ""
    problem: str = ""
    ran_before: bool = False


def start(name: str, *, port: int | None, echo: Echo) -> PgAdmin:
    """Starts pgAdmin for the rig and waits until it answers; one that runs and reaches the database is left as it is.

    Raises UsageError where the port is taken, RigError where pgAdmin does not start. Nothing runs after an error.
    """
    if SYSTEM_SETTINGS.exists():
        raise UsageError(
            f"{SYSTEM_SETTINGS}: these settings of a pgAdmin of this machine would override those of the rig's",
            hint="move the file away while this task is used",
        )
    with state.locked(name), existing_rig(name) as rig:
        host = _database_host(rig)
        if running := _running(name, port):
            return running
        stop(name)
        if port is not None:
            require_free(port)
        installed = packages.install(echo)
        ports = free_ports(2)
        try:
            return _start(rig, host, installed, port=port or ports[0], tunnel=ports[1], echo=echo)
        except BaseException:
            stop(name)
            raise


def stop(name: str) -> bool:
    """Ends pgAdmin of the rig and what it started; returns whether anything ran. Its data stay.

    Works without the rig's lock, and where the rig's folder is gone. Raises RigError if a process does not end.
    """
    folder = _folder(name)
    ran = bool(play_processes.processes(folder, VARIABLE))
    if ran:
        play_processes.end(folder, variable=VARIABLE)
        if left := play_processes.processes(folder, VARIABLE):
            raise RigError(f"pgAdmin of rig '{name}': process {left[0]} does not end", hint="see ps -o stat,wchan -p")
    for file in ("port", "pg_service.conf"):
        (folder / file).unlink(missing_ok=True)
    return ran


def address(name: str) -> str:
    """Returns the address of the rig's pgAdmin, with what is wrong if it does not answer; empty if none runs."""
    folder = _folder(name)
    if not play_processes.processes(folder, VARIABLE):
        return ""
    port = _stored_port(folder)
    if port is None:
        return "starts"
    return _url(port) if answers(port) else f"{_url(port)} does not answer; ./run pgadmin --rig {name} starts it again"


def packages_in_use() -> set[Path]:
    """Returns the environments in the cache that pgAdmins run in, which may be of former lock files.

    The environment of the present lock file is among them where one starts, and has no program of it yet.
    """
    used = set[Path]()
    for name in state.names():
        pids = play_processes.processes(_folder(name), VARIABLE)
        programs = [path for pid in pids if (path := _environment_of(pid))]
        used |= set(programs or ([packages.environment()] if pids else []))
    return used


def _environment_of(pid: int) -> Path | None:
    """Returns the environment whose Python the process runs; None for another program."""
    try:
        program = Path(os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]))
    except OSError:
        return None
    found = program.parent.parent
    return found if found.parent == state.CACHE and found.name.startswith(packages.PREFIX) else None


def _start(rig: Rig, host: Host, installed: Path, *, port: int, tunnel: int, echo: Echo) -> PgAdmin:
    folder = _folder(rig.name)
    shutil.rmtree(folder / "config", ignore_errors=True)  # bytecode of settings that were written in the same second
    for part in (folder, folder / "config", folder / "tmp"):
        part.mkdir(mode=0o700, exist_ok=True)
    options, tunnel_log = connection.options(rig, host, tunnel), folder / "tunnel.log"
    state.write_private(folder / "config/config_local.py", files.settings(rig.name, folder, port))
    state.write_private(folder / "pg_service.conf", files.service(options))
    marked = {VARIABLE: str(folder)}
    spawn(connection.tunnel(rig, host, tunnel, tunnel_log), os.environ | marked, tunnel_log)
    environment = _environment(folder) | marked
    code = packages.code(installed)
    python = str(installed / "bin/python")
    password = (
        "" if (folder / "password").exists() else _set_up(rig, [python, str(code / "setup.py")], environment, echo)
    )
    echo("pgAdmin starts")
    state.write_private(folder / "port", f"{port}\n")
    pid = spawn([python, str(code / "pgAdmin4.py")], environment, folder / "server.log")
    _wait_for_answer(folder, pid, port)
    return PgAdmin(
        url=_url(port),
        password_file=folder / "password",
        password=password,
        problem=connection.problem(options, tunnel_log),
    )


def _set_up(rig: Rig, setup: list[str], environment: Mapping[str, str], echo: Echo) -> str:
    """Makes pgAdmin's data, with one user and one server; returns the user's password."""
    folder = _folder(rig.name)
    shutil.rmtree(folder / "data", ignore_errors=True)
    password, variables = secrets.token_urlsafe(18), rig.variables
    database, user = str(variables["postgres_database"]), str(variables["postgres_harness_user"])
    file = folder / "servers.json"
    state.write_private(file, files.servers(rig.name, database=database, user=user))
    login = {"PGADMIN_SETUP_EMAIL": files.LOGIN, "PGADMIN_SETUP_PASSWORD": password}
    echo("pgAdmin's data are made")
    _call([*setup, "setup-db"], {**environment, **login}, expected="")
    load = [*setup, "load-servers", str(file), "--user", files.LOGIN]
    _call(load, environment, expected="1 Server(s)")
    file.unlink()
    state.write_private(folder / "password", f"{password}\n")
    return password


def _call(command: Sequence[str], environment: Mapping[str, str], *, expected: str) -> None:
    """Runs one of pgAdmin's programs, which end with 0 after some errors too: `expected` is in its output."""
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            encoding="utf-8", errors="replace", check=False, timeout=SETUP_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise RigError(f"pgAdmin's {command[2]} did not end within {SETUP_S:g} s", hint="run the task again") from None
    if done.returncode or expected not in done.stdout:
        raise RigError(f"pgAdmin's {command[2]} ended with {done.returncode}", output=done.stdout[-2000:])


def _running(name: str, port: int | None) -> PgAdmin | None:
    """Returns the pgAdmin that runs, if it answers and reaches the database. Raises UsageError for another port."""
    folder = _folder(name)
    stored = _stored_port(folder)
    if stored is None or not play_processes.processes(folder, VARIABLE) or not answers(stored):
        return None
    if port not in (None, stored):
        raise UsageError(
            f"--port {port}: pgAdmin runs on port {stored}", hint=f"./run pgadmin --rig {name} --stop ends it"
        )
    options = connection.read_service(folder / "pg_service.conf")
    if options is None or connection.problem(options, folder / "tunnel.log"):
        return None
    return PgAdmin(url=_url(stored), password_file=folder / "password", ran_before=True)


def _database_host(rig: Rig) -> Host:
    host = next((host for host in rig.hosts if host.role == "db"), None)
    needed = {"postgres_port", "postgres_database", "postgres_harness_user"}
    if host is None or not needed <= rig.variables.keys():
        raise RigError(f"rig '{rig.name}' has no database yet", hint=f"./run provision --rig {rig.name}")
    return host


def _environment(folder: Path) -> dict[str, str]:
    """Returns pgAdmin's environment: variables of the user could change where it connects to and what it reads."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return kept | {
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PGADMIN_CONFIG_DEFAULT_SERVER": "127.0.0.1",
        "PGSERVICEFILE": str(folder / "pg_service.conf"),
        "PYTHONPATH": str(folder / "config"),
        "TMPDIR": str(folder / "tmp"),
    }


def _wait_for_answer(folder: Path, pid: int, port: int) -> None:
    deadline = time.monotonic() + START_S
    while not answers(port):
        if pid not in play_processes.processes(folder, VARIABLE):
            raise RigError("pgAdmin ended while it started", output=tail(folder / "server.log"))
        if time.monotonic() > deadline:
            raise RigError(f"pgAdmin did not answer within {START_S:g} s", output=tail(folder / "server.log"))
        time.sleep(POLL_S)


def _folder(name: str) -> Path:
    return state.folder(name) / FOLDER


def _stored_port(folder: Path) -> int | None:
    try:
        port = int((folder / "port").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return port if 0 < port < 2**16 else None


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/"
