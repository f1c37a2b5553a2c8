"""Runs the roles once more on some hosts of a rig: what a failed provision had left to do there."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import RigError, UsageError
from harness.provision import play_processes
from harness.provision.ansible import PlayResult, run_playbooks
from harness.provision.certificates import certify
from harness.provision.play_events import Echo
from harness.rig import state
from harness.rig.rig import existing_rig
from harness.text import nearest, printable


def reconfigure(name: str, hosts: Sequence[str], *, echo: Echo) -> PlayResult:
    """Runs site.yml on these hosts with the inventory of the last provision; the rig's state stays as it is.

    Raises UsageError for a host that the rig has not, RigError where no provision came so far or a task fails.
    """
    with state.locked(name), existing_rig(name) as rig:
        known = [host.name for host in rig.hosts]
        for host in hosts:
            if host not in known:
                raise UsageError(f"rig '{name}' has no host '{printable(host, 80)}'", hint=nearest(host, known))
        folder = state.folder(name)
        if not (folder / "inventory.yml").exists():
            raise RigError(f"rig '{name}': its hosts were never reached", hint=f"./run provision --rig {name}")
        play_processes.remove_leftovers(folder)
        return run_playbooks(name, ["site.yml"], variables=secret_variables(rig.state), echo=echo, only=hosts)


def secret_variables(rig: state.RigState) -> dict[str, object]:
    """Returns the passwords, and with TLS the certificates, that the roles get."""
    certificates = certify(rig.name, rig.hosts) if rig.variables.get("tls") else {}
    return {**state.read_secrets(rig.name), **certificates}
