"""The tasks that open a host of a rig: logs, ssh, psql. They work on a rig that is not ready too."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from harness.cli.console import has_reader, say
from harness.errors import RigError, UsageError
from harness.model import Host
from harness.plan.option_values import whole
from harness.provision.ssh_command import FAILED, as_root, ssh_command
from harness.rig.rig import Rig, existing_rig
from harness.text import nearest, plural, printable

MAX_LOG_LINES = 1_000_000
LOGS: dict[str, list[str]] = {
    "app": ["--unit", "pgcrucible-app@*"],
    "lb": ["--unit", "haproxy"],
    "load": [],
}
"""Role -> options of journalctl that choose its own log. PostgreSQL writes files instead."""
_POSTGRES_LOG = 'exec tail -q -n "$1" $2 -- /var/log/postgresql/*.log'


def run_logs(rig_name: str, host_name: str, *, unit: str | None, lines: str | None, follow: bool) -> None:
    """Prints the newest lines of a host's log: of `unit`, else of the service of its role.

    Raises RigError where the host cannot be reached, UsageError where it has no such unit or log.
    """
    count = whole("lines", lines, 1, MAX_LOG_LINES) or 200
    with existing_rig(rig_name) as rig:
        host = host_of(rig, host_name)
        if unit is None and host.role == "db":
            command = ["sh", "-c", _POSTGRES_LOG, "sh", str(count), *(["-F"] if follow else [])]
        else:
            chosen = LOGS.get(host.role, []) if unit is None else ["--unit", unit]
            command = ["journalctl", "--no-pager", "--quiet", "-n", str(count), *chosen, *(["-f"] if follow else [])]
        printed = _print(ssh_command(rig, host, as_root(host, command)), host)
    if not printed:
        what = f"unit {printable(unit, 80)}" if unit else "its service"
        raise UsageError(
            f"{host.name}: the log of {what} has no line",
            hint=f"its units: ./run ssh {host.name} -- systemctl list-units --type service",
        )


def run_ssh(rig_name: str, host_name: str, command: Sequence[str]) -> None:
    """Opens a shell on a host, or runs `command` there; the exit code of the command is that of the task."""
    with existing_rig(rig_name) as rig:
        host = host_of(rig, host_name)
        tty = sys.stdin.isatty() and sys.stdout.isatty()
        _call(ssh_command(rig, host, command, tty=tty and not command), host)


def run_psql(rig_name: str, arguments: Sequence[str]) -> None:
    """Opens psql on the database host as the superuser, on the database of the service; `arguments` are psql's."""
    with existing_rig(rig_name) as rig:
        host = next((host for host in rig.hosts if host.role == "db"), None)
        if host is None or not {"postgres_port", "postgres_database"} <= rig.variables.keys():
            raise RigError(f"rig '{rig_name}' has no database yet", hint=f"./run provision --rig {rig_name}")
        port, database = str(rig.variables["postgres_port"]), str(rig.variables["postgres_database"])
        command = ["env", "-C", "/", "runuser", "-u", "postgres", "--", "psql", "-p", port, "-d", database, *arguments]
        tty = sys.stdin.isatty() and sys.stdout.isatty()
        _call(ssh_command(rig, host, as_root(host, command), tty=tty), host)


def after_dashes() -> list[str]:
    """Returns the words of the command line after `--`, which belong to the command on the host."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def host_of(rig: Rig, name: str) -> Host:
    """Returns the host of that name. Raises UsageError with the nearest name."""
    hosts = {host.name: host for host in rig.hosts}
    if name not in hosts:
        raise UsageError(f"rig '{rig.name}' has no host '{printable(name, 80)}'", hint=nearest(name, hosts))
    return hosts[name]


def _call(command: Sequence[str], host: Host) -> None:
    """Runs ssh on this terminal; ends with the exit code of the command. Raises RigError where it cannot connect."""
    sys.stdout.flush()
    code = subprocess.run(command, check=False).returncode
    _require_connected(code, host)
    if code:
        raise SystemExit(code)


def _print(command: Sequence[str], host: Host) -> int:
    """Prints the output of a command, without its control characters; returns the number of lines."""
    printed = 0
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8", errors="replace"
    ) as process:
        try:
            for line in process.stdout or ():
                say(line.rstrip("\n"))
                printed += 1
                if not has_reader():
                    process.terminate()
                    return printed
        except BaseException:
            process.terminate()
            raise
    _require_connected(process.returncode, host)
    if process.returncode:
        after = plural(printed, "line")
        raise RigError(
            f"{host.name}: its log ended with exit code {process.returncode} after {after}", hint="see above"
        )
    return printed


def _require_connected(code: int, host: Host) -> None:
    if code == FAILED:
        raise RigError(
            f"{host.name} ({host.ssh_address}:{host.ssh_port}): ssh ended with exit code {FAILED}",
            hint="see its message above; ./run status shows whether the host is up",
        )
