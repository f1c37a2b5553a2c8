"""What a provision would change: hosts, limits, variables, code; and that nothing changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.provision import bundle, preview, provisioner
from harness.provision.image import role_defaults
from harness.provision.inventory import read_inventory
from harness.provision.providers import podman
from harness.provision.topology import cpu_limits
from harness.rig import state

INVENTORY = state.ROOT / "inventory/local.yml"


@pytest.fixture
def containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The containers that podman has, and no rig."""
    found: dict[str, str] = {}
    monkeypatch.setattr(state, "RIGS", tmp_path / "rigs")
    monkeypatch.setattr(podman, "foreign_owner", lambda name: "")
    monkeypatch.setattr(podman, "running", lambda name: found)
    monkeypatch.setattr(preview.doctor, "examine", lambda hosts: [])
    return found


def provisioned(apps: int) -> state.RigState:
    """Stores the rig as a provision of the same inventory leaves it."""
    source = read_inventory(INVENTORY, state.ROLES_DIR)
    hosts = podman.place_hosts(source, "198.18.0.0/24", apps, None, ())
    variables: Mapping[str, object] = {**role_defaults(state.ROLES_DIR), **source.variables}
    for group in source.groups:
        variables = {**variables, **group.variables}
    rig = state.RigState(
        name="paper", provider="podman", inventory=str(INVENTORY), network="198.18.0.0/24", hosts=hosts,
        variables=variables, cpus=cpu_limits(source, hosts), ready=True, code_hash=bundle.checkout_hash(),
        wheels_hash=preview._packages(),
    )  # fmt: skip
    state.make_folder("paper")
    state.save(rig)
    return rig


def test_a_new_rig_is_created_whole_and_nothing_is_stored(containers: dict[str, str]) -> None:
    found = preview.preview("paper", hosts=2)
    assert found.create == ("db-1", "app-1", "app-2", "lb-1", "load-1")
    assert (found.keep, found.remove, found.cpus, found.variables) == ((), (), {}, ())
    assert found.code == ("", bundle.checkout_hash())
    assert not state.RIGS.exists()
    assert "code      none -> " in "\n".join(found.lines())


def test_an_unchanged_rig_stays(containers: dict[str, str]) -> None:
    rig = provisioned(2)
    containers.update({host.name: "running" for host in rig.hosts})
    found = preview.preview("paper")
    assert (found.create, found.start, found.remove, found.variables, found.cpus) == ((), (), (), (), {})
    assert found.keep == tuple(host.name for host in rig.hosts)
    assert found.code[0] == found.code[1]
    assert found.packages[0] == found.packages[1]


def test_every_difference_is_named(containers: dict[str, str]) -> None:
    rig = provisioned(3)
    containers.update({host.name: "running" for host in rig.hosts} | {"lb-1": "exited"})
    state.save(
        replace(rig, variables={**rig.variables, "haproxy_port": 1}, cpus={**rig.cpus, "db-1": 0.123}, code_hash="0ld")
    )
    before = sorted((path, path.read_bytes()) for path in state.RIGS.rglob("*") if path.is_file())
    found = preview.preview("paper", hosts=2)
    assert (found.create, found.start, found.remove) == ((), ("lb-1",), ("app-3",))
    assert found.variables == ("haproxy_port",)
    assert found.cpus == {"db-1": (0.123, rig.cpus["db-1"])}
    text = "\n".join(found.lines())
    for part in (
        "remove    1: app-3",
        "start     1: lb-1",
        "db-1: 0.123 -> ",
        "variables haproxy_port",
        "code      0ld -> ",
    ):
        assert part in text
    assert json.loads(json.dumps(found.as_json()))["remove"] == ["app-3"]
    assert before == sorted((path, path.read_bytes()) for path in state.RIGS.rglob("*") if path.is_file())


def test_a_wrong_request_is_refused_as_a_provision_refuses_it(containers: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="its provider is podman, not vm"):
        preview.preview("paper", inventory=INVENTORY, provider="vm")
    with pytest.raises(UsageError, match="its provider is podman, not vm"):
        provisioner.provision("paper", inventory=INVENTORY, provider="vm", echo=lambda line: None)
