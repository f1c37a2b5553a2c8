"""Opening a target: TLS with the rig's own authority, the code that runs on the rig, the lock."""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import RigError, UsageError
from harness.load.job import Endpoint
from harness.model import Host
from harness.provision.bundle import checkout_hash
from harness.provision.certificates import certify
from harness.rig import state
from harness.rig.connection import LocalConnection, folder_prefix
from harness.rig.rig import open_rig
from harness.rig.state import authority_file
from harness.targets.open_target import _remove_leftovers, open_target
from harness.targets.rig_target import RigTarget
from harness.targets.url_target import UrlTarget
from tests.support.builders import rig_state


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> state.RigState:
    """The stored state of a rig with TLS; it has no hosts."""
    monkeypatch.setattr(state, "RIGS", tmp_path / "rigs")
    hosts = tuple(
        Host(name=f"{role}-1", role=role, address=f"198.18.0.{number}", ssh_address="127.0.0.1")
        for number, role in enumerate(("db", "app", "lb", "load"), start=1)
    )
    made = rig_state(hosts, name=f"one-{os.getpid()}", variables={"tls": True}, ready=True)
    state.make_folder(made.name)
    state.save(made)
    certify(made.name, hosts)
    return made


@pytest.mark.parametrize("lost", ["app_port", "load_processes", "lb", "app_workers: many"])
def test_a_state_that_lacks_what_a_bench_reads_is_damaged(rig: state.RigState, lost: str) -> None:
    name, _, value = lost.partition(": ")
    variables = {key: text for key, text in rig.variables.items() if key != name} | ({name: value} if value else {})
    state.save(replace(rig, variables=variables, hosts=tuple(host for host in rig.hosts if host.role != lost)))
    with pytest.raises(RigError, match=rf"rig\.json: damaged: it has no \w+ .*{name}"):
        open_rig(rig.name)


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("https://198.18.0.3:8080", True),
        ("https://[::ffff:198.18.0.3]:8080", True),
        ("https://[0:0:0:0:0:ffff:c612:3]:8080", True),
        ("https://198.18.0.9:8080", False),
        ("https://[::ffff:198.18.0.9]:8080", False),
    ],
)
def test_the_certificate_of_a_rigs_host_is_verified_by_url_too(rig: state.RigState, url: str, ours: bool) -> None:
    for name in (rig.name, "another"):
        with open_target(name, base_url=url, owned=not ours) as (service, _):
            assert isinstance(service, UrlTarget)
            ca = str(authority_file(rig.name)) if ours else ""
            assert (service.endpoint().tls, service.endpoint().ca) == (True, ca)
            assert service.endpoint().host == f"198.18.0.{3 if ours else 9}", "the name that the certificate has"


def test_a_bench_at_a_mapped_address_locks_the_rig(rig: state.RigState) -> None:
    with (
        state.locked(rig.name),
        pytest.raises(RigError, match="another process is changing or measuring it"),
        open_target(rig.name, base_url="http://[::ffff:198.18.0.3]:8080"),
    ):
        raise AssertionError


def test_a_loopback_port_for_ssh_is_no_address_of_a_rigs_service(rig: state.RigState) -> None:
    with (
        state.locked(rig.name),
        open_target(rig.name, base_url="https://127.0.0.1:8080") as (service, _),
    ):
        assert service.endpoint().ca == ""


def test_a_damaged_rig_does_not_prevent_a_bench_by_url(rig: state.RigState) -> None:
    (state.folder(rig.name) / "rig.json").write_text("{")
    with open_target(rig.name, base_url="http://127.0.0.1:8080") as (_, address):
        assert address == "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("change", "ours"),
    [
        ({}, True),
        ({"ready": False}, False),  # its hosts may be gone, and another machine may have the address
        ({"provider": "vm"}, False),  # no interface of this machine is in that network
    ],
    ids=["provisioned", "not ready", "vm"],
)
def test_only_addresses_of_provisioned_rigs_are_ours(rig: state.RigState, change: dict[str, Any], ours: bool) -> None:
    """A proxy's resolver gives addresses of 198.18.0.0/15 to public names."""
    state.save(replace(rig, **change))
    state.make_folder("damaged")
    (state.folder("damaged") / "rig.json").write_text("{")
    for name in (rig.name, "another"):
        for address in ("198.18.0.3", "198.18.0.99"):
            url = f"http://{address}:8080"
            if ours and address == "198.18.0.3":
                open_target(name, base_url=url, read_only=True).__enter__()
            else:
                with pytest.raises(UsageError, match="neither loopback nor a host of a provisioned rig"):
                    open_target(name, base_url=url, read_only=True).__enter__()


def test_all_clients_of_a_rig_with_tls_verify_certificates(rig: state.RigState) -> None:
    with open_rig(rig.name) as opened:
        assert opened.authority == authority_file(rig.name)
        endpoint = RigTarget(opened).endpoint()
        assert endpoint == Endpoint(host="198.18.0.3", port=8080, tls=True, ca="/etc/pgcrucible/ca.pem")
        options = opened.connection_options(opened.authority_on_hosts)
        assert (options["sslmode"], options["sslrootcert"]) == ("verify-full", "/etc/pgcrucible/ca.pem")
    state.save(replace(rig, variables={**rig.variables, "tls": False}))
    with open_rig(rig.name) as opened:
        assert opened.authority is None
        assert RigTarget(opened).endpoint() == Endpoint(host="198.18.0.3", port=8080)
        assert "sslmode" not in opened.connection_options(opened.authority_on_hosts)


def test_a_rig_that_runs_other_code_is_not_measured(rig: state.RigState) -> None:
    state.save(replace(rig, code_hash="0123456789abcdef"))
    with pytest.raises(RigError, match=r"runs code 0123456789abcdef, this checkout is [0-9a-f]{16}") as caught:
        open_target(rig.name).__enter__()
    assert "./run provision" in caught.value.hint


def test_a_rig_is_measured_or_changed_by_one_process_at_a_time(rig: state.RigState) -> None:
    """Also by URL, where load goes to the rig; a dry run and another address need no lock."""
    rig_url, other = "https://198.18.0.3:8080", "https://198.18.0.9:8080"
    with state.locked(rig.name):
        for name, url in ((rig.name, None), (rig.name, rig_url), ("another", rig_url)):
            with pytest.raises(RigError, match=f"rig {rig.name}: another process is changing or measuring it"):
                open_target(name, base_url=url).__enter__()
        with open_target(rig.name, base_url=rig_url, read_only=True), open_target(rig.name, base_url=other, owned=True):
            pass
    with (
        open_target(rig.name, base_url=rig_url),
        pytest.raises(RigError, match="another process is changing or measuring it"),
        state.locked(rig.name),
    ):
        raise AssertionError
    with state.locked(rig.name):
        pass


def test_only_the_folders_of_this_rigs_agents_are_removed() -> None:
    """The load host is this machine: it has folders of other rigs, of benches by URL, and the controller's own."""
    name = f"one-{os.getpid()}"
    prefixes = [*(folder_prefix(rig) for rig in (name, f"{name}-b", f"a-{name}", "")), "pgcrucible-"]
    with contextlib.ExitStack() as stack:
        folders = [
            Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix, dir="/tmp", ignore_cleanup_errors=True))
            )
            for prefix in prefixes
        ]
        rig = SimpleNamespace(name=name, role=lambda _: [], each=lambda _, work: work(LocalConnection()))
        _remove_leftovers(rig)  # type: ignore[arg-type]
        assert [folder.exists() for folder in folders] == [False, True, True, True, True]


@pytest.mark.parametrize(("read_only", "removed"), [(False, True), (True, False)])
def test_a_bench_removes_what_a_killed_one_left_and_a_dry_run_changes_nothing(
    rig: state.RigState, monkeypatch: pytest.MonkeyPatch, *, read_only: bool, removed: bool
) -> None:
    state.save(replace(rig, code_hash=checkout_hash()))
    cleaned: list[str] = []
    monkeypatch.setattr("harness.targets.open_target._remove_leftovers", lambda opened: cleaned.append(opened.name))
    with contextlib.suppress(RigError), open_target(rig.name, read_only=read_only):
        pass  # the rig's hosts do not exist
    assert cleaned == ([rig.name] if removed else [])
