"""Machines that exist already: what they are, what is deployed on them, and what of ours is taken away again.

We make and remove no machine here. A host is reached as its inventory says, with the user's own keys; its host key
must be known beforehand (ssh-keyscan is the user's to run and to compare).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from harness.errors import RigError
from harness.model import Host
from harness.provision.ansible import Echo, run_playbooks
from harness.provision.bundle import Bundle, build_bundle
from harness.rig import state
from harness.rig.ssh import SshConnection
from harness.rig.state import RigState

T = TypeVar("T")
WORKERS = 16
RUNS_CODE = ("app", "load")
"""Roles that our code and its packages are deployed for."""

_LOOK = """
import json, platform, sys
print(json.dumps({"python": "%d.%d" % sys.version_info[:2], "machine": platform.machine()}))
"""
_LEFT = """
for path in "$@" /etc/systemd/system/pgcrucible* /etc/haproxy/pgcrucible.pem \
    /etc/postgresql/*/main/pgcrucible.pem /etc/postgresql/*/main/conf.d/pgcrucible.conf; do
    [ ! -e "$path" ] || echo "$path"
done
getent passwd {user}
systemctl list-units --all --plain --no-legend 'pgcrucible*'
true
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What decides which packages a host can run: its Python's minor version and its architecture."""

    python: str
    machine: str


def _each(hosts: tuple[Host, ...], work: Callable[[SshConnection], T]) -> dict[str, T]:
    """Host name -> answer, all hosts at once. Raises the first host's RigError."""

    def one(host: Host) -> T:
        station = SshConnection(host, None, None)
        try:
            return work(station)
        finally:
            station.close()

    with ThreadPoolExecutor(min(WORKERS, len(hosts))) as pool:
        return dict(zip([host.name for host in hosts], pool.map(one, hosts), strict=True))


def kinds(hosts: tuple[Host, ...]) -> dict[str, Kind]:
    """Every host's Python and architecture. Raises RigError for one that cannot be reached or has no Python."""

    def look(station: SshConnection) -> Kind:
        found = station.run(["python3", "-"], stdin=_LOOK, check=False)
        if found.code != 0:
            said = (found.stderr.strip() or "it said nothing").splitlines()[-1]
            raise RigError(
                f"{station.name}: python3 does not run: {said}",
                hint="apt-get install python3; the user needs sudo without a password (sudo -n)",
            )
        return Kind(**json.loads(found.stdout))

    return _each(hosts, look)


def bundles(hosts: tuple[Host, ...], found: Mapping[str, Kind], echo: Echo) -> dict[str, Bundle]:
    """A bundle for each kind of host that runs our code; by host name, also for hosts that only name its hash.

    Raises RigError naming the package that a kind cannot have.
    """
    wanted = dict.fromkeys(found[host.name] for host in hosts if host.role in RUNS_CODE)
    built = {}
    for kind in wanted:
        echo(f"bundle: packages for Python {kind.python} on {kind.machine}")
        built[kind] = build_bundle(python=kind.python, machine=kind.machine)
    some = next(iter(built.values()))
    return {host.name: built.get(found[host.name], some) for host in hosts}


def silence(host: Host) -> str:
    """Empty where the host can be worked on; else why not."""
    try:
        _each((host,), lambda station: station.run(["true"]))
    except RigError as error:
        return error.message
    return ""


def remove(rig: RigState, echo: Echo) -> tuple[str, ...]:
    """Takes our services, files, user, database and roles away and proves that none is left; the machines stay.

    Raises RigError where a host cannot be reached, or something is left on it: the rig's state is then kept.
    """
    if not (state.folder(rig.name) / "inventory.yml").exists():
        return ()
    done = run_playbooks(rig.name, ["static_uninstall.yml"], variables=state.read_secrets(rig.name), echo=echo)
    paths = [str(rig.variables[name]) for name in ("common_directory", "common_settings_directory")]
    script = _LEFT.format(user=rig.variables["common_user"])
    left = _each(rig.hosts, lambda station: station.run(["sh", "-c", script, "sh", *paths]).stdout.split("\n"))
    for name, lines in left.items():
        if things := [line for line in lines if line.strip()]:
            raise RigError(f"{name}: not removed: {'; '.join(things)}", hint=f"./run destroy --rig {rig.name} again")
    changed = {name for task in done.tasks for name in task.changed}
    return tuple(f"services and files on {host.name}" for host in rig.hosts if host.name in changed)
