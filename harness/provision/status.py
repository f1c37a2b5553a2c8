"""What a rig is at this moment, seen from the controller: which of its hosts run, and whose sshd answers."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from harness.errors import RigError
from harness.model import Host
from harness.provision.providers import podman, static, vm
from harness.rig import state
from harness.rig.state import RigState

SSH_WAIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RigStatus:
    """What a rig is at this moment; `hosts` maps each to `up`, or to what is wrong with it."""

    rig: RigState | None
    hosts: Mapping[str, str]

    def lines(self) -> list[str]:
        """For people."""
        if self.rig is None:
            return ["no state here, but containers or machines of its name run: ./run destroy removes them"]
        ready = "ready" if self.rig.ready else "NOT READY: its last provision did not end well"
        where = f" on {self.rig.network}" if self.rig.network else ""
        first = f"{ready}; provider {self.rig.provider}{where}; code {self.rig.code_hash or 'none'}"
        width = max((len(host.name) for host in self.rig.hosts), default=0)
        return [first] + [
            f"{host.name:<{width}}  {host.role:<4}  {host.address:<15}  {self.hosts.get(host.name, 'missing')}"
            for host in self.rig.hosts
        ]


def status(name: str) -> RigStatus:
    """Whether each host of the rig is up. Raises RigError where there is no such rig."""
    rig = state.load(name)
    engine = {**(podman.running_hosts(name) if shutil.which("podman") else {}), **vm.running_hosts(name)}
    if rig is None:
        if not engine:
            raise RigError(f"there is no rig '{name}'", hint="build it with: ./run provision")
        return RigStatus(rig=None, hosts=engine)
    found = {}
    if rig.provider == "static":
        with ThreadPoolExecutor(min(16, len(rig.hosts))) as pool:
            answers = pool.map(static.silence, rig.hosts)
        return RigStatus(rig=rig, hosts={h.name: said or "up" for h, said in zip(rig.hosts, answers, strict=True)})
    for host in rig.hosts:
        condition = engine.get(host.name, "missing")
        found[host.name] = condition if condition != "running" else ssh_silence(host, 2.0) or "up"
    return RigStatus(rig=rig, hosts=found)


def ssh_silence(host: Host, timeout_s: float, given_up: Callable[[Host], str] = lambda _: "") -> str:
    """Empty once the host's sshd greets; else why it did not within the time, or why waiting was `given_up`."""
    deadline = time.monotonic() + timeout_s
    reason = "no answer"
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((host.ssh_address, host.ssh_port), timeout=2) as connection:
                if connection.recv(4) == b"SSH-":
                    return ""
                reason = "something that is not sshd answers"
        except OSError as error:
            reason = error.strerror or str(error) or reason
            if over := given_up(host):
                return over
        time.sleep(0.1)
    return f"SSH: {reason} within {timeout_s:g} s"


def wait_for_ssh(rig: RigState) -> None:
    """Returns once every host's sshd greets. Raises RigError that names the first one that does not."""
    timeout_s, given_up = SSH_WAIT_S, lambda _: ""
    if rig.provider == "vm":
        timeout_s, given_up = vm.SSH_WAIT_S, partial(vm.gone, rig.name)
    with ThreadPoolExecutor(min(16, len(rig.hosts))) as pool:
        answers = pool.map(lambda host: (host, ssh_silence(host, timeout_s, given_up)), rig.hosts)
    for host, silence in answers:
        if silence:
            raise RigError(
                f"{host.name} ({host.ssh_address}:{host.ssh_port}): {silence}",
                hint="./run status says which hosts are up; ./run destroy and ./run provision make them anew",
                output=vm.console(rig.name, host) if rig.provider == "vm" else "",
            )
