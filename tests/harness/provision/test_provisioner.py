"""The steps of a provision, what is refused before anything is created, bundles by platform, and an empty destroy."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import UsageError
from harness.model import Host
from harness.provision import podman_cli, provisioner
from harness.provision.ansible import PlayResult
from harness.provision.bundle import Bundle
from harness.provision.doctor import Check
from harness.provision.inventory_model import Inventory
from harness.provision.play_events import Echo, Play
from harness.provision.providers import PROVIDERS
from harness.provision.providers.base import Platform, Preparation
from harness.provision.topology import numbered_hosts
from harness.rig import state
from harness.rig.state import RigState


def quiet(line: str) -> None:
    """Ignores progress lines."""


@pytest.fixture
def name() -> Iterator[str]:
    """A rig name that no other test uses; the rig is removed afterwards."""
    chosen = f"test-{os.getpid()}-{secrets.token_hex(2)}"
    yield chosen
    provisioner.destroy(chosen, echo=quiet)


def test_invalid_numbers_and_unknown_providers_are_refused(name: str, tmp_path: Path) -> None:
    for hosts in (0, 65, 500):
        with pytest.raises(UsageError, match="out of range"):
            provisioner.provision(name, echo=quiet, hosts=hosts)
    with pytest.raises(UsageError, match="--provider cloud"):
        provisioner.provision(name, echo=quiet, provider="cloud")
    with pytest.raises(UsageError, match="cannot be read"):
        provisioner.provision(name, echo=quiet, inventory=tmp_path / "none.yml")
    assert not state.folder(name).exists()


def test_destroying_a_missing_rig_is_no_error(name: str) -> None:
    assert provisioner.destroy(name, echo=quiet).removed == ()
    assert not state.folder(name).exists()


def test_each_platform_gets_its_own_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[tuple[str, str]] = []

    def build(*, python: str, machine: str) -> str:
        built.append((python, machine))
        return f"{python} {machine}"

    monkeypatch.setattr(provisioner, "build_bundle", build)
    roles = {"d": "db", "a1": "app", "a2": "app", "l": "lb", "x": "load"}
    hosts = tuple(Host(name=n, role=r, address=n, ssh_address=n) for n, r in roles.items())  # type: ignore[arg-type]
    old, new = Platform(python="3.11", machine="x86_64"), Platform(python="3.13", machine="aarch64")
    platforms = {"d": Platform(python="3.9", machine="riscv64"), "a1": old, "a2": new, "l": new, "x": old}
    bundles = provisioner.build_bundles(hosts, platforms, quiet)
    assert built == [("3.11", "x86_64"), ("3.13", "aarch64")]  # none for a database host, which runs none of our code
    assert bundles == {
        "d": "3.11 x86_64",
        "a1": "3.11 x86_64",
        "a2": "3.13 aarch64",
        "l": "3.13 aarch64",
        "x": "3.11 x86_64",
    }


class FakeProvider:
    """A provider that records the order of calls, and makes hosts that exist nowhere."""

    INVENTORY, MAKES_HOSTS, NETWORK_IS_LOCAL, LIMITS_CPUS = "inventory/local.yml", True, True, True

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.limits: list[dict[str, float]] = []

    def prepare(self, name: str, source: Inventory, app_hosts: int | None, echo: Echo) -> Preparation:
        self.calls.append("prepare")
        checks = (Check(name="cores", status="warn", detail="1"), Check(name="network", status="ok", detail=""))
        return Preparation(checks=checks, changed=1, runtime="crun")

    def place_hosts(self, source: Inventory, network: str, app_hosts: int | None, *rigs: Any) -> tuple[Host, ...]:
        self.calls.append("place_hosts")
        return numbered_hosts(source, network, app_hosts)

    def variables(self, rig: RigState, source: Inventory) -> dict[str, Any]:
        return {"ansible_user": "root"}

    def create(self, rig: RigState, source: Inventory, echo: Echo) -> tuple[RigState, PlayResult]:
        self.calls.append("create")
        plays = (Play(playbook="podman_create", name="Image: it is there", seconds=2.0),)
        return replace(rig, image="tag"), PlayResult(ok=1, changed=2, seconds=3.0, plays=plays, tasks=())

    def wait_for_hosts(self, rig: RigState) -> dict[str, Platform]:
        self.calls.append("wait_for_hosts")
        return dict.fromkeys((host.name for host in rig.hosts), Platform(python="3.11", machine="x86_64"))

    def foreign_owner(self, name: str) -> str:
        return ""

    def running(self, name: str) -> dict[str, str]:
        return {"app-1": "running", "db-1": "exited"}

    def limit_cpus(self, name: str, cpus: Mapping[str, float]) -> None:
        self.calls.append("limit_cpus")
        self.limits.append(dict(cpus))


def test_a_rig_is_provisioned_step_by_step_and_stored_as_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provider, name = FakeProvider(), f"fake-{os.getpid()}"
    monkeypatch.setattr(state, "RIGS", tmp_path / "rigs")
    monkeypatch.setitem(PROVIDERS, "podman", provider)
    monkeypatch.setattr(podman_cli, "networks", list)
    bundle = Bundle(code=tmp_path / "c", code_hash="c0de", wheels=tmp_path / "w", wheels_hash="7ee1", compiled=True)
    monkeypatch.setattr(provisioner, "build_bundle", lambda **platform: bundle)

    def run_playbooks(name: str, playbooks: list[str], **options: Any) -> PlayResult:
        provider.calls.append(" ".join(playbooks))
        assert set(state.SECRET_NAMES) <= set(options["variables"])
        inventory = yaml.safe_load((state.folder(name) / "inventory.yml").read_text())
        assert inventory["all"]["children"]["app"]["hosts"]["app-1"]["bundle_code_hash"] == "c0de"
        assert not state.load(name).ready  # type: ignore[union-attr]
        plays = tuple(Play(playbook=text.removesuffix(".yml"), name="x", seconds=1.0) for text in playbooks)
        return PlayResult(ok=1, changed=4, seconds=2.5, plays=plays, tasks=())

    monkeypatch.setattr(provisioner, "run_playbooks", run_playbooks)
    report = provisioner.provision(name, echo=quiet, hosts=2)
    assert provider.calls == [
        "prepare", "place_hosts", "limit_cpus", "create", "wait_for_hosts", "site.yml verify.yml", "limit_cpus",
    ]  # fmt: skip
    assert provider.limits == [{"app-1": float(os.cpu_count() or 1)}, report.rig.cpus]
    assert (report.changed, report.warnings) == (1 + 2 + 4, ("cores: 1",))
    assert (report.stages["image"], report.stages["hosts"], report.stages["site"]) == (2.0, 1.0, 1.5)
    assert (report.rig.ready, report.rig.image, report.rig.runtime, report.rig.code_hash) == (
        True, "tag", "crun", "c0de",
    )  # fmt: skip
    assert state.load(name) == report.rig

    again = provisioner.provision(name, echo=quiet)
    assert again.rig.hosts == report.rig.hosts, "the number of app hosts is remembered"
    with pytest.raises(UsageError, match=f"rig {name} was created by provider podman"):
        provisioner.provision(name, echo=quiet, inventory=state.ROOT / "inventory/vm.yml")
