"""The arguments with which the module podman_hosts makes a container."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import ROOT


@pytest.fixture(scope="module")
def podman_hosts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("podman_hosts", ROOT / "playbooks/library/podman_hosts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parameters(**changes: Any) -> dict[str, Any]:
    wishes = {"rig": "try", "owner": "/here", "network": "198.18.7.0/24", "image": "host:1", "runtime": "runc"}
    return wishes | {"keys": "/keys", "shared_directory": "", "sysctl": {}, "faults_allowed": False} | changes


def host(name: str, address: str) -> dict[str, Any]:
    return {"name": name, "role": name.partition("-")[0], "address": address, "memory": ""}


def pairs(arguments: list[str]) -> list[tuple[str, str]]:
    return list(itertools.pairwise(arguments))


@pytest.mark.parametrize(("allowed", "added"), [(False, []), (True, ["NET_ADMIN"])])
def test_only_hosts_for_faults_get_a_capability(podman_hosts: ModuleType, allowed: bool, added: list[str]) -> None:
    arguments = podman_hosts.run_arguments(parameters(faults_allowed=allowed), host("app-1", "198.18.7.101"))
    assert [value for name, value in pairs(arguments) if name == "--cap-add"] == added
    assert "--privileged" not in arguments


def test_a_host_keeps_its_mac_address_and_shares_it_with_no_other(podman_hosts: ModuleType) -> None:
    places = [("app-1", "198.18.7.101"), ("app-2", "198.18.7.102"), ("app-1", "198.18.8.101")]
    macs = []
    for name, address in places:
        arguments = podman_hosts.run_arguments(parameters(), host(name, address))
        assert arguments == podman_hosts.run_arguments(parameters(), host(name, address))
        macs += [value for key, value in pairs(arguments) if key == "--mac-address"]
    assert macs[0] == "52:56:c6:12:07:65"
    assert len(set(macs)) == len(places)
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs), "locally administered, not multicast"


def test_a_container_is_made_again_when_its_arguments_change(podman_hosts: ModuleType, tmp_path: Path) -> None:
    app = host("app-1", "198.18.7.101")
    (tmp_path / "app-1").mkdir()
    for name in ("host_key.pub", "authorized_keys"):
        (tmp_path / "app-1" / name).write_text("key")
    prints = set()
    for changes in ({}, {"faults_allowed": True}, {"image": "host:2"}):
        p = parameters(keys=str(tmp_path), **changes)
        prints.add(podman_hosts.fingerprint(p, app, podman_hosts.run_arguments(p, app)))
    assert len(prints) == 3
