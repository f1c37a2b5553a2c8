"""The bottleneck of a trial: which parts of the tier its telemetry shows as saturated. Pure.

Each part is evaluated alone, over the whole time in which the load ran, warm-up included: CPU by its mean share of
the cap, because counters have no gaps; the pool by the wait that responses report; other queues by the share of
readings in which they were not empty.
Several parts may be saturated, and one may cause another: connections run out sooner where the CPU that serves them
is short. A part without telemetry is named, and never counts as idle: where no other part was saturated, the bottleneck
is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.analysis.telemetry_totals import Occurrences, TelemetryTotals
from harness.record import TrialRecord, TrialResult

FULL = 0.90
"""Mean share of a host's CPU cap; above it, work waits for the CPU."""
THROTTLED = 0.50
"""Share of the CPU quota's periods that were throttled."""
BUSY = 0.95
"""Share of all cores of the machine that hosts share."""
MOST = 0.50
"""Share of readings in which a request or session waited, and share of the active sessions that waited."""
MIN_SECONDS = 2.0
"""Least telemetry; a shorter trial ends before its bottleneck shows."""
MIN_READINGS = 3

MEANING = (
    f"CPU: a host used {FULL:.0%} of its cap or more on average (an app host: of a core for each worker, where these "
    f"are fewer), or was throttled in {THROTTLED:.0%} of the periods. "
    f"Machine: {BUSY:.0%} of the cores that hosts share were busy while a host was below its cap. "
    f"Pool waiting: requests waited for a connection over {MOST:.0%} of their service time. "
    f"Lock waits, database I/O: over {MOST:.0%} of the active sessions waited. "
    f"Trials with less than {MIN_SECONDS:g} s of telemetry are not evaluated"
)
"""When a part counts as saturated, for readers."""

CPUS = {"load": "load CPU", "lb": "HAProxy CPU", "app": "app CPU", "db": "database CPU"}
"""Role -> name of the part, in the order of a request's path."""
LIMITS = {
    **dict.fromkeys(CPUS.values(), FULL), "machine": BUSY,
    **dict.fromkeys(("pool waiting", "lock waits", "database I/O"), MOST),
}  # fmt: skip
"""Part -> the level from which it may count as saturated."""
PARTS = tuple(LIMITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the tier in one trial: `level` between 0 and 1 (None: not measured), and its texts.

    `description`: for the line of a saturated part; `short`: the level alone, or why there is none.
    """

    name: str
    full: bool = False
    level: float | None = None
    description: str = ""
    short: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """The result for one trial. `saturated`: names out of PARTS; `levels`: of all parts that were measured.

    `unknown`: why there is no result; empty where there is one.
    """

    line: str
    saturated: tuple[str, ...] = ()
    levels: Mapping[str, float] = field(default_factory=dict)
    unknown: str = ""


def with_bottlenecks(
    records: Iterable[TrialRecord], totals: Mapping[int, Mapping[str, TelemetryTotals]], roles: Mapping[str, str]
) -> Iterator[TrialRecord]:
    """Adds to each record what was saturated; `totals`: trial -> host -> its telemetry, `roles`: host -> role."""
    for record in records:
        attribution = attribute(totals.get(record.row.trial.order, {}), roles, record.row)
        saturated = None if attribution.unknown else attribution.saturated
        yield replace(record, held_back=attribution.line, saturated=saturated)


def attribute(totals: Mapping[str, TelemetryTotals], roles: Mapping[str, str], row: TrialResult) -> Attribution:
    """What was saturated in the trial of `row`; `totals`: its telemetry by host, `roles`: host -> role.

    Only the app hosts that served count: the first `hosts` in the order of `roles`, which is the rig's.
    """
    serving = [name for name, role in roles.items() if role == "app"][: row.cell.hosts]
    hosts = {name: role for name, role in roles.items() if role != "app" or name in serving}
    if row.cell.backend != "postgres":
        hosts = {name: role for name, role in hosts.items() if role != "db"}
    if not totals:
        return _no_result("there is no telemetry of it")
    totals = {name: totals.get(name, TelemetryTotals()) for name in roles}
    silent = [name for name, role in hosts.items() if totals[name].silent or (role == "db" and not totals[name].waits)]
    longest_s = max((each.seconds for each in totals.values()), default=0.0)
    if longest_s < MIN_SECONDS:
        return _no_result(f"it ran only {longest_s:.1f} s")
    workers = {name: len(totals[name].pools) if role == "app" else 0 for name, role in hosts.items()}
    cpus = {name: _Cpu.of(totals[name], workers[name]) for name in hosts}
    parts = [_cpu(part, {n: cpus[n] for n, r in hosts.items() if r == role}) for role, part in CPUS.items()]
    parts += [_machine(cpus), _pool([totals[name] for name in serving], row)]
    if "db" in hosts.values():
        waits = totals[next(name for name, role in hosts.items() if role == "db")].waits
        parts.append(_sessions("lock waits", "waited for a lock", waits.get("pg_wait_lock")))
        parts.append(_sessions("database I/O", "waited for a file or the WAL", waits.get("pg_wait_io")))
    else:
        parts = [part for part in parts if part.name != CPUS["db"]]
    saturated = tuple(part.name for part in parts if part.full)
    unknown = f"there is no telemetry of {', '.join(silent)}" if silent and not saturated else ""
    return Attribution(
        line=_line(parts, silent, unknown),
        saturated=saturated,
        unknown=unknown,
        levels={part.name: part.level for part in parts if part.level is not None},
    )


def _no_result(reason: str) -> Attribution:
    return Attribution(line=f"not known, because {reason}", unknown=reason)


def _line(parts: Sequence[Part], silent: Sequence[str], no_result: str) -> str:
    full = [part for part in parts if part.full]
    known = [part for part in parts if part.level is not None]
    unknown = [part for part in parts if part.level is None]
    if full:
        line = "; ".join(part.description for part in full)
    else:
        line = f"not known, because {no_result}; not saturated: " if no_result else "nothing was saturated: "
        line += ", ".join(f"{part.name} {part.short}" for part in known)
    if unknown:
        line += "; not known: " + ", ".join(f"{part.name} ({part.short})" for part in unknown)
    return line + (f"; no telemetry of {', '.join(silent)}" if silent and full else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cpu:
    """A host's CPU over a trial: shares between 0 and 1, `cap` in cores; `throttled` None without a quota.

    `workers`: the service's processes where they are fewer than its cores: each is one thread of Python, so they are
    the limit; else 0.
    """

    share: float
    cap: float
    workers: int
    throttled: float | None
    machine: float

    @classmethod
    def of(cls, totals: TelemetryTotals, workers: int = 0) -> _Cpu | None:
        if not totals.cpu_seconds:
            return None
        mean = {name: total / totals.cpu_seconds for name, total in totals.cpu.items()}
        cap = mean["cpu_cap_cores"]
        workers = workers if workers < cap else 0
        return cls(
            share=mean["cpu_used_cores"] / (workers or cap),
            cap=cap,
            workers=workers,
            throttled=mean["cpu_throttled_share"] if totals.limited else None,
            machine=mean["machine_cpu_share"],
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
    subject = next(iter(full)) if len(hosts) == 1 else f"{len(full)} of {len(hosts)} hosts"
    its = "their" if len(full) > 1 else "its"
    throttled = [cpu.throttled for cpu in full.values() if cpu.throttled is not None]
    caps, workers = [cpu.cap for cpu in full.values()], max(cpu.workers for cpu in full.values())
    what = f"{its} {'cap of ' * bool(throttled)}{_range(caps, 'g')} core{'s' * (max(caps) > 1)}"
    if workers:
        what = f"what {workers} worker{'s' * (workers > 1)} can use of {what}"
    description = f"{part}: {subject} at {_range([cpu.share for cpu in full.values()], '.0%')} of {what}"
    if throttled:
        description += f" (throttled in {_range(throttled, '.0%')} of the periods)"
    return Part(name=part, full=True, level=level, description=description, short=f"{level:.0%}")


def _range(values: Sequence[float], form: str) -> str:
    """`97%`, or `91% to 97%` where they differ as printed."""
    low, high = (format(value, form) for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _machine(cpus: Mapping[str, _Cpu | None]) -> Part:
    """Cores that hosts share, or that a hypervisor takes: busy while a host was below its cap."""
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
        description=f"machine: {level:.0%} of the cores that {_some(starved)} run on were busy",
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} hosts"


def pool_wait(row: TrialResult) -> tuple[float, float] | None:
    """Mean ms that requests waited in the app for a connection, and their mean service time; None without both.

    Not the latency: in an open load above the capacity it grows with the trial's length, before the send.
    """
    waited = row.figure("pool_wait_ms")
    mean = row.figure("service_mean_ms") or row.figure("mean_ms")  # older runs have the latency only
    return (waited, mean) if waited is not None and mean else None


def _pool(hosts: Sequence[TelemetryTotals], row: TrialResult) -> Part:
    """Requests that waited in the app for a connection (SQLite: for the file).

    Where the responses report their wait, its share of the service time decides; else the share of readings in which
    requests waited, one pool per worker.
    """
    name = "pool waiting"
    if wait_and_service := pool_wait(row):
        waited, mean = wait_and_service
        share = f"{waited:.1f} of {mean:.1f} ms on average"
        text = f"{name}: requests waited {share} for one of {row.cell.pool} connections"
        return Part(name=name, full=waited / mean > MOST, level=waited / mean, description=text, short=share)
    pools = [pool for host in hosts for pool in host.pools.values()]
    enough = [pool for pool in pools if pool.number >= MIN_READINGS]
    if not enough:
        return Part(name=name, short=f"{max((pool.number for pool in pools), default=0)} readings")
    shares = [pool.some / pool.number for pool in enough]
    full = [pool for pool, share in zip(enough, shares, strict=True) if share > MOST]
    level, short = max(shares), f"in {max(shares):.0%} of the readings"
    if not full:
        return Part(name=name, level=level, short=short)
    text = (
        f"{name}: on {len(full)} of {len(enough)} pools ({row.cell.pool} connections per host) in "
        f"{_range([share for share in shares if share > MOST], '.0%')} of the readings, "
        f"{sum(pool.total for pool in full) / sum(pool.number for pool in full):.1f} requests on average"
    )
    return Part(name=name, full=True, level=level, description=text, short=short)


def _sessions(name: str, what: str, readings: tuple[Occurrences, Occurrences] | None) -> Part:
    """Sessions of the database that waited, as a share of the active ones."""
    waited, were = readings or (Occurrences(), Occurrences())
    if waited.number < MIN_READINGS:
        return Part(name=name, short=f"{waited.number} readings")
    waiting, active = waited.total / waited.number, were.total / were.number
    often = waited.some / waited.number
    level = waiting / active if active else 0.0
    return Part(
        name=name,
        full=often > MOST and level >= MOST,
        level=level,
        short=f"{waiting:.1f} of {active:.1f} sessions",
        description=f"{name}: {waiting:.1f} of {active:.1f} active sessions {what}",
    )
