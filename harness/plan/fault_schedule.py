"""The faults by name, and when each hits during a trial. Pure.

How a fault is injected, seen and healed: harness/faults/, which has the same names.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from harness.errors import UsageError
from harness.fault_record import PlannedFault
from harness.model import Cell
from harness.text import nearest, printable

Part = Literal["app", "db", "lb", "load"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    """What a plan and a criterion know of a fault.

    `part`: what it hits. `hold_s`: seconds from the injection to the heal, and `per_host_s` for each app host besides.
    `after_s`: seconds of load after the heal.
    `rotation`: the sick app host has to leave HAProxy's rotation and come back in time. `no_failed_request`: every
    request of the trial has to succeed. `first_success_s`: longest time from the instant at which PostgreSQL accepts
    connections until a request succeeds.
    """

    help: str
    part: Part
    hold_s: float = 3.0
    per_host_s: float = 0.0
    after_s: float = 9.0
    rotation: bool = False
    no_failed_request: bool = False
    first_success_s: float | None = None
    lasts: bool = False
    """Whether it is present until the heal. Else it is over at once, and the rig recovers by itself."""
    once: bool = False
    """Whether a load can have it once only, because something of it stays until the load has ended."""


KINDS: Mapping[str, FaultKind] = {
    "app-kill": FaultKind(part="app", help="kill -9 of the service on an app host", rotation=True),
    "app-pause": FaultKind(
        part="app", help="the service of an app host is stopped with SIGSTOP", hold_s=5.0, rotation=True, lasts=True
    ),
    "app-roll": FaultKind(
        part="app",
        help="all app hosts restart one by one, as in a deployment",
        hold_s=1.0,
        per_host_s=6.0,
        no_failed_request=True,
    ),
    "host-down": FaultKind(part="app", help="an app host is switched off, and on again", lasts=True),
    "db-backend-kill": FaultKind(
        part="db", help="pg_terminate_backend on all sessions of the service", first_success_s=5.0
    ),
    "db-restart": FaultKind(part="db", help="PostgreSQL restarts", first_success_s=5.0),
    "db-crash": FaultKind(part="db", help="kill -9 of the postmaster and its backends", first_success_s=5.0),
    "db-pause": FaultKind(part="db", help="PostgreSQL is stopped with SIGSTOP", first_success_s=5.0, lasts=True),
    "db-full": FaultKind(
        part="db", help="the disk of the write-ahead log fills up", first_success_s=5.0, lasts=True, once=True
    ),
    "partition-db": FaultKind(
        part="app",
        help="packets between an app host and the database are dropped",
        hold_s=6.0,
        rotation=True,
        lasts=True,
    ),
    "partition-db-one-way": FaultKind(
        part="app", help="the database's answers to an app host are dropped", hold_s=6.0, rotation=True, lasts=True
    ),
    "partition-db-reject": FaultKind(
        part="app", help="an app host's connections to the database are refused", hold_s=6.0, rotation=True, lasts=True
    ),
    "partition-lb": FaultKind(
        part="app", help="packets between HAProxy and an app host are dropped", hold_s=6.0, rotation=True, lasts=True
    ),
    "connections-gone": FaultKind(
        part="db", help="another client holds all connections but the reserved ones", lasts=True
    ),
    "lb-reload": FaultKind(part="lb", help="HAProxy reloads", no_failed_request=True),
    "lb-kill": FaultKind(part="lb", help="kill -9 of HAProxy"),
    "slow-network": FaultKind(part="app", help="app hosts and the database: delay and loss", hold_s=6.0, lasts=True),
    "load-host-kill": FaultKind(part="load", help="kill -9 of a load agent"),
}
"""In the order of tables; the planner shuffles them."""
LASTING = frozenset(name for name, kind in KINDS.items() if kind.lasts)
QUICK = ("app-kill", "db-crash", "lb-reload")
"""With --quick: one fault of each part. The criterion of reliability asks for these."""
MIXED = "mixed"
"""A seeded schedule of several faults, at most two at a time. `mixed:0+3` is what is left of it: faults 0 and 3."""
APP_ROLL, LOAD_HOST_KILL = "app-roll", "load-host-kill"
FORGETS_DRAINED = ("lb-reload", "lb-kill")
"""HAProxy serves from drained hosts again after them."""

AT_S = 4.0
"""Load before the fault, so that there is a rate to compare with."""
MIXED_S, QUICK_MIXED_S, QUICK_S = 120.0, 40.0, 8.0
CALM_S = 10.0
"""Load of a mixed schedule after its last heal."""
PAUSE_S = (2.0, 8.0)
"""Between the injections of a mixed schedule."""
RECOVERY_S = 5.0
"""After a heal a mixed schedule counts the fault as present for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A negative control: a bench of `fault` that has to fail, by `check`.

    `params`: of its cells, besides its name. `share`: of the rate that a closed load reached. `hot_key`: whether one
    key gets more requests than the others. `more_s`: seconds of load besides those of the fault.
    """

    fault: str
    check: str
    help: str
    params: Mapping[str, object] = field(default_factory=dict)
    share: float = 0.4
    hot_key: bool = True
    more_s: float = 0.0


_BUSY = 0.9
"""Share of the controls that need requests in flight at the fault."""
CONTROLS: Mapping[str, Control] = {
    "async-commit": Control(
        fault="db-crash",
        check="nothing lost",
        help="PostgreSQL acknowledges commits before they are on disk",
        params={"postgres_synchronous_commit": "off"},
    ),
    "proxy-replay": Control(
        fault="app-kill",
        check="nothing doubled",
        help="HAProxy sends failed POSTs again, and requests have no id",
        share=_BUSY,
    ),
    "early-answer": Control(
        fault="db-crash",
        check="nothing lost",
        help="the service answers before its COMMIT",
        params={"code": "control-early-answer"},
        share=_BUSY,
        hot_key=False,  # its row lock would leave few transactions between answer and COMMIT
    ),
    "pool-leak": Control(
        fault="db-crash",
        check="recovers by itself",
        help="the service never gives a broken connection back to its pool",
        params={"code": "control-pool-leak", "app_pool_min": 5},  # a full pool: none of it is left
        more_s=10.0,
    ),
    "no-injection": Control(fault="app-kill", check="fault seen", help="the injection of the fault does nothing"),
}


def parse_faults(option: str, text: str) -> tuple[str, ...]:
    """The faults of a comma-separated list, each once. Raises UsageError."""
    chosen = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    known = (*KINDS, MIXED)
    if not chosen:
        raise UsageError(f"--{option} is empty", hint=f"known: {', '.join(known)}")
    for name in chosen:
        base, _, kept = name.partition(":")
        if base not in known:
            raise UsageError(f"--{option}: there is no '{printable(name, 80)}'", hint=nearest(base, known))
        if ":" in name and (base != MIXED or not all(part.isascii() and part.isdecimal() for part in kept.split("+"))):
            raise UsageError(
                f"--{option} {printable(name, 80)}: only a mixed schedule is reduced",
                hint=f"such as {MIXED}:0+3, its faults 0 and 3",
            )
    return chosen


def is_mixed(fault: str) -> bool:
    """Whether the name is that of a mixed schedule, whole or reduced."""
    return fault.partition(":")[0] == MIXED


def reduced(kept: Sequence[int]) -> str:
    """The name of the mixed schedule with these faults alone."""
    return f"{MIXED}:{'+'.join(map(str, kept))}"


def hold_s(fault: str, hosts: int) -> float:
    """Seconds from the injection of a fault to its heal, on a rig with `hosts` app hosts."""
    return KINDS[fault].hold_s + hosts * KINDS[fault].per_host_s


def load_s(fault: str, hosts: int) -> float:
    """Seconds of load that show a fault's before, during and after."""
    return AT_S + hold_s(fault, hosts) + KINDS[fault].after_s


def schedule(cell: Cell) -> tuple[PlannedFault, ...]:
    """The faults of a trial of the cell, from the cell alone; none for a cell without `fault`.

    A load shorter than `load_s` shortens all parts alike. Raises UsageError for a reduced schedule with a fault that
    the whole one does not have.
    """
    fault, seconds = str(cell.params.get("fault", "")), cell.seconds or 0.0
    if not fault:
        return ()
    control = str(cell.params.get("control", ""))
    if is_mixed(fault):
        planned = _mixed(cell, seconds)
        kept = [int(number) for number in fault.partition(":")[2].split("+") if number] or range(len(planned))
        if max(kept, default=-1) >= len(planned):
            raise UsageError(f"--fault {fault}: the schedule has {len(planned)} faults, counted from 0")
        return tuple(planned[number] for number in kept)
    scale = min(1.0, seconds / load_s(fault, cell.hosts))
    count = cell.hosts if control == "proxy-replay" else 1  # one kill meets few requests in flight
    return tuple(
        PlannedFault(
            fault=fault,
            at_s=round((AT_S + 2 * host) * scale, 3),
            hold_s=round((1.0 if count > 1 else hold_s(fault, cell.hosts)) * scale, 3),
            host=host,
            idle=control == "no-injection",
        )
        for host in range(count)
    )


def _mixed(cell: Cell, seconds: float) -> list[PlannedFault]:
    """Faults at seeded instants, on seeded hosts: at most two at a time, and never two of the same part.

    So at most one app host is hit on purpose, unless the fault hits all of them, and the state that a fault has to
    restore is not that of another one. A load host is not killed: the trial would be invalid.
    """
    rng = random.Random(f"{cell.params.get('seed', 1)}/mixed")
    without = str(cell.params.get("without", "")).split("+")
    names = [name for name in KINDS if name not in (LOAD_HOST_KILL, *without)]
    planned: list[PlannedFault] = []
    at_s, last_s = AT_S, seconds - CALM_S
    while names and at_s < last_s:
        busy = [KINDS[each.fault].part for each in planned if each.at_s + each.hold_s + RECOVERY_S > at_s]
        name = rng.choice(names)
        held_s = round(hold_s(name, cell.hosts) * rng.uniform(0.5, 1.5), 1)
        host = rng.randrange(64) % cell.hosts
        if len(busy) < 2 and KINDS[name].part not in busy and at_s + held_s <= last_s:
            planned.append(PlannedFault(fault=name, at_s=round(at_s, 1), hold_s=held_s, host=host))
            names = [each for each in names if each != name or not KINDS[each].once]
        at_s += rng.uniform(*PAUSE_S)
    return planned
