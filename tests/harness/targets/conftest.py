"""App hosts in memory with their configurator, and an external service with benches of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness.cli.bench import run_bench
from harness.errors import CriterionFailed, InvalidMeasurement
from harness.model import Cell, Finding
from harness.rig import state
from harness.store.run_reader import Run, load_run
from harness.targets.app_configurator import AppConfigurator
from harness.targets.app_workers import AppWorkers
from harness.targets.haproxy import HAProxy
from tests.support.fake_rig import FakeRig

CELL = Cell(scenario="s", hosts=2)
CORES = float(os.cpu_count() or 1)


def configurator(rig: FakeRig, **options: Any) -> AppConfigurator:
    """The configurator of a bench that begins."""
    made = AppConfigurator(rig, AppWorkers(rig), HAProxy(rig), rig.limit_cpus, **options)
    made.read_provisioned()
    return made


def leave_throttled(rig: FakeRig) -> None:
    """Leaves the hosts as a killed bench of `scaling` does: a share of a core, overrides, a host drained."""
    rig.caps |= {"app-1": 0.08, "app-2": 0.08}
    rig.overrides |= {"app-1": {"BACKEND": "postgres", "POOL_SIZE": "1"}}
    rig.drained.add("app-2")


@pytest.fixture
def rig() -> FakeRig:
    return FakeRig(cpus={"app-1": 0.5})


SERVICE = Path(__file__).parents[3] / "tests/support/external_service.py"
Start = Callable[..., str]


@contextmanager
def process(command: list[str], environ: Mapping[str, str]) -> Iterator[str]:
    """Runs a process that prints a line once it listens; yields the line."""
    with subprocess.Popen(
        command, cwd=state.ROOT, env={"PATH": os.environ["PATH"], **environ}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        try:
            yield running.stdout.readline().strip()
        finally:
            running.terminate()
            try:
                running.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                running.kill()


@pytest.fixture
def external(postgres: str, server: Any) -> Iterator[Start]:
    """`external(database, fault)` starts the external service on a new database and returns its URL."""
    with ExitStack() as stack:

        def drop(name: str) -> None:
            with psycopg.connect(postgres, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

        def start(name: str, fault: str = "") -> str:
            with psycopg.connect(postgres, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}".encode())
            stack.callback(drop, name)
            command = [sys.executable, str(SERVICE), server.dsn(name), "20", "node-1", *filter(None, [fault])]
            port = stack.enter_context(process(command, {}))
            assert port.isdigit(), port
            return f"http://127.0.0.1:{port}"

        yield start


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs of this test are stored."""
    monkeypatch.setattr("harness.cli.bench.RESULTS", tmp_path / "results")
    return tmp_path / "results"


def bench(results: Path, **options: Any) -> tuple[Run, Exception | None]:
    """Returns the stored run, and the error that the bench ended with."""
    error: Exception | None = None
    try:
        run_bench(**{"rig": "no-such-rig", "repeat": "1"} | options)
    except (CriterionFailed, InvalidMeasurement) as caught:
        error = caught
    return load_run((results / "latest").resolve()), error


def by_check(run: Run, cell_part: str) -> dict[str, Finding]:
    return {f.check: f for f in run.findings if cell_part in f.cell}
