"""Machines that exist: what is read of their inventory, and a rig's containers handed over as such."""

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
from harness.errors import RigError, UsageError
from harness.model import Host
from harness.provision import bundle, podman_cli, provisioner
from harness.provision.inventory import read_inventory
from harness.provision.providers import static
from harness.provision.status import status
from harness.provision.topology import hosts_of, ssh_options
from harness.rig import state
from harness.rig.rig import open_rig
from harness.rig.ssh import SshConnection
from harness.rig.state import ROLES_DIR, ROOT, RigState, authority_file
from harness.store.run_reader import load_run

CONTAINERS = """\
all:
  vars: {provider: podman_cli, tls: true}
  children:
    app:
      vars: {host_count: 2, host_cpus: 0.5, host_memory: 256m}
"""


def quiet(line: str) -> None:
    """Progress nobody reads."""


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ("", {}),
        ("-J ops@gate", {"proxyjump": "ops@gate"}),
        ("-Jops@gate:2222 -o ServerAliveInterval=5", {"proxyjump": "ops@gate:2222", "serveraliveinterval": "5"}),
        ("-o ProxyJump=gate -oUserKnownHostsFile=/k", {"proxyjump": "gate", "userknownhostsfile": "/k"}),
        ("-o 'ProxyCommand ssh -W %h:%p ops@gate'", {"proxycommand": "ssh -W %h:%p ops@gate"}),
        ("-o 'ProxyCommand ssh -o A=b -W %h:%p gate'", {"proxycommand": "ssh -o A=b -W %h:%p gate"}),
        ("-o ProxyCommand='ssh -o A=b -W %h:%p gate'", {"proxycommand": "ssh -o A=b -W %h:%p gate"}),
        ("-o ProxyJump=first -J second", {"proxyjump": "first"}),
    ],
)
def test_the_ways_to_a_host_are_read_as_ssh_reads_them(arguments: str, found: dict[str, str]) -> None:
    assert ssh_options(arguments) == found


def test_the_example_is_an_inventory_of_ours() -> None:
    source = read_inventory(ROOT / "inventory/static.example.yml", ROLES_DIR)
    hosts = {host.name: host for host in hosts_of(source, "", None)}
    assert source.provider == "static"
    assert {host.role for host in hosts.values()} == {"db", "app", "lb", "load"}
    assert sum(host.role == "load" for host in hosts.values()) > 1
    assert all(host.ssh_user == "ops" and host.jump == "ops@bastion.example.org" for host in hosts.values())
    assert all(host.address != host.ssh_address or host.address[0].isdigit() for host in hosts.values())


def written(path: Path, children: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump({"all": {"vars": {"provider": "static"}, "children": children}}))
    return path


@pytest.mark.parametrize("same", [{"app": {"hosts": {"a": None}}}, {"app": {"hosts": {"b": {"ansible_host": "a"}}}}])
def test_one_machine_in_two_roles_is_refused(tmp_path: Path, same: dict[str, Any]) -> None:
    others = {role: {"hosts": {name: None}} for role, name in (("db", "a"), ("lb", "l"), ("load", "x"))}
    source = read_inventory(written(tmp_path / "i.yml", others | same), ROLES_DIR)
    with pytest.raises(UsageError, match="are the same machine"):
        hosts_of(source, "", None)


def test_a_user_that_is_not_root_asks_sudo_which_must_not_ask_back() -> None:
    host = Host(name="h", role="app", address="h", ssh_address="h", ssh_user="ops")
    assert SshConnection(host, None, None)._command(["cat", "a b"]) == "sudo -n -- cat 'a b'"


def test_each_kind_of_host_gets_its_own_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def build(*, python: str, machine: str) -> str:
        asked.append((python, machine))
        return f"{python} {machine}"

    monkeypatch.setattr(static, "build_bundle", build)
    roles = {"d": "db", "a1": "app", "a2": "app", "l": "lb", "x": "load"}
    hosts = tuple(Host(name=n, role=r, address=n, ssh_address=n) for n, r in roles.items())  # type: ignore[arg-type]
    old, new = static.Kind(python="3.11", machine="x86_64"), static.Kind(python="3.13", machine="aarch64")
    found = {"d": static.Kind(python="3.9", machine="riscv64"), "a1": old, "a2": new, "l": new, "x": old}
    got = static.bundles(hosts, found, quiet)
    assert asked == [("3.11", "x86_64"), ("3.13", "aarch64")]  # none for a database host that runs no code of ours
    assert got == {
        "d": "3.11 x86_64",
        "a1": "3.11 x86_64",
        "a2": "3.13 aarch64",
        "l": "3.13 aarch64",
        "x": "3.11 x86_64",
    }


LOCK = """\
a==1 \\
    --hash=sha256:00 \\
    --hash=sha256:01
b==1 ; python_full_version < '3.11' \\
    --hash=sha256:02
b==2 ; python_full_version >= '3.11' \\
    --hash=sha256:03
c==1 ; sys_platform == 'win32' \\
    --hash=sha256:04
"""


def test_markers_are_judged_for_the_host_and_not_for_this_machine() -> None:
    assert bundle.lines_for(LOCK, "3.10", "x86_64").split() == [
        "a==1", "\\", "--hash=sha256:00", "\\", "--hash=sha256:01", "b==1", "\\", "--hash=sha256:02",
    ]  # fmt: skip
    assert "b==2" in bundle.lines_for(LOCK, "3.11", "x86_64")
    assert "c==1" not in bundle.lines_for(LOCK, "3.13", "aarch64")


def test_a_package_that_a_host_cannot_have_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "CACHE", tmp_path / "cache")
    with pytest.raises(RigError, match=r"packages for Python 3\.11 on vax: .*==") as missing:
        bundle.build_bundle(machine="vax")
    assert not list((tmp_path / "cache").glob("wheels-*")), missing.value


@pytest.fixture
def rigs() -> Iterator[tuple[str, str]]:
    """Two names of our own: the containers, and the same as machines that exist. Gone at the end, this one first."""
    chosen = f"test-{os.getpid()}-{secrets.token_hex(2)}"
    yield chosen, f"{chosen}-s"
    for name in (f"{chosen}-s", chosen):
        if state.load(name) is None or state.load(name).provider == "static":  # type: ignore[union-attr]
            shutil.rmtree(state.folder(name), ignore_errors=True)
        provisioner.destroy(name, echo=quiet)


def as_machines(made: RigState, path: Path) -> Path:
    """An inventory that lists a rig's containers by address and key; app-2 through a bastion (its load balancer)."""
    base = state.folder(made.name)
    known = f"-o UserKnownHostsFile={base}/known_hosts -o IdentitiesOnly=yes"
    gate = next(host.address for host in made.hosts if host.role == "lb")
    through = f"ssh -i {base}/id_ed25519 -o StrictHostKeyChecking=yes {known} -W %h:%p root@{gate}"
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


LEFT = """
ls -d /opt/pgcrucible /etc/pgcrucible /etc/systemd/system/*/pgcrucible* /etc/systemd/system/pgcrucible* 2> /dev/null
ls -d /etc/haproxy/pgcrucible* /etc/postgresql/*/main/pgcrucible* 2> /dev/null
getent passwd pgcrucible
grep -i pgcrucible /etc/hosts /etc/haproxy/haproxy.cfg 2> /dev/null
true
"""


@pytest.mark.rig
@pytest.mark.slow
def test_containers_handed_over_as_machines_are_the_same_rig(
    rigs: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authorities: Any
) -> None:
    containers, machines = rigs
    deployed = bundle.build_bundle()
    monkeypatch.setattr(provisioner, "build_bundle", lambda: deployed)  # whatever is edited meanwhile
    monkeypatch.setattr(static, "build_bundle", lambda **kind: deployed if kind["python"] == "3.11" else None)
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

    (tmp_path / "nobody").touch()
    stranger = replace(same.rig.hosts[0], known_hosts=str(tmp_path / "nobody"))
    assert "not found in known_hosts" in static.silence(stranger)

    run = bench.run_bench(rig=machines, scenario="concurrent-writes", requests="60", repeat="1")
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

    gone = provisioner.destroy(machines, echo=quiet)
    assert {f"services and files on {host.name}" for host in made.hosts} <= set(gone.removed)
    assert not state.folder(machines).exists()
    for host in made.hosts:  # nothing of ours is left on any machine, and every machine is still there
        assert podman_cli.run("exec", f"pgcrucible-{containers}-{host.name}", "sh", "-c", LEFT).strip() == "", host.name
    psql = ["runuser", "-u", "postgres", "--", "psql", "-Atc", "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'"]
    assert podman_cli.run("exec", f"pgcrucible-{containers}-db-1", *psql).split() == ["postgres"]
    assert set(status(containers).hosts.values()) == {"up"}
