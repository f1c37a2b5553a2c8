"""The programs that verify.yml runs on the hosts: which faults they report, and how long they wait."""

from __future__ import annotations

import importlib.util
import io
import itertools
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import ROLES

Load = Callable[[str, dict[str, Any]], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """`load(role, wanted)`: the role's verify.py as a module, with the expected state `wanted`."""

    def module_of(role: str, wanted: dict[str, Any]) -> ModuleType:
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(wanted)))
        spec = importlib.util.spec_from_file_location(f"verify_{role}", ROLES / role / "files" / "verify.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return module_of


@contextmanager
def serving(text: bytes) -> Iterator[int]:
    """A server that sends `text` after the first bytes of a client, and closes."""

    class Reply(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)
            self.request.sendall(text)

    with socketserver.TCPServer(("127.0.0.1", 0), Reply) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("text", "plain"), [(b"HTTP/1.1 200 OK\r\n\r\n", True), (b"", False), (b"\x15\x03", False)])
def test_reports_a_balancer_that_answers_without_tls(load: Load, authorities: Any, text: bytes, plain: bool) -> None:
    with serving(text) as port:
        wanted = {"address": "127.0.0.1", "port": port, "authority": str(authorities[0].file)}
        assert load("haproxy", wanted).answers_plain_text() is plain


@pytest.mark.parametrize(("late", "reached"), [(0, {"app-1", "app-2"}), (31, {"app-1", "app-2"}), (999, {"app-1"})])
def test_waits_for_a_server_that_has_just_come_up_but_not_for_ever(
    load: Load, monkeypatch: pytest.MonkeyPatch, late: int, reached: set[str]
) -> None:
    module = load("haproxy", {"authority": "", "workers": 1})
    paths: list[str] = []

    def get(path: str) -> tuple[int, dict[str, Any]]:
        paths.append(path)
        return 200, {"container": "app-2" if len(paths) > late and len(paths) % 2 else "app-1"}

    monkeypatch.setattr(module, "get", get)
    assert module.hosts_in_round_robin({"app-1", "app-2"}) == reached
    assert 10 <= len(paths) <= 64


def test_reports_an_unknown_host_in_the_round_robin(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("haproxy", {"authority": "", "workers": 1})
    names = itertools.cycle(["app-1", "app-2", "app-9"])
    monkeypatch.setattr(module, "get", lambda _: (200, {"container": next(names)}))
    assert module.hosts_in_round_robin({"app-1", "app-2"}) == {"app-1", "app-2", "app-9"}


def test_reports_a_database_that_accepts_the_service_without_tls(load: Load, database: Any) -> None:
    names = {"host": "POSTGRES_HOST", "port": "POSTGRES_PORT", "dbname": "POSTGRES_DB", "user": "POSTGRES_USER"}
    names |= {"password": "POSTGRES_PASSWORD"}
    place = {name: database.environ[variable] for name, variable in names.items()} | {"sslmode": "verify-full"}
    assert load("app", {"database": place}).refuses_plain_text() == [
        "PostgreSQL accepts the service's role without TLS"
    ]
    (message,) = load("app", {"database": place | {"dbname": "none"}}).refuses_plain_text()  # not by pg_hba.conf
    assert message.startswith("without TLS: ")


CHAINS = "-P INPUT ACCEPT\n-N PGCRUCIBLE\n-N PGCRUCIBLE-2\n-N DOCKER\n-A INPUT -j PGCRUCIBLE\n"


@pytest.mark.parametrize(
    ("printed", "failures"),
    [
        ("", []),
        ("-P INPUT ACCEPT\n-N DOCKER\n", []),
        (CHAINS, ["the firewall chain PGCRUCIBLE is left", "the firewall chain PGCRUCIBLE-2 is left"]),
    ],
)
def test_reports_firewall_chains_of_a_fault(
    load: Load, monkeypatch: pytest.MonkeyPatch, printed: str, failures: list[str]
) -> None:
    module = load("common", {"units": []})
    monkeypatch.setattr(module, "output", lambda *command: printed)
    assert module.firewall_chains() == failures


def test_reports_stopped_processes_of_the_tier_and_no_others(load: Load, tmp_path: Path) -> None:
    def process(pid: int, state: str, unit: str) -> None:
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cgroup").write_text(f"1:name=systemd:/system.slice/{unit}\n0::/\n")
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a (b) c) {state} 1 2 3\n")

    process(10, "T", "system-postgresql.slice/postgresql@15-main.service")
    process(11, "S", "haproxy.service")
    process(12, "T", "ssh.service")
    process(13, "T", "pgcrucible-app@1.service")
    (tmp_path / "14").mkdir()  # it has ended
    (tmp_path / "sys").mkdir()
    assert load("common", {"units": []}).stopped_processes(tmp_path) == [
        "process 10 (a (b) c) is stopped",
        "process 13 (a (b) c) is stopped",
    ]


def test_reports_a_file_system_in_memory_over_the_data(load: Load, tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "overlay / overlay rw 0 0\ntmpfs /run tmpfs rw 0 0\n/dev/vdb /var/lib/postgresql ext4 rw 0 0\n"
        "tmpfs /var/lib/postgresql-old tmpfs rw 0 0\n"
    )
    module = load("common", {"units": []})
    assert module.mounts_over_data(mounts) == []
    mounts.write_text("pgcrucible /var/lib/postgresql/15/main/pg_wal tmpfs rw 0 0\n")
    assert module.mounts_over_data(mounts) == ["a tmpfs is mounted on /var/lib/postgresql/15/main/pg_wal"]


@pytest.mark.parametrize(
    ("shown", "failures"),
    [
        ("Id=a.service\nActiveState=active\nSubState=running\n", []),
        (
            "Id=a.service\nActiveState=active\nSubState=running\n\nId=b.service\nActiveState=failed\nSubState=failed\n",
            ["b.service is failed (failed)"],
        ),
        ("", ["there is no unit *.service"]),
    ],
)
def test_reports_units_that_are_not_active(
    load: Load, monkeypatch: pytest.MonkeyPatch, shown: str, failures: list[str]
) -> None:
    module = load("common", {"units": ["*.service"]})
    monkeypatch.setattr(module, "output", lambda *command: shown)
    assert module.inactive_units() == failures
