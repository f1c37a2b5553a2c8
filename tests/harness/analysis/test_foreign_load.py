"""CPU that other programs used on the machines of a rig, from the telemetry of its hosts."""

from __future__ import annotations

import pytest

from harness.analysis.foreign_load import CONTROLLER, LIMIT, ForeignLoad, foreign_load
from harness.analysis.telemetry_totals import TelemetryReading, TelemetryTotals

SECONDS = 4


def host(
    own: float, busy: float, *, cores: float = 2.0, seconds: float = SECONDS, **more: float | None
) -> TelemetryTotals:
    """A host whose containers used `own` cores of a machine with `busy` cores in use. A metric of None is absent."""
    totals = TelemetryTotals()
    metrics = {
        "host_seconds": 1.0, "cpu_cap_cores": cores, "cpu_used_cores": own, "machine_cpu_share": busy / cores,
        "machine_cores": cores, "machine_steal_cores": 0.0, "rig_cpu_cores": own, **more,
    }  # fmt: skip
    for second in range(round(seconds / 0.25)):
        present = {name: value for name, value in metrics.items() if value is not None} | {"host_seconds": 0.25}
        totals.add(TelemetryReading(second=second / 4, order=1, host="x", metrics=present))
    return totals


ONE_MACHINE = {"db-1": "kernel", "app-1": "kernel", CONTROLLER: "kernel"}


def test_what_the_rigs_hosts_and_the_harness_used_is_not_foreign() -> None:
    quiet = {"db-1": host(0.9, 1.9), "app-1": host(0.8, 1.9), CONTROLLER: host(0.15, 1.9)}
    found = foreign_load(quiet, ONE_MACHINE)
    assert found.reasons == found.unread == ()
    assert found.figures() == {"foreign_cpu": pytest.approx(0.025), "stolen_cpu": 0.0, "cpu_pressure": None}
    (reason,) = foreign_load(quiet | {CONTROLLER: host(0.0, 1.9), "app-1": host(0.5, 1.9)}, ONE_MACHINE).reasons
    assert reason.startswith("other programs used 25% of the CPU of the machine of db-1, app-1, controller (limit 10%)")


@pytest.mark.parametrize(("own", "disturbed"), [(1.85, False), (1.81, False), (1.79, True), (0.0, True)])
def test_the_limit_is_a_tenth_of_the_machine(own: float, disturbed: bool) -> None:
    assert LIMIT == 0.10
    assert bool(foreign_load({"db-1": host(own, 2.0)}, {"db-1": "k"}).reasons) is disturbed


def test_each_machine_is_judged_and_the_worst_one_stored() -> None:
    totals = {"db-1": host(1.0, 1.0), "app-1": host(1.0, 1.8, machine_psi_cpu_some=0.7)}
    found = foreign_load(totals, {"db-1": "a", "app-1": "b"})
    assert [machine.hosts for machine in found.machines] == [("db-1",), ("app-1",)]
    (reason,) = found.reasons
    assert "40% of the CPU of the machine of app-1" in reason
    assert found.figures() == {"foreign_cpu": pytest.approx(0.4), "stolen_cpu": 0.0, "cpu_pressure": pytest.approx(0.7)}
    # without a boot id no two hosts are taken for one machine
    assert len(foreign_load(totals, {"db-1": "", "app-1": ""}).machines) == 2


def test_stolen_time_is_foreign() -> None:
    (reason,) = foreign_load({"db-1": host(1.0, 1.5, machine_steal_cores=0.4)}, {"db-1": "a"}).reasons
    assert "used 25% of the CPU of the machine of db-1, of which a hypervisor took 20%" in reason


@pytest.mark.parametrize(
    "missing",
    [
        TelemetryTotals(),
        host(0.1, 2.0, seconds=0.25),
        host(0.1, 2.0, rig_cpu_cores=None),  # its control groups are not known
        host(0.1, 2.0, machine_cores=None),  # stored by an older sampler
    ],
)
def test_a_machine_without_the_readings_of_every_host_is_not_judged(missing: TelemetryTotals) -> None:
    """What an unread host used would count as foreign."""
    found = foreign_load({"db-1": host(0.1, 2.0), "app-1": missing}, {"db-1": "k", "app-1": "k"})
    assert found == ForeignLoad(unread=("CPU use by other programs is not known: no readings of app-1",))
    assert found.figures() == {"foreign_cpu": None, "stolen_cpu": None, "cpu_pressure": None}
