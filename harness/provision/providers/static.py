"""Provider static: existing machines, reached over SSH.

This provider creates and removes no machine. A host is reached as its inventory says, with the user's own keys. Its
host key must be known beforehand; the user runs ssh-keyscan and compares the key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from harness.errors import RigError
from harness.model import Host
from harness.provision import topology
from harness.provision.ansible import Echo, run_playbooks
from harness.provision.inventory_model import Inventory
from harness.provision.providers.base import Platform, Preparation
from harness.rig import state
from harness.rig.ssh import SshConnection
from harness.rig.state import RigState, Variables

T = TypeVar("T")

INVENTORY = ""
MAKES_HOSTS = False
LIMITS_CPUS = False

WORKERS = 16

_PLATFORM_SCRIPT = """
import json, platform, sys
print(json.dumps({"python": "%d.%d" % sys.version_info[:2], "machine": platform.machine()}))
"""
_LEFTOVERS_SCRIPT = """
for path in "$@" /etc/systemd/system/pgcrucible* /etc/haproxy/pgcrucible.pem \
    /etc/postgresql/*/main/pgcrucible.pem /etc/postgresql/*/main/conf.d/pgcrucible.conf; do
    [ ! -e "$path" ] || echo "$path"
done
getent passwd {user}
systemctl list-units --all --plain --no-legend 'pgcrucible*'
true
"""


def prepare(name: str, source: Inventory, app_hosts: int | None, echo: Echo) -> Preparation:
    """Nothing to prepare: no host runs on this machine."""
    del name, source, app_hosts, echo
    return Preparation()


def place_hosts(
    source: Inventory, network: str, app_hosts: int | None, before: RigState | None, others: Sequence[RigState]
) -> tuple[Host, ...]:
    """Returns the hosts that the inventory lists."""
    del network, before, others
    return topology.listed_hosts(source, app_hosts)


def variables(rig: RigState, source: Inventory) -> Variables:
    """No variables: the inventory says how its hosts are reached."""
    del rig, source
    return {}


def create(rig: RigState, source: Inventory, echo: Echo) -> tuple[RigState, None]:
    """Nothing to create."""
    del source, echo
    return rig, None


def wait_for_hosts(rig: RigState) -> Mapping[str, Platform]:
    """Returns each host's platform. Raises RigError if a host cannot be reached or has no Python."""

    def read_platform(connection: SshConnection) -> Platform:
        result = connection.run(["python3", "-"], stdin=_PLATFORM_SCRIPT, check=False)
        if result.code != 0:
            message = (result.stderr.strip() or "no output").splitlines()[-1]
            raise RigError(
                f"{connection.name}: python3 does not run: {message}",
                hint="apt-get install python3; the user needs sudo without a password (sudo -n)",
            )
        return Platform(**json.loads(result.stdout))

    return _each(rig.hosts, read_platform)


def running(name: str) -> Mapping[str, str]:
    """No hosts: none is created."""
    del name
    return {}


def host_status(rig: RigState) -> Mapping[str, str]:
    """Returns `up`, or why a login failed, for each host."""
    with ThreadPoolExecutor(min(WORKERS, len(rig.hosts))) as pool:
        errors = pool.map(login_error, rig.hosts)
    return {host.name: error or "up" for host, error in zip(rig.hosts, errors, strict=True)}


def login_error(host: Host) -> str:
    """Returns an empty string if a command runs on the host, else the error."""
    try:
        _each((host,), lambda connection: connection.run(["true"]))
    except RigError as error:
        return error.message
    return ""


def limit_cpus(name: str, cpus: Mapping[str, float]) -> None:
    """Does nothing: the harness sets no limits on machines that it did not create."""
    del name, cpus


def remove(name: str, echo: Echo, *, purge: bool) -> tuple[str, ...]:
    """Removes our services, files, user, database and roles, and checks that none is left; the machines stay.

    Raises RigError if a host cannot be reached or something is left on it; the rig's state is then kept.
    """
    del purge
    rig = state.load(name)
    if rig is None or rig.provider != "static" or not (state.folder(name) / "inventory.yml").exists():
        return ()
    result = run_playbooks(name, ["static_uninstall.yml"], variables=state.read_secrets(name), echo=echo)
    paths = [str(rig.variables[key]) for key in ("common_directory", "common_settings_directory")]
    script = _LEFTOVERS_SCRIPT.format(user=rig.variables["common_user"])
    command = ["sh", "-c", script, "sh", *paths]
    outputs = _each(rig.hosts, lambda connection: connection.run(command).stdout)
    for host, output in outputs.items():
        if leftovers := [line for line in output.splitlines() if line.strip()]:
            raise RigError(f"{host}: not removed: {'; '.join(leftovers)}", hint=f"./run destroy --rig {name} again")
    changed = {host for task in result.tasks for host in task.changed}
    return tuple(f"services and files on {host.name}" for host in rig.hosts if host.name in changed)


def _each(hosts: tuple[Host, ...], work: Callable[[SshConnection], T]) -> dict[str, T]:
    """Runs `work` on all hosts at once; host name -> result. Raises the first host's RigError."""

    def connect(host: Host) -> T:
        connection = SshConnection(host, None, None)
        try:
            return work(connection)
        finally:
            connection.close()

    with ThreadPoolExecutor(min(WORKERS, len(hosts))) as pool:
        return dict(zip([host.name for host in hosts], pool.map(connect, hosts), strict=True))
