"""A rig's containers handed over as existing machines: the same rig, and nothing is left of it afterwards."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli import bench
from harness.errors import RigError
from harness.provision import bundle, podman_cli, provisioner
from harness.provision.providers import static
from harness.provision.status import status
from harness.rig import state
from harness.rig.rig import open_rig
from harness.rig.state import RigState, authority_file
from harness.store.run_reader import load_run

CONTAINERS = """\
all:
  vars: {provider: podman, tls: true}
  children:
    app:
      vars: {host_count: 2, host_cpus: 0.5, host_memory: 256m}
"""


def quiet(line: str) -> None:
    """Ignores progress lines."""


def written(path: Path, children: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump({"all": {"vars": {"provider": "static"}, "children": children}}))
    return path


@pytest.fixture
def rigs() -> Iterator[tuple[str, str]]:
    """Two rig names: the containers, and the same hosts as existing machines, which are removed first."""
    chosen = f"test-{os.getpid()}-{secrets.token_hex(2)}"
    yield chosen, f"{chosen}-s"
    for name in (f"{chosen}-s", chosen):
        if state.load(name) is None or state.load(name).provider == "static":  # type: ignore[union-attr]
            shutil.rmtree(state.folder(name), ignore_errors=True)
        provisioner.destroy(name, echo=quiet)


def as_machines(made: RigState, path: Path) -> Path:
    """Writes an inventory of a rig's containers by address and key; app-2 is behind a bastion (the load balancer)."""
    base = state.folder(made.name)
    known = f"-o UserKnownHostsFile={base}/known_hosts -o IdentitiesOnly=yes"
    bastion = next(host.address for host in made.hosts if host.role == "lb")
    through = f"ssh -i {base}/id_ed25519 -o StrictHostKeyChecking=yes {known} -W %h:%p root@{bastion}"
    children: dict[str, Any] = {}
    for host in made.hosts:
        own = {"ansible_host": host.address, "address": host.address}
        if host.name == "app-2":
            own["ansible_ssh_common_args"] = f"{known} -o {shlex.quote(f'ProxyCommand={through}')}"
        children.setdefault(host.role, {"hosts": {}})["hosts"][host.name] = own
    written(path, children)
    document = yaml.safe_load(path.read_text())
    document["all"]["vars"] |= {
        "tls": True,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(base / "id_ed25519"),
        "ansible_ssh_common_args": known,
    }
    path.write_text(yaml.safe_dump(document))
    return path


LEFTOVERS_SCRIPT = """
ls -d /opt/pgcrucible /etc/pgcrucible /etc/systemd/system/*/pgcrucible* /etc/systemd/system/pgcrucible* 2> /dev/null
ls -d /etc/haproxy/pgcrucible* /etc/postgresql/*/main/pgcrucible* 2> /dev/null
getent passwd pgcrucible
grep -i pgcrucible /etc/hosts /etc/haproxy/haproxy.cfg 2> /dev/null
true
"""


def test_containers_listed_as_existing_machines_are_the_same_rig(
    rigs: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authorities: Any
) -> None:
    containers, machines = rigs
    deployed = bundle.build_bundle()
    monkeypatch.setattr(
        provisioner, "build_bundle", lambda **platform: deployed
    )  # even if the code is edited meanwhile
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results")
    source = tmp_path / "containers.yml"
    source.write_text(CONTAINERS)
    made = provisioner.provision(containers, echo=quiet, inventory=source).rig

    state.make_folder(machines)
    shutil.copy(state.folder(containers) / "secrets.yml", state.folder(machines))  # else the passwords would differ
    shutil.copytree(state.folder(containers) / "tls", state.folder(machines) / "tls")
    inventory = as_machines(made, tmp_path / "machines.yml")
    same = provisioner.provision(machines, echo=quiet, inventory=inventory, provider="static")
    assert same.changed == 0
    assert {host.name: host.address for host in same.rig.hosts} == {host.name: host.address for host in made.hosts}
    assert " -W %h:%p " in next(host.jump for host in same.rig.hosts if host.name == "app-2")
    assert set(status(machines).hosts.values()) == {"up"}

    (tmp_path / "empty").touch()
    unknown = replace(same.rig.hosts[0], known_hosts=str(tmp_path / "empty"))
    assert "not found in known_hosts" in static.login_error(unknown)

    run = bench.run_bench(rig=machines, scenario="concurrent-writes", requests="60", repeat="1")
    assert run is not None
    assert run.manifest.verdict == "pass"
    assert run.manifest.rig.provider == "static"
    assert len(run.manifest.rig.hosts) == 5
    assert run.manifest.rig.tls
    assert set(run.manifest.settings["tls"]) == {"haproxy", "postgres"}
    assert all(agreed.startswith("TLSv1.3 ") for agreed in run.manifest.settings["tls"].values())
    assert all(host.kernel for host in run.manifest.rig.hosts)
    assert load_run(run.path).rows

    authority_file(machines).write_bytes(authorities[0].file.read_bytes())
    with (
        open_rig(machines) as opened,
        pytest.raises(RigError, match=r"db-1: .* certificate verify failed"),
        opened.database(),
    ):
        pass

    destroyed = provisioner.destroy(machines, echo=quiet)
    assert {f"services and files on {host.name}" for host in made.hosts} <= set(destroyed.removed)
    assert not state.folder(machines).exists()
    for host in made.hosts:  # nothing of ours is left on any machine, and every machine is still there
        assert (
            podman_cli.run("exec", f"pgcrucible-{containers}-{host.name}", "sh", "-c", LEFTOVERS_SCRIPT).strip() == ""
        ), host.name
    psql = ["runuser", "-u", "postgres", "--", "psql", "-Atc", "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'"]
    assert podman_cli.run("exec", f"pgcrucible-{containers}-db-1", *psql).split() == ["postgres"]
    assert set(status(containers).hosts.values()) == {"up"}
