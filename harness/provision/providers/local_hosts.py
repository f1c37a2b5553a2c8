"""Shared by providers that create hosts on this machine: packages, keys, platform, and waiting for sshd."""

from __future__ import annotations

import os
import platform
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.errors import RigError
from harness.model import Host
from harness.provision.ansible import run_playbooks
from harness.provision.bundle import HOST_PYTHON
from harness.provision.path_quoting import ssh_option
from harness.provision.play_events import Echo
from harness.provision.providers.base import Platform
from harness.rig import state
from harness.rig.state import RigState, Variables

WORKERS = 16
STATUS_WAIT_S = 2.0


def become() -> bool:
    """Whether plays on this machine need sudo."""
    return os.geteuid() != 0


def install_packages(name: str, packages: Sequence[str], echo: Echo) -> int:
    """Installs Debian packages on this machine; returns the number of changes."""
    state.make_folder(name)
    variables = {"controller_become": become(), "controller_packages": list(packages)}
    return run_playbooks(name, ["controller_packages.yml"], variables=variables, echo=echo, mitogen=False).changed


def ssh_variables(folder: Path) -> Variables:
    """Returns Ansible variables that use the key and the known_hosts of the rig's state folder, and no others."""
    options = (
        ssh_option("UserKnownHostsFile", folder / "known_hosts"),
        ssh_option("IdentityFile", folder / "id_ed25519"),  # Ansible's own variable does not quote it as ssh reads it
        "-o IdentitiesOnly=yes -o IdentityAgent=none",
    )
    return {"ansible_user": "root", "ansible_ssh_common_args": " ".join(options)}


def platforms(hosts: Sequence[Host]) -> dict[str, Platform]:
    """Returns the platform of hosts that run our image on this machine, by host name."""
    return dict.fromkeys((host.name for host in hosts), Platform(python=HOST_PYTHON, machine=platform.machine()))


def check_ssh(host: Host, timeout_s: float, gone_reason: Callable[[Host], str] = lambda _: "") -> str:
    """Returns an empty string once the host's sshd sends its banner, else why it did not within the time.

    `gone_reason` returns why waiting is pointless, or an empty string; it is called after each failed attempt.
    """
    deadline = time.monotonic() + timeout_s
    reason = "no answer"
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((host.ssh_address, host.ssh_port), timeout=2) as connection:
                if connection.recv(4) == b"SSH-":
                    return ""
                reason = "the server on that port is not sshd"
        except OSError as error:
            reason = error.strerror or str(error) or reason
            if gone := gone_reason(host):
                return gone
        time.sleep(0.1)
    return f"SSH: {reason} within {timeout_s:g} s"


def host_status(rig: RigState, running: Mapping[str, str]) -> dict[str, str]:
    """Returns `up`, or what is wrong, for each host; `running` maps the names of created hosts to their state."""
    return {
        host.name: check_ssh(host, STATUS_WAIT_S) or "up"
        if running.get(host.name) == "running"
        else running.get(host.name, "missing")
        for host in rig.hosts
    }


def wait_for_ssh(
    hosts: Sequence[Host],
    timeout_s: float,
    *,
    gone_reason: Callable[[Host], str] = lambda _: "",
    console: Callable[[Host], str] = lambda _: "",
) -> None:
    """Returns once sshd runs on every host. Raises RigError with the first failed host and its console."""
    with ThreadPoolExecutor(min(WORKERS, len(hosts))) as pool:
        reasons = pool.map(lambda host: check_ssh(host, timeout_s, gone_reason), hosts)
    for host, reason in zip(hosts, reasons, strict=True):
        if reason:
            raise RigError(
                f"{host.name} ({host.ssh_address}:{host.ssh_port}): {reason}",
                hint="./run status shows which hosts are up; ./run destroy and ./run provision create them again",
                output=console(host),
            )
