"""Faults of the network, with real packet rules between network namespaces."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness.errors import RigError
from harness.fault_record import PlannedFault
from harness.faults import packet_rules
from harness.faults.network import NETWORK, Partition
from tests.support.namespaces import NamespaceHost, NamespaceRig, namespace_rig

PARTITIONS = sorted(name for name, fault in NETWORK.items() if isinstance(fault, Partition))
SERVE = "import socket, time; server = socket.create_server((%r, 3001)); time.sleep(600)"
LISTEN = """
import socket
heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
heard.bind(("", 7))
heard.settimeout(5)
heard.recv(9)
"""
SEND = """
import socket, sys, time
sent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(40):
    sent.sendto(b"x", (sys.argv[1], 7))
    time.sleep(0.05)
"""
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 5432), timeout=5)
except ConnectionRefusedError:
    print("refused")
"""


@pytest.fixture(scope="module")
def rig() -> Iterator[NamespaceRig]:
    with namespace_rig() as made:
        app: NamespaceHost = made.connections["app-1"]
        service = subprocess.Popen(app.command([sys.executable, "-c", SERVE % app.address]))
        try:
            for _ in range(100):
                if packet_rules.connects(app, app.address, 3001):
                    break
            yield made
        finally:
            service.kill()
            service.wait()


def planned(name: str) -> PlannedFault:
    return PlannedFault(fault=name, at_s=0.0, hold_s=1.0, host=4)


def rules(rig: NamespaceRig) -> str:
    return str(rig.at("app-1").run(["iptables", "-S"]).stdout)


def send_to(rig: NamespaceRig, name: str, peer: str) -> None:
    """One packet of the app host to the peer, as the service sends them all the time."""
    packet_rules.connects(rig.at("app-1"), rig.at(peer).address, 9)


@pytest.mark.parametrize("name", PARTITIONS)
def test_a_partition_is_seen_from_the_other_side_and_leaves_nothing(rig: NamespaceRig, name: str) -> None:
    fault, plan, empty = NETWORK[name], planned(name), rules(rig)
    assert isinstance(fault, Partition)
    assert fault.unavailable(rig) == ""
    assert [host.name for host in fault.hosts(rig, plan)] == ["app-1"]
    before = fault.before(rig, plan)
    assert fault.seen(rig, plan, before) == ""
    fault.inject(rig, plan, before)
    try:
        send_to(rig, name, f"{fault.peer}-1")
        assert "packets matched" in fault.seen(rig, plan, before)
        assert fault.healed(rig, plan, before) == ""
        with pytest.raises(RigError, match="does not reach app-1"):
            fault.before(rig, plan)
    finally:
        fault.heal(rig, plan, before)
    assert fault.seen(rig, plan, before) == ""
    assert "reaches app-1" in fault.healed(rig, plan, before)
    fault.heal(rig, plan, before)  # again: nothing is left to do
    assert rules(rig) == empty


@pytest.mark.parametrize("name", PARTITIONS)
def test_the_other_peer_is_still_reached(rig: NamespaceRig, name: str) -> None:
    fault, plan = NETWORK[name], planned(name)
    assert isinstance(fault, Partition)
    other = "lb-1" if fault.peer == "db" else "db-1"
    fault.inject(rig, plan, {})
    try:
        assert packet_rules.connects(rig.at(other), rig.at("app-1").address, 3001)
    finally:
        fault.heal(rig, plan, {})


def test_rules_that_match_nothing_are_not_seen(rig: NamespaceRig) -> None:
    fault = NETWORK["partition-db"]
    assert isinstance(fault, Partition)
    harmless = replace(fault, rules=("-s 198.18.77.99 -j DROP",))
    plan = planned("partition-db")
    harmless.inject(rig, plan, {})
    try:
        assert harmless.seen(rig, plan, {}) == ""
    finally:
        harmless.heal(rig, plan, {})


def test_one_way_only_drops_the_answers(rig: NamespaceRig) -> None:
    fault, plan = NETWORK["partition-db-one-way"], planned("partition-db-one-way")
    fault.inject(rig, plan, {})
    try:
        listener = subprocess.Popen(rig.at("db-1").command([sys.executable, "-c", LISTEN]))
        rig.at("app-1").run([sys.executable, "-c", SEND, rig.at("db-1").address])
        assert listener.wait(6) == 0
    finally:
        fault.heal(rig, plan, {})


def test_refused_connections_fail_at_once(rig: NamespaceRig) -> None:
    fault, plan = NETWORK["partition-db-reject"], planned("partition-db-reject")
    fault.inject(rig, plan, {})
    try:
        connect = [sys.executable, "-c", CONNECT, rig.at("db-1").address]
        assert rig.at("app-1").run(connect).stdout == "refused\n"
    finally:
        fault.heal(rig, plan, {})


def test_chains_of_others_are_left_alone(rig: NamespaceRig) -> None:
    app = rig.at("app-1")
    app.run(["iptables", "-N", "DOCKER-USER"])
    try:
        packet_rules.add(app, "PGCRUCIBLE-a", ["-s 198.18.77.9 -j DROP"], address="198.18.77.9", hooks=["INPUT"])
        packet_rules.add(app, "PGCRUCIBLE-b", ["-j RETURN"], address="198.18.77.9", hooks=["OUTPUT"], table="nat")
        assert sorted(packet_rules.remove(app)) == ["PGCRUCIBLE-a", "PGCRUCIBLE-b"]
        assert "DOCKER-USER" in rules(rig)
        assert "PGCRUCIBLE" not in rules(rig)
        assert packet_rules.remove(app) == []
    finally:
        app.run(["iptables", "-X", "DOCKER-USER"])
    with pytest.raises(ValueError, match="not a chain of a fault"):
        packet_rules.remove(app, "DOCKER")


def test_a_host_without_the_right_to_set_rules_is_named(rig: NamespaceRig, monkeypatch: pytest.MonkeyPatch) -> None:
    app: NamespaceHost = rig.at("app-1")
    powerless = ["capsh", "--drop=cap_net_admin", "--", "-c", 'exec "$@"', "sh"]
    monkeypatch.setattr(app, "command", lambda command: [*NamespaceHost.command(app, []), *powerless, *command])
    assert "faults_allowed" in NETWORK["partition-db"].unavailable(rig)
