"""The contract between the provisioner and a provider."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.model import Host
from harness.provision.ansible import PlayResult
from harness.provision.doctor import Check
from harness.provision.inventory_model import Inventory
from harness.provision.play_events import Echo
from harness.rig.state import RigState, Variables


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """Result of preparing this machine: its checks, the number of changes, and what hosts will run on."""

    checks: Sequence[Check] = ()
    changed: int = 0
    runtime: str = ""
    """The OCI runtime that starts containers here."""
    acceleration: str = ""
    """`kvm` or `tcg`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Selects the packages that a host can run: its Python's minor version and its architecture."""

    python: str
    machine: str


class Provider(Protocol):
    """A source of hosts. A provider is a module with these constants and functions.

    `name` is the rig's name; `source` is its inventory. Functions raise RigError if this machine or a host fails,
    and UsageError if the inventory asks for something that the provider cannot do.
    """

    INVENTORY: str
    """Inventory file used if the user names none, relative to the project; empty: the user has to name one."""
    MAKES_HOSTS: bool
    """Whether hosts are created and removed here. Such hosts share this machine's cores and have a network there."""
    NETWORK_IS_LOCAL: bool
    """Whether this machine reaches the hosts at their own addresses; else packets to these would leave it."""
    LIMITS_CPUS: bool
    """Whether `host_cpus` is a limit that limit_cpus sets on running hosts."""

    def prepare(self, name: str, source: Inventory, app_hosts: int | None, echo: Echo) -> Preparation:
        """Checks this machine and installs missing packages; changes no host."""

    def place_hosts(
        self,
        source: Inventory,
        network: str,
        app_hosts: int | None,
        before: RigState | None,
        others: Sequence[RigState],
    ) -> tuple[Host, ...]:
        """Returns the rig's hosts with names and addresses; creates nothing.

        `network` is the rig's subnet, `app_hosts` overrides the number of app hosts, `before` is the rig as it is,
        `others` are all other rigs.
        """

    def variables(self, rig: RigState, source: Inventory) -> Variables:
        """Returns Ansible variables for all hosts: user, keys and SSH options, where the provider decides them."""

    def create(self, rig: RigState, source: Inventory, echo: Echo) -> tuple[RigState, PlayResult | None]:
        """Creates missing hosts and removes surplus ones; returns the rig with its image, and what the play did."""

    def wait_for_hosts(self, rig: RigState) -> Mapping[str, Platform]:
        """Returns each host's platform, by host name, once all of them accept SSH."""

    def foreign_owner(self, name: str) -> str:
        """Returns the folder of the other checkout that owns the created hosts of this name, or an empty string."""

    def running(self, name: str) -> Mapping[str, str]:
        """Returns the state (`running`, `exited`, …) of each host that this checkout created, by host name.

        Works without stored state.
        """

    def host_status(self, rig: RigState) -> Mapping[str, str]:
        """Returns `up`, or what is wrong, for each host, by host name."""

    def processes(self, name: str) -> Collection[int]:
        """Returns the ids of the processes of this machine that are the rig's hosts: none for containers."""

    def run_privileged(self, name: str, host: Host, command: Sequence[str]) -> None:
        """Runs a command as the administrator of this machine among the mounts of a host that it made.

        Raises RigError where the host is not of this machine, or the command fails.
        """

    def limit_cpus(self, name: str, cpus: Mapping[str, float]) -> None:
        """Limits hosts (by name) to a number of cores, effective at once; does nothing without LIMITS_CPUS."""

    def stop_host(self, name: str, host: Host) -> None:
        """Ends a running host at once, without a shutdown, as a power failure does; returns once it is down.

        Raises RigError without MAKES_HOSTS: a machine that is not ours might not come back.
        """

    def start_host(self, name: str, host: Host, cpus: float | None = None) -> None:
        """Starts a host that stop_host ended, with its disk; returns once it accepts SSH. Raises RigError.

        With LIMITS_CPUS its limit is in force again: `cpus` cores, or by default those of the inventory.
        """

    def release(self, name: str, kept: Collection[Host], echo: Echo) -> tuple[str, ...]:
        """Cleans machines that the rig is about to lose; returns why for each that was not cleaned.

        Does nothing with MAKES_HOSTS: `create` removes the hosts that are no longer wanted.
        """
        ...

    def remove(self, name: str, echo: Echo, *, purge: bool, take_over: bool) -> tuple[str, ...]:
        """Removes all that the provider created for the rig, checks that nothing is left, and lists what it removed.

        Works on a half-made rig and without stored state. `purge` also removes cached images that no rig uses;
        `take_over` also removes what another checkout created. Raises RigError with what is left, and where.
        """
