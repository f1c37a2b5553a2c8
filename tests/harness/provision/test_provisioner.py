"""What is refused before anything is created, which bundle each host gets, and an empty destroy."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.model import Host
from harness.provision import provisioner
from harness.provision.providers.base import Platform
from harness.rig import state


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
