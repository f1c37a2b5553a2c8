"""App hosts run the revision of each cell, and the provisioned one at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness.errors import RigError
from harness.model import Cell
from harness.targets.app_configurator import AppConfigurator
from harness.targets.app_revisions import AppRevisions
from harness.targets.app_workers import AppWorkers
from tests.support.fake_rig import FakeRig

from .conftest import CELL, configurator

OLD, NEW = "0123456789ab", "ba9876543210"


@pytest.fixture
def deployed(rig: FakeRig, monkeypatch: pytest.MonkeyPatch) -> AppConfigurator:
    """The configurator of a bench on whose hosts two revisions lie."""

    def deploy(revisions: AppRevisions, names: Sequence[str]) -> list[str]:
        revisions._own_packages |= {(host, name): False for host in rig.names for name in names}
        return ["a note"]

    monkeypatch.setattr(AppRevisions, "deploy", deploy)
    apps = configurator(rig)
    assert apps.deploy([OLD, NEW]) == ["a note"]
    return apps


def of_code(code: str, **params: Any) -> Cell:
    return replace(CELL, params={"code": code, **params})


def test_a_cell_runs_with_its_code_and_restore_brings_the_provisioned_one_back(
    rig: FakeRig, deployed: AppConfigurator
) -> None:
    for cell, revision in ((of_code(OLD), OLD), (of_code(NEW), NEW), (CELL, ""), (of_code(OLD), OLD)):
        deployed.configure(cell)
        assert rig.revisions == rig.drop_ins == {"app-1": revision, "app-2": revision}
    deployed.restore()
    assert set(rig.drop_ins.values()) == {""}
    assert rig.overrides == {}


def test_restore_restarts_a_control_of_which_no_file_is_left(rig: FakeRig) -> None:
    """The heal of a killed bench removed the drop-in, and its restart failed: ordinary benches measured the control."""
    rig.revisions["app-2"] = "control-early-answer"
    configurator(rig).restore()
    assert (rig.restarts, rig.revisions["app-2"]) == (["app-2"], "")


def test_a_control_that_goes_on_after_a_restart_is_an_error(rig: FakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.revisions["app-2"] = "control-early-answer"
    monkeypatch.setattr(rig, "restart", lambda *_: None)
    with pytest.raises(RigError, match=r"app-2: the service runs in .*control-early-answer"):
        configurator(rig).restore()


def test_every_revision_is_started_once_before_trials_and_not_again_where_it_runs(
    rig: FakeRig, deployed: AppConfigurator
) -> None:
    assert rig.restarts.count("app-1") == 2
    deployed.configure(of_code(NEW))
    rig.restarts.clear()
    deployed.configure(of_code(NEW))
    assert rig.restarts == []
    deployed.configure(of_code(NEW, app_pool_idle_seconds=5))
    assert sorted(rig.restarts) == ["app-1", "app-2"]
    assert rig.revisions["app-1"] == NEW


def test_a_revision_that_a_host_lost_is_selected_again(rig: FakeRig, deployed: AppConfigurator) -> None:
    deployed.configure(of_code(NEW))
    rig.drop_ins["app-2"] = ""
    rig.restarts.clear()
    deployed.configure(of_code(NEW))
    assert (rig.restarts, rig.drop_ins["app-2"]) == (["app-2"], NEW)


def test_the_next_bench_undoes_a_revision_that_a_killed_one_left(rig: FakeRig, deployed: AppConfigurator) -> None:
    deployed.configure(of_code(NEW))
    rig.silent.add("app-1")
    rig.restarts.clear()
    configurator(rig).restore()
    assert sorted(rig.restarts) == ["app-1", "app-2"]
    assert set(rig.drop_ins.values()) == {""}


def test_a_revision_that_does_not_start_is_reported_with_the_last_line_of_its_log(
    rig: FakeRig, deployed: AppConfigurator
) -> None:
    rig.start_fails.add(NEW)
    rig.logs["app-1"] = "ImportError: cannot import name 'x'\n"
    late = configurator(rig, timeout_s=0.0)
    with pytest.raises(RigError, match=f"code={NEW} does not start: .*; app-1: ImportError: cannot import name 'x'"):
        late.deploy([OLD, NEW])


def test_a_service_that_runs_another_folder_than_its_hash_says_is_refused(
    rig: FakeRig, deployed: AppConfigurator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AppRevisions, "_command", lambda *_: "/another/python")
    with pytest.raises(RigError, match="the service runs in"):
        deployed.configure(of_code(OLD))


def test_a_setting_that_a_revision_does_not_have_is_refused(rig: FakeRig, deployed: AppConfigurator) -> None:
    rig.unknown_settings[OLD] = ("RETRY_LIMIT",)
    deployed.configure(of_code(NEW, app_retry_limit=3))
    with pytest.raises(RigError, match=r"app-[12]\.1: the service does not run with retry_limit=3"):
        deployed.configure(of_code(OLD, app_retry_limit=3))


def test_a_revision_that_does_not_count_what_is_measured_is_refused(
    rig: FakeRig, deployed: AppConfigurator, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = AppWorkers.metrics

    def older(workers: AppWorkers, *hosts: Any) -> dict[str, Any]:
        bodies = original(workers, *hosts)
        return {worker: {key: body[key] for key in body if key != "transactions"} for worker, body in bodies.items()}

    monkeypatch.setattr(AppWorkers, "metrics", older)
    with pytest.raises(RigError, match=rf"code={OLD}: app-1\.1: its /metrics has no transactions"):
        deployed.deploy([OLD])
