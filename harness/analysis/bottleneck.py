"""What held a trial back: which of its parts was saturated, by its telemetry. Pure.

Each part is judged alone, over all the time in which the trial's load ran (its warm-up included): CPU by the
mean share of the cap, because counters miss nothing; the pool by how long requests say that they waited; other queues
by how often somebody stood in them when one looked.
Several parts may be saturated, and one may follow from another: connections run out sooner where the CPU that
serves them is short. What was not measured is named, never taken for idle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.analysis.telemetry_totals import Occurrences, TelemetryTotals
from harness.record import TrialResult

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
    f"CPU: a host used {FULL:.0%} of its cap or more on average (an app host: of a core for each worker, where these "
    f"are fewer), or was throttled in {THROTTLED:.0%} of the periods. "
    f"Machine: {BUSY:.0%} of the cores that hosts share were busy, though a host had not used what it may. "
    f"Pool waiting: over {MOST:.0%} of the service time went by waiting for a connection. "
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


def attribute(said: Mapping[str, TelemetryTotals], roles: Mapping[str, str], row: TrialResult) -> Attribution:
    """What was saturated in the trial of `row`; `said`: its telemetry by host, `roles`: host -> role.

    Only the app hosts that served count: the first `hosts` in the order of `roles`, which is the rig's.
    """
    serving = [name for name, role in roles.items() if role == "app"][: row.cell.hosts]
    hosts = {name: role for name, role in roles.items() if role != "app" or name in serving}
    if row.cell.backend != "postgres":
        hosts = {name: role for name, role in hosts.items() if role != "db"}
    said = {name: said.get(name, TelemetryTotals()) for name in roles} if said else {}
    silent = [name for name in hosts if name not in said or said[name].silent]
    longest = max((of.seconds for of in said.values()), default=0.0)
    if longest < MIN_SECONDS:
        why = f"it ran only {longest:.1f} s" if said else "there is no telemetry of it"
        return Attribution(line=f"not known, because {why}", unknown=why)
    cpus = {name: _Cpu.of(said[name], len(said[name].pools) if role == "app" else 0) for name, role in hosts.items()}
    parts = [_cpu(part, {n: cpus[n] for n, r in hosts.items() if r == role}) for role, part in CPUS.items()]
    parts += [_machine(cpus), _pool([said[name] for name in serving], row)]
    if "db" in hosts.values():
        waits = said[next(name for name, role in hosts.items() if role == "db")].waits
        parts.append(_sessions("lock waits", "waited for a lock", waits.get("pg_wait_lock")))
        parts.append(_sessions("database I/O", "waited for a file or the WAL", waits.get("pg_wait_io")))
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cpu:
    """A host's CPU over a trial: shares between 0 and 1, `cap` in cores; `throttled` None without a quota.

    `workers`: where the service's processes are fewer than its cores they are what limits it, each being one thread
    of Python; else 0.
    """

    share: float
    cap: float
    workers: int
    throttled: float | None
    machine: float

    @classmethod
    def of(cls, heard: TelemetryTotals, workers: int = 0) -> _Cpu | None:
        if not heard.cpu_seconds:
            return None
        mean = {name: total / heard.cpu_seconds for name, total in heard.cpu.items()}
        cap = mean["cpu_cap_cores"]
        workers = workers if workers < cap else 0
        return cls(
            share=mean["cpu_used_cores"] / (workers or cap),
            cap=cap,
            workers=workers,
            throttled=mean["cpu_throttled_share"] if heard.limited else None,
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
    who = next(iter(full)) if len(hosts) == 1 else f"{len(full)} of {len(hosts)} hosts"
    its = "their" if len(full) > 1 else "its"
    throttled = [cpu.throttled for cpu in full.values() if cpu.throttled is not None]
    caps, workers = [cpu.cap for cpu in full.values()], max(cpu.workers for cpu in full.values())
    what = f"{its} {'cap of ' * bool(throttled)}{_range(caps, 'g')} core{'s' * (max(caps) > 1)}"
    if workers:
        what = f"what {workers} worker{'s' * (workers > 1)} can use of {what}"
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


def pool_wait(row: TrialResult) -> tuple[float, float] | None:
    """Mean ms that requests waited in the app for a connection, and their mean service time; None where neither is
    told. Not the latency: of an open load beyond what the tier can do it grows with the trial's length, before the
    send.
    """
    waited = row.figure("pool_wait_ms")
    mean = row.figure("service_mean_ms") or row.figure("mean_ms")  # older runs kept the latency's alone
    return (waited, mean) if waited is not None and mean else None


def _pool(hosts: Sequence[TelemetryTotals], row: TrialResult) -> Part:
    """Requests that waited in the app for a connection (SQLite: for the file).

    Where the answers told how long each waited, their share of the service time decides; else how often somebody stood
    in line when one looked, one pool a worker.
    """
    name = "pool waiting"
    if told_of := pool_wait(row):
        waited, mean = told_of
        told = f"{waited:.1f} of {mean:.1f} ms on average"
        said = f"{name}: requests waited {told} for one of {row.cell.pool} connections"
        return Part(name=name, full=waited / mean > MOST, level=waited / mean, said=said, short=told)
    looks = [pool for host in hosts for pool in host.pools.values()]
    enough = [pool for pool in looks if pool.number >= MIN_LOOKS]
    if not enough:
        return Part(name=name, short=f"{max((pool.number for pool in looks), default=0)} looks")
    shares = [pool.some / pool.number for pool in enough]
    full = [pool for pool, share in zip(enough, shares, strict=True) if share > MOST]
    said = (
        f"{name}: on {len(full)} of {len(enough)} pools ({row.cell.pool} connections a host) in "
        f"{_range([share for share in shares if share > MOST], '.0%')} of the looks, "
        f"{sum(pool.total for pool in full) / sum(pool.number for pool in full):.1f} requests on average"
        if full
        else ""
    )
    return Part(name=name, full=bool(full), level=max(shares), said=said, short=f"in {max(shares):.0%} of the looks")


def _sessions(name: str, what: str, looks: tuple[Occurrences, Occurrences] | None) -> Part:
    """Active sessions of the database that waited for something, as a share of all that were active."""
    waited, were = looks or (Occurrences(), Occurrences())
    if waited.number < MIN_LOOKS:
        return Part(name=name, short=f"{waited.number} looks")
    waiting, active = waited.total / waited.number, were.total / were.number
    often = waited.some / waited.number
    level = waiting / active if active else 0.0
    return Part(
        name=name,
        full=often > MOST and level >= MOST,
        level=level,
        short=f"{waiting:.1f} of {active:.1f} sessions",
        said=f"{name}: {waiting:.1f} of {active:.1f} active sessions {what}",
    )
