"""Existing machines: each belongs to one rig of one checkout, and a rig whose machines are gone can be removed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from harness.errors import RigError
from harness.model import Host
from harness.provision import provisioner
from harness.provision.bundle import Bundle
from harness.provision.inventory import read_inventory
from harness.provision.inventory_model import Inventory
from harness.provision.providers import static
from harness.provision.providers.base import Platform
from harness.rig import state
from tests.support.static_machines import ALL, HOSTS, Checkout, Machines


@pytest.fixture
def name() -> str:
    return f"t-{os.getpid()}-{secrets.token_hex(2)}"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    """The inventory of all rigs here, read once: Ansible takes half a second for it."""
    path = tmp_path_factory.mktemp("inventory") / "machines.yml"
    children = {
        role: {"hosts": {host: {"ansible_host": f"10.1.{n}.{i}"} for i, host in enumerate(names)}}
        for n, (role, names) in enumerate(HOSTS.items())
    }
    path.write_text(yaml.safe_dump({"all": {"vars": {"provider": "static"}, "children": children}}))
    return read_inventory(path, state.ROLES_DIR)


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Inventory) -> Machines:
    fleet = Machines(tmp_path / "machines")
    bundle = Bundle(code=tmp_path / "c", code_hash="c0de", wheels=tmp_path / "w", wheels_hash="7ee1", compiled=True)
    monkeypatch.setattr(static, "SshConnection", fleet.connect)
    monkeypatch.setattr(static, "run_playbooks", fleet.run_playbooks)
    monkeypatch.setattr(provisioner, "run_playbooks", fleet.run_playbooks)
    monkeypatch.setattr("harness.provision.source.read_inventory", lambda path, roles: replace(source, path=path))
    monkeypatch.setattr(provisioner, "build_bundle", lambda **platform: bundle)
    platform = Platform(python="3.11", machine="x86_64")
    monkeypatch.setattr(static, "wait_for_hosts", lambda rig: dict.fromkeys((h.name for h in rig.hosts), platform))
    return fleet


@pytest.fixture
def checkouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Checkout, Checkout]]:
    pair = Checkout(tmp_path / "a checkout", monkeypatch), Checkout(tmp_path / "another", monkeypatch)
    for checkout in pair:
        checkout.folder.mkdir()
    pair[0].use()
    return pair


def test_a_directory_that_no_rig_has_made_is_not_taken(
    machines: Machines, checkouts: tuple[Checkout, Checkout], name: str
) -> None:
    """A destroy would remove it."""
    precious = machines.root / "app-2/precious"
    precious.parent.mkdir(parents=True)
    precious.touch()
    with pytest.raises(RigError, match=r"app-2: .* exists and is not of a rig"):
        checkouts[0].provision(name)
    assert machines.owners() == set(), "no host was changed"
    precious.unlink()
    checkouts[0].provision(name)
    assert machines.owners() == ALL
    precious.touch()
    checkouts[0].provision(name)  # its own now


@pytest.mark.parametrize("same_name", [True, False])
def test_machines_of_another_checkout_are_refused_by_rig_and_folder(
    machines: Machines, checkouts: tuple[Checkout, Checkout], name: str, *, same_name: bool
) -> None:
    first, second = checkouts
    first.provision(name)
    first.provision(name)  # one's own is no obstacle
    assert machines.owners() == ALL
    other = name if same_name else f"{name}-b"
    machines.plays.clear()
    with pytest.raises(
        RigError, match=f"db-1 belongs to the rig '{name}' of the checkout in '.*/a checkout'"
    ) as caught:
        second.provision(other)
    assert f"./run destroy --rig {other} --take-over" in caught.value.hint
    lines: list[str] = []
    assert provisioner.destroy(other, echo=lines.append).removed == ("state",)
    assert any("db-1 is left as it is: it belongs to the rig" in line for line in lines)
    assert machines.plays == []
    assert machines.owners() == ALL

    with pytest.raises(RigError, match="belongs to"):
        second.provision(other)
    assert len(provisioner.destroy(other, echo=print, take_over=True).removed) == len(ALL) + 1
    assert machines.owners() == set()
    second.provision(other)
    with pytest.raises(RigError, match=f"belongs to the rig '{other}' of the checkout in '.*/another'"):
        first.provision(name)


def test_two_rigs_of_one_checkout_cannot_share_a_machine(
    machines: Machines, checkouts: tuple[Checkout, Checkout], name: str
) -> None:
    checkouts[0].provision(name)
    with pytest.raises(RigError, match=f"db-1 belongs to the rig '{name}'"):
        checkouts[0].provision(f"{name}-b")
    assert machines.owners() == ALL


def test_a_checkout_that_moved_or_lost_its_state_still_owns_its_machines(
    machines: Machines, checkouts: tuple[Checkout, Checkout], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = checkouts
    first.provision(name)
    monkeypatch.setattr(first, "folder", first.folder.rename(first.folder.with_name("moved")))
    first.provision(name)
    (state.folder(name) / "secrets.yml").unlink()
    monkeypatch.setattr(first, "folder", first.folder.rename(first.folder.with_name("a checkout")))
    first.provision(name)
    assert machines.owners() == ALL


def test_machines_that_are_gone_are_named_and_their_rig_can_be_forgotten(
    machines: Machines, checkouts: tuple[Checkout, Checkout], name: str
) -> None:
    checkouts[0].provision(name)
    machines.gone = {"app-2", "db-1"}
    with pytest.raises(RigError) as caught:
        provisioner.destroy(name, echo=print)
    assert caught.value.message.startswith(f"rig '{name}': not cleaned: db-1 (10.0.0.1:22) cannot be reached")
    assert "app-2 (10.0.0.1:22)" in caught.value.message
    assert f"./run destroy --rig {name} --forget" in caught.value.hint
    assert machines.plays[-1] == ("static_uninstall.yml", ("app-1", "lb-1", "load-1")), "the others are cleaned"
    assert machines.owners() == machines.gone
    assert state.load(name), "the state is kept until the user decides"

    report = provisioner.destroy(name, echo=print, forget=True)
    assert not state.folder(name).exists()
    assert "db-1 (10.0.0.1:22)" in report.remaining[0]
    assert "app-2 (10.0.0.1:22)" in report.remaining[0]


def test_all_machines_gone_is_no_obstacle_either(
    machines: Machines, checkouts: tuple[Checkout, Checkout], name: str
) -> None:
    checkouts[0].provision(name)
    machines.gone = set(ALL)
    plays = len(machines.plays)
    with pytest.raises(RigError, match="not cleaned"):
        provisioner.destroy(name, echo=print)
    provisioner.destroy(name, echo=print, forget=True)
    assert len(machines.plays) == plays, "no play waits for hosts that do not answer"
    assert not state.folder(name).exists()


def test_a_machine_with_leftovers_is_named(machines: Machines, checkouts: tuple[Checkout, Checkout], name: str) -> None:
    checkouts[0].provision(name)
    machines.broken = {"lb-1"}
    with pytest.raises(RigError, match="not cleaned: lb-1: not removed: /etc/pgcrucible"):
        provisioner.destroy(name, echo=print)
    machines.broken = set()
    provisioner.destroy(name, echo=print)


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "x", "future": 1}'])
def test_machines_are_cleaned_although_the_state_is_damaged(
    machines: Machines, checkouts: tuple[Checkout, Checkout], name: str, text: str
) -> None:
    checkouts[0].provision(name)
    (state.folder(name) / "rig.json").write_text(text)
    lines: list[str] = []
    provisioner.destroy(name, echo=lines.append)
    assert machines.owners() == set()
    assert not state.folder(name).exists()
    assert "the rig is removed without it" in lines[0]


@pytest.mark.parametrize("text", ["", "[", "all: 5", "all: {vars: {rig_provider: static}}"])
def test_machines_that_no_file_names_any_more_are_not_forgotten_silently(
    machines: Machines, checkouts: tuple[Checkout, Checkout], name: str, text: str
) -> None:
    checkouts[0].provision(name)
    for file in ("rig.json", "inventory.yml"):
        (state.folder(name) / file).write_text(text)
    with pytest.raises(RigError, match="unknown which machines have to be cleaned") as caught:
        provisioner.destroy(name, echo=print)
    assert "--forget" in caught.value.hint
    provisioner.destroy(name, echo=print, forget=True)
    assert not state.folder(name).exists()
    assert machines.owners() == ALL


def test_a_rig_of_a_provider_that_this_version_does_not_know_is_kept(
    checkouts: tuple[Checkout, Checkout], name: str
) -> None:
    del checkouts
    state.make_folder(name)
    state.save(state.RigState(name=name, provider="cloud", inventory="x", network="", hosts=()))
    with pytest.raises(RigError, match="unknown provider 'cloud'"):
        provisioner.destroy(name, echo=print)
    assert state.load(name)
    provisioner.destroy(name, echo=print, forget=True)
    assert not state.folder(name).exists()


def test_a_machine_that_the_rig_no_longer_has_is_cleaned(
    machines: Machines, checkouts: tuple[Checkout, Checkout], name: str
) -> None:
    """`provision --hosts 1`: the second app host kept the service, with the password of the database."""
    checkouts[0].provision(name)
    report = checkouts[0].provision(name, hosts=1)
    assert ("static_uninstall.yml", ("app-2",)) in machines.plays
    assert machines.owners() == ALL - {"app-2"}
    assert report.warnings == ()
    plays = len(machines.plays)
    checkouts[0].provision(name, hosts=1)
    assert "static_uninstall.yml" not in {play for play, _ in machines.plays[plays:]}
    checkouts[0].provision(name)
    assert machines.owners() == ALL


def test_a_dropped_machine_that_is_gone_or_another_rigs_prevents_no_provision(
    machines: Machines, checkouts: tuple[Checkout, Checkout], name: str
) -> None:
    checkouts[0].provision(name)
    machines.gone = {"app-2"}
    (warning,) = checkouts[0].provision(name, hosts=1).warnings
    assert warning == "10.1.1.1 was not cleaned: app-2 (10.0.0.1:22) cannot be reached over SSH: timed out"
    machines.gone = set()
    (machines.root / "app-2/owner").write_text("another\t/elsewhere\n")
    assert checkouts[0].provision(name, hosts=1).warnings == ()
    assert (machines.root / "app-2/owner").exists()


def test_existing_machines_are_neither_stopped_nor_started() -> None:
    host = Host(name="app-1", role="app", address="192.0.2.1", ssh_address="192.0.2.1")
    for act in (static.stop_host, static.start_host):
        with pytest.raises(RigError, match="app-1 is an existing machine"):
            act("mine", host)
