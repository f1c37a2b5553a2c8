"""A real service, and two load hosts that measure it: a whole bench, or single lanes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.load.job import Endpoint
from harness.load.spec import LoadSpec, Operation
from harness.measure.load_controller import LoadController, LoadResults
from harness.targets.url import locate
from tests.support.local_bench import Bench
from tests.support.local_target import LoadHost, LocalTarget, exit_codes, remaining_folders, serving
from tests.support.postgres_server import Database


@pytest.fixture
def benches(database: Database, tmp_path: Path) -> Iterator[Bench]:
    with (
        serving(database.environ, tmp_path / "log") as url,
        LocalTarget(url, database.dsn, tag=f"t{os.getpid()}") as target,
    ):
        made = Bench(target, tmp_path / "results")
        yield made
        exit_codes(target.hosts)
        if made.writer is not None:
            assert remaining_folders(made.writer.manifest.run_id) == []


TAG = f"controller-test-{os.getpid()}"
INCREMENT = Operation(name="increment", path="/api/increment", body={"key": "{key}"}, value="value")
FINITE = LoadSpec(mode="closed", clients=10, requests=101, operations=(INCREMENT,))
STEADY = replace(FINITE, requests=None, seconds=30.0)


class Run:
    """`go(lanes)` runs the lanes from both load hosts against the real service."""

    def __init__(self, url: str, scratch: Path) -> None:
        self.hosts = [LoadHost("load-1"), LoadHost("load-2")]
        self.address, self.scratch = locate(url), scratch
        self.command = LocalTarget.command(None, "harness.load.agent")  # type: ignore[arg-type]

    def go(
        self, lanes: dict[str, LoadSpec], progress: Callable[..., None] = lambda *_: None, **more: Any
    ) -> LoadResults:
        endpoint = Endpoint(host=self.address.host, port=self.address.port)
        with LoadController(self.hosts, **{"endpoint": endpoint, "command": self.command} | more) as controller:
            return controller.run(lanes, scratch=self.scratch, progress=progress, tag=TAG, seed=1, began_s=0.0)


@pytest.fixture
def run(database: Database, tmp_path: Path) -> Iterator[Run]:
    with serving(database.environ, tmp_path / "log") as url:
        made = Run(url, tmp_path)
        yield made
        exit_codes(made.hosts)
        assert remaining_folders(TAG) == []
