"""Faults of the network: packets between an app host and a peer are dropped, refused, delayed or lost.

The rules are set on the app host and name the peer's address, so SSH and all other hosts are reached as before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.errors import RigError
from harness.fault_record import PlannedFault
from harness.faults import packet_rules, slow_path
from harness.faults.base import Before, Fault
from harness.model import Host, Role
from harness.rig.rig import Rig


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition(Fault):
    """An app host and the first host of the role `peer` do not reach each other.

    `rules`: of iptables, with `{peer}` for the peer's address.
    """

    chain: str
    peer: Role
    rules: tuple[str, ...]
    deadline_s: float = 5.0

    def unavailable(self, rig: Rig) -> str:
        """See Fault."""
        app, peer = rig.role("app")[0], rig.role(self.peer)[0]
        if app.address == peer.address:
            return f"{app.name} and {peer.name} are one machine"
        return packet_rules.problem(rig.at(app))

    def hosts(self, rig: Rig, planned: PlannedFault) -> Sequence[Host]:
        """See Fault."""
        apps = rig.role("app")
        return (apps[planned.host % len(apps)],)

    def before(self, rig: Rig, planned: PlannedFault) -> Before:
        """Requires that the peer reaches the app host: else a probe that fails would show nothing."""
        if not self._peer_connects(rig, planned):
            raise RigError(f"{rig.role(self.peer)[0].name} does not reach {self.hosts(rig, planned)[0].name}")
        return {}

    def inject(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """See Fault."""
        address = rig.role(self.peer)[0].address
        rules = [rule.format(peer=address) for rule in self.rules]
        host = rig.at(self.hosts(rig, planned)[0])
        packet_rules.add(host, self.chain, rules, address=address, hooks=("INPUT", "OUTPUT"))

    def seen(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """The rules matched packets, and a connection from the peer to the service fails."""
        peer, app = rig.role(self.peer)[0], self.hosts(rig, planned)[0]
        if self._peer_connects(rig, planned):
            return ""
        matched = packet_rules.packets(rig.at(app), self.chain, peer.address)
        return f"{matched} packets matched, {peer.name} does not reach {app.name}" if matched else ""

    def heal(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """See Fault."""
        packet_rules.remove(rig.at(self.hosts(rig, planned)[0]), self.chain)

    def healed(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """See Fault."""
        peer, app = rig.role(self.peer)[0], self.hosts(rig, planned)[0]
        left = packet_rules.packets(rig.at(app), self.chain, peer.address)
        if left is not None or not self._peer_connects(rig, planned):
            return ""
        return f"no rule is left, {peer.name} reaches {app.name}"

    def _peer_connects(self, rig: Rig, planned: PlannedFault) -> bool:
        app = self.hosts(rig, planned)[0]
        return packet_rules.connects(rig.at(rig.role(self.peer)[0]), app.address, int(rig.variables["app_port"]))


_BOTH_WAYS = ("-s {peer} -j DROP", "-d {peer} -j DROP")

NETWORK: Mapping[str, Fault] = {
    "partition-db": Partition(chain="PGCRUCIBLE-db-both", peer="db", rules=_BOTH_WAYS),
    "partition-db-one-way": Partition(chain="PGCRUCIBLE-db-in", peer="db", rules=("-s {peer} -j DROP",)),
    "partition-db-reject": Partition(
        chain="PGCRUCIBLE-db-reject", peer="db", rules=("-d {peer} -p tcp -j REJECT --reject-with tcp-reset",)
    ),
    "partition-lb": Partition(chain="PGCRUCIBLE-lb-both", peer="lb", rules=_BOTH_WAYS),
    "slow-network": slow_path.SlowPath(),
}
