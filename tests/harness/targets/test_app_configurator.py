"""App hosts run as each cell asks, whatever the trials before left, and as provisioned at the end."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from harness.errors import RigError
from harness.model import BACKENDS, Cell
from harness.plan.options import BenchRequest
from harness.plan.planner import make_plan
from harness.plan.scenario import RemoteWorkload, Site
from harness.rig import rig as rig_module
from harness.scenarios import SCENARIOS
from harness.targets import app_workers
from harness.targets.app_state import parse_state
from harness.targets.haproxy import HAProxy
from tests.support.fake_rig import PROVISIONED, SHARED, FakeRig

from .conftest import CELL, CORES, configurator, leave_throttled


def test_restore_undoes_what_a_killed_bench_left(rig: FakeRig) -> None:
    leave_throttled(rig)
    configurator(rig).restore()
    assert rig.caps == {"app-1": 0.5, "app-2": CORES}, "the inventory's cap, or none where it has none"
    assert rig.overrides == {}
    assert rig.drained == set()
    assert rig.restarts == ["app-1"], "a host that runs as provisioned is not restarted"


@pytest.mark.parametrize("hosts", [["app-1"], ["app-1", "app-2"]])
def test_restore_removes_an_override_with_which_the_service_cannot_start(rig: FakeRig, hosts: list[str]) -> None:
    rig.overrides |= {name: {"BACKEND": "sqlite-naive"} for name in hosts}
    rig.silent |= set(hosts)
    configurator(rig).restore()
    assert (rig.overrides, sorted(rig.restarts)) == ({}, hosts)


def test_the_first_cell_sets_every_cap_and_a_cap_that_holds_is_not_set_again(rig: FakeRig) -> None:
    leave_throttled(rig)
    apps = configurator(rig)
    apps.configure(CELL)
    assert rig.caps == {"app-1": 0.5, "app-2": CORES}
    apps.configure(replace(CELL, params={"app_cpus": 0.08}))
    assert rig.caps == {"app-1": 0.08, "app-2": 0.08}
    rig.capped.clear()
    apps.configure(replace(CELL, params={"app_cpus": 0.08}))
    assert rig.capped == []


def test_health_is_not_checked_while_a_cell_caps_its_hosts(rig: FakeRig) -> None:
    apps = configurator(rig)
    apps.configure(replace(CELL, params={"app_cpus": 0.08}))
    assert (rig.unchecked, HAProxy(rig).serving()) == ({"app-1", "app-2"}, {"app-1", "app-2"})
    apps.configure(CELL)
    assert rig.unchecked == set()


def test_restore_checks_the_health_of_hosts_that_a_killed_bench_left_unchecked(rig: FakeRig) -> None:
    rig.unchecked |= {"app-1", "app-2"}
    rig.drained.add("app-2")
    configurator(rig).restore()
    assert (rig.unchecked, rig.drained) == (set(), set())


def test_a_restarted_host_keeps_the_cap_of_its_cell(rig: FakeRig) -> None:
    apps = configurator(rig)
    apps.configure(replace(CELL, params={"app_cpus": 0.08}))
    apps.configure(replace(CELL, pool=3, params={"app_cpus": 0.08}))
    assert rig.overrides["app-2"]["POOL_SIZE"] == "3"
    assert rig.caps == {"app-1": 0.08, "app-2": 0.08}


def test_hosts_that_do_not_serve_are_drained_until_restore(rig: FakeRig) -> None:
    apps = configurator(rig)
    apps.configure(replace(CELL, hosts=1))
    assert rig.drained == {"app-2"}
    apps.restore()
    assert rig.drained == set()


def test_a_reload_of_haproxy_between_two_trials_drains_the_hosts_again(rig: FakeRig) -> None:
    apps = configurator(rig)
    apps.configure(replace(CELL, hosts=1))
    rig.reload_haproxy()
    apps.configure(replace(CELL, hosts=1))
    assert rig.drained == {"app-2"}


def test_a_host_that_the_operator_drained_serves_again(rig: FakeRig) -> None:
    apps = configurator(rig)
    apps.configure(CELL)
    rig.drained.add("app-1")
    apps.configure(CELL)
    assert rig.drained == set()
    rig.drained.add("app-1")
    apps.restore()
    assert rig.drained == set()


def test_caps_that_the_machine_lost_are_set_again(rig: FakeRig) -> None:
    """Podman applies `update --cpus` to the running container only: a restarted one has all cores."""
    apps, capped = configurator(rig), replace(CELL, params={"app_cpus": 0.08})
    apps.configure(capped)
    rig.caps.clear()
    apps.configure(capped)
    assert rig.caps == {"app-1": 0.08, "app-2": 0.08}


@pytest.mark.parametrize("lost", ["file", "process", "both"])
def test_overrides_that_a_host_lost_are_written_again(rig: FakeRig, lost: str) -> None:
    apps, cell = configurator(rig), replace(CELL, pool=3)
    apps.configure(cell)
    if lost != "process":
        del rig.overrides["app-2"]
    if lost != "file":
        rig.runs["app-2"] = PROVISIONED
    rig.restarts.clear()
    apps.configure(cell)
    assert (rig.restarts, rig.runs["app-2"]["POOL_SIZE"], rig.overrides["app-2"]["POOL_SIZE"]) == (["app-2"], "3", "3")


def test_restore_restarts_a_host_that_still_runs_with_overrides_which_were_removed(rig: FakeRig) -> None:
    apps = configurator(rig)
    apps.configure(replace(CELL, pool=3))
    rig.overrides.clear()
    rig.restarts.clear()
    apps.restore()
    assert sorted(rig.restarts) == ["app-1", "app-2"]
    assert rig.runs == {"app-1": PROVISIONED, "app-2": PROVISIONED}


@pytest.mark.parametrize(
    ("printed", "cores"),
    [
        ("cpu.max 50000 100000\n", 0.5), ("cpu.max max 100000\n", math.inf), ("", None),
        ("cpu/cpu.cfs_quota_us 8000\ncpu/cpu.cfs_period_us 100000\n", 0.08),
        ("cpu/cpu.cfs_quota_us -1\ncpu/cpu.cfs_period_us 100000\n", math.inf),
    ],
)  # fmt: skip
def test_the_cpu_cap_is_read_from_either_version_of_control_groups(printed: str, cores: float | None) -> None:
    state = parse_state(printed, {})
    assert (state.cores, state.overrides) == (cores, None)
    assert parse_state(f"{printed}overrides\nPOOL_SIZE=3\n", {}).overrides == {"POOL_SIZE": "3"}


def test_configure_waits_for_haproxy_up_to_a_timeout(rig: FakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    apps = configurator(rig, timeout_s=30.0)
    up = rig.haproxy
    states = iter(["# pxname,svname,type,status,stot,req_tot\n"] * 2)
    monkeypatch.setattr(rig, "haproxy", lambda commands: next(states, None) or up(commands))
    apps.configure(CELL)
    assert next(states, None) is None
    monkeypatch.setattr(rig, "haproxy", lambda _: "# pxname,svname,type,status,stot,req_tot\n")
    with pytest.raises(RigError, match=r"timed out after 0 s waiting for HAProxy to serve from app-1$"):
        configurator(rig, timeout_s=0.0).configure(replace(CELL, hosts=1))


def test_a_service_that_does_not_start_is_reported_with_its_log() -> None:
    rig = FakeRig(apps=3)
    rig.start_fails.add("app-2")
    rig.logs["app-2"] = json.dumps({"event": "cannot start", "reason": "the SQLite file /srv/a.db is on nfs4"}) + "\n"
    expected = (
        "timed out after 0 s waiting for the app hosts to become healthy; app-2: the SQLite file /srv/a.db is on nfs4"
    )
    with pytest.raises(RigError) as error:
        configurator(rig, timeout_s=0.0).configure(Cell(scenario="s", hosts=3))
    assert error.value.message == expected


@pytest.mark.parametrize(("kept", "after"), [(1, "1"), (25, None)])
def test_release_connections_resets_pools_that_keep_idle_connections(kept: int, after: str | None) -> None:
    """2 x 25 idle connections of the service kept a workload's 20 pairs out of a server of 100."""
    rig = FakeRig(apps=4)
    apps, cell = configurator(rig), replace(CELL, pool=25, params={"app_pool_min": kept})
    apps.configure(cell)
    assert rig.runs["app-2"]["POOL_MIN"] == str(kept)
    apps.release_connections()
    assert [rig.runs[f"app-{n}"].get("POOL_MIN") for n in (1, 2)] == [after] * 2
    apps.configure(cell)
    assert rig.runs["app-2"]["POOL_MIN"] == str(kept)


class InTurn:
    """A pool that works in the caller's thread: the steps of 120 plans would start tens of thousands of threads."""

    map = staticmethod(map)

    def __init__(self, _: int) -> None: ...

    def __enter__(self) -> InTurn:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize("quick", [True, False])
def test_no_order_of_trials_makes_backends_compete_for_a_sqlite_file(
    monkeypatch: pytest.MonkeyPatch, *, quick: bool
) -> None:
    """A file keeps its journal mode, and drained hosts keep it open. The fake rig fails where that is violated."""
    for module in (app_workers, rig_module):
        monkeypatch.setattr(module, "ThreadPoolExecutor", InTurn)
    for hosts in (2, 4, 8):
        site = Site(hosts=hosts, backends=BACKENDS)
        for seed in range(1, 21):
            options = BenchRequest.parse({"quick": quick, "seed": str(seed)}, known_scenarios=SCENARIOS)
            rig = FakeRig(apps=hosts)
            apps = configurator(rig)
            for trial in make_plan(options, site, SCENARIOS).trials:
                cell = replace(trial.cell, rate=1.0) if trial.cell.rate_share else trial.cell
                workload = SCENARIOS[cell.scenario].workload(replace(trial, cell=cell))
                if not isinstance(workload, RemoteWorkload):
                    apps.configure(trial.cell)
                    for host in rig.names[: trial.cell.hosts]:
                        assert rig.runs[host]["BACKEND"] == trial.cell.backend
            assert {f"{SHARED}/sqlite-naive.db", f"{SHARED}/sqlite-tuned.db"} == set(rig.removed)
            assert rig.restarts


def test_close_sqlite_resets_the_hosts_that_have_the_file_open() -> None:
    rig = FakeRig(apps=4)
    apps = configurator(rig)
    apps.configure(Cell(scenario="s", backend="sqlite-tuned", hosts=3))
    apps.configure(Cell(scenario="s", hosts=1))
    assert rig.holders(f"{SHARED}/sqlite-tuned.db") == ["app-2", "app-3"], "drained hosts keep it open"
    apps.close_sqlite("sqlite-tuned")
    assert rig.holders(f"{SHARED}/sqlite-tuned.db") == []
