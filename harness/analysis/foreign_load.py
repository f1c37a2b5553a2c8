"""CPU of the rig's machines that other programs used while a trial's load ran. Pure.

The machine's busy time comes from its /proc/stat, time stolen by a hypervisor included. What the rig used is the sum
over the control groups of its hosts on that machine (hosts with one boot id share a kernel), and of the harness where
it runs there too. The rest is foreign: it slows the trial, and another session would not have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.analysis.telemetry_totals import TelemetryTotals

LIMIT = 0.10
"""Largest foreign share of a machine's CPU in a trial with valid times."""
LEAST_S = 0.5
"""Shortest time whose shares mean something: /proc/stat counts in hundredths of a second."""
CONTROLLER = "controller"
"""The host name under which the harness's own processes are recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLoad:
    """Shares of one machine's CPU during a trial: used by others (`stolen` included), and stolen by its hypervisor.

    `pressure`: share of the time in which some task of the machine waited for a CPU; None without /proc/pressure.
    """

    hosts: tuple[str, ...]
    foreign: float
    stolen: float
    pressure: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignLoad:
    """What was found on each machine; `unread`: why a machine, or all of them, could not be judged."""

    machines: tuple[MachineLoad, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the times of the trial cannot be used; empty if nothing else used the machines."""
        return tuple(_reason(machine) for machine in self.machines if machine.foreign > LIMIT)

    def figures(self) -> dict[str, float | None]:
        """The columns of trials.csv: the worst machine."""
        pressures = [machine.pressure for machine in self.machines if machine.pressure is not None]
        return {
            "foreign_cpu": max((machine.foreign for machine in self.machines), default=None),
            "stolen_cpu": max((machine.stolen for machine in self.machines), default=None),
            "cpu_pressure": max(pressures, default=None),
        }


NO_FOREIGN_LOAD = ForeignLoad()


def foreign_load(totals: Mapping[str, TelemetryTotals], boot_ids: Mapping[str, str]) -> ForeignLoad:
    """Judges the telemetry of one trial. `boot_ids`: every host of the rig, and the controller, -> its boot id."""
    machines, unread = [], []
    kernels: dict[str, list[str]] = {}
    for host, boot_id in boot_ids.items():
        kernels.setdefault(boot_id or host, []).append(host)
    for hosts in kernels.values():
        readings = [totals.get(host, TelemetryTotals()) for host in hosts]
        if missing := [h for h, reading in zip(hosts, readings, strict=True) if not _is_known(reading)]:
            if hosts != [CONTROLLER]:
                unread.append(f"CPU use by other programs is not known: no readings of {', '.join(missing)}")
            continue
        machines.append(_machine(hosts, readings))
    return ForeignLoad(machines=tuple(machines), unread=tuple(unread))


def _is_known(totals: TelemetryTotals) -> bool:
    return totals.cpu_seconds >= LEAST_S and {"rig_cpu_cores", "machine_cores"} <= totals.machine.keys()


def _machine(hosts: list[str], readings: list[TelemetryTotals]) -> MachineLoad:
    """All hosts read the same machine, in intervals that differ by the time a message takes: their mean is used."""

    def mean(name: str) -> float:
        return sum(reading.machine[name] / reading.cpu_seconds for reading in readings) / len(readings)

    cores = mean("machine_cores")
    busy = sum(reading.cpu["machine_cpu_share"] / reading.cpu_seconds for reading in readings) / len(readings)
    own = sum(reading.machine["rig_cpu_cores"] / reading.cpu_seconds for reading in readings)
    pressures = [
        r.machine["machine_psi_cpu_some"] / r.cpu_seconds for r in readings if "machine_psi_cpu_some" in r.machine
    ]
    return MachineLoad(
        hosts=tuple(hosts),
        foreign=max(0.0, busy - own / cores),
        stolen=mean("machine_steal_cores") / cores
        if all("machine_steal_cores" in r.machine for r in readings)
        else 0.0,
        pressure=sum(pressures) / len(pressures) if pressures else None,
    )


def _reason(machine: MachineLoad) -> str:
    first, *others = machine.hosts
    where = f"{first} and {len(others)} other hosts" if len(others) > 2 else ", ".join(machine.hosts)
    stolen = f", of which a hypervisor took {machine.stolen:.0%}" if machine.stolen > 0.005 else ""
    return (
        f"other programs used {machine.foreign:.0%} of the CPU of the machine of {where}{stolen} "
        f"(limit {LIMIT:.0%}): end them, or measure when the machine is quiet"
    )
