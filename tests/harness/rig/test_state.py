"""The state of a rig on the controller: names, networks, secrets, keys, lock, noise floor."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest

from harness.compare import noise_floor_file
from harness.errors import RigError, UsageError
from harness.model import Host
from harness.provision import ssh_keys
from harness.rig import network, state


@pytest.fixture(autouse=True)
def rigs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "RIGS", tmp_path / "rigs")
    return tmp_path / "rigs"


@pytest.mark.parametrize("name", ["local", "a", "test-1", "x" * 20])
def test_good_names(name: str) -> None:
    assert state.check_name(name) == name


@pytest.mark.parametrize("name", ["", "Upper", "under_score", "-a", "a-", "x" * 21, "../up", "a/b", "a\n", "ä"])
def test_bad_names(name: str) -> None:
    with pytest.raises(UsageError, match="is not a valid name"):
        state.check_name(name)


def test_the_lowest_free_network_is_chosen() -> None:
    assert network.free_network([]) == "198.18.0.0/24"
    assert network.free_network(["198.18.0.0/24", "10.0.0.0/8", "fd00::/64"]) == "198.18.1.0/24"
    assert network.free_network(["198.18.0.128/25", "198.18.1.7/32"]) == "198.18.2.0/24"
    assert network.free_network(["198.18.0.0/16"]) == "198.19.0.0/24"
    with pytest.raises(RigError, match="no free /24"):
        network.free_network(["198.0.0.0/8"])


def test_stored_state_is_read_back_and_damage_is_reported(rigs: Path) -> None:
    assert state.load("one") is None
    host = Host(name="db1", role="db", address="198.18.0.20", ssh_address="198.18.0.20")
    rig = state.RigState(name="one", provider="podman", inventory="x", network="198.18.0.0/24", hosts=(host,))
    state.make_folder("one")
    state.save(rig)
    assert state.load("one") == rig
    assert state.names() == ["one"]


def _stored(name: str) -> dict[str, object]:
    return {"name": name, "provider": "podman", "inventory": "x", "network": "", "hosts": []}


def _damages() -> dict[str, tuple[bytes, str]]:
    """What rig.json can hold instead of a state, and the reason in the message."""

    def changed(**keys: object) -> bytes:
        return json.dumps(_stored("one") | keys).encode()

    host = {"name": "db1", "role": "db", "address": "a", "ssh_address": "a"}
    return {
        "empty": (b"", "damaged"),
        "cut": (b'{"name": "one"', "damaged"),
        "not UTF-8": (b'{"name": "\xff"}', "damaged"),
        "a list": (b"[]", "damaged"),
        "null": (b"null", "damaged"),
        "deep": (b"[" * 200_000, "damaged"),
        "without hosts": (b'{"name": "one"}', "damaged: provider"),
        "hosts of another type": (changed(hosts=5), "damaged: hosts"),
        "host that is a number": (changed(hosts=[5]), "damaged: hosts.0"),
        "unknown role": (changed(hosts=[host | {"role": "queue"}]), "damaged: hosts.0.role"),
        "port as text": (changed(hosts=[host | {"ssh_port": "ssh"}]), "damaged: hosts.0.ssh_port"),
        "another rig": (changed(name="two"), "describes the rig 'two'"),
        "newer": (changed(zone="b", api=2), "written by another version of pgcrucible: unknown key api, zone"),
    }


@pytest.mark.parametrize("damage", _damages())
def test_a_damaged_or_newer_state_is_reported_and_keeps_no_other_rig_from_being_read(rigs: Path, damage: str) -> None:
    for name in ("one", "two"):
        state.make_folder(name)
        (rigs / name / "rig.json").write_text(json.dumps(_stored(name)))
    text, reason = _damages()[damage]
    (rigs / "one/rig.json").write_bytes(text)
    with pytest.raises(RigError, match=re.escape(reason)) as caught:
        state.load("one")
    assert str(rigs / "one/rig.json") in caught.value.message
    assert "./run destroy --rig one" in caught.value.hint
    assert [stored.name for stored in state.readable()] == ["two"]


def test_a_state_that_is_no_file_is_damaged_and_other_folders_are_no_rigs(rigs: Path) -> None:
    (state.make_folder("one") / "rig.json").mkdir()
    with pytest.raises(RigError, match="damaged"):
        state.load("one")
    for other in ("Old Rig", "lost+found", "one.bak"):
        (rigs / other).mkdir()
    assert state.names() == ["one"]


@pytest.mark.parametrize("text", ["{", "- a", "5", "app_password: [1]", "\0"])
def test_damaged_passwords_are_reported_without_their_text(rigs: Path, text: str) -> None:
    (state.make_folder("one") / "secrets.yml").write_text(text)
    with pytest.raises(RigError, match=r"secrets\.yml: damaged$"):
        state.read_secrets("one")


def test_secrets_are_generated_once_and_private(rigs: Path) -> None:
    first = state.read_secrets("one")
    assert set(first) == set(state.SECRET_NAMES)
    assert all(len(secret) >= 32 for secret in first.values())
    assert len(set(first.values())) == len(first)
    assert state.read_secrets("one") == first
    assert state.read_secrets("two") != first
    assert stat.S_IMODE((rigs / "one/secrets.yml").stat().st_mode) == 0o600
    assert stat.S_IMODE((rigs / "one").stat().st_mode) == stat.S_IMODE(rigs.stat().st_mode) == 0o700


def test_host_keys_are_known_before_the_first_connection(rigs: Path) -> None:
    def host(name: str, port: int = 22) -> Host:
        return Host(name=name, role="app", address=name, ssh_address=name, ssh_port=port)

    ssh_keys.make_keys("one", [host("a"), host("b", 2222)])
    known = (rigs / "one/known_hosts").read_text()
    assert re.fullmatch(r"a ssh-ed25519 \S+\n\[b\]:2222 ssh-ed25519 \S+\n", known)
    ssh_keys.make_keys("one", [host("a"), host("c")])
    again = (rigs / "one/known_hosts").read_text()
    assert again.splitlines()[0] == known.splitlines()[0]
    assert not (rigs / "one/hosts/b").exists()
    assert stat.S_IMODE((rigs / "one/hosts/a/host_key").stat().st_mode) == 0o600


def rig(cpus: float = 1.0, **more: object) -> dict[str, object]:
    """A manifest's record of a rig of one host."""
    return {"name": "one", "provider": "podman", "hosts": [{"name": "db1", "role": "db", "cpus": cpus}], **more}


def test_a_noise_floor_is_updated_and_never_emptied() -> None:
    assert noise_floor_file.noise_floor("one", rig()) == {}
    first = noise_floor_file.store_noise_floor("one", rig(), {"rps x": 1.2, "rps": 1.2})
    assert first == {"rps": 1.2, "rps x": 1.2} == noise_floor_file.noise_floor("one", rig())
    assert noise_floor_file.store_noise_floor("one", rig(), {}) == first
    both = noise_floor_file.store_noise_floor("one", rig(), {"rps x": 1.1, "p50_ms y": 1.3})
    assert (
        both == {"rps": 1.1, "p50_ms": 1.3, "rps x": 1.1, "p50_ms y": 1.3} == noise_floor_file.noise_floor("one", rig())
    )


@pytest.mark.parametrize("other", [rig(cpus=0.5), rig(provider="vm"), rig(hosts=[])])
def test_a_noise_floor_holds_only_for_the_same_rig(other: dict[str, object]) -> None:
    noise_floor_file.store_noise_floor("one", rig(), {"rps x": 1.2})
    assert noise_floor_file.noise_floor("one", rig(code_hash="new")) == {"rps": 1.2, "rps x": 1.2}
    assert noise_floor_file.noise_floor("one", other) == {}
    assert noise_floor_file.store_noise_floor("one", other, {"rps y": 1.1}) == {"rps": 1.1, "rps y": 1.1}
    assert noise_floor_file.noise_floor("one", rig()) == {}


def test_an_unknown_rig_has_no_noise_floor_and_damage_is_reported(rigs: Path) -> None:
    assert noise_floor_file.noise_floor("../one", rig()) == noise_floor_file.noise_floor("http://one:80", rig()) == {}
    state.make_folder("one")
    (rigs / "one/noise_floor.json").write_text('{"rps": 1.0}')
    assert noise_floor_file.noise_floor("one", rig()) == {}, "an older one, which names no rig"
    for damage in ("{", '{"rig": {}}', '{"rig": {}, "floor": {"rps": "x"}}'):
        (rigs / "one/noise_floor.json").write_text(damage)
        with pytest.raises(RigError, match="damaged"):
            noise_floor_file.noise_floor("one", {})
