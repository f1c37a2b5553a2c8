"""Shared fixtures: a real PostgreSQL server, a fresh database per test, and one rig of containers."""

from __future__ import annotations

import os
import secrets
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.model import Host
from harness.provision import certificates
from harness.provision.provisioner import destroy, provision
from harness.rig import state
from harness.rig.rig import Rig, open_rig
from tests.support import debian, parallel
from tests.support.postgres_server import Database, Server, fresh_database, running_server

signal.signal(signal.SIGINT, signal.default_int_handler)
"""A shell starts background jobs with Ctrl-C ignored, and their children inherit that; some tests send Ctrl-C."""
ROOT = Path(__file__).parents[1]


def pytest_configure() -> None:
    """Undoes nohup: the processes that tests start would ignore SIGHUP as this one does."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Installs what the tests of several processes would install at the same time, which apt refuses."""
    if session.config.getoption("numprocesses", None):
        debian.install(debian.missing(rigs="not rig" not in session.config.getoption("markexpr")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of rigs first: they take longest, and other tests run meanwhile (see parallel.py)."""
    items.sort(key=lambda item: item.path.parent != parallel.RIG)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Divides the tests between processes (`pytest -n`)."""
    return parallel.scheduler(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option for the run that tests/acceptance checks."""
    parser.addoption("--run", default=None, help="folder or id of the run to check (default: the newest)")


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A certificate authority with two servers, `localhost` (127.0.0.1) and `elsewhere` (192.0.2.1)."""

    file: Path

    def server(self, name: str = "localhost") -> Path:
        """Returns the file with private key and certificate of a server."""
        return self.file.with_name(f"{name}.pem")

    def context(self, name: str = "localhost") -> ssl.SSLContext:
        """Returns the TLS context of a server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server(name))
        return context


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    """Two unrelated certificate authorities, as of two rigs."""
    places = {"localhost": "127.0.0.1", "elsewhere": "192.0.2.1"}
    hosts = [Host(name=name, role="lb", address=place, ssh_address="") for name, place in places.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "RIGS", tmp_path_factory.mktemp("authorities"))
        for rig in ("one", "two"):
            certificates.certify(rig, hosts)
        one, two = (Authority(file=state.authority_file(rig)) for rig in ("one", "two"))
    return one, two


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The running server; a test that stops it has to start it again."""
    with running_server() as running:
        yield running


@pytest.fixture(scope="session")
def postgres(server: Server) -> str:
    """A superuser's DSN of the running server (max_connections 100, the roles of the schema made)."""
    return server.dsn()


NUMBERS = count(1)


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    """A fresh database for the test."""
    with fresh_database(server, f"crucible_{next(NUMBERS)}") as made:
        yield made


# -- a rig -------------------------------------------------------------------------------------------------

HOSTS = 2
"""App hosts of the rig that tests share."""


class Tool:
    """Runs `./run TASK …` in a separate process, with results in a folder of the test, perhaps with other limits."""

    def __init__(self, rig: str, results: Path, limits: Sequence[str] = ()) -> None:
        self.rig, self.results = rig, results
        self._program = ["-m", "tests.support.other_limits", *limits] if limits else ["-m", "harness"]
        self.env = {**os.environ, "PGCRUCIBLE_RESULTS": str(results), "COLUMNS": "100"}

    def __call__(self, task: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *self._program, task, *options],
            cwd=ROOT, env=self.env, text=True, capture_output=True, timeout=600, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def bench(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self("bench", "--rig", self.rig, *options)

    @property
    def latest(self) -> dict[str, object]:
        return dict(yaml.safe_load((self.results / "latest/run.yml").read_text()))


@pytest.fixture(scope="session")
def shared_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a provisioned rig with two load hosts; every test has to revert its changes.

    Rigs of dead sessions are removed first.
    """
    wanted = yaml.safe_load((ROOT / "inventory" / "local.yml").read_text(encoding="utf-8"))
    wanted["all"]["children"]["load"]["vars"] |= {"host_count": 2, "host_cpus": 0.4}
    inventory = tmp_path_factory.mktemp("inventory") / "two-load-hosts.yml"
    inventory.write_text(yaml.safe_dump(wanted), encoding="utf-8")
    for old in state.names():
        if old.startswith("e2e-") and not Path(f"/proc/{old.split('-')[1]}").exists():
            destroy(old, echo=lambda _: None)
    name = f"e2e-{os.getpid()}-{secrets.token_hex(2)}"
    try:
        provision(name, inventory=inventory, echo=lambda _: None, hosts=HOSTS)
        yield name
    finally:
        destroy(name, echo=lambda _: None)


@pytest.fixture(scope="module")
def tool(shared_rig: str, tmp_path_factory: pytest.TempPathFactory) -> Tool:
    """Runs tasks on the shared rig; the tests of a module share the results."""
    return Tool(shared_rig, tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def hosts(shared_rig: str) -> Iterator[Rig]:
    """The shared rig, opened."""
    with open_rig(shared_rig) as opened:
        yield opened
