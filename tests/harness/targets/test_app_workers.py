"""The service's workers: their metrics, their health, and why they do not start."""

from __future__ import annotations

import json

import pytest

from harness.errors import RigError
from harness.targets.app_workers import AppWorkers
from tests.support.fake_rig import FakeRig


def test_every_worker_of_every_host_is_asked() -> None:
    rig = FakeRig(variables={"app_workers": 2})
    rig.requests["app-2.2"] = {"increment": {"ok": 3}}
    metrics = AppWorkers(rig).metrics()
    assert list(metrics) == ["app-1.1", "app-1.2", "app-2.1", "app-2.2"]
    assert metrics["app-2.2"]["requests"] == {"increment": {"ok": 3}}
    assert list(AppWorkers(rig).metrics(rig.role("app")[:1])) == ["app-1.1", "app-1.2"]
    assert AppWorkers(rig).metrics([]) == {}


def test_a_worker_that_does_not_answer_is_named() -> None:
    rig = FakeRig()
    workers = AppWorkers(rig)
    assert workers.healthy(workers.hosts)
    rig.silent.add("app-2")
    assert not workers.healthy(workers.hosts)
    assert workers.healthy(workers.hosts[:1])
    with pytest.raises(RigError, match=r"app-2\.1: /metrics answered nothing: connection refused"):
        workers.metrics()


def test_start_errors_are_read_from_the_logs_of_silent_hosts() -> None:
    rig = FakeRig(apps=3)
    rig.silent |= {"app-2", "app-3"}
    rig.logs = {name: json.dumps({"reason": f"{name} has no disk"}) + "\n" for name in ("app-1", "app-2")}
    workers = AppWorkers(rig)
    assert workers.start_errors(workers.hosts) == "; app-2: app-2 has no disk"
