"""Hosts that are network namespaces of this machine: real addresses and real packet rules, and no container."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

from harness.errors import RigError
from harness.model import Host, Role
from harness.rig.connection import Result
from harness.rig.rig import Rig
from tests.support.builders import rig_state

NETWORK = "198.18.77"


class NamespaceHost:
    """The connection to a network namespace; it ends with its process."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        sleep = shutil.which("sleep") or "sleep"
        self.process = subprocess.Popen(["unshare", "--net", sleep, "600"])

    def command(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", "--target", str(self.process.pid), "--net", "--", *command]

    def run(self, command: Sequence[str], *, stdin: str = "", timeout_s: float = 60.0, check: bool = True) -> Result:
        done = subprocess.run(
            self.command(command), input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if check and done.returncode:
            raise RigError(f"{self.name}: {command[0]} exited with {done.returncode}: {done.stderr}")
        return Result(stdout=done.stdout, stderr=done.stderr, code=done.returncode)


class NamespaceRig(Rig):
    """A rig of such hosts: an app host, a database and a load balancer that all reach each other."""

    def __init__(self, hosts: Sequence[NamespaceHost], roles: Sequence[Role]) -> None:
        records = tuple(
            Host(name=one.name, role=role, address=one.address, ssh_address=one.address)
            for one, role in zip(hosts, roles, strict=True)
        )
        super().__init__(state=rig_state(records), key=None, known_hosts=None, secrets={})
        self.connections = {one.name: one for one in hosts}

    def at(self, host: Host | str) -> Any:
        return self.connections[host if isinstance(host, str) else host.name]


@contextlib.contextmanager
def namespace_rig() -> Iterator[NamespaceRig]:
    """Makes the hosts; the kernel removes their interfaces and rules when their processes end."""
    roles: tuple[Role, ...] = ("app", "db", "lb")
    with contextlib.ExitStack() as stack:
        hosts = []
        for number, role in enumerate(roles, 1):
            hosts.append(NamespaceHost(f"{role}-1", f"{NETWORK}.{number}"))
            stack.callback(_end, hosts[-1].process)
        middle, *others = hosts  # the app host: its bridge connects the others
        _wait(hosts)
        middle.run(["ip", "link", "add", "br0", "type", "bridge"])
        middle.run(["ip", "address", "add", f"{middle.address}/24", "dev", "br0"])
        for number, other in enumerate(others):
            peer = ["peer", "name", "eth0", "netns", str(other.process.pid)]
            middle.run(["ip", "link", "add", f"v{number}", "type", "veth", *peer])
            middle.run(["ip", "link", "set", f"v{number}", "master", "br0", "up"])
            other.run(["ip", "address", "add", f"{other.address}/24", "dev", "eth0"])
            other.run(["ip", "link", "set", "eth0", "up"])
        middle.run(["ip", "link", "set", "br0", "up"])
        for host in hosts:
            host.run(["ip", "link", "set", "lo", "up"])
        yield NamespaceRig(hosts, roles)


def _wait(hosts: Sequence[NamespaceHost]) -> None:
    """Waits until each process is in its own namespace."""
    own = subprocess.run(["readlink", "/proc/self/ns/net"], capture_output=True, text=True, check=True).stdout
    for host in hosts:
        link = ["readlink", f"/proc/{host.process.pid}/ns/net"]
        for _ in range(100):
            if subprocess.run(link, capture_output=True, text=True, check=True).stdout != own:
                break
            subprocess.run(["sleep", "0.02"], check=True)
        else:
            raise AssertionError(f"{host.name} has no network namespace of its own")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
