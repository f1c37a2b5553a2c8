"""Provider static: existing machines, reached over SSH.

This provider creates and removes no machine. A host is reached as its inventory says, with the user's own keys. Its
host key must be known beforehand; the user runs ssh-keyscan and compares the key.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import yaml

from harness.errors import RigError
from harness.model import Host
from harness.provision import image, topology
from harness.provision.ansible import run_playbooks
from harness.provision.inventory_model import Inventory
from harness.provision.play_events import Echo
from harness.provision.providers import host_owner
from harness.provision.providers.base import Platform, Preparation
from harness.rig import state
from harness.rig.ssh import SshConnection
from harness.rig.state import RigState, Variables

T = TypeVar("T")

INVENTORY = ""
MAKES_HOSTS = False
NETWORK_IS_LOCAL = True
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
    """Creates nothing; marks each host as this rig's. Raises RigError if a host is another rig's."""
    del source, echo
    host_owner.claim(rig, _each)
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


def foreign_owner(name: str) -> str:
    """Returns nothing: each host names its owner (host_owner), and create and remove ask it."""
    del name
    return ""


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


def processes(name: str) -> Collection[int]:
    """Returns none: the hosts are other machines."""
    del name
    return ()


def run_privileged(name: str, host: Host, command: Sequence[str]) -> None:
    """Raises RigError: it is not a host of this machine."""
    raise RigError(f"{host.name} of {name}: `{' '.join(command)}` failed, and it is not a host of this machine")


def limit_cpus(name: str, cpus: Mapping[str, float]) -> None:
    """Does nothing: the harness sets no limits on machines that it did not create."""
    del name, cpus


def stop_host(name: str, host: Host) -> None:
    """Raises RigError: pgcrucible has no access to the power of an existing machine."""
    raise _not_ours(name, host)


def start_host(name: str, host: Host, cpus: float | None = None) -> None:
    """Raises RigError: pgcrucible has no access to the power of an existing machine."""
    del cpus
    raise _not_ours(name, host)


def _not_ours(name: str, host: Host) -> RigError:
    return RigError(
        f"rig {name}: {host.name} is an existing machine, which pgcrucible neither stops nor starts",
        hint="use a rig of provider podman or vm for this fault",
    )


def remove(name: str, echo: Echo, *, purge: bool, take_over: bool) -> tuple[str, ...]:
    """Removes our services, files, user, database and roles, and checks that none is left; the machines stay.

    Hosts of another rig are left as they are. Raises RigError with each host that was not cleaned, and why.
    """
    del purge
    rig = _installed(name)
    if rig is None:
        return ()
    changed, uncleaned = _clean(rig, rig.hosts, echo, take_over=take_over)
    if uncleaned:
        raise RigError(
            f"rig '{name}': not cleaned: " + "; ".join(uncleaned.values()),
            hint=f"./run destroy --rig {name} again once these hosts answer; if they are gone for good: "
            f"./run destroy --rig {name} --forget",
        )
    return tuple(f"services and files on {host.name}" for host in rig.hosts if host.name in changed)


def release(name: str, kept: Collection[Host], echo: Echo) -> tuple[str, ...]:
    """Removes what is ours from machines that the rig has no longer; returns why for each that was not cleaned.

    Called while the rig's files still name them: afterwards nothing does.
    """
    try:
        rig = _installed(name)
    except RigError as error:
        return (error.message,)
    if rig is None:
        return ()
    places = {(host.ssh_address, host.ssh_port) for host in kept}
    dropped = tuple(host for host in rig.hosts if (host.ssh_address, host.ssh_port) not in places)
    if not dropped:
        return ()
    echo(f"removing services and files from {', '.join(host.name for host in dropped)}, no longer part of the rig")
    _, uncleaned = _clean(rig, dropped, echo, take_over=False)
    where = {host.name: host.ssh_address for host in dropped}
    return tuple(f"{where.get(host, host)} was not cleaned: {reason}" for host, reason in uncleaned.items())


def _clean(rig: RigState, hosts: tuple[Host, ...], echo: Echo, *, take_over: bool) -> tuple[set[str], dict[str, str]]:
    """Uninstalls on those of the hosts that are ours; returns those that changed, and why others were not cleaned."""
    owners = _try_each(hosts, partial(host_owner.read, rig))
    uncleaned = {host: owner.message for host, owner in owners.items() if isinstance(owner, RigError)}
    ours = []
    for host, owner in owners.items():
        if isinstance(owner, str) and owner and not take_over:
            echo(f"{host} is left as it is: it belongs to {owner}")
        elif isinstance(owner, str):
            ours.append(host)
    changed = _uninstall(rig, ours, uncleaned, echo) if ours else set()
    return changed, uncleaned


def _uninstall(rig: RigState, names: Sequence[str], uncleaned: dict[str, str], echo: Echo) -> set[str]:
    """Uninstalls on hosts that answer; returns those that changed, and adds those that have leftovers to `uncleaned`.

    Raises the play's RigError if it failed although every host is clean.
    """
    failure, changed = None, set()
    try:
        variables = state.read_secrets(rig.name)
        result = run_playbooks(rig.name, ["static_uninstall.yml"], variables=variables, echo=echo, only=names)
        changed = {host for task in result.tasks for host in task.changed}
    except RigError as error:
        failure = error
    paths = [str(rig.variables[key]) for key in ("common_directory", "common_settings_directory")]
    command = ["sh", "-c", _LEFTOVERS_SCRIPT.format(user=rig.variables["common_user"]), "sh", *paths]
    hosts = tuple(host for host in rig.hosts if host.name in names)
    outputs = _try_each(hosts, lambda connection: connection.run(command).stdout)
    for host, output in outputs.items():
        if isinstance(output, RigError):
            uncleaned[host] = output.message
        elif leftovers := [line for line in output.splitlines() if line.strip()]:
            uncleaned[host] = f"{host}: not removed: {', '.join(leftovers)}"
    if failure is not None:
        if not uncleaned:
            raise failure
        uncleaned["the play"] = failure.message
    return changed


def _installed(name: str) -> RigState | None:
    """Returns the rig as its effective inventory has it, or None if nothing was ever installed on existing machines.

    rig.json is not read: the inventory has all that is needed, and a rig can be removed if one of both is damaged.
    Raises RigError if the inventory is unreadable too.
    """
    with contextlib.suppress(RigError):
        stored = state.load(name)
        if stored is not None and stored.provider != "static":
            return None
    path = state.folder(name) / "inventory.yml"
    try:
        groups = yaml.safe_load(path.read_bytes())["all"]
        variables = groups["vars"]
        if variables["rig_provider"] != "static":
            return None
        hosts = tuple(
            topology.listed_host(role, host, {**variables, **group["vars"], **own})
            for role, group in groups["children"].items()
            for host, own in group["hosts"].items()
        )
        settings = {**image.role_defaults(state.ROLES_DIR), **variables}
        for group in groups["children"].values():
            settings |= group["vars"]
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, LookupError, AttributeError, OSError, yaml.YAMLError) as error:
        raise RigError(
            f"{path}: damaged, so it is unknown which machines have to be cleaned: {' '.join(str(error).split())}",
            hint=f"./run destroy --rig {name} --forget, if nothing of the rig is on any existing machine",
        ) from None
    return RigState(name=name, provider="static", inventory=str(path), network="", hosts=hosts, variables=settings)


def _try_each(hosts: tuple[Host, ...], work: Callable[[SshConnection], T]) -> dict[str, T | RigError]:
    """Runs `work` on all hosts at once; host name -> result, or the host's error."""

    def attempt(connection: SshConnection) -> T | RigError:
        try:
            return work(connection)
        except RigError as error:
            return error

    return _each(hosts, attempt) if hosts else {}


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
