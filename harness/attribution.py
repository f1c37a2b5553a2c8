"""What held a trial back: which of its parts was saturated, by its telemetry. Pure.

Each part is judged alone, over all the time in which the trial's load ran (its warm-up included): CPU by the
mean share of the cap, because counters miss nothing; the pool by how long requests say that they waited; other queues
by how often somebody stood in them when one looked.
Several parts may be saturated, and one may follow from another: connections run out sooner where the CPU that
serves them is short. What was not measured is named, never taken for idle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from statistics import fmean

from harness.metrics import TrialRow

FULL = 0.90
"""Of a host's cap, on average: beyond, it is work that waits for the CPU."""
THROTTLED = 0.50
"""Share of the quota's periods in which it ran out: most of the time something was held back."""
BUSY = 0.95
"""Of all cores of the machine that hosts share."""
MOST = 0.50
"""Share of looks in which somebody waited, and share of the active sessions that did."""
MIN_SECONDS = 2.0
"""Of telemetry: a shorter trial is over before its load has settled on what holds it back."""
MIN_LOOKS = 3

MEANING = (
    f"CPU: a host used {FULL:.0%} of its cap or more on average, or was throttled in {THROTTLED:.0%} of the periods. "
    f"Machine: {BUSY:.0%} of the cores that hosts share were busy, though a host had not used what it may. "
    f"Pool waiting: over {MOST:.0%} of the latency went by waiting for a connection. "
    f"Lock waits, database I/O: over {MOST:.0%} of the active sessions waited. "
    f"Trials with less than {MIN_SECONDS:g} s of telemetry are not judged"
)
"""When a part counts as saturated, for readers."""

CPUS = {"load": "load CPU", "lb": "HAProxy CPU", "app": "app CPU", "db": "database CPU"}
"""Role -> name of the part, in the order of a request's way."""
LIMITS = {
    **dict.fromkeys(CPUS.values(), FULL), "machine": BUSY,
    **dict.fromkeys(("pool waiting", "lock waits", "database I/O"), MOST),
}  # fmt: skip
"""Part -> the level from which it may count as saturated."""
PARTS = tuple(LIMITS)

Metrics = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What one host said at one instant: `second` since the run began, `order` of the trial (0: between trials)."""

    second: float
    order: int
    host: str
    metrics: Metrics


def moments(rows: Iterable[Mapping[str, str]]) -> list[Moment]:
    """Rows of telemetry.csv by instant and host. Raises ValueError or KeyError for what is no such row."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in rows:
        found.setdefault((row["second"], row["order"], row["host"]), {})[row["metric"]] = float(row["value"])
    if not all(isfinite(value) for (second, *_), of in found.items() for value in (float(second), *of.values())):
        raise ValueError("a reading is no number")
    return [
        Moment(second=float(second), order=int(order or 0), host=host, metrics=metrics)
        for (second, order, host), metrics in found.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the tier in one trial: `level` between 0 and 1 (None: not measured), and both in words.

    `said`: for the line of a part that is saturated; `short`: the level alone, or why there is none.
    """

    name: str
    full: bool = False
    level: float | None = None
    said: str = ""
    short: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """The answer for one trial. `saturated`: names out of PARTS; `levels`: those of all parts that were measured.

    `unknown`: why there is no answer; empty where there is one.
    """

    line: str
    saturated: tuple[str, ...] = ()
    levels: Mapping[str, float] = field(default_factory=dict)
    unknown: str = ""


def attribute(seen: Iterable[Moment], roles: Mapping[str, str], row: TrialRow) -> Attribution:
    """What was saturated in the trial of `row`; `seen`: its telemetry, `roles`: host -> role in the rig's order.

    Only the app hosts that served count: the first `hosts` of the rig. Moments of other trials are passed over.
    """
    serving = [name for name, role in roles.items() if role == "app"][: row.cell.hosts]
    hosts = {name: role for name, role in roles.items() if role != "app" or name in serving}
    if row.cell.backend != "postgres":
        hosts = {name: role for name, role in hosts.items() if role != "db"}
    said: dict[str, list[Metrics]] = {}
    for moment in seen:
        if moment.order == row.trial.order:
            said.setdefault(moment.host, []).append(moment.metrics)
    silent = [name for name in hosts if not _with(said.get(name, ()), "host_seconds")]
    longest = max((sum(r["host_seconds"] for r in _with(of, "host_seconds")) for of in said.values()), default=0.0)
    if longest < MIN_SECONDS:
        why = f"it ran only {longest:.1f} s" if said else "there is no telemetry of it"
        return Attribution(line=f"not known, because {why}", unknown=why)
    cpus = {name: _Cpu.of(said.get(name, ())) for name in hosts}
    parts = [_cpu(part, {n: cpus[n] for n, r in hosts.items() if r == role}) for role, part in CPUS.items()]
    parts += [_machine(cpus), _pool([said.get(name, ()) for name in serving], row)]
    if "db" in hosts.values():
        sessions = [r for name, role in hosts.items() if role == "db" for r in said.get(name, ())]
        parts.append(_sessions("lock waits", "pg_wait_lock", "waited for a lock", sessions))
        parts.append(_sessions("database I/O", "pg_wait_io", "waited for a file or the WAL", sessions))
    else:
        parts = [part for part in parts if part.name != CPUS["db"]]
    return Attribution(
        line=_line(parts, silent),
        saturated=tuple(part.name for part in parts if part.full),
        levels={part.name: part.level for part in parts if part.level is not None},
    )


def _line(parts: Sequence[Part], silent: Sequence[str]) -> str:
    full = [part for part in parts if part.full]
    known = [part for part in parts if part.level is not None]
    unknown = [part for part in parts if part.level is None]
    if full:
        line = "; ".join(part.said for part in full)
    else:
        line = "nothing was saturated: " + ", ".join(f"{part.name} {part.short}" for part in known)
    if unknown:
        line += "; not known: " + ", ".join(f"{part.name} ({part.short})" for part in unknown)
    return line + (f"; no telemetry of {', '.join(silent)}" if silent else "")


def _with(readings: Iterable[Metrics], metric: str) -> list[Metrics]:
    return [reading for reading in readings if metric in reading]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cpu:
    """A host's CPU over a trial: shares between 0 and 1, `cap` in cores; `throttled` None without a quota."""

    share: float
    cap: float
    throttled: float | None
    machine: float

    @classmethod
    def of(cls, readings: Iterable[Metrics]) -> _Cpu | None:
        own = [r for r in readings if all(r.get(name, 0.0) > 0 for name in ("host_seconds", "cpu_cap_cores"))]
        own = _with(_with(own, "cpu_used_cores"), "machine_cpu_share")
        if not own:
            return None

        def mean(metric: str) -> float:
            return sum(r[metric] * r["host_seconds"] for r in own) / sum(r["host_seconds"] for r in own)

        limited = all("cpu_throttled_share" in reading for reading in own)
        return cls(
            share=mean("cpu_used_cores") / mean("cpu_cap_cores"),
            cap=mean("cpu_cap_cores"),
            throttled=mean("cpu_throttled_share") if limited else None,
            machine=mean("machine_cpu_share"),
        )

    @property
    def full(self) -> bool:
        return self.share >= FULL or (self.throttled or 0.0) >= THROTTLED


def _cpu(part: str, hosts: Mapping[str, _Cpu | None]) -> Part:
    known = {name: cpu for name, cpu in hosts.items() if cpu is not None}
    if not known:
        return Part(name=part, short="no telemetry")
    level = max(cpu.share for cpu in known.values())
    full = {name: cpu for name, cpu in known.items() if cpu.full}
    if not full:
        return Part(name=part, level=level, short=f"{level:.0%}")
    who = next(iter(full)) if len(hosts) == 1 else f"{len(full)} of {len(hosts)} hosts"
    its = "their" if len(full) > 1 else "its"
    throttled = [cpu.throttled for cpu in full.values() if cpu.throttled is not None]
    caps = [cpu.cap for cpu in full.values()]
    what = f"{its} {'cap of ' * bool(throttled)}{_range(caps, 'g')} core{'s' * (max(caps) > 1)}"
    said = f"{part}: {who} at {_range([cpu.share for cpu in full.values()], '.0%')} of {what}"
    if throttled:
        said += f" (throttled in {_range(throttled, '.0%')} of the periods)"
    return Part(name=part, full=True, level=level, said=said, short=f"{level:.0%}")


def _range(values: Sequence[float], form: str) -> str:
    """`97%`, or `91% to 97%` where they differ as printed."""
    low, high = (format(value, form) for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _machine(cpus: Mapping[str, _Cpu | None]) -> Part:
    """Cores that hosts share, or that a hypervisor takes: busy although a host had not used what it may."""
    known = {name: cpu for name, cpu in cpus.items() if cpu is not None}
    if not known:
        return Part(name="machine", short="no telemetry")
    level = max(cpu.machine for cpu in known.values())
    starved = [name for name, cpu in known.items() if cpu.machine >= BUSY and cpu.share < FULL]
    return Part(
        name="machine",
        full=bool(starved),
        level=level,
        short=f"{level:.0%}",
        said=f"machine: {level:.0%} of the cores that {_some(starved)} run on were busy",
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} hosts"


def _pool(hosts: Sequence[Iterable[Metrics]], row: TrialRow) -> Part:
    """Requests that waited in the app for a connection (SQLite: for the file).

    Where the answers told how long each waited, their share of the latency decides; else how often somebody stood in
    line when one looked, one pool a worker.
    """
    name = "pool waiting"
    waited, mean = row.figure("pool_wait_ms"), row.figure("mean_ms")
    if waited is not None and mean:
        told = f"{waited:.1f} of {mean:.1f} ms on average"
        said = f"{name}: requests waited {told} for one of {row.cell.pool} connections"
        return Part(name=name, full=waited / mean > MOST, level=waited / mean, said=said, short=told)
    looks: dict[tuple[int, str], list[float]] = {}
    for host, readings in enumerate(hosts):
        for reading in readings:
            for metric, value in reading.items():
                if metric.startswith("pool_waiting"):
                    looks.setdefault((host, metric), []).append(value)
    enough = [values for values in looks.values() if len(values) >= MIN_LOOKS]
    if not enough:
        return Part(name=name, short=f"{max(map(len, looks.values()), default=0)} looks")
    shares = [sum(value > 0 for value in values) / len(values) for values in enough]
    full = [values for values, share in zip(enough, shares, strict=True) if share > MOST]
    said = (
        f"{name}: on {len(full)} of {len(enough)} pools ({row.cell.pool} connections a host) in "
        f"{_range([share for share in shares if share > MOST], '.0%')} of the looks, "
        f"{fmean(v for values in full for v in values):.1f} requests on average"
        if full
        else ""
    )
    return Part(name=name, full=bool(full), level=max(shares), said=said, short=f"in {max(shares):.0%} of the looks")


def _sessions(name: str, metric: str, what: str, looks: Sequence[Metrics]) -> Part:
    """Active sessions of the database that waited for something, as a share of all that were active."""
    looks = _with(_with(looks, "pg_active"), metric)
    if len(looks) < MIN_LOOKS:
        return Part(name=name, short=f"{len(looks)} looks")
    waiting, active = fmean(look[metric] for look in looks), fmean(look["pg_active"] for look in looks)
    often = sum(look[metric] > 0 for look in looks) / len(looks)
    level = waiting / active if active else 0.0
    return Part(
        name=name,
        full=often > MOST and level >= MOST,
        level=level,
        short=f"{waiting:.1f} of {active:.1f} sessions",
        said=f"{name}: {waiting:.1f} of {active:.1f} active sessions {what}",
    )
